"""An index goes beyond one host: as a Lance dataset it has the same clips and gives the same neighbours."""

from __future__ import annotations

from pathlib import Path

import pytest
from embedding_tables import clip_ids, clustered, unit, write_table

import vidray
from vidray.errors import UsageError
from vidray.pipeline import lance as export

ROWS, DIM = 1000, 16

pytestmark = [
    pytest.mark.slow,
    # said once by the package itself, of processes that are not forked here
    pytest.mark.filterwarnings("ignore:lance is not fork-safe"),
]


@pytest.fixture
def store(tmp_path) -> str:
    write_table(tmp_path / "store" / "features" / "net", clustered(ROWS, DIM), parts=2)
    vidray.build_index(str(tmp_path / "store"), extractor="net")
    return str(tmp_path / "store")


def test_the_dataset_has_the_clips_of_the_index_and_its_neighbours(store, tmp_path, monkeypatch):
    import lance
    import ray

    monkeypatch.setattr(export, "WORTH_AN_INDEX", ROWS)
    ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False)
    try:
        summary = export.export_to_lance(store, "net", str(tmp_path / "net.lance"))
    finally:
        ray.shutdown()
    assert (summary.rows, summary.index) == (ROWS, "IVF_RQ")
    dataset = lance.dataset(str(tmp_path / "net.lance"))
    assert sorted(dataset.to_table(columns=["clip_id"])["clip_id"].to_pylist()) == clip_ids(ROWS)
    assert len(dataset.describe_indices()) == 1
    index = vidray.open_index(store, extractor="net")
    vectors = clustered(ROWS, DIM)
    for row in (0, 77, 999):
        query = unit(vectors[row]).astype("float32")
        nearest = {"column": "embedding", "q": query, "k": 10, "nprobes": 1000, "refine_factor": 20}
        found = dataset.to_table(nearest=nearest, columns=["clip_id", "start_s"])
        assert found["clip_id"][0].as_py() == clip_ids(ROWS)[row]
        assert found["start_s"][0].as_py() == row % 4 * 10.0
        assert len(set(found["clip_id"].to_pylist()) & set(index.search(query).ids[0])) >= 9


def test_what_cannot_be_exported_is_refused(store, tmp_path):
    with pytest.raises(UsageError, match="no index of 'other'"):
        export.export_to_lance(store, "other", str(tmp_path / "x.lance"))
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "file").write_text("mine")
    with pytest.raises(UsageError, match="something is there already"):
        export.export_to_lance(store, "net", str(tmp_path / "there"))
    write_table(Path(store) / "features" / "net", clustered(4, DIM, seed=2), first=2)
    with pytest.raises(UsageError, match=f"lags behind its table; run vidray index {store} -x net first"):
        export.export_to_lance(store, "net", str(tmp_path / "x.lance"))

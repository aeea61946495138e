"""The index's laws: exact where it says so, near enough elsewhere, and the same bytes from the same table."""

from __future__ import annotations

import gc
import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from embedding_tables import clip_ids, clustered, embedding_column, unit, write_table

from vidray.errors import StoreError, UsageError
from vidray.index import build_index, open_index
from vidray.index.identities import BATCH_ROWS

ROWS, DIM = 6000, 48
LISTS = "IVF,SQfp16"
FACTORIES = ("SQfp16", LISTS, "IVF,RaBitQ")


@pytest.fixture(scope="module")
def vectors() -> np.ndarray:
    return clustered(ROWS, DIM)


@pytest.fixture(scope="module")
def table(tmp_path_factory, vectors) -> Path:
    folder = tmp_path_factory.mktemp("store") / "features" / "net"
    write_table(folder, vectors, parts=3)
    return folder


@pytest.fixture(scope="module")
def exact(table, tmp_path_factory):
    place = str(tmp_path_factory.mktemp("exact"))
    build_index(str(table), place)
    return open_index(place)


@pytest.fixture(scope="module")
def lists(table, tmp_path_factory):
    place = str(tmp_path_factory.mktemp("lists"))
    build_index(str(table), place, factory=LISTS)
    return open_index(place)


def nearest(vectors, queries, k: int) -> tuple[np.ndarray, np.ndarray]:
    """By definition: rows and cosines of the k best, (Q, k)."""
    cosines = unit(queries) @ unit(vectors).T
    rows = np.argsort(-cosines, axis=1, kind="stable")[:, :k]
    return rows, np.take_along_axis(cosines, rows, axis=1)


def near_queries(vectors, count: int) -> np.ndarray:
    rng = np.random.default_rng(5)
    picked = unit(vectors[rng.choice(len(vectors), count, replace=False)])
    return picked + 0.3 * unit(rng.standard_normal(picked.shape))


def test_an_exact_index_gives_the_cosines_of_the_definition(exact, vectors):
    queries = near_queries(vectors, 40)
    matches = exact.search(queries, k=10)
    rows, cosines = nearest(vectors, queries, 10)
    assert matches.ids.shape == matches.scores.shape == (40, 10)
    assert matches.scores.dtype == np.float32
    assert np.abs(matches.scores - cosines).max() < 5e-4
    # of two clips as near as fp16 can tell, either may come first
    found = np.take_along_axis(unit(queries) @ unit(vectors).T, matches.rows, axis=1)
    assert np.abs(found - cosines).max() < 5e-4
    assert (matches.rows == rows).mean() > 0.97
    assert matches.ids.tolist() == [[clip_ids(ROWS)[row] for row in line] for line in matches.rows]
    assert (np.diff(matches.scores, axis=1) <= 0).all()


def test_inverted_lists_find_nearly_all_and_score_as_the_exact_index_does(exact, lists, vectors):
    queries = near_queries(vectors, 200)
    truth, found = exact.search(queries), lists.search(queries)
    recall = np.mean([len({*a} & {*b}) / 10 for a, b in zip(truth.ids, found.ids, strict=True)])
    assert recall >= 0.97
    assert lists.manifest.recall_at_10 >= 0.99
    assert lists.manifest.nprobe < lists.manifest.nlist
    everywhere = lists.search(queries, nprobe=lists.manifest.nlist)
    assert np.allclose(everywhere.scores, truth.scores, atol=1e-6)
    assert (everywhere.rows == truth.rows).mean() > 0.999


def test_the_type_follows_the_number_of_clips(table, tmp_path, monkeypatch):
    info = build_index(str(table), str(tmp_path / "a"))
    assert (info.factory, info.nlist, info.rows, info.dim) == ("SQfp16", 1, ROWS, DIM)
    monkeypatch.setattr("vidray.index.ann.EXACT_UP_TO_CLIPS", ROWS - 1)
    info = build_index(str(table), str(tmp_path / "a"))
    assert (info.factory, info.nlist) == (f"IVF{info.nlist},SQfp16", ROWS // 39)
    monkeypatch.setattr("vidray.index.ann.FP16_UP_TO_CLIPS", ROWS - 1)
    assert build_index(str(table), str(tmp_path / "a")).factory == f"IVF{info.nlist},RaBitQ"
    assert build_index(str(table), str(tmp_path / "a"), factory="IVF20,SQfp16").factory == "IVF20,SQfp16"


@pytest.mark.parametrize(
    "factory", ["HNSW32", "IVF0,SQfp16", "IVF9,Flat", "IVF20,SQ8", "RaBitQ", f"IVF{ROWS + 1},SQfp16"]
)
def test_a_factory_that_is_none_of_ours_is_refused(table, tmp_path, factory):
    with pytest.raises(UsageError, match="--factory"):
        build_index(str(table), str(tmp_path / "a"), factory=factory)


def test_every_clip_finds_itself_first(exact, lists, vectors):
    for index in (exact, lists):
        matches = index.search(vectors[::7], k=1)
        assert matches.rows[:, 0].tolist() == list(range(0, ROWS, 7))
        assert matches.scores.min() > 0.999
        assert matches.scores.max() <= 1


def test_opposite_and_orthogonal_scores(tmp_path):
    write_table(tmp_path / "t", np.array([[2, 0, 0], [0, 3, 0], [-4, 0, 0]], np.float32))
    build_index(str(tmp_path / "t"), str(tmp_path / "i"))
    matches = open_index(str(tmp_path / "i")).search([[0.5, 0, 0]], k=3)
    assert matches.ids.tolist() == [["clip000000", "clip000001", "clip000002"]]
    assert matches.scores.tolist() == [[1, 0, -1]]


def test_rows_without_a_direction_are_left_out_and_counted(tmp_path):
    dim = 4
    column = embedding_column(
        [[1, 0, 0, 0], None, [0, 0, 0, 0], [0, float("nan"), 0, 0], [0, float("inf"), 1, 0], [0, 1e-30, 0, 0],
         [0, None, 1, 0], [0, 0, 3e38, 3e38]], dim,
    )  # fmt: skip
    (tmp_path / "t").mkdir()
    pq.write_table(pa.table({"clip_id": list("abcdefgh"), "embedding": column}), tmp_path / "t" / "part-00000.parquet")
    info = build_index(str(tmp_path / "t"), str(tmp_path / "i"))
    assert info.left_out == {"not_finite": 3, "null": 1, "zero": 1, "too_large": 0}
    index = open_index(str(tmp_path / "i"))
    assert index.size == len(index) == info.rows == 3
    assert sorted(index.search([[1, 1, 1, 1]]).ids[0]) == ["a", "f", "h"]
    matches = index.search([[0, 0, 1, 1], [0, 5, 0, 0], [0, 0, 0, 0]], k=1)
    assert matches.ids[:2, 0].tolist() == ["h", "f"]
    assert np.allclose(matches.scores[:, 0], [1, 1, 0], atol=1e-3)
    part = index.manifest.parts[0]
    assert (part.rows, part.clips) == (8, 3)


@pytest.mark.parametrize(
    "kind",
    [pa.list_(pa.float32()), pa.large_list(pa.float32()), pa.list_(pa.float64()), pa.list_(pa.float16(), 8)],
    ids=str,
)
def test_a_table_that_vidray_did_not_write(tmp_path, kind):
    vectors = clustered(300, 8)
    folder = tmp_path / "embeddings"
    (folder / "day=1" / "_tmp").mkdir(parents=True)
    ids = pa.array(clip_ids(300), pa.large_string()).dictionary_encode()
    rows = [list(row) for row in vectors.astype(np.float16)]
    whole = pa.table({"caption": ["x"] * 300, "embedding": pa.array(rows, kind), "clip_id": ids})
    pq.write_table(whole.slice(0, 200), folder / "a.parquet", row_group_size=64)
    pq.write_table(whole.slice(200), folder / "day=1" / "b.parquet")
    pq.write_table(whole, folder / "day=1" / "_tmp" / "c.parquet")
    (folder / "README.txt").write_text("not a part")
    build_index(str(folder), str(tmp_path / "index"))
    index = open_index(str(tmp_path / "index"))
    assert [part.name for part in index.manifest.parts] == ["a.parquet", "day=1/b.parquet"]
    assert index.search(vectors[250], k=1).ids.tolist() == [[clip_ids(300)[250]]]
    assert index.clips([250]).to_pylist() == [{"clip_id": clip_ids(300)[250]}]
    assert np.allclose(index.vector(clip_ids(300)[250]), vectors[250].astype(np.float16))
    assert not index.stale


def test_identities_come_in_the_order_they_are_asked_for(tmp_path):
    rows = 2 * BATCH_ROWS + 5
    write_table(tmp_path / "t", clustered(rows, 4), parts=5)
    build_index(str(tmp_path / "t"), str(tmp_path / "i"))
    index = open_index(str(tmp_path / "i"))
    asked = [rows - 1, 3, BATCH_ROWS, 3, BATCH_ROWS - 1, 0]
    clips = index.clips(asked).to_pylist()
    assert [clip["clip_id"] for clip in clips] == [clip_ids(rows)[row] for row in asked]
    assert clips[1] == {
        "clip_id": "clip000003", "video_id": "video0", "uri": "/videos/0.mp4", "start_s": 30.0, "end_s": 40.0,
    }  # fmt: skip
    assert [index.row_of(clip_ids(rows)[row]) for row in asked] == asked
    assert index.row_of("nobody") is None


def written_in(place: Path) -> dict[str, bytes]:
    """What follows from the table alone: all but when its files were written, and what was hashed from that."""
    files = {str(path.relative_to(place)): path.read_bytes() for path in place.rglob("*") if path.is_file()}
    return {name: data for name, data in files.items() if Path(name).name not in ("CURRENT", "seen.json", "built.json")}


@pytest.mark.parametrize("factory", FACTORIES)
def test_the_same_table_gives_the_same_bytes(table, tmp_path, factory):
    shutil.copytree(table, tmp_path / "elsewhere" / "features" / "net")
    written = []
    for store in (tmp_path, tmp_path / "elsewhere"):
        source = table if store is tmp_path else store / "features" / "net"
        place = store / "index" / "net"
        build_index(str(source), str(place), factory=factory)
        files = written_in(place)
        manifest = json.loads(files.pop("v0001/manifest.json"))
        written.append((files, manifest.pop("features") and manifest))
    assert written[0] == written[1]
    assert str(tmp_path).encode() not in b"".join(written[0][0].values())


def test_the_manifest_says_what_the_index_was_built_from(tmp_path):
    features = tmp_path / "features" / "net"
    write_table(features, clustered(100, 4), parts=2)
    (features / "_spec.json").write_text('{"name": "net"}')
    build_index(str(features), str(tmp_path / "index" / "net"))
    manifest = json.loads((tmp_path / "index" / "net" / "v0001" / "manifest.json").read_text())
    assert manifest["spec_sha256"] == hashlib.sha256(b'{"name": "net"}').hexdigest()
    assert manifest["features"] == "../../features/net"
    for part in manifest["parts"]:
        data = (features / part["name"]).read_bytes()
        assert (part["size_bytes"], part["sha256"]) == (len(data), hashlib.sha256(data).hexdigest())
        assert (part["rows"], part["clips"]) == (50, 50)


def test_a_moved_store_still_knows_its_table(tmp_path):
    write_table(tmp_path / "a" / "features" / "net", clustered(100, 4))
    build_index(str(tmp_path / "a" / "features" / "net"), str(tmp_path / "a" / "index" / "net"))
    (tmp_path / "a").rename(tmp_path / "b")
    index = open_index(str(tmp_path / "b" / "index" / "net"))
    assert not index.stale
    assert index.features.url == str(tmp_path / "b" / "features" / "net")
    assert index.search(index.vector("clip000007"), k=1).ids[0, 0] == "clip000007"


def test_an_index_older_than_its_table_is_usable_and_says_so(tmp_path):
    vectors = clustered(150, 4)
    features, place = tmp_path / "t", str(tmp_path / "i")
    write_table(features, vectors[:100])
    build_index(str(features), place)
    assert not open_index(place).stale
    newer = pa.table({"clip_id": [f"new{n}" for n in range(50)], "embedding": embedding_column(vectors[100:], 4)})
    pq.write_table(newer, features / "part-00001.parquet")
    index = open_index(place)
    assert (index.stale, index.newer_clips(), index.size) == (True, 50, 100)
    assert index.search(vectors[3], k=1).ids[0, 0] == "clip000003"
    assert np.allclose(index.vector("new7"), vectors[107])
    build_index(str(features), place)
    index = open_index(place)
    assert (index.stale, index.newer_clips(), index.size) == (False, 0, 150)
    (features / "_spec.json").write_text("{}")
    assert open_index(place).stale


def test_k_beyond_the_clips_gives_as_many_as_there_are(tmp_path):
    write_table(tmp_path / "t", clustered(400, 4))
    for factory in FACTORIES:
        build_index(str(tmp_path / "t"), str(tmp_path / "i"), factory=factory)
        matches = open_index(str(tmp_path / "i")).search(np.ones((3, 4)), k=1000, nprobe=1)
        assert matches.ids.shape == (3, 400)
        assert all(len(set(line)) == 400 for line in matches.ids)


def test_no_queries_give_no_matches(exact):
    assert exact.search(np.empty((0, DIM)), k=5).ids.shape == (0, 5)


@pytest.mark.parametrize(
    ("queries", "k", "complaint"),
    [
        (np.ones((2, DIM + 1)), 10, rf"\(Q, {DIM}\)"),
        (np.ones((1, 2, DIM)), 10, rf"\(Q, {DIM}\)"),
        (np.full(DIM, np.nan), 10, "finite"),
        (np.full(DIM, np.inf), 10, "finite"),
        (np.ones(DIM), 0, "at least 1"),
    ],
)
def test_a_query_that_cannot_be_meant_is_refused(exact, queries, k, complaint):
    with pytest.raises(UsageError, match=complaint):
        exact.search(queries, k=k)


@pytest.mark.parametrize(
    ("columns", "error", "complaint"),
    [
        ({"embedding": [[1.0]]}, UsageError, "no column 'clip_id'"),
        ({"clip_id": ["a"], "vector": [[1.0]]}, UsageError, "no column 'embedding'"),
        ({"clip_id": ["a"], "embedding": [1.0]}, UsageError, "not a list of floats"),
        ({"clip_id": ["a"], "embedding": [[1]]}, UsageError, "not a list of floats"),
        ({"clip_id": ["a", "b"], "embedding": [[1.0, 2.0], [1.0]]}, StoreError, "1, 2 values"),
        ({"clip_id": ["a", None], "embedding": [[1.0], [1.0]]}, StoreError, "no clip_id"),
        ({"clip_id": ["a"], "embedding": pa.array([None], pa.list_(pa.float32()))}, UsageError, "nothing to index"),
        (
            {"clip_id": pa.array([], pa.string()), "embedding": pa.array([], pa.list_(pa.float32()))},
            UsageError,
            "0 rows",
        ),
    ],
)
def test_a_table_that_cannot_be_indexed_is_refused(tmp_path, columns, error, complaint):
    (tmp_path / "t").mkdir()
    pq.write_table(pa.table(columns), tmp_path / "t" / "x.parquet")
    with pytest.raises(error, match=complaint):
        build_index(str(tmp_path / "t"), str(tmp_path / "i"))
    assert not (tmp_path / "i" / "CURRENT").exists()
    assert not list((tmp_path / "i").rglob("building-*"))


def test_a_folder_without_parts_and_a_part_that_is_not_parquet(tmp_path):
    with pytest.raises(UsageError, match="no Parquet parts here; run vidray extract"):
        build_index(str(tmp_path / "nothing"), str(tmp_path / "i"))
    (tmp_path / "t").mkdir()
    (tmp_path / "t" / "part-00000.parquet").write_bytes(b"PAR1 and no more PAR1")
    with pytest.raises(StoreError, match=r"part-00000\.parquet: cannot be read as Parquet"):
        build_index(str(tmp_path / "t"), str(tmp_path / "i"))


@pytest.mark.parametrize("clip_id", ["nobody", "silent"])
def test_a_clip_without_a_vector_is_refused_by_name(tmp_path, clip_id):
    (tmp_path / "t").mkdir()
    rows = {"clip_id": ["a", "silent"], "embedding": embedding_column([[1, 2], None], 2)}
    pq.write_table(pa.table(rows), tmp_path / "t" / "x.parquet")
    build_index(str(tmp_path / "t"), str(tmp_path / "i"))
    with pytest.raises(UsageError, match=f"'{clip_id}'"):
        open_index(str(tmp_path / "i")).vector(clip_id)


def copies_of(monkeypatch, tmp_path) -> Path:
    place = tmp_path / "scratch"
    place.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    return place


@pytest.mark.parametrize("factory", FACTORIES)
def test_an_index_on_object_storage_is_copied_for_as_long_as_it_is_open(
    s3_bucket, table, exact, vectors, tmp_path, monkeypatch, factory
):
    place = copies_of(monkeypatch, tmp_path)
    import s3fs

    s3fs.S3FileSystem().put(str(table), f"{s3_bucket}/store/features/net", recursive=True)
    where = f"{s3_bucket}/store/index/net"
    for _ in range(2):
        build_index(f"{s3_bucket}/store/features/net", where, factory=factory)
    index = open_index(where, verify=True)
    assert not index.stale
    assert index.manifest.features == "../../features/net"
    queries = near_queries(vectors, 20)
    assert np.allclose(index.search(queries, nprobe=1000).scores, exact.search(queries).scores, atol=1e-6)
    assert index.search(vectors[9], 3, where="start_s = 10").ids[0, 0] == clip_ids(ROWS)[9]
    assert np.allclose(index.vector(clip_ids(ROWS)[9]), vectors[9])
    names = [name.split("/index/net/")[1] for name in s3fs.S3FileSystem(use_listings_cache=False).find(where)]
    assert {name.split("/")[0] for name in names} == {"CURRENT", "segments", "v0001", *index.manifest.centroids}
    assert list(place.iterdir())
    del index
    gc.collect()
    assert not list(place.iterdir())


def test_nothing_is_written_to_standard_output(table, tmp_path):
    """It is for results: a library's chatter would end up among them."""
    script = (
        "import sys; from vidray.index import build_index, open_index; "
        "build_index(sys.argv[1], sys.argv[2], factory='IVF,SQfp16'); "
        "index = open_index(sys.argv[2], verify=True); index.search(index.vector('clip000001'))"
    )
    run = subprocess.run(
        [sys.executable, "-c", script, str(table), str(tmp_path)], capture_output=True, text=True, check=True,
        cwd=Path(__file__).parent.parent,
    )  # fmt: skip
    assert (run.stdout, run.stderr) == ("", "")

"""Filters: what SQL says is what is searched, and SQL reads nothing but the tables."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from embedding_tables import clip_ids, clustered, embedding_column, unit, write_table

from vidray.errors import MissingExtraError, UsageError
from vidray.index import build_index, filters, open_index
from vidray.store import Store

ROWS, DIM = 4000, 24
TYPES = {"exact": "SQfp16", "lists": "IVF,SQfp16", "codes": "IVF,RaBitQ"}


@pytest.fixture(scope="module")
def vectors() -> np.ndarray:
    return clustered(ROWS, DIM)


def labels_of(row: int) -> list[tuple[str, float]]:
    if row % 5 == 0:
        return [("animal", 0.2), ("dog", 0.9 if row % 2 == 0 else 0.4)]
    return [("cat", 0.8)] if row % 5 == 1 else []


@pytest.fixture(scope="module")
def root(tmp_path_factory, vectors) -> Path:
    """A store with one table, its clips with a manifest's column, and its videos."""
    root = tmp_path_factory.mktemp("store")
    write_table(root / "features" / "net", vectors, parts=3)
    rows = np.arange(ROWS)
    store = Store(str(root))
    clips = pa.table(
        {
            "clip_id": clip_ids(ROWS),
            "video_id": [f"video{row // 4}" for row in rows],
            "clip_index": rows % 4,
            "part": rows * 0,
            "camera": [("front", "rear", None)[row % 3] for row in rows],
        }
    )
    store.write("clips", 0, clips.slice(0, ROWS // 2), clips.schema)
    # metadata of a later manifest stands in later parts only
    later = clips.slice(ROWS // 2).append_column("shift", pa.array(["night"] * (ROWS // 2)))
    store.write("clips", 1, later, later.schema)
    videos = pa.table(
        {
            "video_id": [f"video{n}" for n in range(ROWS // 4)],
            "duration_s": np.arange(ROWS // 4) / 10,
            "Uri": ["?"] * (ROWS // 4),
        }
    )
    store.write("videos", 0, videos, videos.schema)
    quality = pa.table(
        {
            "clip_id": clip_ids(ROWS)[:100],
            "brightness": np.arange(100) / 100,
            "start_s": [-1.0] * 100,
            "decode_warning": [None] * 100,
        }
    )
    labeled = [(row, name, score) for row in range(ROWS) for name, score in labels_of(row)]
    people = pa.table(
        {
            "clip_id": [clip_ids(ROWS)[row] for row, _, _ in labeled],
            "label": [name for _, name, _ in labeled],
            "score": pa.array([score for _, _, score in labeled], pa.float32()),
        }
    )
    store.write("labels/people", 0, people, people.schema)
    zoo = pa.table({"video_id": ["video3"], "label": ["zoo"], "score": [1.0]})
    store.write("video_labels/people", 0, zoo, zoo.schema)
    store.write("features/quality-2.0", 0, quality, quality.schema)
    for name, factory in TYPES.items():
        build_index(str(root / "features" / "net"), str(root / "index" / name), factory=factory)
    return root


@pytest.fixture(params=TYPES)
def index(request, root):
    return open_index(str(root / "index" / request.param), features=str(root / "features" / "net"))


ROW = np.arange(ROWS)
CASES = {
    "start_s = 10": ROW % 4 == 1,
    "uri = '/videos/7.mp4'": ROW // 4 == 7,
    "video_id IN ('video3', 'video9')": np.isin(ROW // 4, [3, 9]),
    "camera = 'rear'": ROW % 3 == 1,
    "camera IS NULL AND start_s < 20": (ROW % 3 == 2) & (ROW % 4 < 2),
    "shift = 'night'": ROW >= ROWS // 2,
    "duration_s > 99.75": ROW // 4 >= 998,
    "duration_s < 50 OR clip_index = 3 -- the last": (ROW // 4 < 500) | (ROW % 4 == 3),
    "clip_id < 'clip000100'": ROW < 100,
    "brightness >= 0.5 AND start_s >= 0": (ROW >= 50) & (ROW < 100),
    "brightness IS NULL": ROW >= 100,
    "embedding[1] > 0 AND list_max(embedding) IS NOT NULL": None,
    "true": ROW >= 0,
    "videos.duration_s > 99.75 AND net.start_s >= 0": ROW // 4 >= 998,
    '"quality-2.0".brightness >= 0.5': (ROW >= 50) & (ROW < 100),
    '"features/quality-2.0".BRIGHTNESS >= 0.5': (ROW >= 50) & (ROW < 100),
    "people.labels['dog'] > 0.5": (ROW % 5 == 0) & (ROW % 2 == 0),
    "people.label = 'dog'": ROW % 5 == 0,
    "label IN ('dog', 'cat') AND 'cat' <> label": ROW % 5 == 0,
    "list_contains(people.label, 'cat')": ROW % 5 == 1,
    "people.label[1] = 'dog'": ROW % 5 == 0,
    "list_max([x * 2 for x in embedding[1:1] if x > 0]) > 0 AND start_s = 0": None,
    "list_contains(list_transform(people.label, lambda camera: upper(camera)), 'DOG')": ROW % 5 == 0,
    "\"video_labels/people\".labels['zoo'] = 1": ROW // 4 == 3,
}


@pytest.mark.parametrize("where", CASES)
def test_a_filter_keeps_what_sql_says_and_finds_the_best_of_it(index, vectors, where):
    kept = (
        (vectors[:, 0] > 0) & (ROW % 4 == 0 if "start_s" in where else True) if CASES[where] is None else CASES[where]
    )
    assert index.rows_where(where).tolist() == np.flatnonzero(kept).tolist()
    queries = vectors[::40]
    matches = index.search(queries, k=4, where=where)
    cosines = unit(queries) @ unit(vectors[kept]).T
    fourth = -np.sort(-cosines, axis=1)[:, 3:4]
    assert kept[matches.rows].all()
    assert (matches.scores >= fourth - 1e-3).mean() >= 0.97


def test_a_column_that_is_a_word_of_sql_needs_no_quotes(tmp_path):
    """As `left` of the events of objects; where the word is SQL's own, it stays that."""
    write_table(tmp_path / "features" / "net", clustered(8, 4))
    counts = pa.array(range(8), pa.int32())
    words = pa.table({"clip_id": clip_ids(8), "left": counts, "end": counts, "kind": ["left"] * 8})
    Store(str(tmp_path)).write("features/events-net", 0, words, words.schema)
    build_index(str(tmp_path / "features" / "net"), str(tmp_path / "index" / "net"))
    index = open_index(str(tmp_path / "index" / "net"))
    assert index.rows_where("left > 5 AND kind = 'left'").tolist() == [6, 7]
    assert index.rows_where("LEFT IN (1, 2) AND left(kind, 1) = 'l' AND \"events-net\".left < 2").tolist() == [1]
    assert index.rows_where('CASE WHEN "left" > 6 THEN true ELSE false END').tolist() == [7]
    assert index.rows_where("end = 3").tolist() == [3]
    assert index.rows_where("left = 3 AND kind = $$left$$").tolist() == [3]
    assert index.rows_where(r"left = 3 AND E'it\'s left' <> kind").tolist() == [3]
    with pytest.raises(UsageError, match=r'syntax error at or near ">"'):
        index.rows_where("left >)")
    with pytest.raises(UsageError, match=r'column "events" not found \(with its quotes the table is "events-net"\)'):
        index.rows_where("events-net.left > 5")


def test_few_matches_are_searched_exactly(index, vectors):
    kept = np.flatnonzero(ROW % 97 == 0)
    ids = ", ".join(f"'{clip_ids(ROWS)[row]}'" for row in kept)
    matches = index.search(vectors[:50], k=len(kept) + 9, where=f"clip_id IN ({ids})")
    assert matches.rows.shape == (50, len(kept))
    cosines = unit(vectors[:50]) @ unit(vectors[kept]).T
    assert np.abs(matches.scores + np.sort(-cosines, axis=1)).max() < 1e-3


def test_a_filter_that_keeps_nothing_finds_nothing(index, vectors):
    matches = index.search(vectors[:3], k=5, where="start_s > 1000")
    assert matches.ids.shape == matches.scores.shape == (3, 0)
    assert index.clips(matches.rows[0]).num_rows == 0


@pytest.mark.parametrize(
    ("where", "complaint"),
    [
        ("camera = ", "not an SQL expression: syntax error"),
        ("", "not an SQL expression"),
        ("durations > 1", r'column "durations" not found \(near: duration_s'),
        ("colour = 'red'", 'column "colour" not found.* Columns: clip_id, video_id, uri, .*camera.*duration_s'),
        ("colour.of.paint = 'red'", 'column "colour" not found'),
        ("quality.colour = 'red'", 'column "quality" not found'),
        ("brightness.x > 1", "brightness"),
        (
            "decode_warning IS NULL",
            'several tables have a column decode_warning: say net.decode_warning, "quality-2.0".*',
        ),
        ("start_s = 'soon'", "Conversion Error"),
        ("avg(start_s) > 3", "aggregate"),
        ("true) OR (true", "not an SQL expression"),
        ("true; DROP VIEW _features", "not an SQL expression"),
        ("start_s > 1, end_s > 1", "single expression"),
        ("true FROM _table0", "single expression"),
        ("true UNION SELECT true", "single expression"),
        ("start_s > 1 AS x", "single expression"),
        ("* IS NULL", "no star|not an SQL expression"),
        ("(SELECT true)", "no subquery"),
        ("start_s > (SELECT avg(start_s) FROM _ids)", "no subquery"),
        ("read_text('{file}') IS NULL", "read_text"),
        ("true LIMIT 1", "not a single expression"),
        ("(SELECT count(*) FROM read_text('{file}')) > 0", "no subquery"),
        ("(SELECT count(*) FROM '{file}.parquet') > 0", "no subquery"),
        ("(SELECT count(*) FROM glob('{file}')) > 0", "no subquery"),
        ("(SELECT count(*) FROM vectors) > 0", "no subquery"),
        ("getvariable('x') = getenv('HOME')", "getenv"),
    ],
)
def test_what_is_not_one_expression_over_the_tables_is_refused_in_one_line(index, vectors, tmp_path, where, complaint):
    (tmp_path / "secret").write_text("secret")
    pq.write_table(pa.table({"secret": [1]}), tmp_path / "secret.parquet")
    with pytest.raises(UsageError, match=complaint) as caught:
        index.search(vectors[:1], where=where.replace("{file}", str(tmp_path / "secret")))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "where",
    ["(SELECT count(*) FROM read_text('{file}')) > 0", "(SELECT count(*) FROM '{file}.parquet') > 0",
     "(SELECT count(*) FROM glob('{file}*')) > 0", "(SELECT count(*) FROM outside) > 0"],
)  # fmt: skip
def test_duckdb_itself_reads_nothing_either(index, vectors, tmp_path, monkeypatch, where):
    """What the look at the parse lets through, were there a hole in it."""
    outside = pa.table({"secret": [1]})
    pq.write_table(outside, tmp_path / "secret.parquet")
    (tmp_path / "secret").write_text("secret")
    monkeypatch.setattr("vidray.index.where._resolve", lambda *_: None)
    with pytest.raises(UsageError, match=r"disabled|does not exist"):
        index.search(vectors[:1], where=where.replace("{file}", str(tmp_path / "secret")))


def test_a_table_whose_name_two_have_is_called_by_its_path(tmp_path):
    write_table(tmp_path / "features" / "net", clustered(8, 4))
    for kind in ("features", "labels"):
        table = pa.table({"clip_id": clip_ids(8), "label": ["dog"] * 8, "score": np.arange(8) / 8})
        Store(str(tmp_path)).write(f"{kind}/net2", 0, table, table.schema)
    build_index(str(tmp_path / "features" / "net"), str(tmp_path / "index" / "net"))
    index = open_index(str(tmp_path / "index" / "net"))
    assert index.rows_where("\"labels/net2\".labels['dog'] > 0.5").tolist() == [5, 6, 7]
    assert index.rows_where('"features/net2".score > 0.5').tolist() == [5, 6, 7]
    with pytest.raises(UsageError, match='several tables are called net2: say "features/net2", "labels/net2"'):
        index.rows_where("net2.score > 0.5")
    with pytest.raises(UsageError, match=r'a column label: say "features/net2"\.label, "labels/net2"\.label'):
        index.rows_where("label = 'dog'")


def test_a_filter_is_asked_once_and_again_when_a_table_changes(root, tmp_path, monkeypatch):
    store = Path(shutil.copytree(root, tmp_path / "store"))
    index = open_index(str(store / "index" / "lists"), features=str(store / "features" / "net"))
    asked = []
    plain = filters.matching_rows
    monkeypatch.setattr(filters, "matching_rows", lambda *args: asked.append(args[0]) or plain(*args))
    queries = np.ones((2, DIM), np.float32)
    first = index.search(queries, 5, "brightness > 0.5").ids
    assert index.search(queries, 5, "brightness > 0.5").ids.tolist() == first.tolist()
    assert len(asked) == 1
    prepared = index.filter("brightness > 0.5")
    assert index.search(queries, 5, prepared).ids.tolist() == first.tolist()
    assert len(asked) == 1
    darker = pa.table({"clip_id": clip_ids(ROWS)[:10], "brightness": [0.9] * 10})
    Store(str(store)).write("features/quality-2.0", 0, darker, darker.schema)
    assert set(index.search(queries, 10, "brightness > 0.5").ids[0]) == set(clip_ids(ROWS)[:10])
    assert len(asked) == 2
    assert index.search(queries, 5, prepared).ids.tolist() == first.tolist()


def test_without_duckdb_the_extra_is_named(index, vectors, monkeypatch):
    monkeypatch.setitem(sys.modules, "duckdb", None)
    with pytest.raises(MissingExtraError, match=r"vidray\[where\]"):
        index.search(vectors[:1], where="true")


def test_rows_that_the_table_has_lost_or_gained_are_not_kept(tmp_path):
    write_table(tmp_path / "t", clustered(100, 4), parts=2)
    build_index(str(tmp_path / "t"), str(tmp_path / "i"))
    (tmp_path / "t" / "part-00000.parquet").unlink()
    table = pa.table({"clip_id": ["new"], "video_id": ["v"], "embedding": embedding_column([[1, 2, 3, 4]], 4)})
    pq.write_table(table, tmp_path / "t" / "part-00002.parquet")
    index = open_index(str(tmp_path / "i"))
    assert index.rows_where("video_id IS NOT NULL").tolist() == list(range(50, 100))


def test_a_feature_table_may_be_called_as_one_of_the_stores_own(tmp_path):
    write_table(tmp_path / "features" / "net", clustered(8, 4))
    tables = {
        "clips": {"clip_id": clip_ids(8), "camera": range(8)},
        "videos": {"video_id": ["video0", "video1"], "width": [64, 128]},
        "features/clips": {"clip_id": clip_ids(8), "brightness": range(8)},
        "features/videos": {"clip_id": clip_ids(8), "sharpness": range(8)},
    }
    store = Store(str(tmp_path))
    for name, columns in tables.items():
        table = pa.table({column: pa.array(list(values)) for column, values in columns.items()})
        store.write(name, 0, table, table.schema)
    build_index(str(tmp_path / "features" / "net"), str(tmp_path / "index"))
    index = open_index(str(tmp_path / "index"), features=str(tmp_path / "features" / "net"))
    assert index.rows_where("camera > 0 AND width = 64 AND brightness < 3 AND sharpness < 2").tolist() == [1]


def test_columns_of_a_foreign_table_and_of_half_floats(tmp_path):
    (tmp_path / "t").mkdir()
    rows = {
        "clip_id": ["a", "b"],
        "embedding": pa.array([[1, 0], [0, 1]], pa.list_(pa.float16())),
        'the "best" caption': ["a dog", "a cat"],
    }
    pq.write_table(pa.table(rows), tmp_path / "t" / "x.parquet")
    build_index(str(tmp_path / "t"), str(tmp_path / "i"))
    index = open_index(str(tmp_path / "i"))
    assert index.search([[1, 1]], where='"the ""best"" caption" LIKE \'%cat\'').ids.tolist() == [["b"]]
    with pytest.raises(UsageError, match="embedding"):
        index.search([[1, 1]], where="embedding[1] > 0")

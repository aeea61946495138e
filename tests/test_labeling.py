"""Labels of clips and videos: plan order, people's labels above a model's, and nothing but features is needed."""

import json
from dataclasses import dataclass

import pyarrow as pa
import pytest

import vidray
from vidray.errors import SpecMismatchError, StoreError, UsageError
from vidray.store import CLIPS, HUMAN, LABELS, VIDEO_LABELS, VIDEOS, Store, features_schema
from vidray.store.changes import retire
from vidray.store.label_rows import write_labels
from vidray.store.lease import OF_LABELS, Lease

COLUMNS = pa.schema([("value", pa.float64())])


@dataclass(frozen=True)
class Doubling:
    """High by a row's value, low by what is left, nothing of a null."""

    kind: str = "doubling"
    features: str = "x"
    columns: tuple[str, ...] = ("value",)

    def spec(self):
        return {"of": "value"}

    def label(self, rows):
        values = rows["value"].to_pylist()
        pairs = [[] if v is None else [("high", v), ("low", 1 - v)] for v in values]
        return [sorted(ranked, key=lambda pair: -pair[1]) for ranked in pairs]


def clip_rows(part: int, videos: list[str], lengths: list[float]) -> list[dict]:
    rows = []
    for video in videos:
        start = 0.0
        for index, length in enumerate(lengths):
            rows.append(
                {"clip_id": f"{video}-{index}", "video_id": video, "uri": f"/{video}.mp4", "clip_index": index,
                 "start_s": start, "end_s": start + length, "part": part, "block": 0}
            )  # fmt: skip
            start += length
    return rows


@pytest.fixture
def store(tmp_path) -> Store:
    """Two parts of two videos, each of two clips of 10 and 5 s; no file of media anywhere. `b-1` has no features."""
    store = Store(str(tmp_path / "store"))
    store.write_config({"clip_length_s": 10.0})
    store.folder.write_bytes("features/x/_spec.json", json.dumps({"name": "x"}).encode())
    values = iter([0.9, 0.6, 0.2, None, 0.3, 0.4, 1.0])
    for part, videos in enumerate([["a", "b"], ["c", "d"]]):
        clips = clip_rows(part, videos, [10.0, 5.0])
        store.write("clips", part, pa.Table.from_pylist(clips, CLIPS), CLIPS)
        listed = [{"video_id": video, "uri": f"/{video}.mp4"} for video in videos]
        store.write("videos", part, pa.Table.from_pylist(listed, VIDEOS), VIDEOS)
        features = [{**clip, "value": next(values)} for clip in clips if clip["clip_id"] != "b-1"]
        schema = features_schema(COLUMNS)
        store.write("features/x", part, pa.Table.from_pylist(features, schema), schema)
    return store


def rows_of(store: Store, table: str) -> list[tuple]:
    names = ["clip_id", "label", "score", "source"] if table.startswith("labels") else ["video_id", "label", "score"]
    parts = [store.read(table, part) for part in store.parts(table)]
    columns = [pa.concat_tables(parts)[name].to_pylist() for name in names]
    return [tuple(round(v, 4) if isinstance(v, float) else v for v in row) for row in zip(*columns, strict=True)]


def human(store: Store, clip_id: str, label: str) -> pa.Table:
    clips = pa.concat_tables(store.read("clips", part) for part in store.parts("clips")).to_pylist()
    (clip,) = [clip for clip in clips if clip["clip_id"] == clip_id]
    row = {name: clip.get(name) for name in LABELS.names} | {"label": label, "score": 1.0, "source": HUMAN}
    return pa.Table.from_pylist([row], LABELS)


def test_labels_stand_in_plan_order_best_first(store):
    summary = vidray.label(store.url, Doubling(), name="levels")
    assert rows_of(store, "labels/levels") == [
        ("a-0", "high", 0.9, "doubling"), ("a-0", "low", 0.1, "doubling"),
        ("a-1", "high", 0.6, "doubling"), ("a-1", "low", 0.4, "doubling"),
        ("b-0", "low", 0.8, "doubling"), ("b-0", "high", 0.2, "doubling"),
        ("c-1", "low", 0.7, "doubling"), ("c-1", "high", 0.3, "doubling"),
        ("d-0", "low", 0.6, "doubling"), ("d-0", "high", 0.4, "doubling"),
        ("d-1", "high", 1.0, "doubling"), ("d-1", "low", 0.0, "doubling"),
    ]  # fmt: skip
    assert store.parts("labels/levels") == store.parts("clips") == [0, 1]
    assert store.read("labels/levels", 0).schema == LABELS
    counts = (summary.clips, summary.labeled, summary.human, summary.without_features, summary.labels)
    assert counts == (8, 6, 0, 1, 12)
    spec = store.labels_spec("levels")
    assert spec == {
        "kind": "doubling",
        "features": "x",
        "features_sha256": store.spec_sha256("x"),
        "settings": {"of": "value", "threshold": None, "top": None},
        "whole": True,
    }


def test_a_videos_score_is_the_mean_over_all_its_seconds(store):
    vidray.label(store.url, Doubling(), name="levels", threshold=0.5)
    assert rows_of(store, "video_labels/levels") == [
        ("a", "high", 0.8),  # (0.9 * 10 + 0.6 * 5) / 15
        ("b", "low", 0.5333),  # 0.8 * 10 / 15, its other clip has no features
        ("c", "low", 0.2333),
        ("d", "low", 0.4),
        ("d", "high", 0.3333),
    ]
    assert store.read("video_labels/levels", 0).schema == VIDEO_LABELS


def test_threshold_and_top_cut(store):
    vidray.label(store.url, Doubling(), name="best", top=1)
    assert [row[:2] for row in rows_of(store, "labels/best")][:3] == [("a-0", "high"), ("a-1", "high"), ("b-0", "low")]
    vidray.label(store.url, Doubling(), name="best", threshold=0.9)
    assert rows_of(store, "labels/best") == [("a-0", "high", 0.9, "doubling"), ("d-1", "high", 1.0, "doubling")]
    for wrong in ({"top": 0}, {"threshold": float("nan")}):
        with pytest.raises(UsageError, match=f"{next(iter(wrong))} must be"):
            vidray.label(store.url, Doubling(), name="best", **wrong)


def test_what_people_said_stands_and_the_model_is_silent_there(store):
    write_labels(store, "levels", 0, model=LABELS.empty_table(), human=human(store, "b-1", "horse"))
    store.write_labels_spec("levels", {"kind": HUMAN})
    vidray.label(store.url, Doubling(), name="levels", top=1)
    for _ in range(2):
        summary = vidray.label(store.url, Doubling(), name="levels", top=1)
        assert (summary.labeled, summary.human) == (7, 1)
        assert [row for row in rows_of(store, "labels/levels") if row[0].startswith("b")] == [
            ("b-0", "low", 0.8, "doubling"),
            ("b-1", "horse", 1.0, HUMAN),
        ]
    write_labels(store, "levels", 0, model=store.read("labels/levels", 0), human=human(store, "a-0", "low"))
    vidray.label(store.url, Doubling(), name="levels", top=1)
    assert [row[1:] for row in rows_of(store, "labels/levels") if row[0] == "a-0"] == [("low", 1.0, HUMAN)]
    videos = store.read("video_labels/levels", 0).to_pylist()
    sources = {(row["video_id"], row["label"]): row["source"] for row in videos}
    assert sources[("a", "low")] == HUMAN
    assert sources[("a", "high")] == sources[("b", "low")] == "doubling"


def test_a_label_of_a_video_that_model_and_people_gave_is_the_models(store):
    vidray.label(store.url, Doubling(), name="levels", top=1)
    write_labels(store, "levels", 0, model=store.read("labels/levels", 0), human=human(store, "a-1", "high"))
    (row,) = [row for row in store.read("video_labels/levels", 0).to_pylist() if row["video_id"] == "a"]
    assert (row["label"], row["source"], round(row["score"], 4)) == ("high", "doubling", 0.9333)


def test_labeling_again_replaces_but_not_another_kinds_labels(store):
    vidray.label(store.url, Doubling(), name="levels")
    first = store.folder.read_bytes("labels/levels/part-00000.parquet")
    vidray.label(store.url, Doubling(), name="levels", top=1)
    vidray.label(store.url, Doubling(), name="levels")
    assert store.folder.read_bytes("labels/levels/part-00000.parquet") == first
    with pytest.raises(SpecMismatchError, match="are doubling labels from x, not other labels from x"):
        vidray.label(store.url, Doubling(kind="other"), name="levels")


def test_parts_that_the_plan_no_longer_has_are_removed(store):
    vidray.label(store.url, Doubling(), name="levels")
    for table in ("clips", "features/x"):
        store.remove(table, 1)
    vidray.label(store.url, Doubling(), name="levels")
    assert store.parts("labels/levels") == store.parts("video_labels/levels") == [0]


def test_a_retired_video_takes_its_labels_along(store):
    vidray.label(store.url, Doubling(), name="levels")
    retire(store, ["a"])
    assert {row[0] for row in rows_of(store, "labels/levels")} == {"b-0", "c-1", "d-0", "d-1"}
    assert {row[0] for row in rows_of(store, "video_labels/levels")} == {"b", "c", "d"}


def test_it_is_said_what_is_missing(store, tmp_path):
    with pytest.raises(UsageError, match="no vidray store there"):
        vidray.label(str(tmp_path / "nowhere"), Doubling(), name="levels")
    with pytest.raises(UsageError, match="no table of 'y', there are x"):
        vidray.label(store.url, Doubling(features="y"), name="levels")
    with pytest.raises(UsageError, match="no column labels, which doubling labels are made from"):
        vidray.label(store.url, Doubling(columns=("labels",)), name="levels")
    assert store.tables("labels") == []


def test_one_run_writes_at_a_time(store):
    with Lease(store.folder, say=print, of=OF_LABELS), pytest.raises(StoreError, match="is being written by process"):
        vidray.label(store.url, Doubling(), name="levels")
    assert store.labels_spec("levels") is None

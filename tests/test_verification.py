"""`verify` finds every row that is missing, doubled or orphaned, from the store alone."""

import math

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vidray.errors import StoreError, UsageError
from vidray.store import (
    CLIPS,
    ERRORS,
    LABELS,
    PROBE_ERRORS,
    VIDEO_LABELS,
    VIDEOS,
    Store,
    features_schema,
    part_file,
)
from vidray.store.plan import plan_blocks
from vidray.store.verification import verify


def identity(*numbers: int) -> list[dict]:
    return [
        {"clip_id": f"c{n}", "video_id": f"v{n // 4}", "uri": f"/{n // 4}.mp4", "start_s": float(n), "end_s": n + 1.0}
        for n in numbers
    ]


@pytest.fixture
def store(tmp_path):
    store = Store(str(tmp_path))
    store.write_config({"planner": "fixed_stride"})
    for part, numbers in ((0, range(4)), (1, range(4, 6))):
        plan_part(store, part, f"v{part}", numbers)
    store.write_spec("x", {"name": "x", "columns": [["value", "int64"]]})
    return store


def plan_part(store, part, video_id, numbers):
    rows = [{**row, "clip_index": row["start_s"], "part": part, "block": 0} for row in identity(*numbers)]
    video = {"video_id": video_id, "uri": f"/{part}.mp4", "status": "ok", "duration_s": numbers[-1] + 1.0}
    store.write("errors/_probe", part, PROBE_ERRORS.empty_table(), PROBE_ERRORS)
    store.write("videos", part, pa.Table.from_pylist([video], VIDEOS), VIDEOS)
    store.write("clips", part, pa.Table.from_pylist(rows, CLIPS), CLIPS)


FEATURES = features_schema(pa.schema([("value", pa.int64())]))


def publish(store, part, done, failed):
    store.write("errors/x", part, pa.Table.from_pylist(identity(*failed), ERRORS), ERRORS)
    store.write("features/x", part, pa.Table.from_pylist(identity(*done), FEATURES), FEATURES)


def test_a_whole_store(store):
    publish(store, 0, [0, 1, 3], [2])
    publish(store, 1, [4, 5], [])
    found = verify(store.url)
    assert found.is_whole
    assert (found.planned, found.done, found.failed) == (6, 5, 1)


def test_what_is_missing_doubled_and_orphaned(store):
    publish(store, 0, [0, 1, 3, 3, 99], [0])
    found = verify(store.url)
    assert not found.is_whole
    assert (found.missing, found.duplicated, found.orphaned) == (1 + 2, 2, 1)
    assert [note.partition(";")[0] for note in found.notes] == [
        "x part 0: 1 missing, 2 duplicated, 1 orphaned",
        "x part 1: 2 missing",
    ]
    assert found.notes[1].endswith(f"; run vidray extract CORPUS {store.url} -x x")


def test_a_row_that_says_another_span_than_the_plan_is_orphaned(store):
    publish(store, 1, [4, 5], [])
    rows = identity(0, 1, 2, 3)
    rows[1]["start_s"] = 0.25
    store.write("errors/x", 0, ERRORS.empty_table(), ERRORS)
    store.write("features/x", 0, pa.Table.from_pylist(rows, FEATURES), FEATURES)
    found = verify(store.url)
    assert (found.missing, found.orphaned) == (1, 1)


def test_a_video_that_two_parts_plan_is_doubled(store):
    publish(store, 0, [0, 1, 2, 3], [])
    publish(store, 1, [4, 5], [])
    plan_part(store, 2, "v1", range(4, 6))
    publish(store, 2, [4, 5], [])
    found = verify(store.url)
    assert (found.duplicated, found.orphaned) == (2, 2)
    assert "clips part 2: 2 duplicated" in "".join(found.notes)


def label(store, part, *numbers, videos=True, **wrong):
    """Labels of these clips: as the plan says, but for what is wrong."""
    said = {"label": "dog", "score": 1.0, "source": "model"}
    rows = [{**row, **said, **wrong} for row in identity(*numbers)]
    store.write("labels/pets", part, pa.Table.from_pylist(rows, LABELS), LABELS)
    if videos:
        of_video = pa.Table.from_pylist([{**rows[0], **said}], VIDEO_LABELS)
        store.write("video_labels/pets", part, of_video, VIDEO_LABELS)


@pytest.fixture
def labeled(store):
    publish(store, 0, [0, 1, 2, 3], [])
    publish(store, 1, [4, 5], [])
    store.write_labels_spec("pets", {"features": "x", "features_sha256": store.spec_sha256("x"), "whole": True})
    label(store, 0, 1, 3)
    return store


def test_labels_of_planned_clips_are_well(labeled):
    found = verify(labeled.url)
    assert (found.is_whole, found.notes, found.planned, found.done) == (True, (), 6, 6)


@pytest.mark.parametrize(
    ("wrong", "missing", "orphaned", "note"),
    [
        ({"clip_id": "other"}, 0, 2, "labels/pets part 1: 2 orphaned"),
        ({"start_s": 0.5}, 0, 2, "labels/pets part 1: 2 orphaned"),
        ({"uri": "/other.mp4"}, 0, 3, "labels/pets part 1: 3 orphaned"),  # the label of the video too
        ({"videos": False}, 1, 0, "labels/pets part 1: 1 missing"),
    ],
)
def test_labels_of_what_is_not_planned_are_orphaned(labeled, wrong, missing, orphaned, note):
    label(labeled, 1, 4, 5, **wrong)
    found = verify(labeled.url)
    assert (found.missing, found.orphaned, found.is_whole) == (missing, orphaned, False)
    assert [line.partition(";")[0] for line in found.notes] == [note]


def test_labels_of_a_part_that_is_not_planned_are_orphaned(labeled):
    label(labeled, 7, 1)
    assert verify(labeled.url).orphaned == 2


@pytest.mark.parametrize("table", ["labels/pets", "video_labels/pets"])
def test_labels_that_are_cut_off_are_damaged(labeled, table):
    name = part_file(table, 0)
    labeled.folder.write_bytes(name, labeled.folder.read_bytes(name)[:-9])
    found = verify(labeled.url)
    assert found.damaged
    assert any(note.startswith(f"{name}: ") and "label or import labels/pets again" in note for note in found.notes)


def test_labels_that_are_unfinished_or_of_other_features_are_noted(labeled):
    spec = labeled.labels_spec("pets")
    labeled.write_labels_spec("pets", {**spec, "whole": False})
    found = verify(labeled.url)
    assert found.is_whole
    assert [note.partition(":")[2][:22] for note in found.notes] == [" a run was interrupted"]
    labeled.write_labels_spec("pets", {**spec, "features_sha256": "0"})
    found = verify(labeled.url)
    assert (found.stale, found.is_whole) == (1, False)
    assert "features/x are no longer those" in "".join(found.notes)


def test_no_store_is_a_usage_error(tmp_path):
    with pytest.raises(UsageError, match="no vidray store there"):
        verify(str(tmp_path / "nothing"))


@pytest.mark.parametrize("plan", ["", ', "plan": null', ', "plan": 7'])
def test_a_store_without_a_plan_is_one_line(store, plan):
    store.folder.write_bytes("vidray.json", f'{{"format": 1{plan}}}'.encode())
    with pytest.raises(StoreError, match=r"vidray.json: does not say how clips were planned"):
        verify(store.url)


def test_clips_of_a_video_that_is_not_there_are_named_by_verify_and_by_extract(store):
    publish(store, 0, [0, 1, 2, 3], [])
    publish(store, 1, [4, 5], [])
    store.write("videos", 0, VIDEOS.empty_table(), VIDEOS)
    found = verify(store.url)
    assert (found.orphaned, found.is_whole) == (4, False)
    with pytest.raises(StoreError, match=r"part 0 of clips has clips of /0.mp4, which the same part of videos lacks"):
        list(plan_blocks(store, 0))


NO_NUMBERS = (None, math.nan, math.inf, -1.0)


@pytest.mark.parametrize(
    ("table", "column", "value"),
    [
        *(("videos", "duration_s", value) for value in NO_NUMBERS),
        *(("clips", column, value) for column in ("start_s", "end_s") for value in NO_NUMBERS),
        *(("clips", column, None) for column in ("clip_id", "video_id", "uri", "block")),
    ],
)
def test_no_run_works_with_a_plan_that_cannot_be(store, table, column, value):
    rows = store.read(table, 0)
    rewrite(store, table, 0, column, [value, *rows[column].to_pylist()[1:]])
    with pytest.raises(StoreError, match=r"part 0 of clips has .*; vidray verify .* says what to do"):
        list(plan_blocks(store, 0))


def remove(store, name):
    store.folder.remove(name)


def swap(store, one, other):
    """Put one part in the place of another, as a hand that copies files does."""
    store.folder.write_bytes(part_file(*other), store.folder.read_bytes(part_file(*one)))


def rewrite(store, table, part, column, values):
    """Change values as somebody with pyarrow does: a valid file of the same schema, whose seal stays."""
    held = store.read(table, part)
    place = held.schema.get_field_index(column)
    changed = held.set_column(place, held.schema.field(column), pa.array(values, held.schema.field(column).type))
    with store.folder.writing(part_file(table, part)) as file:
        pq.write_table(changed, file, compression="zstd")


CORRUPTIONS = {
    "a removed table": lambda s: (s.folder.remove_tree("features/x"), s.folder.remove_tree("errors/x")),
    "removed features, their spec with them": lambda s: s.folder.remove_tree("features/x"),
    "a removed spec": lambda s: remove(s, "features/x/_spec.json"),
    "a spec that is cut off": lambda s: s.folder.write_bytes("features/x/_spec.json", b'{"na'),
    "a removed part of features": lambda s: remove(s, part_file("features/x", 0)),
    "a removed part of errors": lambda s: remove(s, part_file("errors/x", 1)),
    "a removed part of clips": lambda s: remove(s, part_file("clips", 0)),
    "a removed part of videos": lambda s: remove(s, part_file("videos", 0)),
    "a removed part of _probe": lambda s: remove(s, part_file("errors/_probe", 0)),
    "removed labels": lambda s: remove(s, part_file("labels/pets", 0)),
    "another part's features": lambda s: swap(s, ("features/x", 1), ("features/x", 0)),
    "features in the place of errors": lambda s: swap(s, ("features/x", 1), ("errors/x", 1)),
    "swapped values": lambda s: rewrite(s, "features/x", 0, "value", [2, 1, 3, 4]),
    "another duration": lambda s: rewrite(s, "videos", 0, "duration_s", [2.5]),
    "another status": lambda s: rewrite(s, "videos", 0, "status", ["failed"]),
    "another URI": lambda s: rewrite(s, "videos", 0, "uri", ["/other.mp4"]),
    "another span": lambda s: rewrite(s, "clips", 0, "end_s", [1.0, 2.0, 3.0, 9.0]),
    "another order": lambda s: rewrite(s, "clips", 0, "clip_index", [1, 0, 2, 3]),
    "a score that is no number": lambda s: rewrite(s, "labels/pets", 0, "score", [float("nan"), 1.0]),
    "an emptied file": lambda s: s.folder.write_bytes(part_file("features/x", 0), b""),
    "a seal of nothing": lambda s: s.folder.write_bytes("features/x/_part-00000.json", b"{}"),
    "a copy beside": lambda s: s.folder.write_bytes("features/x/copy.parquet", b"PAR1"),
    "a record of a run that is cut off": lambda s: s.folder.write_bytes("runs/a.json", b"{"),
}


@pytest.mark.parametrize("corrupt", CORRUPTIONS.values(), ids=CORRUPTIONS)
def test_a_corruption_is_found_named_and_has_a_remedy(labeled, corrupt):
    record = {"started_at": "2026-01-01T00:00:00+00:00", "extractors": {"x": "x"}, "counts": {"done": 6}}
    labeled.write_run("first", record)
    assert verify(labeled.url).notes == ()
    corrupt(labeled)
    found = verify(labeled.url)
    assert not found.is_whole
    assert all("; " in note and ": " in note for note in found.notes), found.notes

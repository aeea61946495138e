"""`verify` finds every row that is missing, doubled or orphaned, from the store alone."""

import pyarrow as pa
import pytest

from vidray.errors import UsageError
from vidray.store import CLIPS, ERRORS, IDENTITY, VIDEOS, Store
from vidray.verification import verify


def identity(*numbers: int) -> list[dict]:
    return [
        {"clip_id": f"c{n}", "video_id": "v", "uri": "/v.mp4", "start_s": float(n), "end_s": n + 1.0} for n in numbers
    ]


@pytest.fixture
def store(tmp_path):
    store = Store(str(tmp_path))
    store.write_config({"planner": "fixed_stride"})
    for part, numbers in ((0, range(4)), (1, range(4, 6))):
        rows = [{**row, "clip_index": 0, "part": part, "block": 0} for row in identity(*numbers)]
        store.write("clips", part, pa.Table.from_pylist(rows, CLIPS), CLIPS)
        video_ids = [{"video_id": f"v{part}"}]
        store.write("videos", part, pa.Table.from_pylist(video_ids, VIDEOS), VIDEOS)
    store.write_spec("x", {"name": "x"})
    return store


def publish(store, part, done, failed):
    store.write("errors/x", part, pa.Table.from_pylist(identity(*failed), ERRORS), ERRORS)
    store.write("features/x", part, pa.Table.from_pylist(identity(*done), IDENTITY), IDENTITY)


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
    assert found.notes == ("x part 0: 1 missing, 2 duplicated, 1 orphaned", "x part 1: 2 missing")


def test_a_row_that_says_another_span_than_the_plan_is_orphaned(store):
    publish(store, 1, [4, 5], [])
    rows = identity(0, 1, 2, 3)
    rows[1]["start_s"] = 0.25
    store.write("errors/x", 0, ERRORS.empty_table(), ERRORS)
    store.write("features/x", 0, pa.Table.from_pylist(rows, IDENTITY), IDENTITY)
    found = verify(store.url)
    assert (found.missing, found.orphaned) == (1, 1)


def test_a_video_that_two_parts_plan_is_doubled(store):
    publish(store, 0, [0, 1, 2, 3], [])
    publish(store, 1, [4, 5], [])
    for part in (0, 1):
        store.write("videos", part, pa.Table.from_pylist([{"video_id": "v"}], VIDEOS), VIDEOS)
    found = verify(store.url)
    assert (found.duplicated, found.notes) == (2, ("x part 1: 2 duplicated",))


def test_no_store_is_a_usage_error(tmp_path):
    with pytest.raises(UsageError, match="no vidray store there"):
        verify(str(tmp_path / "nothing"))

"""What things do, by their tracks: on paths whose events are known, in clips of any length, and as labels."""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from labeled_stores import rows_of, write_store

from vidray.cli import main
from vidray.extractors.vision.object_events import EVENTS_TYPE, ObjectEvents
from vidray.media import Clip, ClipInput
from vidray.store import IDENTITY, Store, features_schema
from vidray.testing import check_extractor

SECONDS = 20.0
SIDE = 0.2
Path = Callable[[float], float]


def drives(time_s: float) -> float:
    """In from the left from 2 s on, a quarter of the frame a second; stands from 5 to 11 s; then out to the right."""
    moving_s = min(time_s, 5.0) - 2.0 + max(0.0, time_s - 11.0)
    return 0.25 * moving_s - SIDE / 2


def track(number: int, label: str, path: Path, start_s: float, end_s: float, *, rate: float = 5.0) -> dict[str, Any]:
    """A track over all of a video: y does not change."""
    boxes = []
    for time_s in np.arange(round(start_s * rate), round(end_s * rate)) / rate:
        x0, x1 = max(0.0, path(time_s) - SIDE / 2), min(1.0, path(time_s) + SIDE / 2)
        boxes.append({"time_s": float(time_s), "x0": x0, "y0": 0.4, "x1": x1, "y1": 0.6, "seen": True})
    return {"track_id": number, "label": label, "score": 0.8, "start_s": start_s, "end_s": end_s, "boxes": boxes}


def clips_of(tracks: Sequence[dict[str, Any]], length_s: float, *, cut_s: float | None = None) -> list[ClipInput]:
    items = []
    for index in range(round(SECONDS / length_s)):
        start_s, end_s = index * length_s, (index + 1) * length_s
        clip = Clip(clip_id=f"c{index}", video_id="v", uri="v.mp4", clip_index=index, start_s=start_s, end_s=end_s)
        clip = dataclasses.replace(clip, starts_shot=None if cut_s is None else start_s in (0, cut_s))
        inside = []
        for one in tracks:
            boxes = [box for box in one["boxes"] if start_s <= box["time_s"] < end_s]
            cut = {"start_s": max(start_s, one["start_s"]), "end_s": min(end_s, one["end_s"]), "boxes": boxes}
            inside += [{**one, **cut}] if boxes else []
        items.append(ClipInput(clip=clip, values={"tracks": {"tracks": inside}}))
    return items


def events_of(items: Sequence[ClipInput]) -> list[list[tuple[str, float, float]]]:
    rows = ObjectEvents().load("cpu")(items)["events"]
    return [[(one["label"], one["start_s"], one["end_s"]) for one in row] for row in rows]


CAR = track(1, "car", drives, 2.4, 15.4)


@pytest.mark.parametrize("length_s", [2.0, 5.0, 10.0, 20.0])
def test_a_car_enters_stops_and_leaves_whatever_the_clips(length_s):
    rows = events_of(clips_of([CAR], length_s))
    found = [event for row in rows for event in row]
    assert [label for label, _, _ in found] == ["a car enters", "a car stops", "a car moves off", "a car leaves"]
    # a moment's speed is measured over a second around it
    wanted = [(2.4, 3.4), (5.0, 11.0), (11.0, 12.0), (14.4, 15.4)]
    assert [time_s for event in found for time_s in event[1:]] == pytest.approx(np.ravel(wanted), abs=0.6)
    for index, row in enumerate(rows):
        assert all(index * length_s <= start_s < (index + 1) * length_s for _, start_s, _ in row)


def test_what_is_there_all_the_time_does_nothing():
    person = track(1, "person", lambda time_s: 0.5, 0.0, SECONDS)
    assert events_of(clips_of([person], 5.0)) == [[], [], [], []]


def test_what_begins_and_ends_in_the_middle_appears_and_disappears():
    person = track(1, "umbrella", lambda time_s: 0.5, 3.0, 9.0)
    found = events_of(clips_of([person], 20.0))[0]
    assert found == [("an umbrella appears", 3.0, 4.0), ("an umbrella disappears", 8.0, 9.0)]
    assert events_of(clips_of([track(1, "dog", lambda time_s: 0.5, 3.0, 3.6)], 20.0)) == [[]]


def test_what_a_cut_shows_or_hides_has_not_come_or_gone():
    before = track(1, "person", lambda time_s: 0.5, 0.0, 10.0)
    after = track(2, "person", lambda time_s: 0.5, 10.0, 20.0)
    assert events_of(clips_of([before, after], 5.0, cut_s=10.0)) == [[], [], [], []]
    assert [len(row) for row in events_of(clips_of([before, after], 5.0))] == [0, 1, 1, 0]


@pytest.mark.parametrize("is_failed", [False, True])
def test_where_nobody_looked_nothing_comes_or_goes(is_failed):
    """A gap between spans, or a clip that failed: what is there before and after was not seen to come or go."""
    before = track(1, "person", lambda time_s: 0.5, 0.0, 5.0)
    after = track(2, "person", lambda time_s: 0.5, 15.0, 20.0)
    items = clips_of([before, after], 5.0)
    assert [len(row) for row in events_of(items)] == [1, 0, 0, 1]
    gone = [dataclasses.replace(item, values={"tracks": None}, failed=is_failed) for item in items[1:3]]
    rows = ObjectEvents().load("cpu")([items[0], *gone, items[3]])
    assert rows["events"] == [[], None, None, []]
    assert rows["entered"] == [0, None, None, 0]
    assert events_of([items[0], items[3]]) == [[], []]
    # one that goes on over a short gap is held against the stretch in which it ends
    both = track(1, "person", lambda time_s: 0.5, 0.0, 12.0)
    items = clips_of([both], 1.0)
    assert [row for row in events_of([*items[:5], *items[6:]]) if row] == [[("a person disappears", 11.0, 12.0)]]


def test_a_detector_that_errs_makes_nothing_stop_or_move():
    rng = np.random.default_rng(0)
    noisy = track(1, "car", lambda time_s: 0.5 + SIDE * 0.05 * rng.normal(), 0.0, SECONDS)
    assert events_of(clips_of([noisy], 5.0)) == [[], [], [], []]


def test_it_keeps_the_contract():
    check_extractor(
        ObjectEvents(), columns={"tracks": [{"tracks": []}, {"tracks": [CAR]}, {"tracks": None}, {"tracks": []}]}
    )


@pytest.fixture
def store(tmp_path) -> Store:
    """Four clips, one a video, of which two have events."""
    store = write_store(tmp_path / "store", np.ones((4, 4), np.float32))
    some = [
        {"label": "a car stops", "start_s": 1.0, "end_s": 12.5, "score": 0.5, "track_id": 1},
        {"label": "a car stops", "start_s": 2.0, "end_s": 3.0, "score": 0.75, "track_id": 2},
        {"label": "a person enters", "start_s": 4.0, "end_s": 5.0, "score": 0.5, "track_id": 3},
    ]
    events = pa.array([some, [], None, some[2:]], EVENTS_TYPE)
    table = store.read("clips", 0, IDENTITY.names).append_column("events", events)
    table = table.append_column("decode_warning", pa.nulls(4, pa.string()))
    store.write_spec("object_events", {"name": "object_events", "columns": [["events", str(EVENTS_TYPE)]]})
    store.write("features/object_events", 0, table, features_schema(pa.schema([("events", EVENTS_TYPE)])))
    return store


def test_events_are_labels(store):
    assert main(["label", store.url, "events", "--name", "doings"]) == 0
    assert rows_of(store, "labels/doings", "clip_id", "label", "score", "source") == [
        ("clip00000", "a car stops", 0.75, "events"),
        ("clip00000", "a person enters", 0.5, "events"),
        ("clip00003", "a person enters", 0.5, "events"),
    ]


def test_segments_keep_their_own_times_and_are_no_persons_labels(store, tmp_path, capsys):
    path = tmp_path / "events.csv"
    assert main(["export", store.url, "features/object_events", "--to", "segments", "-o", str(path)]) == 0
    rows = list(csv.DictReader(path.read_text().splitlines()))
    assert [(row["uri"], float(row["start_s"]), float(row["end_s"]), row["label"]) for row in rows] == [
        ("/media/0.mp4", 1.0, 12.5, "a car stops"),
        ("/media/0.mp4", 2.0, 3.0, "a car stops"),
        ("/media/0.mp4", 4.0, 5.0, "a person enters"),
        ("/media/3.mp4", 4.0, 5.0, "a person enters"),
    ]
    assert main(["import", store.url, str(path), "--name", "seen"]) == 2
    assert main(["export", store.url, "clips", "--to", "segments", "-o", str(path)]) == 2
    assert "extract -x object_events or audio_events" in capsys.readouterr().err

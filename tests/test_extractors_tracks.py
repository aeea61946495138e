"""Tracks, crowds and flows on made scenes whose truth is known."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from benchmarks.tracking import LINE, SCENE_S, clips_of, crossed, detected, idf1, scene, times_of, tracked
from vidray.errors import MissingExtraError, UsageError
from vidray.extractors import resolve
from vidray.extractors.vision.crowds import Place, Track, crowd, into_region, over_line
from vidray.extractors.vision.tracks import Tracks, step_of
from vidray.media import ClipInput
from vidray.models import tracking as tracker_module
from vidray.testing import check_extractor

SEEDS = range(3)


def box(time_s: float, x: float, y: float = 0.5, *, side: float = 0.2, label: str = "person") -> dict[str, Any]:
    """A detection whose middle is at x, y."""
    half = side / 2
    corners = {"x0": x - half, "y0": y - half, "x1": x + half, "y1": y + half}
    return {"time_s": time_s, "label": label, "score": 0.9, **corners}


def path(points: Sequence[tuple[float, float, float]], *, step_s: float = 0.2, side: float = 0.2) -> Track:
    """A track whose middle is at each x, y at a time."""
    half = side / 2
    places = tuple(Place(t, (x - half, y - half, x + half, y + half)) for t, x, y in points)
    return Track(1, "person", places, places[-1].time_s + step_s)


def rows_of(items: Sequence[ClipInput], **options: Any) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The columns of each clip, and those of the video."""
    columns, video = Tracks(**options).load("cpu")(items)
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)], video


@pytest.mark.parametrize(
    ("rate", "dropped", "jitter", "least"), [(5.0, 0.0, 0.0, 0.95), (5.0, 0.2, 0.05, 0.85), (10.0, 0.2, 0.05, 0.85)]
)
def test_who_is_who_is_kept(rate, dropped, jitter, least):
    assert idf1(tracked(SEEDS, rate, dropped=dropped, jitter=jitter))["idf1"] >= least


@pytest.mark.parametrize("rate", [2.0, 5.0])
def test_tracks_are_the_same_whatever_the_clips(rate):
    seen = detected(scene(3), times_of(rate), dropped=0.2, jitter=0.05, seed=3)
    videos = {length_s: clips_of(seen, length_s=length_s) for length_s in (2.0, 5.0, 10.0, SCENE_S)}
    (times_s, tracks), *others = [Tracks().tracked(items) for items in videos.values()]
    assert len(tracks) > 5
    assert all(other == (times_s, tracks) for other in others)
    joined = []
    for items in videos.values():
        boxes: dict[tuple[int, str], list[dict[str, Any]]] = {}
        for row in rows_of(items)[0]:
            for track in row["tracks"]:
                boxes.setdefault((track["track_id"], track["label"]), []).extend(track["boxes"])
        joined.append(boxes)
    assert all(other == joined[0] for other in joined)


def test_a_track_keeps_its_number_over_borders_and_is_cut_to_each_clip():
    seen = [box(t, 0.2 + 0.1 * t) for t in times_of(5, seconds=6)]
    rows, video = rows_of(clips_of(seen, length_s=2, seconds=6))
    assert [[track["track_id"] for track in row["tracks"]] for row in rows] == [[1], [1], [1]]
    assert [(row["tracks"][0]["start_s"], row["tracks"][0]["end_s"]) for row in rows] == [(0, 2), (2, 4), (4, 6)]
    assert [len(row["tracks"][0]["boxes"]) for row in rows] == [10, 10, 10]
    assert video["counts"] == [{"label": "person", "count": 1}]


def test_a_shot_that_begins_ends_all_tracks():
    items = clips_of([box(t, 0.5) for t in times_of(5, seconds=4)], length_s=2, seconds=4)
    cut = [items[0], dataclasses.replace(items[1], clip=dataclasses.replace(items[1].clip, starts_shot=True))]
    assert rows_of(items)[1]["counts"] == [{"label": "person", "count": 1}]
    rows, video = rows_of(cut)
    assert [[track["track_id"] for track in row["tracks"]] for row in rows] == [[1], [2]]
    assert video["counts"] == [{"label": "person", "count": 2}]


def test_labels_are_tracked_apart_and_what_is_seen_once_does_not_count():
    seen = [one for t in times_of(5, seconds=2) for one in (box(t, 0.5), box(t, 0.5, label="dog"))]
    rows, _ = rows_of(clips_of([*seen, box(1.0, 0.1)], length_s=2, seconds=2))
    assert rows[0]["counts"] == [{"label": "dog", "count": 1}, {"label": "person", "count": 1}]


def test_what_is_hidden_is_filled_in_and_said():
    still = [box(t, 0.9, 0.9) for t in times_of(5, seconds=4)]
    walking = [box(t, 0.2 + 0.1 * t) for t in times_of(5, seconds=4) if not 1 <= t < 2]
    _, tracks = Tracks().tracked(clips_of([*still, *walking], length_s=2, seconds=4))
    assert len(tracks) == 2
    (walker,) = (track for track in tracks if track.places[0].centre[0] < 0.5)
    filled = [place for place in walker.places if not place.seen]
    assert [place.time_s for place in filled] == pytest.approx([1.0, 1.2, 1.4, 1.6, 1.8])
    assert [place.centre[0] for place in filled] == pytest.approx([0.2 + 0.1 * place.time_s for place in filled])


def test_low_scores_go_on_with_a_track_and_begin_none():
    seen = [box(t, 0.5) | {"score": 0.9 if t < 1 else 0.3} for t in times_of(5, seconds=2)]
    others = [box(t, 0.1, 0.1) | {"score": 0.3} for t in times_of(5, seconds=2)]
    _, tracks = Tracks().tracked(clips_of([*seen, *others], length_s=2, seconds=2))
    assert [len(track.places) for track in tracks] == [10]


def test_frames_that_overlapping_clips_share_count_once():
    seen = [box(t, 0.5) for t in times_of(5, seconds=4)]
    items = clips_of(seen, length_s=2, seconds=4)
    middle = dataclasses.replace(items[0].clip, clip_index=1, start_s=1.0, end_s=3.0)
    inside = [one for one in seen if 1 <= one["time_s"] < 3]
    overlapping = [items[0], ClipInput(clip=middle, values={"seen": {"detections": inside}}), items[1]]
    assert Tracks().tracked(overlapping) == Tracks().tracked(items)


def test_line_counts_are_exact_with_perfect_detections():
    passed = np.zeros(2, int)
    for seed in SEEDS:
        things, times_s = scene(seed), times_of(10)
        rows, video = rows_of(clips_of(detected(things, times_s), length_s=2.0), line=LINE)
        wanted = crossed(things, times_s)
        assert (video["line_in"], video["line_out"]) == wanted, seed
        assert (sum(row["line_in"] for row in rows), sum(row["line_out"] for row in rows)) == wanted
        passed += wanted
    assert (passed > 5).all()


@pytest.mark.parametrize(
    ("points", "line", "wanted"),
    [
        ([(0, 0.5, 0.3), (1, 0.5, 0.7)], (0, 0.5, 1, 0.5), [(0.5, True)]),
        ([(0, 0.5, 0.7), (1, 0.5, 0.3)], (0, 0.5, 1, 0.5), [(0.5, False)]),
        ([(0, 0.5, 0.7), (1, 0.5, 0.3)], (1, 0.5, 0, 0.5), [(0.5, True)]),
        ([(0, 0.8, 0.3), (1, 0.8, 0.7)], (0, 0.5, 0.5, 0.5), []),
        ([(0, 0.5, 0.3), (1, 0.5, 0.5), (2, 0.5, 0.3)], (0, 0.5, 1, 0.5), []),
        ([(0, 0.5, 0.3), (1, 0.5, 0.5), (2, 0.5, 0.7)], (0, 0.5, 1, 0.5), [(1.0, True)]),
    ],
)
def test_the_rule_of_the_line(points, line, wanted):
    found = [(crossing.time_s, crossing.inward) for crossing in over_line(path(points), line)]
    assert found == [(pytest.approx(time_s), inward) for time_s, inward in wanted]


def test_the_rule_of_the_region():
    walk = path([(0, 0.1, 0.5), (1, 0.5, 0.5), (2, 0.6, 0.5), (3, 0.9, 0.5)])
    found = [(crossing.time_s, crossing.inward) for crossing in into_region(walk, (0.4, 0.4, 0.7, 0.7))]
    assert found == [(1, True), (3, False)]
    assert list(into_region(path([(0, 0.5, 0.5), (1, 0.5, 0.5)]), (0.4, 0.4, 0.7, 0.7))) == []


def test_a_crowd_is_counted_in_seconds_and_ninths():
    times_s = times_of(5, seconds=4)
    stands = [box(t, x, 0.1) for t in times_s for x in (0.1, 0.5, 0.9)]
    comes = [box(t, 0.25, 0.9) for t in times_s if t >= 3]
    rows, video = rows_of(clips_of([*stands, *comes], length_s=2, seconds=4))
    assert [row["crowd_mean"] for row in rows] == pytest.approx([3.0, 3.5])
    assert [row["crowd_most"] for row in rows] == [3, 4]
    assert [row["crowd_densest"] for row in rows] == [1, 1]
    assert rows[1]["crowd_grid"] == pytest.approx([1, 1, 1, 0, 0, 0, 0.5, 0, 0])
    assert [one["count"] for one in rows[1]["crowd_over_time"]] == [3] * 5 + [4] * 5
    assert (video["crowd_mean"], video["crowd_most"]) == (pytest.approx(3.25), 4)
    assert rows[0]["line_in"] is None
    assert crowd([], times_s, 0, 2).mean == 0


def test_the_crowd_is_of_the_labels_that_are_asked_for():
    seen = [box(t, x, label=label) for t in times_of(5, seconds=2) for x, label in ((0.2, "car"), (0.5, "bus"))]
    assert rows_of(clips_of(seen, length_s=2, seconds=2))[0][0]["crowd_most"] == 0
    assert rows_of(clips_of(seen, length_s=2, seconds=2), crowd="car,bus")[0][0]["crowd_most"] == 2


def test_clips_that_failed_or_show_nothing_have_no_tracks():
    items = clips_of([box(t, 0.5) for t in times_of(5, seconds=4)], length_s=2, seconds=4)
    failed = dataclasses.replace(items[0], values={"seen": None}, failed=True)
    rows, _ = rows_of([failed, items[1]])
    assert (rows[0]["tracks"], len(rows[1]["tracks"])) == (None, 1)
    rows, video = rows_of(clips_of([], length_s=2, seconds=4))
    assert [row["crowd_mean"] for row in rows] == [0, 0]
    assert (video["counts"], video["crowd_most"]) == ([], 0)


@pytest.mark.parametrize("corner", [{"x0": 1.0, "x1": 1.0}, {"x0": 1.0, "x1": 1.0, "y0": 1.0, "y1": 1.0}])
def test_boxes_without_an_area_are_in_no_track_and_disturb_none(corner):
    """As of a thing whose box the frame's edge cuts off wholly."""
    times_s = times_of(5, seconds=4)
    alone = [box(t, 0.3 + 0.02 * t) for t in times_s]
    given = [one for t, seen in zip(times_s, alone, strict=True) for one in (seen, box(t, 0.7) | corner)]
    assert rows_of(clips_of(given, length_s=2, seconds=4)) == rows_of(clips_of(alone, length_s=2, seconds=4))


def test_it_keeps_the_contract():
    seen = [{"detections": []}, *({"detections": [box(14.0 + t, 0.5), box(14.2 + t, 0.5)]} for t in (0, 5, 21))]
    check_extractor(Tracks(line="0,0.5,1,0.5", region="0,0,0.5,0.5"), columns={"seen": seen})


def test_the_step_is_that_of_the_frames_though_some_show_nothing():
    assert step_of([0, 0.2, 0.4, 3.0, 3.2, 9.0]) == pytest.approx(0.2)
    assert step_of([1.0]) == 0.5
    assert step_of([1.0, 1.5, 40.0]) == 0.5
    assert step_of([0.0, 40.0, 90.0]) == 2.0


def test_a_track_ends_with_the_last_frame_that_shows_it_though_the_next_one_is_far():
    seen = [box(t, 0.5) for t in (1.0, 1.5, 40.0)]
    _, tracks = Tracks().tracked(clips_of(seen, length_s=10, seconds=50))
    assert [(track.start_s, track.end_s) for track in tracks] == [(1.0, 2.0)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("line=0,0,1", "line must be x0,y0,x1,y1"),
        ("line=0.5,0.5,0.5,0.5", "line must have two ends"),
        ("region=0.5,0,0.4,1", "region must have x0 < x1"),
        ("region=0,0,2,1", "in \\[0, 1\\]"),
        ("start_score=2", "start_score must be in"),
        ("min_boxes=0", "min_boxes must be at least 1"),
        ("crowd=", "crowd must be labels with commas between, such as person,dog, got .."),
        ("crowd=person,,car", "crowd must be labels"),
    ],
)
def test_options_are_checked(options, message):
    with pytest.raises(UsageError, match=message):
        resolve(f"tracks?{options}")


def test_names_and_remedies(monkeypatch):
    assert resolve("tracks?of=faces&line=0,0.5,1,0.5").name == "tracks-faces"
    monkeypatch.setattr(tracker_module, "find_spec", lambda name: None if name == "trackers" else object())
    with pytest.raises(UsageError, match=r"pip install --no-deps trackers==2\.6\.1"):
        resolve("tracks").settle()
    monkeypatch.setattr(tracker_module, "find_spec", lambda name: None if name == "supervision" else object())
    with pytest.raises(MissingExtraError, match=r"vidray\[track\]"):
        resolve("tracks").settle()


def test_where_there_is_nothing_to_look_at_nobody_is_counted():
    items = clips_of([box(t, 0.5) for t in times_of(5, seconds=2)], length_s=1, seconds=4)
    blank = [dataclasses.replace(item, values={"seen": None}) for item in items]
    rows, video = rows_of([*items[:2], *blank[2:]], line="0.5,0,0.5,1")
    assert [row["crowd_most"] for row in rows] == [1, 1, None, None]
    assert set(rows[3].values()) == {None}
    assert (video["crowd_mean"], video["crowd_most"], video["line_in"]) == (pytest.approx(1), 1, 0)
    assert set(rows_of(blank)[1].values()) == {None}


def test_what_no_clip_holds_does_not_thin_a_videos_crowd():
    items = clips_of([box(t, 0.5) for t in times_of(5, seconds=10)], length_s=2, seconds=10)
    assert rows_of([items[0], items[1], items[4]])[1]["crowd_mean"] == pytest.approx(1)
    # what is not known of a short gap is no crowd of it either
    assert rows_of([items[0], items[2]])[1]["crowd_mean"] == pytest.approx(1)

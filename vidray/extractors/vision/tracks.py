"""Things over time: the boxes of any table of detections, joined over all of a video, whatever its clips."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar, Literal

import numpy as np
import pyarrow as pa

from vidray.errors import UsageError
from vidray.extractors.protocol import ExtractFn, ModelInfo
from vidray.extractors.vision.crowds import (
    Crossing,
    Place,
    Sides,
    Track,
    crowd,
    into_region,
    over_line,
    parsed_sides,
    stretches,
)
from vidray.extractors.vision.regions import COUNTS_TYPE
from vidray.media import TIME_SLACK_S, Clip, ClipInput, Columns
from vidray.models.tracking import LOST_S, PACKAGE, PACKAGE_VERSION, BoxTracker, check_installed, is_installed

NAME = "tracks"
DEFAULT = "ssd"
USUAL_STEP_S = 0.5
"""Between frames, where a video shows something in a single one: detectors look twice a second."""

_SIDES = ("x0", "y0", "x1", "y1")
PLACES_TYPE = pa.list_(
    pa.struct([("time_s", pa.float64()), *((side, pa.float32()) for side in _SIDES), ("seen", pa.bool_())])
)
TRACKS_TYPE = pa.list_(
    pa.struct(
        [
            ("track_id", pa.int32()),
            ("label", pa.string()),
            ("score", pa.float32()),
            ("start_s", pa.float64()),
            ("end_s", pa.float64()),
            ("boxes", PLACES_TYPE),
        ]
    )
)
OVER_TIME_TYPE = pa.list_(pa.struct([("time_s", pa.float64()), ("count", pa.int32())]))
FLOWS = ("line_in", "line_out", "region_in", "region_out")

Seen = Mapping[str, Any]
"""One of `detections`."""


@dataclass(frozen=True, kw_only=True)
class Tracks:
    """The different things of a video, when and where each is, and the crowd that they make.

    Boxes of one label are joined by ByteTrack at their own times; where one is missed for up to two seconds its place
    is filled in along a straight line, at the times at which anything was seen. Where a clip is known to start a shot,
    all tracks end. A track has the same number in all clips of its video, and stands in each clip that it has a box in.
    A clip in which there was nothing to look at has null columns, as has a video without any other.

    Attributes:
        of: The table of detections; None for the only one.
        start_score: What a box must score at least to begin a track; lesser ones only go on with one.
        min_boxes: How often a thing must have been detected to count.
        crowd: The labels that are counted as a crowd, with commas between.
        line: Ends of a line that is passed, x0,y0,x1,y1 as parts of the frame's sides.
        region: Corners of a region that is entered, likewise.
    """

    family: ClassVar[str] = NAME
    version: ClassVar[str] = "3"
    schema: ClassVar[pa.Schema] = pa.schema(
        [
            ("tracks", TRACKS_TYPE),
            ("counts", COUNTS_TYPE),
            ("crowd_mean", pa.float32()),
            ("crowd_most", pa.int32()),
            ("crowd_densest", pa.int32()),
            ("crowd_grid", pa.list_(pa.float32())),
            ("crowd_over_time", OVER_TIME_TYPE),
            *((flow, pa.int32()) for flow in FLOWS),
        ]
    )

    of: str | None = None
    start_score: float = 0.5
    min_boxes: int = 2
    crowd: str = "person"
    line: str | None = None
    region: str | None = None
    scope: ClassVar[Literal["video"]] = "video"

    def __post_init__(self) -> None:
        if not 0 <= self.start_score <= 1:
            raise UsageError(f"start_score must be in [0, 1], got {self.start_score}")
        if self.min_boxes < 1:
            raise UsageError(f"min_boxes must be at least 1, got {self.min_boxes}")
        if not all(label.strip() for label in self.crowd.split(",")):
            raise UsageError(f"crowd must be labels with commas between, such as person,dog, got {self.crowd!r}")
        for what, text in (("line", self.line), ("region", self.region)):
            if text is not None:
                parsed_sides(text, what=what)

    @property
    def name(self) -> str:
        """The table's name."""
        return NAME if self.of is None else f"{NAME}-{self.of}"

    @property
    def inputs(self) -> Mapping[str, Columns]:
        """What any detector gives."""
        return {"seen": Columns(self.of, ["detections"], default=DEFAULT)}

    @property
    def video_schema(self) -> pa.Schema:
        """What it says of a video as a whole."""
        flows = ((flow, pa.int32()) for flow in FLOWS)
        return pa.schema([("counts", COUNTS_TYPE), ("crowd_mean", pa.float32()), ("crowd_most", pa.int32()), *flows])

    def settle(self) -> None:
        """See that the tracker is installed. Raises UsageError."""
        check_installed()

    def load(self, device: str) -> ExtractFn:
        """See that the tracker runs: what it cannot import is no fault of a video. Raises UsageError without it."""
        BoxTracker(rate=1.0, start_score=self.start_score)

        def extract(items: Sequence[ClipInput]) -> tuple[dict[str, Any], dict[str, Any]]:
            times_s, tracks = self.tracked(items)
            crossings = self._crossings(tracks)
            rows = [
                {} if _detections(item) is None else self._row(item.clip, times_s, tracks, crossings) for item in items
            ]
            columns = {name: [row.get(name) for row in rows] for name in self.schema.names}
            return columns, self._totals(items, times_s, tracks, crossings)

        return extract

    def _totals(
        self,
        items: Sequence[ClipInput],
        times_s: Sequence[float],
        tracks: Sequence[Track],
        crossings: Mapping[str, list[Crossing] | None],
    ) -> dict[str, Any]:
        """What is said of the video as a whole, by the clips that were looked at."""
        spans = stretches((item.clip.start_s, item.clip.end_s) for item in items if _detections(item) is not None)
        if not spans:
            return dict.fromkeys(self.video_schema.names)
        lasts_s = [end_s - start_s for start_s, end_s in spans]
        crowds = [crowd(self._counted(tracks), times_s, *span) for span in spans]
        mean = sum(some.mean * length_s for some, length_s in zip(crowds, lasts_s, strict=True)) / sum(lasts_s)
        flows = {flow: _passed(crossings, flow, spans[0][0], spans[-1][1]) for flow in FLOWS}
        return {"counts": _counts(tracks), "crowd_mean": mean, "crowd_most": max(c.most for c in crowds), **flows}

    def tracked(self, items: Sequence[ClipInput]) -> tuple[list[float], list[Track]]:
        """The times at which anything was seen in the clips of a video, and the tracks of all that was."""
        frames = _frames(items)
        times_s = sorted(frames)
        step_s = step_of(times_s)
        cuts_s = sorted(item.clip.start_s for item in items if item.clip.starts_shot)
        shots = [bisect_right(cuts_s, time_s + TIME_SLACK_S) for time_s in times_s]
        paths: list[tuple[str, list[Place]]] = []
        for shot in sorted(set(shots)):
            shown = [time_s for time_s, number in zip(times_s, shots, strict=True) if number == shot]
            for label in sorted({one["label"] for time_s in shown for one in frames[time_s]}):
                boxes = {t: some for t in shown if (some := [one for one in frames[t] if one["label"] == label])}
                paths += [(label, _filled(path, shown)) for path in self._paths(boxes, step_s)]
        paths.sort(key=lambda path: (path[1][0].time_s, path[0], path[1][0].sides))
        return times_s, [
            Track(number, label, tuple(places), places[-1].time_s + step_s)
            for number, (label, places) in enumerate(paths, start=1)
        ]

    def _paths(self, frames: Mapping[float, Sequence[Seen]], step_s: float) -> list[list[Place]]:
        """The boxes of one label in one shot, by what they are of."""
        tracker = BoxTracker(rate=1 / step_s, start_score=self.start_score)
        found: dict[int, list[Place]] = {}
        for time_s, some in frames.items():
            sides = [_sides(one) for one in some]
            scores = [float(one["score"]) for one in some]
            numbers = tracker.update(time_s, np.asarray(sides, np.float64), scores)
            for number, box, score in zip(numbers, sides, scores, strict=True):
                if number is not None:
                    found.setdefault(number, []).append(Place(time_s, box, score=score))
        return [path for path in found.values() if len(path) >= self.min_boxes]

    def _counted(self, tracks: Iterable[Track]) -> list[Track]:
        labels = [label.strip() for label in self.crowd.split(",")]
        return [track for track in tracks if track.label in labels]

    def _crossings(self, tracks: Sequence[Track]) -> dict[str, list[Crossing] | None]:
        counted = self._counted(tracks)
        found: dict[str, list[Crossing] | None] = {"line": None, "region": None}
        if self.line is not None:
            line = parsed_sides(self.line, what="line")
            found["line"] = [crossing for track in counted for crossing in over_line(track, line)]
        if self.region is not None:
            region = parsed_sides(self.region, what="region")
            found["region"] = [crossing for track in counted for crossing in into_region(track, region)]
        return found

    def _row(
        self,
        clip: Clip,
        times_s: Sequence[float],
        tracks: Sequence[Track],
        crossings: Mapping[str, list[Crossing] | None],
    ) -> dict[str, Any]:
        near = [track for track in tracks if track.start_s < clip.end_s and track.end_s > clip.start_s]
        entries = [(track, track.within(clip.start_s, clip.end_s)) for track in near]
        there = [(track, [place for place, _ in some]) for track, some in entries if some]
        some = crowd(self._counted(track for track, _ in there), times_s, clip.start_s, clip.end_s)
        return {
            "tracks": [_entry(track, places, clip) for track, places in there],
            "counts": _counts(track for track, _ in there),
            "crowd_mean": some.mean,
            "crowd_most": some.most,
            "crowd_densest": some.densest,
            "crowd_grid": list(some.grid),
            "crowd_over_time": [{"time_s": time_s, "count": count} for time_s, count in some.over_time],
        } | {flow: _passed(crossings, flow, clip.start_s, clip.end_s) for flow in FLOWS}


def step_of(times_s: Sequence[float]) -> float:
    """Seconds between frames, by the times at which something was seen: frames that show nothing are not among them,
    so it is what a tenth of the distances do not exceed, and no more than something may be hidden for."""
    distances = np.diff(np.asarray(times_s, np.float64))
    return min(float(np.quantile(distances, 0.1, method="lower")), LOST_S) if len(distances) else USUAL_STEP_S


def _frames(items: Sequence[ClipInput]) -> dict[float, list[Seen]]:
    """What was detected, by its time; frames that several clips hold once."""
    found: dict[int, tuple[float, list[Seen]]] = {}
    for item in items:
        mine: dict[int, tuple[float, list[Seen]]] = {}
        for one in _detections(item) or ():
            mine.setdefault(round(one["time_s"] / TIME_SLACK_S), (one["time_s"], []))[1].append(one)
        found = mine | found
    return dict(found.values())


def _detections(item: ClipInput) -> list[Seen] | None:
    """What was detected in a clip; None where there was nothing to look at, or its detector failed."""
    found: list[Seen] | None = (item["seen"] or {}).get("detections")
    return found


def _filled(path: Sequence[Place], times_s: Sequence[float]) -> list[Place]:
    """A path with a place at each time between its first and last one, along straight lines."""
    found = [path[0]]
    for before, after in pairwise(path):
        for time_s in times_s[bisect_right(times_s, before.time_s) : bisect_left(times_s, after.time_s)]:
            part = (time_s - before.time_s) / (after.time_s - before.time_s)
            x0, y0, x1, y1 = (was + part * (then - was) for was, then in zip(before.sides, after.sides, strict=True))
            found.append(Place(time_s, (x0, y0, x1, y1), seen=False))
        found.append(after)
    return found


def _sides(one: Seen) -> Sides:
    x0, y0, x1, y1 = (float(one[side]) for side in _SIDES)
    return x0, y0, x1, y1


def _entry(track: Track, places: Sequence[Place], clip: Clip) -> dict[str, Any]:
    """A track as a clip's row has it: cut to the clip, its score that of the boxes in it."""
    scores = [place.score for place in places if place.score is not None]
    return {
        "track_id": track.number,
        "label": track.label,
        "score": sum(scores) / len(scores) if scores else None,
        "start_s": max(track.start_s, clip.start_s),
        "end_s": min(track.end_s, clip.end_s),
        "boxes": [
            {"time_s": place.time_s, **dict(zip(_SIDES, place.sides, strict=True)), "seen": place.seen}
            for place in places
        ],
    }


def _counts(tracks: Iterable[Track]) -> list[dict[str, Any]]:
    numbers = Counter(track.label for track in tracks)
    ranked = sorted(numbers.items(), key=lambda entry: (-entry[1], entry[0]))
    return [{"label": label, "count": number} for label, number in ranked]


def _passed(crossings: Mapping[str, list[Crossing] | None], flow: str, start_s: float, end_s: float) -> int | None:
    what, _, direction = flow.partition("_")
    some = crossings[what]
    if some is None:
        return None
    inward = direction == "in"
    return sum(crossing.inward == inward and start_s <= crossing.time_s < end_s for crossing in some)


EXTRACTOR = Tracks


def info() -> ModelInfo:
    """What `vidray models` says of this extractor."""
    return ModelInfo(
        name=NAME,
        kind="detection",
        dim=None,
        inputs="a table with detections",
        weights=f"none; ByteTrack of {PACKAGE}=={PACKAGE_VERSION}",
        licence="none (the library is Apache-2.0)",
        available=is_installed(),
    )

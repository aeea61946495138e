"""What things do, as spans with a start and an end: by rules on their tracks, no network."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar, Literal

import pyarrow as pa

from vidray.extractors.audio.events import EVENTS_TYPE as SPANS_TYPE
from vidray.extractors.protocol import Answer, ExtractFn, ModelInfo
from vidray.extractors.speech.transcript import clip_at
from vidray.extractors.vision.crowds import Place, Track, stretches
from vidray.media import TIME_SLACK_S, Clip, ClipInput, Columns

NAME = "object_events"
DEFAULT = "tracks"

SHORTEST_S = 1.0
"""What is seen for less does nothing: most of it is a detector's mistake."""
AT_THE_START_S = 1.0
"""What is first seen so early in a video, or a shot, was there before; what is last seen so late stays."""
MOMENT_S = 1.0
"""How long coming, going and moving off are shown."""
EDGE = 0.02
"""So near to the frame's edge, as a part of its side, a box comes from outside or goes there."""
WINDOW_S = 1.0
"""Speed is measured from half a second before to half a second after."""
MOVES = 0.5
STILL = 0.2
"""Of its own box's side a second: more is moving, less is standing; between them things go on as they were. A detector
that errs by a twentieth of a side stays below."""

EVENTS_TYPE = pa.list_(pa.struct([*SPANS_TYPE.value_type, pa.field("track_id", pa.int32())]))
COLUMNS = {"entered": "enters", "left": "leaves", "stopped": "stops"}
"""Columns of their own, for filters: how many of the clip's events are such."""


@dataclass(frozen=True, kw_only=True)
class ObjectEvents:
    """Who enters, leaves, appears, disappears, stops and moves off, as "a person enters", with start and end.

    A thing enters when its track begins, after the first second of the video or shot, at the frame's edge, or so near
    that it was there a frame ago; it appears when it begins elsewhere. It leaves and disappears likewise. Where clips
    leave a part of a video out, or failed, nobody knows what came and went: what follows is as a shot of its own. A
    clip in which there was nothing to look at has null columns. It stops when
    it moved, by half of its box a second, and then stands for a second at least, by a fifth of its box a second; the
    event lasts as long as it stands. It moves off when it stood so. An event belongs to the clip in which it starts,
    and may run past its end; its score is the track's.

    Attributes:
        of: The table of tracks; None for the only one.
    """

    family: ClassVar[str] = NAME
    version: ClassVar[str] = "2"
    schema: ClassVar[pa.Schema] = pa.schema([("events", EVENTS_TYPE), *((name, pa.int32()) for name in COLUMNS)])

    of: str | None = None
    scope: ClassVar[Literal["video"]] = "video"

    @property
    def name(self) -> str:
        """The table's name."""
        return NAME if self.of is None else f"{NAME}-{self.of}"

    @property
    def inputs(self) -> Mapping[str, Columns]:
        """What the tracker gives."""
        return {"tracks": Columns(self.of, ["tracks"], default=DEFAULT)}

    def load(self, device: str) -> ExtractFn:
        """Nothing to load."""

        def extract(items: Sequence[ClipInput]) -> Answer:
            held: dict[int, list[dict[str, Any]]] = {
                place: [] for place, item in enumerate(items) if _entries(item) is not None
            }
            places = list(held)
            clips = [items[place].clip for place in places]
            shots = _shots(clips)
            for track, score in _tracks(items):
                for what, start_s, end_s in happenings(track, shots):
                    event = {"label": f"{_article(track.label)} {track.label} {what}", "start_s": start_s}
                    event |= {"end_s": end_s, "score": score, "track_id": track.number}
                    held[places[clip_at(clips, start_s)]].append(event)
            for events in held.values():
                events.sort(key=lambda event: (event["start_s"], event["track_id"]))
            rows = [held.get(place) for place in range(len(items))]
            numbers = {name: [_number(events, what) for events in rows] for name, what in COLUMNS.items()}
            return {"events": rows, **numbers}

        return extract


Happening = tuple[str, float, float]
"""What a thing does, and from when to when."""


def happenings(track: Track, shots: Sequence[tuple[float, float]]) -> Iterator[Happening]:
    """What one thing does; `shots` are spans of the video, in order, in which it is."""
    if track.end_s - track.start_s < SHORTEST_S:
        return
    first_s, last_s = _shot_at(shots, track.start_s)[0], _shot_at(shots, track.places[-1].time_s)[1]
    if track.start_s - first_s > AT_THE_START_S:
        what = "enters" if _is_at_edge(track.places[:2]) else "appears"
        yield what, track.start_s, min(track.end_s, track.start_s + MOMENT_S)
    yield from _stops(track)
    if last_s - track.end_s > AT_THE_START_S:
        what = "leaves" if _is_at_edge(track.places[:-3:-1]) else "disappears"
        yield what, max(track.start_s, track.end_s - MOMENT_S), track.end_s


def _number(events: Sequence[Mapping[str, Any]] | None, what: str) -> int | None:
    return None if events is None else sum(event["label"].endswith(f" {what}") for event in events)


def _shot_at(shots: Sequence[tuple[float, float]], time_s: float) -> tuple[float, float]:
    return shots[max(0, bisect_right(shots, (time_s + TIME_SLACK_S, float("inf"))) - 1)]


def _is_at_edge(places: Sequence[Place]) -> bool:
    """Whether a box, or where it was one step before by the next one, is at the frame's edge."""
    for step in (0, 1) if len(places) > 1 else (0,):
        sides = [here + step * (here - there) for here, there in zip(places[0].sides, places[-1].sides, strict=True)]
        if min(sides[:2]) <= EDGE or max(sides[2:]) >= 1 - EDGE:
            return True
    return False


def _stops(track: Track) -> Iterator[Happening]:
    """Stretches of standing after moving, and moments of moving after such a stretch."""
    since_s: float | None = None
    has_moved = False
    for place, speed in zip(track.places, _speeds(track.places), strict=True):
        if speed >= MOVES:
            if since_s is not None and place.time_s - since_s >= SHORTEST_S:
                if has_moved:
                    yield "stops", since_s, place.time_s
                yield "moves off", place.time_s, min(track.end_s, place.time_s + MOMENT_S)
            since_s, has_moved = None, True
        elif speed <= STILL and since_s is None:
            since_s = place.time_s
    if has_moved and since_s is not None and track.end_s - since_s >= SHORTEST_S:
        yield "stops", since_s, track.end_s


def _speeds(places: Sequence[Place]) -> Iterator[float]:
    """How far the middle of each box moves around its time, in sides of the box a second, on the faster axis."""
    times_s = [place.time_s for place in places]
    for place in places:
        before = places[bisect_left(times_s, place.time_s - WINDOW_S / 2 - TIME_SLACK_S)]
        after = places[bisect_right(times_s, place.time_s + WINDOW_S / 2 + TIME_SLACK_S) - 1]
        x0, y0, x1, y1 = place.sides
        lasts_s = max(after.time_s - before.time_s, TIME_SLACK_S)
        across, down = (there - here for here, there in zip(before.centre, after.centre, strict=True))
        yield max(abs(across) / max(x1 - x0, EDGE), abs(down) / max(y1 - y0, EDGE)) / lasts_s


def _tracks(items: Sequence[ClipInput]) -> Iterator[tuple[Track, float]]:
    """The tracks of a video, joined from those of its clips, each with its mean score."""
    found: dict[int, tuple[str, dict[float, Place], list[float], list[float]]] = {}
    for item in items:
        for one in _entries(item) or ():
            _, places, ends_s, scores = found.setdefault(one["track_id"], (one["label"], {}, [], []))
            ends_s.append(one["end_s"])
            scores += [one["score"]] if one["score"] is not None else []
            for box in one["boxes"]:
                sides = box["x0"], box["y0"], box["x1"], box["y1"]
                places[box["time_s"]] = Place(box["time_s"], sides, box["seen"])
    for number, (label, places, ends_s, scores) in sorted(found.items()):
        in_order = tuple(place for _, place in sorted(places.items()))
        yield Track(number, label, in_order, max(ends_s)), sum(scores) / max(1, len(scores))


def _entries(item: ClipInput) -> list[dict[str, Any]] | None:
    """The tracks in a clip; None where there was nothing to look at, or it failed."""
    found: list[dict[str, Any]] | None = (item["tracks"] or {}).get("tracks")
    return found


def _shots(clips: Sequence[Clip]) -> list[tuple[float, float]]:
    """The shots of a video, as far as its clips know them, each without what no clip holds."""
    found: list[tuple[float, float]] = []
    for first_s, last_s in stretches((clip.start_s, clip.end_s) for clip in clips):
        cuts_s = {clip.start_s for clip in clips if clip.starts_shot and first_s < clip.start_s < last_s}
        edges_s = [first_s, *sorted(cuts_s), last_s]
        found += pairwise(edges_s)
    return found


def _article(label: str) -> str:
    return "an" if label[:1].lower() in "aeiou" else "a"


EXTRACTOR = ObjectEvents


def info() -> ModelInfo:
    """What `vidray models` says of this extractor."""
    return ModelInfo(
        name=NAME,
        kind="detection",
        dim=None,
        inputs="a table of tracks",
        weights="none",
        licence="none",
        available=True,
    )

"""How many there are at once, where, and how many pass a line or a region: from the paths of things over time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from vidray.errors import UsageError
from vidray.media import TIME_SLACK_S, Span

GRID = 3
"""Density is by ninths of the frame."""

Sides = tuple[float, float, float, float]
"""x0, y0, x1, y1 as parts of the frame's width and height."""


@dataclass(frozen=True)
class Place:
    """A box of a track.

    Attributes:
        time_s: When.
        sides: Where.
        seen: Whether it was detected; else it is filled in between two that were.
        score: Of the detection, None where filled in.
    """

    time_s: float
    sides: Sides
    seen: bool = True
    score: float | None = None

    @property
    def centre(self) -> tuple[float, float]:
        """The middle of the box."""
        x0, y0, x1, y1 = self.sides
        return (x0 + x1) / 2, (y0 + y1) / 2


@dataclass(frozen=True)
class Track:
    """One thing over time.

    Attributes:
        number: From 1, in the order in which they are first seen in the video.
        label: What it is.
        places: In order of time, at least one.
        end_s: One step of the frames behind the last of them.
    """

    number: int
    label: str
    places: tuple[Place, ...]
    end_s: float

    @property
    def start_s(self) -> float:
        """When it is first seen."""
        return self.places[0].time_s

    def within(self, start_s: float, end_s: float) -> list[tuple[Place, float]]:
        """The places in a span, each with the seconds for which it stands: until the next one, cut to the span."""
        later = [*(place.time_s for place in self.places[1:]), self.end_s]
        return [
            (place, min(until_s, end_s) - place.time_s)
            for place, until_s in zip(self.places, later, strict=True)
            if start_s <= place.time_s < end_s
        ]


@dataclass(frozen=True)
class Crossing:
    """Something passed: `inward` or outward, at a time."""

    time_s: float
    inward: bool


@dataclass(frozen=True)
class Crowd:
    """How many of some labels there are in a span.

    Attributes:
        mean: Over the span's seconds.
        most: At once.
        grid: Means for each ninth of the frame, row by row; a thing is where the middle of its box is.
        densest: Most at once in any one ninth.
        over_time: How many at each time at which anything was seen.
    """

    mean: float
    most: int
    grid: tuple[float, ...]
    densest: int
    over_time: tuple[tuple[float, int], ...]


def crowd(tracks: Sequence[Track], times_s: Sequence[float], start_s: float, end_s: float) -> Crowd:
    """The crowd that some tracks make in a span; `times_s` are those at which anything was seen."""
    seconds = [0.0] * (GRID * GRID)
    at_once: Counter[float] = Counter()
    in_cell: Counter[tuple[float, int]] = Counter()
    for track in tracks:
        for place, lasts_s in track.within(start_s, end_s):
            x, y = (min(GRID - 1, int(part * GRID)) for part in place.centre)
            cell = y * GRID + x
            seconds[cell] += lasts_s
            at_once[place.time_s] += 1
            in_cell[place.time_s, cell] += 1
    length_s = end_s - start_s
    return Crowd(
        mean=sum(seconds) / length_s,
        most=max(at_once.values(), default=0),
        grid=tuple(some / length_s for some in seconds),
        densest=max(in_cell.values(), default=0),
        over_time=tuple((time_s, at_once[time_s]) for time_s in times_s if start_s <= time_s < end_s),
    )


def stretches(spans: Iterable[Span]) -> list[Span]:
    """Spans in order, those that touch or overlap as one: between two of what comes out nobody looked."""
    found: list[Span] = []
    for start_s, end_s in sorted(spans):
        if found and start_s <= found[-1][1] + TIME_SLACK_S:
            start_s, end_s = found[-1][0], max(end_s, found.pop()[1])
        found.append((start_s, end_s))
    return found


def over_line(track: Track, line: Sides) -> Iterator[Crossing]:
    """When the middle of a box passes a line from one side to the other, between its ends.

    Inward is to the right hand of somebody who walks from (x0, y0) to (x1, y1): down, for a line from left to right.
    Who stands on the line has not passed it.
    """
    x0, y0, x1, y1 = line
    before: tuple[float, float, float, float] | None = None
    for place in track.places:
        x, y = place.centre
        side = (x1 - x0) * (y - y0) - (y1 - y0) * (x - x0)
        if side == 0:
            continue
        if before is not None and (before[0] > 0) != (side > 0):
            part = before[0] / (before[0] - side)
            at_x, at_y = before[2] + part * (x - before[2]), before[3] + part * (y - before[3])
            along = ((at_x - x0) * (x1 - x0) + (at_y - y0) * (y1 - y0)) / ((x1 - x0) ** 2 + (y1 - y0) ** 2)
            if 0 <= along <= 1:
                yield Crossing(before[1] + part * (place.time_s - before[1]), side > 0)
        before = side, place.time_s, x, y


def into_region(track: Track, region: Sides) -> Iterator[Crossing]:
    """When the middle of a box comes into a region or goes out of it; who begins or ends there did neither."""
    x0, y0, x1, y1 = region
    inside = [(place, x0 <= place.centre[0] < x1 and y0 <= place.centre[1] < y1) for place in track.places]
    for (_, was_in), (place, is_in) in pairwise(inside):
        if was_in != is_in:
            yield Crossing(place.time_s, is_in)


def parsed_sides(text: str, *, what: str) -> Sides:
    """Four numbers of an option. Raises UsageError where they are none, or not in the frame."""
    parts = text.split(",")
    try:
        numbers = [float(part) for part in parts]
    except ValueError:
        numbers = []
    if len(numbers) != 4 or not all(0 <= number <= 1 for number in numbers):
        raise UsageError(f"{what} must be x0,y0,x1,y1, parts of the frame's sides in [0, 1], got {text!r}")
    x0, y0, x1, y1 = numbers
    if what == "line" and (x0, y0) == (x1, y1):
        raise UsageError(f"line must have two ends, got {text!r}")
    if what == "region" and not (x0 < x1 and y0 < y1):
        raise UsageError(f"region must have x0 < x1 and y0 < y1, got {text!r}")
    return x0, y0, x1, y1

"""Stretches of a video in which nothing is recorded, though its clock goes on: a recorder slept, or a clock is damaged.

By the container's index, where it has one; a stream's packets are read through only where its bytes could not fill the
time that its clock claims.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

from av.stream import Stream

from vidray.decode.frames import HOLE_S
from vidray.decode.source import Source
from vidray.errors import DecodeError
from vidray.media import Span

_INTERLEAVING_S = 10.0
_MOST_JUMPS = 64
_FEWEST_TOGETHER = 5
_SPARSE_BYTES_PER_S = 2_000
_LOOSE_FORMATS = frozenset({"mpegts", "mpeg"})


def holes_of(source: Source, duration_s: float) -> tuple[tuple[Span, ...], float]:
    """The holes of a video, in order, and when its last packets end. Leaves the source anywhere.

    Raises DecodeError where its clock jumps about, so that no time means anything.
    """
    lead = source.video or source.audio
    if lead is None or duration_s <= HOLE_S or source.is_joined:
        return (), duration_s
    if source.format in _LOOSE_FORMATS:
        is_sparse = source.size_bytes < duration_s * _SPARSE_BYTES_PER_S
        return _of_stream(source, duration_s) if is_sparse else ((), duration_s)
    index = lead.index_entries
    times = [(place, source.seconds(lead, index[place].timestamp)) for place in (0, len(index) - 1) if len(index) > 1]
    found: list[Span] = []
    if times:
        for start_s, end_s in _leaps(source, lead, *times[0], *times[1]):
            found += _checked(source, lead, start_s, end_s)
    return tuple(found), duration_s


def _leaps(source: Source, lead: Stream, first: int, first_s: float, last: int, last_s: float) -> Iterator[Span]:
    """Neighbours in the index that are far apart, by halves: what takes less than a hole's time holds none."""
    if last_s - first_s <= HOLE_S:
        return
    if last - first == 1:
        yield first_s, last_s
        return
    middle = (first + last) // 2
    middle_s = source.seconds(lead, lead.index_entries[middle].timestamp)
    yield from _leaps(source, lead, first, first_s, middle, middle_s)
    yield from _leaps(source, lead, middle, middle_s, last, last_s)


def _checked(source: Source, lead: Stream, start_s: float, end_s: float) -> list[Span]:
    """What is left of a leap in the index, which may hold keyframes alone, once all packets there were looked at."""
    source.want(None)
    start_s = max(0.0, start_s)
    if end_s - start_s <= HOLE_S or not source.seek(lead, start_s):
        return []
    times_s = []
    for packet in source.rest():
        times_s.append(source.time_s(packet))
        if times_s[-1] > end_s + _INTERLEAVING_S:
            break
    return _gaps([start_s, *(at_s for at_s in times_s if start_s <= at_s <= end_s), end_s])


def _of_stream(source: Source, duration_s: float) -> tuple[tuple[Span, ...], float]:
    source.want(None)
    source.reopen()
    times_s = [source.seconds_of(p, p.pts) for p in source.rest() if p.pts is not None]
    jumps = sum(abs(later - sooner) > HOLE_S for sooner, later in itertools.pairwise(times_s))
    if jumps > _MOST_JUMPS:
        message = f"its timestamps are damaged: they jump {jumps} times in {len(times_s)} packets"
        raise DecodeError("corrupt", message, source.uri)
    together: list[float] = []
    for run in _runs(sorted(at_s for at_s in times_s if at_s <= duration_s)):
        if len(run) >= _FEWEST_TOGETHER:
            together += run
    return tuple(_gaps(together)), min(duration_s, (together or [duration_s])[-1] + 1.0)


def _runs(times_s: Sequence[float]) -> Iterator[list[float]]:
    run: list[float] = []
    for at_s in times_s:
        if run and at_s - run[-1] > HOLE_S:
            yield run
            run = []
        run.append(at_s)
    if run:
        yield run


def _gaps(times_s: Sequence[float]) -> list[Span]:
    ordered = sorted(times_s)
    return [(sooner, later) for sooner, later in itertools.pairwise(ordered) if later - sooner > HOLE_S]

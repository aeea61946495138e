"""Units of work: parts of the listing, blocks of a part's clips, slices of a block for one extractor.

All three are functions of the corpus and the sampling alone, so that a second run finds the first one's work.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from operator import attrgetter
from typing import TypeVar

from vidray.media import Clip, Video

T = TypeVar("T")

PART_VIDEOS = 1000
PART_BYTES = 8 << 30
UNKNOWN_SIZE_BYTES = 64 << 20
BLOCK_CLIPS = 64
BLOCK_S = (20.0, 80.0)
BLOCKS_OF_A_SMALL_PART = 32
"""At the end of a run cores wait for the last block, half of one on average; a staged file for each costs 1 % of one of
80 seconds. So parts of less than 32 such blocks are cut into about 32, of 20 seconds or more, 10 where a video ends."""
SLICE_BYTES = 64_000_000


@dataclass(frozen=True)
class Part:
    """A run of the sorted listing; one file per table."""

    number: int
    videos: tuple[Video, ...]


@dataclass(frozen=True)
class Block:
    """A run of neighbouring clips of one part."""

    part: int
    number: int
    clips: tuple[Clip, ...]


@dataclass(frozen=True)
class Slice:
    """A run of a block's clips, [first, stop), that one extractor works on at once."""

    index: int
    count: int
    first: int
    stop: int


def parts_of(videos: Sequence[Video], free_numbers: Iterator[int]) -> list[Part]:
    """Close a part after 1000 videos or 8 GiB, whichever comes first."""
    return [Part(next(free_numbers), run) for run in _runs(videos, PART_VIDEOS, PART_BYTES, _listed_bytes)]


def blocks_of(part: int, clips: Sequence[Clip]) -> list[Block]:
    """Close a block after 64 clips or 80 seconds, after less in a small part. If it is half full at the end of a video
    and would close amid the next, it ends there: a video of two blocks is opened twice, and decoded again from the
    keyframe before the cut.
    """
    shortest_s, longest_s = BLOCK_S
    most_s = min(longest_s, max(shortest_s, _seconds(clips) / BLOCKS_OF_A_SMALL_PART))
    return [Block(part, number, run) for number, run in enumerate(_block_clips(clips, most_s))]


def _block_clips(clips: Sequence[Clip], most_s: float) -> Iterator[tuple[Clip, ...]]:
    unfinished: tuple[Clip, ...] = ()
    for _, run in groupby(clips, key=attrgetter("video_id")):
        video = tuple(run)
        together = (*unfinished, *video)
        is_half_full = 2 * len(unfinished) >= BLOCK_CLIPS or 2 * _seconds(unfinished) >= most_s
        # the clip that reaches the limit is the last of its block
        would_close = len(together) > BLOCK_CLIPS or _seconds(together[:-1]) >= most_s
        if is_half_full and would_close:
            yield unfinished
            together = video
        *closed, unfinished = _runs(together, BLOCK_CLIPS, most_s, _length_s)
        yield from closed
    if unfinished:
        yield unfinished


def _seconds(clips: Sequence[Clip]) -> float:
    return sum(map(_length_s, clips))


def _length_s(clip: Clip) -> float:
    return clip.end_s - clip.start_s


def slices_of(costs: Sequence[int]) -> list[Slice]:
    """Cut a block into slices of at most 64 MB decoded, at least one clip each, by the bytes of each clip's samples."""
    cuts = [0]
    held = 0
    for index, cost in enumerate(costs):
        if held and held + cost > SLICE_BYTES:
            cuts.append(index)
            held = 0
        held += cost
    cuts.append(len(costs))
    count = len(cuts) - 1
    return [Slice(index, count, first, stop) for index, (first, stop) in enumerate(pairwise(cuts))]


def _listed_bytes(video: Video) -> float:
    return UNKNOWN_SIZE_BYTES if video.size_bytes is None else video.size_bytes


def _runs(items: Sequence[T], most: int, budget: float, cost: Callable[[T], float]) -> Iterator[tuple[T, ...]]:
    """Cut a sequence into runs; a run is closed as soon as it has `most` items or its costs reach the budget."""
    run: list[T] = []
    spent = 0.0
    for item in items:
        run.append(item)
        spent += cost(item)
        if len(run) == most or spent >= budget:
            yield tuple(run)
            run, spent = [], 0.0
    if run:
        yield tuple(run)

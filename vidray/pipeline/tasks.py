"""What is missing in a store, and the tasks that fill it. Reads the store's listings and plan; knows no Ray."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from vidray.extractors.inputs import scope_of
from vidray.extractors.protocol import Extractor
from vidray.media import Clip, FrameSize, Span
from vidray.store import SliceKey, Store
from vidray.store.layout import features_of
from vidray.store.plan import PlannedBlock, extractor_slices, plan_blocks, video_blocks

BLOCKS_A_TASK = 8


@dataclass(frozen=True)
class SliceWork:
    """One slice to fill: clips [first, stop) of its block, for one table."""

    table: str
    key: SliceKey
    first: int
    stop: int


@dataclass(frozen=True)
class BlockWork:
    """What is missing in one block.

    Attributes:
        clips: All clips of the block, in plan order.
        sizes: (height, width) of each clip's video as displayed, (0, 0) without a frame.
        durations_s: Of each clip's video.
        previous_ends_s: The latest end of the video's clips before each clip, None for the first.
        slices: What is missing, by table and place.
        before, behind: The spans of near clips in other blocks: see `PlannedBlock`.
    """

    clips: tuple[Clip, ...]
    sizes: tuple[FrameSize, ...]
    durations_s: tuple[float, ...]
    previous_ends_s: tuple[float | None, ...]
    slices: tuple[SliceWork, ...]
    before: tuple[Span, ...] = ()
    behind: tuple[Span, ...] = ()

    def near(self, video_id: str) -> list[Span]:
        """The spans of a video's clips in this block, and of those near it in others."""
        of_video = [(clip.start_s, clip.end_s) for clip in self.clips if clip.video_id == video_id]
        before = self.before if self.clips[0].video_id == video_id else ()
        return [*before, *of_video, *(self.behind if self.clips[-1].video_id == video_id else ())]

    def seconds_of(self, work: SliceWork) -> float:
        """The slice's share of the block's seconds: a clip that two slices want counts half for each."""
        total_s = 0.0
        for index in range(work.first, work.stop):
            wanting = sum(1 for other in self.slices if other.first <= index < other.stop)
            total_s += (self.clips[index].end_s - self.clips[index].start_s) / wanting
        return total_s


Task = tuple[BlockWork, ...]
"""Neighbouring blocks for one worker."""


@dataclass(frozen=True)
class PartWork:
    """What is missing in one part.

    Attributes:
        expected: All slices of the part, for each table that lacks the part.
        blocks: The blocks in which slices are missing; none where all slices are staged already.
    """

    part: int
    expected: Mapping[str, tuple[SliceKey, ...]]
    blocks: tuple[BlockWork, ...]


def missing_parts(store: Store, tables: Sequence[str]) -> dict[int, list[str]]:
    """The parts that some tables lack, or are to do again, in order, with these tables: two listings a table."""
    planned = store.parts("clips")
    settled = {table: set(store.parts(features_of(table))) - store.staging.again(table) for table in tables}
    lacking = {part: [table for table in tables if part not in settled[table]] for part in planned}
    return {part: names for part, names in lacking.items() if names}


def part_work(
    store: Store,
    part: int,
    extractors: Mapping[str, Extractor],
    staged: Mapping[str, set[SliceKey]],
) -> PartWork:
    """What the given tables lack in one part, given what is staged."""
    expected: dict[str, list[SliceKey]] = {table: [] for table in extractors}
    blocks: list[BlockWork] = []
    for scope, planned in (("clip", plan_blocks), ("video", video_blocks)):
        some = {table: extractor for table, extractor in extractors.items() if scope_of(extractor) == scope}
        for block in planned(store, part) if some else ():
            works = []
            for table, extractor in some.items():
                for key, cut in extractor_slices(part, block, extractor):
                    expected[table].append(key)
                    if key not in staged[table]:
                        works.append(SliceWork(table, key, cut.first, cut.stop))
            if works:
                blocks.append(_work(block, works))
    return PartWork(part, {table: tuple(keys) for table, keys in expected.items()}, tuple(blocks))


def _work(block: PlannedBlock, slices: Sequence[SliceWork]) -> BlockWork:
    return BlockWork(
        block.clips,
        block.sizes,
        block.durations_s,
        block.previous_ends_s,
        tuple(slices),
        before=block.before,
        behind=block.behind,
    )


def tasks_of(blocks: Sequence[BlockWork], workers: int, context_s: float = 0.0) -> Iterator[Task]:
    """Neighbouring blocks together, at most eight, and ever fewer towards the end, so that workers end together. A task
    is shorter where a video ends in its second half: one that it cut would be opened twice, and decoded again from the
    keyframe before the cut. The last blocks go out one by one, those with the most pixels first.

    Where clips want `context_s` seconds of audio around them, which each task reads again, tasks are as long as that
    while there is one for each worker.
    """
    first, fewest = 0, _fewest(blocks, workers, context_s)
    while (left := len(blocks) - first) > 1:
        size = min(left, max(fewest, min(BLOCKS_A_TASK, left // (2 * workers))))
        if size <= 1:
            break
        ends = (end for end in range(first + size, first + size // 2, -1) if _ends_with_a_video(blocks, end))
        stop = next(ends, first + size)
        yield tuple(blocks[first:stop])
        first = stop
    for block in sorted(blocks[first:], key=_pixel_seconds, reverse=True):
        yield (block,)


def _fewest(blocks: Sequence[BlockWork], workers: int, context_s: float) -> int:
    """How many blocks are as long as what is read around them."""
    total_s = sum(clip.end_s - clip.start_s for block in blocks for clip in block.clips)
    if not (context_s and total_s):
        return 1
    return min(BLOCKS_A_TASK, math.ceil(len(blocks) / workers), math.ceil(context_s * len(blocks) / total_s))


def _ends_with_a_video(blocks: Sequence[BlockWork], stop: int) -> bool:
    return stop == len(blocks) or blocks[stop - 1].clips[-1].video_id != blocks[stop].clips[0].video_id


def _pixel_seconds(block: BlockWork) -> float:
    """How much there is to decode; audio alone counts as a pixel."""
    wanted = {index for work in block.slices for index in range(work.first, work.stop)}
    return sum(
        max(1, math.prod(block.sizes[index])) * (block.clips[index].end_s - block.clips[index].start_s)
        for index in wanted
    )

"""What is missing in a store, and the tasks that fill it. Reads the store's listings and plan; knows no Ray."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from vidray.extractors.protocol import Extractor
from vidray.media import Clip, PictureSize
from vidray.planners.units import slices_of
from vidray.store import SliceKey, Store, parts_in

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
        sizes: (height, width) of each clip's video as displayed, (0, 0) without a picture.
        durations_s: Of each clip's video.
        slices: What is missing, by table and place.
    """

    clips: tuple[Clip, ...]
    sizes: tuple[PictureSize, ...]
    durations_s: tuple[float, ...]
    slices: tuple[SliceWork, ...]

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
    """The parts that some tables lack, in order, with these tables: one listing a table."""
    planned = store.parts("clips")
    published = {table: parts_in(store.folder.sizes(f"features/{table}"), f"features/{table}") for table in tables}
    lacking = {part: [table for table in tables if part not in published[table]] for part in planned}
    return {part: names for part, names in lacking.items() if names}


def part_work(
    store: Store,
    part: int,
    extractors: Mapping[str, Extractor],
    staged: Mapping[str, set[SliceKey]],
) -> PartWork:
    """What the given tables lack in one part, given what is staged."""
    info = store.read("videos", part, ["video_id", "height", "width", "duration_s"]).to_pylist()
    videos = {row["video_id"]: ((row["height"] or 0, row["width"] or 0), row["duration_s"]) for row in info}
    expected: dict[str, list[SliceKey]] = {table: [] for table in extractors}
    blocks = []
    for number, clips in _plan_blocks(store, part):
        sizes = tuple(videos[clip.video_id][0] for clip in clips)
        works = []
        for table, extractor in extractors.items():
            for cut in slices_of([(clip.start_s, clip.end_s) for clip in clips], extractor.sampling, sizes):
                key = SliceKey(part, number, cut.index, cut.count)
                expected[table].append(key)
                if key not in staged[table]:
                    works.append(SliceWork(table, key, cut.first, cut.stop))
        if works:
            durations_s = tuple(videos[clip.video_id][1] for clip in clips)
            blocks.append(BlockWork(clips, sizes, durations_s, tuple(works)))
    return PartWork(part, {table: tuple(keys) for table, keys in expected.items()}, tuple(blocks))


def tasks_of(blocks: Sequence[BlockWork], workers: int) -> Iterator[Task]:
    """Neighbouring blocks together: few blocks a task while workers would idle, at most eight."""
    size = max(1, min(BLOCKS_A_TASK, len(blocks) // (4 * workers)))
    for first in range(0, len(blocks), size):
        yield tuple(blocks[first : first + size])


def _plan_blocks(store: Store, part: int) -> Iterator[tuple[int, tuple[Clip, ...]]]:
    run: list[Clip] = []
    current = 0
    columns = ["clip_id", "video_id", "uri", "clip_index", "start_s", "end_s", "block"]
    for row in store.read("clips", part, columns).to_pylist():
        block = row.pop("block")
        if run and block != current:
            yield current, tuple(run)
            run = []
        current = block
        run.append(Clip(**row))
    if run:
        yield current, tuple(run)

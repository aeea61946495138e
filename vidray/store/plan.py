"""The plan as it stands in a store: the blocks of a part, and the slices into which each extractor cuts them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, takewhile
from sys import intern
from typing import Any

from vidray.errors import StoreError
from vidray.extractors.inputs import samplings_of, scope_of
from vidray.extractors.protocol import Extractor
from vidray.media import Clip, FrameSize, Span, with_context
from vidray.planning.units import Slice, slices_of
from vidray.store.layout import SliceKey
from vidray.store.store import Store
from vidray.wording import see_verify

VIDEO_SCOPE_CLIPS = 4096
"""So many clips of whole videos are handed to an extractor of scope "video" at once, or one video of more."""
NEAR_S = 64.0
"""How far from a block's video clips of other blocks are near: further than the context of vidray's extractors."""


@dataclass(frozen=True)
class PlannedBlock:
    """One block of the plan, with what is known of each clip's video.

    Attributes:
        number: In its part.
        clips: In plan order.
        sizes: (height, width) of each clip's video as displayed, (0, 0) without a frame.
        durations_s: Of each clip's video.
        previous_ends_s: The latest end of the video's clips before each clip, None for the first.
        before: The spans of clips in blocks before that are of the first clip's video, and near.
        behind: Those in blocks behind that are of the last clip's.
    """

    number: int
    clips: tuple[Clip, ...]
    sizes: tuple[FrameSize, ...]
    durations_s: tuple[float, ...]
    previous_ends_s: tuple[float | None, ...]
    before: tuple[Span, ...] = ()
    behind: tuple[Span, ...] = ()


def plan_blocks(store: Store, part: int) -> Iterator[PlannedBlock]:
    """The blocks of one part, in order."""
    rows = list(_planned(store, part))
    stop = 0
    for number, run in groupby(rows, key=lambda row: row[0]):
        block = _block(number, [row[1:] for row in run])
        first, stop = stop, stop + len(block.clips)
        before = _near((rows[at][1] for at in range(first - 1, -1, -1)), block.clips[0])
        behind = _near((rows[at][1] for at in range(stop, len(rows))), block.clips[-1])
        yield replace(block, before=before[::-1], behind=behind)


def _near(clips: Iterable[Clip], clip: Clip) -> tuple[Span, ...]:
    """The spans of those that are of a clip's video and near it, until one is not."""
    return tuple(
        (other.start_s, other.end_s)
        for other in takewhile(
            lambda other: (
                other.video_id == clip.video_id
                and other.start_s < clip.end_s + NEAR_S
                and other.end_s > clip.start_s - NEAR_S
            ),
            clips,
        )
    )


def video_blocks(store: Store, part: int) -> Iterator[PlannedBlock]:
    """The clips of one part in runs of whole videos, in order."""
    held: list[tuple[Clip, FrameSize, float, float | None]] = []
    number = 0
    for _, run in groupby(_planned(store, part), key=lambda row: row[1].video_id):
        video = [row[1:] for row in run]
        if held and len(held) + len(video) > VIDEO_SCOPE_CLIPS:
            yield _block(number, held)
            held, number = [], number + 1
        held += video
    if held:
        yield _block(number, held)


def extractor_slices(part: int, block: PlannedBlock, extractor: Extractor) -> Iterator[tuple[SliceKey, Slice]]:
    """The slices of one block for one extractor, each with the name of its staged file."""
    for cut in slices_of(clip_bytes(extractor, block)):
        yield SliceKey(part, block.number, cut.index, cut.count), cut


def extractor_blocks(store: Store, part: int, extractor: Extractor) -> Iterator[PlannedBlock]:
    """The blocks of one part as an extractor's scope wants them."""
    return video_blocks(store, part) if scope_of(extractor) == "video" else plan_blocks(store, part)


def clip_bytes(extractor: Extractor, block: PlannedBlock) -> list[int]:
    """How many bytes the samples of each clip take, context included, at most; 0 where nothing is decoded."""
    samplings = samplings_of(extractor).values()
    return [
        sum(s.nbytes(*with_context(s, clip.start_s, clip.end_s, duration_s), size) for s in samplings)
        for clip, size, duration_s in zip(block.clips, block.sizes, block.durations_s, strict=True)
    ]


def _planned(store: Store, part: int) -> Iterator[tuple[int, Clip, FrameSize, float, float | None]]:
    """Block, clip, size and duration of its video, and the latest end before it, of each clip of a part."""
    info = store.read("videos", part, ["video_id", "height", "width", "duration_s"]).to_pylist()
    videos = {row["video_id"]: ((row["height"] or 0, row["width"] or 0), row["duration_s"]) for row in info}
    columns = ["clip_id", "video_id", "uri", "clip_index", "start_s", "end_s", "block"]
    # stores of earlier versions do not say where shots begin
    columns += [name for name in store.columns("clips", part) if name == "starts_shot"]
    ends: dict[str, float] = {}
    for row in store.read("clips", part, columns).to_pylist():
        wrong = _wrong(row, videos)
        if wrong is not None:
            raise StoreError(f"{store.url}: part {part} of clips {wrong}; {see_verify(store.url)}")
        # a wave holds many clips: those of a video share what names it
        clip = Clip(
            **{name: value for name, value in row.items() if name != "block"}
            | {"video_id": intern(row["video_id"]), "uri": intern(row["uri"])}
        )
        previous_end_s = ends.get(clip.video_id)
        ends[clip.video_id] = max(clip.end_s, previous_end_s or 0.0)
        yield row["block"], clip, *videos[clip.video_id], previous_end_s


def _wrong(row: Mapping[str, Any], videos: Mapping[str, tuple[FrameSize, float | None]]) -> str | None:
    """Why no run can work with a clip as it is planned; None where it can."""
    if not all(isinstance(row[name], str) for name in ("clip_id", "video_id", "uri")) or row["block"] is None:
        return f"has a clip without what names it: {row['clip_id']}, {row['video_id']}, {row['uri']}, {row['block']}"
    if row["video_id"] not in videos:
        return f"has clips of {row['uri']}, which the same part of videos lacks"
    start_s, end_s, duration_s = row["start_s"], row["end_s"], videos[row["video_id"]][1]
    if start_s is None or end_s is None or not 0 <= start_s < end_s < math.inf:
        return f"has a clip of {row['uri']} from {start_s} to {end_s} s"
    if duration_s is None or not 0 < duration_s < math.inf:
        return f"has clips of {row['uri']}, which lasts {duration_s} s by the same part of videos"
    return None


def _block(number: int, rows: Sequence[tuple[Clip, FrameSize, float, float | None]]) -> PlannedBlock:
    clips, sizes, durations_s, previous_ends_s = zip(*rows, strict=True)
    return PlannedBlock(number, clips, sizes, durations_s, previous_ends_s)

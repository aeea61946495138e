"""One part of a corpus: probe its videos, cut them into clips, write both; on this machine or as Ray tasks."""

from __future__ import annotations

import itertools
import queue
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, fields
from typing import cast
from urllib.parse import urlsplit

import pyarrow as pa

from vidray.errors import ClusterError, ProbeError, StorageGoneError
from vidray.media import Clip, Video, VideoInfo
from vidray.pipeline.growth import TAKEN
from vidray.pipeline.survey import find_cuts
from vidray.pipeline.trouble import raise_as_said, reason_of
from vidray.pipeline.waiting import first_of
from vidray.pipeline.witness import is_gone_beside
from vidray.planning import (
    Part,
    Planner,
    blocks_of,
    clips_of,
    outside,
    survey_of,
    with_spans_cut,
)
from vidray.sandbox import Sandbox
from vidray.storage import is_answering, is_local
from vidray.store import CLIPS, PROBE_ERRORS, VIDEOS, Store, metadata
from vidray.store.layout import PROBE_TABLE
from vidray.wording import counted

LOCAL_PROBES_AT_ONCE = 2
REMOTE_PROBES_AT_ONCE = 16
PARTS_AT_ONCE_A_CPU = 2
FILES_OF_A_STORAGE = 3
"""Where so many files of one storage, and no other, are asked for in vain, they are not to blame."""


@dataclass(frozen=True)
class PartPlan:
    """What planning one part found.

    Attributes:
        videos: Listed.
        clips: Of the videos that can be read.
        video_s: Seconds of these videos.
        decode_pixels: Pixels of all their frames: what decoding has to go through, at most.
        failures: (URI, why) of the videos that cannot be read.
        uncut: (URI, why) of those whose shots could not be looked for to the end; these are cut evenly there.
        spans_cut: How many of a manifest's spans went past the end of their video, and end there.
    """

    videos: int
    clips: int
    video_s: float
    decode_pixels: float
    failures: tuple[tuple[str, str], ...]
    uncut: tuple[tuple[str, str], ...] = ()
    spans_cut: int = 0


@dataclass(frozen=True)
class Target:
    """Where a plan is written: the store, the corpus that it is of, and the types of its metadata columns."""

    store_url: str
    corpus: str
    metadata: pa.Schema


def run_parts(
    parts: Sequence[Part], planner: Planner, target: Target | None, *, say: Callable[[str], None] = lambda line: None
) -> Iterator[PartPlan]:
    """Probe parts on the cluster, some at a time; yields a `PartPlan` each."""
    import ray

    job = ray.remote(num_cpus=1, max_retries=3)(plan_part)
    at_once = PARTS_AT_ONCE_A_CPU * max(1, int(ray.cluster_resources().get("CPU", 1)))
    waiting = iter(parts)
    running = [job.remote(part, planner, target) for part in itertools.islice(waiting, at_once)]
    while running:
        try:
            finished = first_of(running, doing=f"planning {counted(len(running), 'part')}", say=say)
        except TimeoutError as e:
            raise ClusterError(str(e)) from e
        running.remove(finished)
        running += [job.remote(part, planner, target) for part in itertools.islice(waiting, 1)]
        try:
            yield ray.get(finished)
        except ray.exceptions.RayError as e:
            raise_as_said(e)
            raise ClusterError(f"planning failed on the cluster: {reason_of(e)}") from e


def plan_part(part: Part, planner: Planner, target: Target | None) -> PartPlan:
    """Probe one part's videos and write its tables, `clips` last: that is the commit.

    Writes nothing without a target.
    """
    results = _probe_part(part.videos)
    cuts: Sequence[Sequence[float]] = [()] * len(results)
    uncut: Sequence[tuple[str, str]] = ()
    survey = survey_of(planner)
    if survey is not None:
        cuts, uncut = find_cuts(part.videos, results, survey)
    unseen = {uri for uri, _ in uncut}
    clips: list[Clip] = []
    notes: list[Mapping[str, object]] = []
    pixels, cut = 0.0, 0
    for listed, info, cuts_s in zip(part.videos, results, cuts, strict=True):
        if isinstance(info, VideoInfo):
            video = with_spans_cut(listed, info.duration_s)
            cut += len(set(listed.spans) - set(video.spans))
            is_seen = survey is not None and not video.spans and video.uri not in unseen
            planned = outside(planner.spans(info.duration_s, cuts_s), info.holes)
            mine = clips_of(video, planned, cuts_s if is_seen else None)
            clips += mine
            notes += [video.metadata[i if video.spans else 0] if video.metadata else {} for i in range(len(mine))]
            pixels += info.duration_s * (info.fps or 0.0) * (info.width or 0) * (info.height or 0)
    failures = [(video, e) for video, e in zip(part.videos, results, strict=True) if isinstance(e, ProbeError)]
    if target is not None:
        _write_part(target, part, results, failures, clips, notes)
    return PartPlan(
        videos=len(part.videos),
        clips=len(clips),
        video_s=sum(info.duration_s for info in results if isinstance(info, VideoInfo)),
        decode_pixels=pixels,
        failures=tuple((video.uri, error.message) for video, error in failures),
        uncut=tuple(uncut),
        spans_cut=cut,
    )


def _probe_part(videos: Sequence[Video]) -> list[VideoInfo | ProbeError]:
    """Probe all, and a second time what the storage did not give.

    Raises StorageGoneError where by then it does not give the files either that it gave, or gave none of its files.
    """
    results = _probe_all(videos)
    lost = _not_given(videos, results)
    if not lost:
        return results
    for index, info in zip(lost, _probe_all([videos[index] for index in lost]), strict=True):
        results[index] = info
    lost = _not_given(videos, results)
    given = [video.uri for video, info in zip(videos, results, strict=True) if isinstance(info, VideoInfo)]
    if lost and (is_gone_beside(videos[lost[0]].uri, given) if given else _are_all_lost(videos, results, lost)):
        raise StorageGoneError(videos[lost[0]].uri, cast(ProbeError, results[lost[0]]).message)
    return results


def _not_given(videos: Sequence[Video], results: Sequence[VideoInfo | ProbeError]) -> list[int]:
    """Those that the storage does not give, though it has them: a manifest may name what never was."""
    kinds = [info.kind if isinstance(info, ProbeError) else None for info in results]
    return [
        index
        for index, (video, kind) in enumerate(zip(videos, kinds, strict=True))
        if kind == "unreadable" or (kind == "not_found" and video.is_seen)
    ]


def _are_all_lost(videos: Sequence[Video], results: Sequence[VideoInfo | ProbeError], lost: Sequence[int]) -> bool:
    """Whether a storage gives none of its files, which are some."""
    places = {urlsplit(videos[index].uri)[:2] for index in lost}
    if len(places) > 1 or not len(lost) == len(videos) >= FILES_OF_A_STORAGE:
        return False
    return cast(ProbeError, results[0]).kind == "not_found" or not is_answering(videos[0].uri)


def _probe_all(videos: Sequence[Video]) -> list[VideoInfo | ProbeError]:
    """What each file's headers say, a few files at a time: on remote storage most of the time goes by waiting."""
    sandboxes = queue.SimpleQueue[Sandbox]()
    count = min(len(videos), LOCAL_PROBES_AT_ONCE if is_local(videos[0].uri) else REMOTE_PROBES_AT_ONCE)
    for _ in range(count):
        sandboxes.put(Sandbox())

    def probe(video: Video) -> VideoInfo | ProbeError:
        sandbox = sandboxes.get()
        try:
            return sandbox.probe(video.uri)
        except ProbeError as e:
            return e
        finally:
            sandboxes.put(sandbox)

    try:
        with ThreadPoolExecutor(count) as pool:
            return list(pool.map(probe, videos))
    finally:
        while not sandboxes.empty():
            sandboxes.get().close()


def _write_part(
    target: Target,
    part: Part,
    results: Sequence[VideoInfo | ProbeError],
    failures: Sequence[tuple[Video, ProbeError]],
    clips: Sequence[Clip],
    notes: Sequence[Mapping[str, object]],
) -> None:
    store = Store(target.store_url)
    errors = [
        {"video_id": video.video_id, "uri": video.uri, "stage": "probe", "kind": error.kind, "message": error.message}
        for video, error in failures
    ]
    store.write(PROBE_TABLE, part.number, pa.Table.from_pylist(errors, PROBE_ERRORS), PROBE_ERRORS)
    videos = [
        {
            **{name: getattr(video, name) for name in ("video_id", "uri", "size_bytes", "fingerprint")},
            "status": "ok" if isinstance(info, VideoInfo) else "failed",
            **(asdict(info) if isinstance(info, VideoInfo) else {}),
            "corpus": target.corpus,
        }
        for video, info in zip(part.videos, results, strict=True)
    ]
    first = [video.metadata[0] if video.metadata and not video.spans else {} for video in part.videos]
    _write_with_metadata(store, "videos", part.number, videos, first, VIDEOS, target.metadata)
    rows = [
        {**{f.name: getattr(clip, f.name) for f in fields(Clip)}, "part": part.number, "block": block.number}
        for block in blocks_of(part.number, clips)
        for clip in block.clips
    ]
    _write_with_metadata(store, "clips", part.number, rows, notes, CLIPS, target.metadata)


def _write_with_metadata(
    store: Store,
    table: str,
    part: int,
    rows: Sequence[Mapping[str, object]],
    notes: Sequence[Mapping[str, object]],
    schema: pa.Schema,
    columns: pa.Schema,
) -> None:
    held = pa.Table.from_pylist(list(rows), schema)
    for field in columns:
        held = held.append_column(metadata.shown(field.name, TAKEN), metadata.column(field, notes))
    store.write(table, part, held, held.schema)

"""The plan job: list the corpus, probe what is new, write videos and clips part by part."""

from __future__ import annotations

import contextlib
import itertools
import queue
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, fields
from os import PathLike
from typing import cast
from urllib.parse import urlsplit

import pyarrow as pa

from vidray.corpus import Listing, list_corpus
from vidray.errors import ClusterError, ProbeError, StorageGoneError
from vidray.media import Clip, Video, VideoInfo
from vidray.moving import finish_renaming
from vidray.pipeline.cluster import Cluster, cluster, raise_as_said
from vidray.pipeline.growth import TAKEN, finish_move, take_in_growth
from vidray.pipeline.progress import Progress, progress_of
from vidray.pipeline.survey import find_cuts
from vidray.pipeline.waiting import first_of
from vidray.pipeline.witness import is_gone_beside
from vidray.planning import (
    FixedStride,
    Part,
    Planner,
    blocks_of,
    clips_of,
    outside,
    parts_of,
    survey_of,
    with_spans_cut,
)
from vidray.sandbox import Sandbox
from vidray.storage import is_answering, is_local, place_of
from vidray.store import CLIPS, PROBE, PROBE_ERRORS, VIDEOS, Store, metadata
from vidray.store.changes import find_changes, finish_retirement, human_labels_of, retire
from vidray.store.lease import OF_LABELS, Lease
from vidray.store.leftovers import clear_leftovers
from vidray.store.removal import write_removal
from vidray.wording import counted

LOCAL_PROBES_AT_ONCE = 2
REMOTE_PROBES_AT_ONCE = 16
PARTS_AT_ONCE_A_CPU = 2
UNCUT_NAMED = 10
PRUNED_NAMED = 5
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


@dataclass(frozen=True, kw_only=True)
class PlanSummary:
    """What a store's plan holds.

    Attributes:
        videos: In the store.
        videos_failed: Of these, how many cannot be read, and so have no clips.
        clips: In the store.
    """

    videos: int
    videos_failed: int
    clips: int


def plan(
    corpus: str | PathLike[str],
    store: str | PathLike[str],
    *,
    planner: Planner | None = None,
    limit: int | None = None,
    refresh: bool = False,
    prune: bool = False,
    text_columns: Sequence[str] = (),
    ray_address: str | None = None,
    progress: Progress | bool | None = None,
) -> PlanSummary:
    """Write the videos and clips of a corpus into a store; extracts nothing. Arguments and errors as of `extract`."""
    corpus, progress = place_of(corpus, "corpus"), progress_of(progress)
    planner = planner or FixedStride()
    target = Store(store)
    target.check_plan(planner.config)
    known = frozenset[str]() if refresh else known_uris(target)
    listing = list_corpus(corpus, limit=limit, known=known, text_columns=text_columns)
    with (
        Lease(target.folder, say=progress.say) as lease,
        cluster(ray_address) as connection,
        contextlib.closing(progress),
    ):
        settle_changes(target, listing, progress, refresh=refresh, prune=prune)
        plan_listing(listing, target, planner, lease=lease, cluster=connection, progress=progress)
    return planned_in(target)


def planned_in(store: Store) -> PlanSummary:
    """Count the plan of a store."""
    tables = {"videos": "videos", "videos_failed": f"errors/{PROBE}", "clips": "clips"}
    parts = store.parts("clips")
    return PlanSummary(**{name: sum(store.rows(table, part) for part in parts) for name, table in tables.items()})


def estimate(
    corpus: str | PathLike[str],
    *,
    planner: Planner | None = None,
    limit: int | None = None,
    text_columns: Sequence[str] = (),
    ray_address: str | None = None,
    progress: Progress | bool | None = None,
) -> PartPlan:
    """Probe a corpus and add up what planning it would find; writes nothing."""
    corpus, progress = place_of(corpus, "corpus"), progress_of(progress)
    listing = list_corpus(corpus, limit=limit, text_columns=text_columns)
    for warning in listing.warnings:
        progress.say(warning)
    planner = planner or FixedStride()
    _check_survey(planner)
    parts = parts_of(listing.videos, itertools.count())
    found = []
    with cluster(ray_address) as connection, contextlib.closing(progress):
        is_small = len(parts) == 1 and survey_of(planner) is None
        if not is_small:
            connection.connect()
        progress.phase("probing", len(listing.videos))
        here = plan_part(parts[0], planner, None) if is_small else None
        for part in (here,) if here is not None else run_parts(parts, planner, None, say=progress.say):
            progress.probed(part.videos, len(part.failures))
            found.append(part)
    return PartPlan(
        videos=sum(part.videos for part in found),
        clips=sum(part.clips for part in found),
        video_s=sum(part.video_s for part in found),
        decode_pixels=sum(part.decode_pixels for part in found),
        failures=tuple(failure for part in found for failure in part.failures),
    )


def settle_changes(
    store: Store,
    listing: Listing,
    progress: Progress,
    *,
    refresh: bool = False,
    prune: bool = False,
    retry_failed: bool = False,
) -> None:
    """Retire the videos that are to be planned again or are gone, and tell of those that stay as they are."""
    clear_leftovers(store)
    if store.moving() is not None or store.renaming() is not None or store.intent():
        with Lease(store.folder, say=progress.say, of=OF_LABELS):
            finish_renaming(store)
            finish_move(store)
            finish_retirement(store)
    changes = find_changes(store, listing)
    retired: set[str] = set()
    for video_ids, is_asked, what, option in (
        (changes.changed, refresh, "changed", "--refresh takes them in as new videos"),
        (changes.deleted, prune, "no longer in the corpus", "--prune removes their rows"),
        (changes.failed, retry_failed, "unreadable", ""),
    ):
        if is_asked:
            retired |= video_ids
        elif video_ids and option:
            progress.say(f"{len(video_ids):,} videos are {what} since they were planned; {option}, now all are kept")
    uris = _uris_of(store, changes.deleted) if prune else []
    labels = human_labels_of(store, retired)
    if labels:
        progress.say(f"{labels:,} labels that people gave to these videos are removed with them; import them again")
    if retired:
        with Lease(store.folder, say=progress.say, of=OF_LABELS):
            retire(store, retired)
        if prune and changes.deleted:
            _tell_pruned(store, changes.deleted, uris, progress)


def _uris_of(store: Store, video_ids: Collection[str]) -> list[str]:
    videos = (
        row for part in store.parts("clips") for row in store.read("videos", part, ["video_id", "uri"]).to_pylist()
    )
    return [row["uri"] for row in videos if row["video_id"] in video_ids]


def _tell_pruned(store: Store, video_ids: Collection[str], uris: Sequence[str], progress: Progress) -> None:
    """Say and write down what was removed, and that the indexes have it still, where nobody finds it."""
    write_removal(store, {"pruned": sorted(video_ids), "uris": list(uris)})
    more = f" and {len(uris) - PRUNED_NAMED:,} more" if len(uris) > PRUNED_NAMED else ""
    progress.say(f"removed all rows of {counted(len(uris), 'video')}: {', '.join(uris[:PRUNED_NAMED])}{more}")
    indexes = store.tables("index")
    if indexes:
        progress.say(
            f"what was removed is not found any more; to make the index of {', '.join(indexes)} smaller: "
            f"vidray index {store.url} -x {indexes[0]}"
        )


def plan_listing(
    listing: Listing,
    store: Store,
    planner: Planner,
    *,
    lease: Lease,
    cluster: Cluster,
    progress: Progress,
    meanwhile: Callable[[], None] = lambda: None,
) -> None:
    """Plan the listed videos that the store does not know yet.

    Starts Ray where there is more than one part of them, or shots are looked for: a single part is planned here else,
    and `meanwhile` something else is done, such as to start Ray.
    """
    for warning in listing.warnings:
        progress.say(warning)
    known = known_uris(store)
    fresh = [video for video in listing.videos if video.uri not in known]
    if fresh:
        _check_survey(planner)
    columns = _settle_config(store, planner, listing.metadata, progress) if fresh or known else pa.schema([])
    if known:
        lease.check()
        take_in_growth(store, listing, columns, progress.say)
    if not fresh:
        return
    taken = set(store.parts("clips"))
    parts = parts_of(fresh, (number for number in itertools.count() if number not in taken))
    target = Target(store.url, listing.corpus, columns)
    if len(parts) == 1 and survey_of(planner) is None:
        with ThreadPoolExecutor(1, "plan") as beside:
            planned = beside.submit(plan_part, parts[0], planner, target)
            meanwhile()
            progress.phase("probing", len(fresh))
            found = planned.result()
            lease.check()
            _say_part(found, progress)
        return
    cluster.connect()
    cluster.check_nodes(store.folder, fresh[0].uri if fresh[0].is_seen else None)
    progress.phase("probing", len(fresh))
    for part in run_parts(parts, planner, target, say=progress.say):
        lease.check()
        _say_part(part, progress)


def _say_part(part: PartPlan, progress: Progress) -> None:
    progress.probed(part.videos, len(part.failures))
    if part.spans_cut:
        progress.say(f"{counted(part.spans_cut, 'span')} of the manifest went past the end of the video, and end there")
    for uri, why in part.uncut[:UNCUT_NAMED]:
        progress.say(f"{uri}: not looked at for shots to its end, cut evenly there: {why}")


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
            finished = first_of(running, doing=f"planning {len(running)} parts", say=say)
        except TimeoutError as e:
            raise ClusterError(str(e)) from e
        running.remove(finished)
        running += [job.remote(part, planner, target) for part in itertools.islice(waiting, 1)]
        try:
            yield ray.get(finished)
        except ray.exceptions.RayError as e:
            raise_as_said(e)
            raise ClusterError(f"planning failed on the cluster: {' '.join(str(e).split())[-500:]}") from e


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


def _check_survey(planner: Planner) -> None:
    """Refuse to begin without what the planner's survey needs: MissingExtraError, WeightsError."""
    survey = survey_of(planner)
    if survey is not None:
        survey.check()


def known_uris(store: Store, *, retry_failed: bool = False) -> frozenset[str]:
    """The URIs that the store has planned and keeps: none of videos that are to be planned again."""
    retired = frozenset(store.intent())
    return frozenset(
        row["uri"]
        for row in store.listed_videos().to_pylist()
        if row["video_id"] not in retired and not (retry_failed and row["status"] == "failed")
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
    store.write(f"errors/{PROBE}", part.number, pa.Table.from_pylist(errors, PROBE_ERRORS), PROBE_ERRORS)
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


def _settle_config(store: Store, planner: Planner, found: pa.Schema, progress: Progress) -> pa.Schema:
    """Write the store's configuration down; returns its metadata columns: those that it has, and those of a manifest.

    Says which ones it keeps under another name.
    """
    config = store.config()
    known = store.metadata()
    columns = metadata.joined(known, found)
    for name in [name for name in columns.names if name not in known.names]:
        if name in TAKEN:
            progress.say(f"the manifest's column {name} is kept as meta_{name}: {name} is a column of vidray's own")
        if name not in found.names:
            was = name.removesuffix("_json")
            progress.say(
                f"the manifest's column {was} is {found.field(was).type}, and was {known.field(was).type}; "
                f"it is kept as JSON text in {name}"
            )
    if config is None or not columns.equals(known, check_metadata=True):
        store.write_config(planner.config, metadata=columns)
    return columns

"""The plan job: list the corpus, probe what is new, write videos and clips part by part."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from os import PathLike

import pyarrow as pa

from vidray.arguments import check_has
from vidray.corpus import Listing, list_corpus
from vidray.media import UNSEEN
from vidray.moving import finish_renaming
from vidray.pipeline.cluster import Cluster, cluster
from vidray.pipeline.growth import TAKEN, Growth, finish_move, take_in_growth, told_of_cut
from vidray.pipeline.plan_parts import PartPlan, Target, plan_part, run_parts
from vidray.pipeline.progress import Progress, progress_of
from vidray.planning import (
    FixedStride,
    Planner,
    parts_of,
    planner_of,
    survey_of,
)
from vidray.storage import place_of
from vidray.store import Store, metadata
from vidray.store.changes import Changes, find_changes, finish_retirement, human_labels_of, retire
from vidray.store.layout import PROBE_TABLE
from vidray.store.lease import OF_LABELS, Lease
from vidray.store.leftovers import clear_leftovers
from vidray.store.remedies import index_command
from vidray.store.removal import write_removal
from vidray.wording import counted

UNCUT_NAMED = 10
PRUNED_NAMED = 5


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


@dataclass(frozen=True, kw_only=True)
class Settled:
    """How the videos of a listing stand to those that are planned.

    Attributes:
        listed: All of them.
        new: Not planned before.
        changed: Planned as other files, and to be planned anew.
        again: That could not be read when they were planned, and are tried again.
        unseen: Listed and planned as before, whose files are not to be seen now, as a manifest may name such.
        gone: Planned, and listed no more; None where the listing is not of all that the corpus has.
        says_more: Whether the listing has spans or metadata, as manifests do.
    """

    listed: int
    new: int
    changed: int
    again: int
    unseen: int
    gone: int | None
    says_more: bool

    def told(self, growth: Growth, *, pruned: bool) -> str:
        """What a refresh took in, with counts that add up."""
        before = self.listed - self.new - self.changed - self.again
        again = f" + {self.again:,} tried again" if self.again else ""
        unseen = f" ({self.unseen:,} not to be seen now, rows kept)" if self.unseen else ""
        files = f"{before:,} as before{unseen} + {self.new:,} new + {self.changed:,} changed{again}"
        rows = "removed" if pruned else "kept"
        gone = "" if self.gone is None else f"; {self.gone:,} gone{f', rows {rows}' if self.gone else ''}"
        spans = f"{counted(growth.clips, 'new clip')} in {counted(growth.videos, 'planned video')} by new spans"
        more = f"; {spans}; metadata of {counted(growth.rows, 'row')} changed" if self.says_more else ""
        return f"refreshed: {counted(self.listed, 'video')} listed = {files}{gone}{more}"


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
    target = Store(store)
    planner = chosen_planner(planner, target)
    target.check_plan(planner.config)
    known = frozenset[str]() if refresh else known_uris(target)
    texts = metadata.texts_of(target.metadata())
    listing = list_corpus(corpus, limit=limit, known=known, text_columns=text_columns, held_texts=texts)
    with (
        Lease(target.folder, say=progress.say) as lease,
        cluster(ray_address, progress.say) as connection,
        contextlib.closing(progress),
    ):
        take_in(
            listing, target, planner, lease=lease, cluster=connection, progress=progress, refresh=refresh, prune=prune
        )
    return planned_in(target)


def chosen_planner(planner: Planner | None, store: Store | None = None) -> Planner:
    """The planner that was asked for, else the one that a store was planned with, else that of 10 s.

    Raises TypeError for what is no planner, and UsageError where the store's own is not vidray's.
    """
    if planner is None:
        config = None if store is None else store.config()
        return FixedStride() if config is None else planner_of(config["plan"])
    check_has("a planner", "config", "spans", planner=planner)
    return planner


def planned_in(store: Store) -> PlanSummary:
    """Count the plan of a store."""
    tables = {"videos": "videos", "videos_failed": PROBE_TABLE, "clips": "clips"}
    parts = store.parts("clips")
    return PlanSummary(**{name: store.count(table, parts) for name, table in tables.items()})


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
    planner = chosen_planner(planner)
    _check_survey(planner)
    parts = parts_of(listing.videos, itertools.count())
    found = []
    with cluster(ray_address, progress.say) as connection, contextlib.closing(progress):
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


def take_in(
    listing: Listing,
    store: Store,
    planner: Planner,
    *,
    lease: Lease,
    cluster: Cluster,
    progress: Progress,
    refresh: bool = False,
    prune: bool = False,
    retry_failed: bool = False,
    meanwhile: Callable[[], None] = lambda: None,
) -> None:
    """Bring a store's plan to what a listing shows, as far as was asked for, and say what was taken in."""
    store.listed.look_again()
    settled = settle_changes(store, listing, progress, refresh=refresh, prune=prune, retry_failed=retry_failed)
    growth = plan_listing(listing, store, planner, lease=lease, cluster=cluster, progress=progress, meanwhile=meanwhile)
    for line in growth.lines() if settled is None else (settled.told(growth, pruned=prune),):
        progress.say(line)
    if growth.cut:
        progress.say(told_of_cut(growth.cut))


def settle_changes(
    store: Store,
    listing: Listing,
    progress: Progress,
    *,
    refresh: bool = False,
    prune: bool = False,
    retry_failed: bool = False,
) -> Settled | None:
    """Retire the videos that are to be planned again or are gone, and tell of those that stay as they are.

    Of a refresh, how the listing stood to the plan before.
    """
    clear_leftovers(store)
    if store.intents.moving() is not None or store.intents.renaming() is not None or store.intents.retiring():
        with Lease(store.folder, say=progress.say, of=OF_LABELS):
            finish_renaming(store)
            finish_move(store)
            finish_retirement(store)
    changes = find_changes(store, listing)
    settled = _settled(store, listing, changes, retry_failed=retry_failed) if refresh else None
    retired: set[str] = set()
    for video_ids, is_asked, what, option in (
        (changes.changed, refresh, ("has changed", "have changed"), "--refresh takes in what there is now"),
        (
            changes.deleted,
            prune,
            ("is no longer in the corpus", "are no longer in the corpus"),
            "--prune removes the rows",
        ),
        (changes.failed, retry_failed, ("", ""), ""),
    ):
        if is_asked:
            retired |= video_ids
        elif video_ids and option:
            told = f"{counted(len(video_ids), 'video')} {what[len(video_ids) > 1]}"
            progress.say(f"{told} since planning, and all rows are kept: {option}")
    uris = _uris_of(store, changes.deleted) if prune else []
    _tell_labels(store, retired, changes.deleted if prune else frozenset(), progress)
    if retired:
        with Lease(store.folder, say=progress.say, of=OF_LABELS):
            retire(store, retired)
        if prune and changes.deleted:
            _tell_pruned(store, changes.deleted, uris, progress)
    return settled


def _settled(store: Store, listing: Listing, changes: Changes, *, retry_failed: bool) -> Settled:
    columns = (store.listed.rows()[name].to_pylist() for name in ("uri", "status", "fingerprint"))
    was_seen = {uri: status == "ok" and of != UNSEEN for uri, status, of in zip(*columns, strict=True)}
    return Settled(
        listed=len(listing.videos),
        new=sum(video.uri not in was_seen for video in listing.videos),
        changed=len(changes.changed),
        again=len(changes.failed - changes.changed) if retry_failed else 0,
        unseen=sum(not video.is_seen and was_seen.get(video.uri, False) for video in listing.videos),
        gone=len(changes.deleted) if listing.is_whole else None,
        says_more=any(video.spans or any(video.metadata) for video in listing.videos),
    )


def _tell_labels(store: Store, retired: Collection[str], gone: Collection[str], progress: Progress) -> None:
    """Say how many labels of people go with the videos, which can be given again where the videos are planned anew."""
    for video_ids, remedy in ((set(retired) - set(gone), "; import what is true of the new ones"), (gone, "")):
        labels = human_labels_of(store, video_ids)
        if labels:
            # not every one of these videos has some
            told = f"of {counted(len(video_ids), 'video')}, {counted(labels, 'label')} that people gave"
            progress.say(f"{told} {'is' if labels == 1 else 'are'} removed with the rows{remedy}")


def _uris_of(store: Store, video_ids: Collection[str]) -> list[str]:
    return [row["uri"] for row in store.listed.rows().to_pylist() if row["video_id"] in video_ids]


def _tell_pruned(store: Store, video_ids: Collection[str], uris: Sequence[str], progress: Progress) -> None:
    """Say and write down what was removed, and that the indexes have it still, where nobody finds it."""
    write_removal(store, {"pruned": sorted(video_ids), "uris": list(uris)})
    more = f" and {len(uris) - PRUNED_NAMED:,} more" if len(uris) > PRUNED_NAMED else ""
    progress.say(f"removed all rows of {counted(len(uris), 'video')}: {', '.join(uris[:PRUNED_NAMED])}{more}")
    indexes = store.tables("index")
    if indexes:
        progress.say(
            f"what was removed is not found any more; to make the index of {', '.join(indexes)} smaller: "
            f"{' && '.join(index_command(store.url, name) for name in indexes)}"
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
) -> Growth:
    """Plan the listed videos that the store does not know yet, and take in what a manifest says of the others.

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
    growth = Growth()
    if known:
        lease.check()
        growth = take_in_growth(store, listing, columns, progress.say)
    if not fresh:
        return growth
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
        return growth
    cluster.connect()
    cluster.check_nodes(store.folder, fresh[0].uri if fresh[0].is_seen else None)
    progress.phase("probing", len(fresh))
    for part in run_parts(parts, planner, target, say=progress.say):
        lease.check()
        _say_part(part, progress)
    return growth


def _say_part(part: PartPlan, progress: Progress) -> None:
    progress.probed(part.videos, len(part.failures))
    if part.spans_cut:
        progress.say(told_of_cut(part.spans_cut))
    for uri, why in part.uncut[:UNCUT_NAMED]:
        progress.say(f"{uri}: not looked at for shots to its end, cut evenly there: {why}")


def _check_survey(planner: Planner) -> None:
    """Refuse to begin without what the planner's survey needs: MissingExtraError, WeightsError."""
    survey = survey_of(planner)
    if survey is not None:
        survey.check()


def known_uris(store: Store, *, retry_failed: bool = False) -> frozenset[str]:
    """The URIs that the store has planned and keeps: none of videos that are to be planned again."""
    retired = frozenset(store.intents.retiring())
    return frozenset(
        row["uri"]
        for row in store.listed.rows().to_pylist()
        if row["video_id"] not in retired and not (retry_failed and row["status"] == "failed")
    )


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

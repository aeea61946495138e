"""The extract job: plan what is new, find what is missing, fill it in waves, publish part by part."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from os import PathLike
from typing import Any

from vidray.arguments import check_text
from vidray.corpus import list_corpus
from vidray.errors import ClusterError, StorageGoneError, UsageError, VidrayError
from vidray.extractors import resolve, slug, table_of
from vidray.extractors.inputs import Bound, audio_context_s
from vidray.extractors.protocol import Extractor
from vidray.pipeline.cluster import Cluster, Device, Placement, cluster, pickle_sources, ship_weights
from vidray.pipeline.graph import receipts
from vidray.pipeline.isolate import isolate
from vidray.pipeline.levels import Bindings, bind, describe_all, with_missing
from vidray.pipeline.plan import chosen_planner, known_uris, take_in
from vidray.pipeline.pool import Pool
from vidray.pipeline.progress import Progress, progress_of
from vidray.pipeline.publish import PUBLISHING_HERE, Publisher, unstaged
from vidray.pipeline.record import RunRecord, Summary
from vidray.pipeline.tasks import BlockWork, PartWork, Task, missing_parts, part_work, tasks_of
from vidray.pipeline.trouble import reason_of
from vidray.pipeline.witness import UNREACHABLE
from vidray.pipeline.worker import Receipt, receipt_of
from vidray.planning import Planner
from vidray.storage import place_of
from vidray.store import SliceKey, Store, metadata
from vidray.store.changes import begin_outdated, take_back
from vidray.store.layout import features_of
from vidray.store.lease import Lease
from vidray.wording import counted

WAVE_BLOCKS = 4096
WAVE_CLIPS = 65_536
PASSES = 2
BLOCKS_OF_A_BROKEN_CLUSTER = 8
CLIPS_ISOLATED = 256
WORKERS_END_S = 2.0
"""Ray tells workers to end, and does not say when they have."""


def extract(
    corpus: str | PathLike[str],
    store: str | PathLike[str],
    *,
    extractors: Sequence[str | Extractor] | Mapping[str, str | Extractor],
    planner: Planner | None = None,
    limit: int | None = None,
    retry_failed: bool = False,
    refresh: bool = False,
    prune: bool = False,
    text_columns: Sequence[str] = (),
    device: Device = "auto",
    ray_address: str | None = None,
    progress: Progress | bool | None = None,
) -> Summary:
    """Plan what has not been planned, then fill every missing (clip, extractor) pair of the store.

    Args:
        corpus: A file, a directory, a glob or a manifest on any fsspec URL.
        store: Any fsspec URL of a directory; made if it is not there.
        extractors: Names, `module:Class` paths or objects; a mapping gives the tables names of their own.
        planner: How videos become clips; by default as in the store, of 10 s in a new one. A store has one.
        limit: Plan only the first so many videos of the listing.
        retry_failed: Do what failed in earlier runs again.
        refresh: Ask about every file again, and take changed ones in as new videos; their old rows are removed.
        prune: Remove the rows of videos that this corpus no longer has.
        text_columns: Columns of a manifest that are text, whatever they look like: ids of digits, say.
        device: Where the networks run; "auto" takes GPUs where the cluster has some.
        ray_address: Of a running cluster; by default `RAY_ADDRESS`, else one is started on this machine.
        progress: True shows what goes on, in a terminal, a notebook or a log; by default nothing is shown.

    Raises:
        UsageError: Something in the arguments cannot be meant, or does not fit what the store holds.
        StoreError: The store cannot be read or written.
        ClusterError: The cluster does not do the work.
    """
    corpus, progress = place_of(corpus, "corpus"), progress_of(progress)
    target = Store(store)
    planner = chosen_planner(planner, target)
    check_text(device=device)
    bindings = bind(target, name_tables(extractors), progress.say)
    run = RunRecord(target, corpus=corpus, tables=bindings.extractors, planner=planner)
    stale = check_store(target, bindings, planner, refresh=refresh)
    known = frozenset[str]() if refresh else known_uris(target, retry_failed=retry_failed)
    texts = metadata.texts_of(target.metadata())
    listing = list_corpus(corpus, limit=limit, known=known, text_columns=text_columns, held_texts=texts)
    if ray_address is None and "RAY_ADDRESS" not in os.environ:
        planned = known_uris(target) if refresh else known
        _settle(target, bindings.extractors, has_more=any(video.uri not in planned for video in listing.videos))
    with Lease(target.folder, say=progress.say) as lease, cluster(ray_address, progress.say) as connection:
        try:
            # another run may have written while this one waited
            stale = check_store(target, bindings, planner, refresh=refresh)
            for table in stale:
                progress.say(f"{table} was made from what was made anew since; it is made again")
                target.remove_table(table)
            take_in(
                listing,
                target,
                planner,
                lease=lease,
                cluster=connection,
                progress=progress,
                refresh=refresh,
                prune=prune,
                retry_failed=retry_failed,
                meanwhile=connection.connect,
            )
            bindings = with_missing(target, bindings, progress.say)
            run.takes(bindings.extractors)
            take_back(target, bindings.extractors, retry_failed=retry_failed)
            specs = describe_all(target, bindings)
            with Pool(target.url, connection, say=progress.say) as pool:
                witness = next((video.uri for video in listing.videos if video.is_seen), None)
                filling = _Filling(
                    target, bindings, specs, connection, device, progress, run, lease, pool, witness_uri=witness
                )
                filling.fill_all()
            lease.check()
            target.staging.clear_useless()
            return run.finish()
        except (VidrayError, OSError) as e:
            run.fail(e)
            with contextlib.suppress(VidrayError, OSError):
                for table in bindings.extractors:
                    target.forget_empty(table)
            raise
        finally:
            progress.close()


def _settle(store: Store, extractors: Mapping[str, Extractor], *, has_more: bool) -> None:
    """Have the extractors that have something to do see that their weights and packages are here.

    Raises WeightsError and MissingExtraError.
    """
    missing = missing_parts(store, list(extractors))
    needed = {table for tables in missing.values() for table in tables}
    for table, extractor in extractors.items():
        settle = getattr(extractor, "settle", None)
        if settle is not None and (has_more or table in needed):
            settle()


def check_store(store: Store, bindings: Bindings, planner: Planner, *, refresh: bool) -> list[str]:
    """Refuse another plan, and other extractors, than the store has. Returns the tables that are to be made again.

    Raises SpecMismatchError.
    """
    store.check_plan(planner.config)
    specs = describe_all(store, bindings)
    stale = [table for table, spec in specs.items() if store.is_stale(table, spec)] if refresh else []
    for table, spec in specs.items():
        if table not in stale:
            store.check_spec(table, spec)
    return stale


def name_tables(
    extractors: Sequence[str | Extractor] | Mapping[str, str | Extractor], **options: Any
) -> dict[str, Extractor]:
    """The table of each extractor: a path-safe slug of its name, or the name it is given.

    `options` are those of `resolve`.
    """
    if isinstance(extractors, Mapping):
        return {slug(name): resolve(extractor, **options) for name, extractor in extractors.items()}
    if isinstance(extractors, str | bytes) or not isinstance(extractors, Iterable):
        what = f"{type(extractors).__name__} {extractors!r:.80}"
        raise TypeError(f"extractors must be a list, or a mapping from tables to extractors, got {what}")
    if not extractors:
        raise UsageError("no extractor was named; `vidray models` lists them")
    tables: dict[str, Extractor] = {}
    for extractor in extractors:
        resolved = resolve(extractor, **options)
        table = slug(table_of(extractor) or resolved.name)
        if table in tables:
            raise UsageError(
                f"two extractors would write the same table, {table}; give one a name of its own, "
                f"as in -x '{resolved.name}?name=NAME'"
            )
        tables[table] = resolved
    return tables


@dataclass
class _Filling:
    """One run's work on one store: level after level, in waves of parts, each decoded, extracted and published.

    Attributes:
        extractors: Of the level that is being filled.
        witness_uri: A file of the corpus that every node has to see, where there is one.
        lost: What the last worker that was lost is known to have died of.
    """

    store: Store
    bindings: Bindings
    specs: Mapping[str, Mapping[str, Any]]
    cluster: Cluster
    device: Device
    progress: Progress
    run: RunRecord
    lease: Lease
    pool: Pool
    witness_uri: str | None
    extractors: dict[str, Extractor] = field(default_factory=dict)
    lost: str = ""

    @property
    def bound(self) -> Mapping[str, Bound]:
        return self.bindings.bound

    def fill_all(self) -> None:
        """Fill every table of the run."""
        try:
            for tables in self.bindings.levels():
                self._fill_level(tables)
        finally:
            self.run.count("workers_lost", self.pool.lost)
            self.run.count("nodes_lost", self.pool.nodes_lost)

    def _fill_level(self, tables: Sequence[str]) -> None:
        """Fill the tables of one level; those that they are made from are whole by now."""
        for table in tables:
            if self.bound[table]:
                begin_outdated(self.store, table, self.bound[table])
        staged = {table: self.store.staging.slices(table) for table in tables}
        missing = missing_parts(self.store, tables)
        for table in tables:
            if missing or (self.store.spec(table) is None and self.store.parts(features_of(table))):
                self.store.write_spec(table, self.specs[table])
        if not missing:
            return
        self.cluster.connect()
        self.cluster.check_nodes(self.store.folder, self.witness_uri)
        self.extractors = {table: self.bindings.extractors[table] for table in tables}
        self._fill(missing, staged)

    def _fill(self, missing: Mapping[int, Sequence[str]], staged: Mapping[str, set[SliceKey]]) -> None:
        placement = self.cluster.placement(device=self.device, extractors=self.extractors.values())
        self.run.settings["placement"] = dataclasses.asdict(placement)
        if not self.cluster.local:
            self.extractors = ship_weights(self.extractors, self.store.folder)
        pickle_sources(self.extractors)
        lacking = {
            count: [part for part, tables in missing.items() if len(tables) == count] for count in _lengths(missing)
        }
        total = sum(count * self.store.count("clips", parts) for count, parts in lacking.items())
        units = ("clip",) if len(self.extractors) == 1 else ("clip x extractor", "clips x extractors")
        left = total - self._staged_clips(missing, staged)
        if left < total:
            self.progress.say(f"{total - left:,} of {counted(total, *units)} are done already, and not done again")
        self.progress.phase("extracting", left, *units)
        works = (
            part_work(self.store, part, {table: self.extractors[table] for table in tables}, staged)
            for part, tables in missing.items()
        )
        with ThreadPoolExecutor(PUBLISHING_HERE) as threads:
            publisher = Publisher(self.store, self.extractors, threads=threads if self.cluster.local else None)
            if not placement.decoders:
                self.pool.equip(self.extractors, self.bound, placement.memory_bytes)
            try:
                for wave in _waves(works):
                    self.lease.check()
                    self._run_wave(wave, placement, publisher)
            except StorageGoneError:
                # what is still at work could stage more of the same
                self.pool.close()
                time.sleep(WORKERS_END_S)
                self._unstage_unreachable(publisher)
                raise
            publisher.wait()

    def _staged_clips(self, missing: Mapping[int, Sequence[str]], staged: Mapping[str, set[SliceKey]]) -> int:
        """How many clips of the parts that are missing are staged, a clip in two tables counting twice."""
        count = 0
        for part in sorted({key.part for keys in staged.values() for key in keys} & missing.keys()):
            tables = missing[part]
            work = part_work(self.store, part, {table: self.extractors[table] for table in tables}, staged)
            lacking = sum(item.stop - item.first for block in work.blocks for item in block.slices)
            count += len(tables) * self.store.count("clips", [part]) - lacking
        return count

    def _run_wave(self, wave: Sequence[PartWork], placement: Placement, publisher: Publisher) -> None:
        for work in wave:
            publisher.expect(work)
        blocks = [block for work in wave for block in work.blocks]
        for _ in range(PASSES):
            workers = max(placement.decoders, placement.extractors)
            tasks = list(tasks_of(blocks, workers, audio_context_s(self.extractors.values())))
            for receipt in self._receipts(tasks, placement):
                self._received(receipt, publisher)
            self._find_unreported(blocks, publisher)
            before, blocks = len(blocks), unstaged(blocks, publisher)
            if not blocks:
                return
            self.run.count("blocks_lost", len(blocks))
            if len(blocks) == before and before > BLOCKS_OF_A_BROKEN_CLUSTER:
                raise _broken(blocks, f"none of {before} blocks of clips came back")
            self.progress.say(f"{counted(len(blocks), 'block')} of clips went missing; trying again")
        if not (placement.decoders or self.pool.stood):
            raise ClusterError(
                "no worker lives to load its networks, for want of memory perhaps; no file is blamed, what is done is "
                f"kept; of the last one is known: {self.lost}"
            )
        clips = sum(item.stop - item.first for block in blocks for item in block.slices)
        if clips > CLIPS_ISOLATED:
            raise _broken(blocks, f"{counted(clips, 'clip')} went missing {PASSES} times")
        self.progress.say(f"{counted(clips, 'clip')} went missing {PASSES} times; trying one by one")
        self.run.count("clips_isolated", clips)
        self.pool.close()
        for receipt in isolate(blocks, self.store, self.extractors, self.bound, placement, say=self.progress.say):
            self._received(receipt, publisher)

    def _received(self, receipt: Receipt, publisher: Publisher) -> None:
        self.lease.check()
        work = receipt.work
        if not publisher.is_waiting_for(work.table, work.key):
            return
        self.progress.extracted(receipt.done, receipt.failed, receipt.video_s)
        self.run.received(receipt)
        if receipt.unreachable is not None and self.run.is_storage_gone():
            raise StorageGoneError(receipt.unreachable, "the storage does not give it, nor most of the last clips")
        publisher.received(receipt)

    def _unstage_unreachable(self, publisher: Publisher) -> None:
        """Have the slices without their files count as missing, but for those of parts that are published by now."""
        for table in self.extractors:
            for key in self.store.staging.slices(table):
                if publisher.is_waiting(table, key.part) and self.store.staging.has_failed(table, key, UNREACHABLE):
                    self.store.staging.remove(table, key)

    def _find_unreported(self, blocks: Sequence[BlockWork], publisher: Publisher) -> None:
        """A worker may die between staging a slice and reporting it: the store is what counts."""
        lost = [(block, item) for block in unstaged(blocks, publisher) for item in block.slices]
        staged = {table: self.store.staging.slices(table) for table in {item.table for _, item in lost}}
        for block, item in lost:
            if item.key in staged[item.table]:
                rows = self.store.staging.read(item.table, item.key)
                self._received(receipt_of(item, rows, block.seconds_of(item), time.time()), publisher)

    def _receipts(self, tasks: Sequence[Task], placement: Placement) -> Iterator[Receipt]:
        import ray

        if not tasks:
            return
        try:
            if placement.decoders:
                yield from receipts(
                    tasks, placement, self.store.url, self.extractors, self.bound, say=self.progress.say
                )
            else:
                yield from self.pool.receipts(tasks)
        except ray.exceptions.RayError as e:
            self.lost = reason_of(e)
            self.progress.say(f"a worker was lost: {self.lost}")


def _lengths(missing: Mapping[int, Sequence[str]]) -> set[int]:
    """How many tables parts lack."""
    return {len(tables) for tables in missing.values()}


def _broken(blocks: Sequence[BlockWork], what: str) -> ClusterError:
    first = blocks[0].slices[0].key
    return ClusterError(
        f"{what}, first part {first.part} block {first.block} with {blocks[0].clips[0].uri}: workers die, of memory "
        "perhaps; no file is blamed, what is done is kept, run again"
    )


def _waves(works: Iterable[PartWork]) -> Iterator[list[PartWork]]:
    """Parts together up to a number of blocks and clips, so that the driver's memory does not grow with the corpus."""
    wave: list[PartWork] = []
    blocks = clips = 0
    for work in works:
        wave.append(work)
        blocks += len(work.blocks)
        clips += sum(len(block.clips) for block in work.blocks)
        if blocks >= WAVE_BLOCKS or clips >= WAVE_CLIPS:
            yield wave
            wave, blocks, clips = [], 0, 0
    if wave:
        yield wave

"""Publishing: as soon as all slices of a part are staged, the part is committed, by a Ray task or a thread."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from dataclasses import replace

import pyarrow as pa

from vidray.errors import ClusterError, StoreError
from vidray.extractors.inputs import video_schema_of
from vidray.extractors.protocol import Extractor
from vidray.pipeline.tasks import BlockWork, PartWork
from vidray.pipeline.trouble import raise_as_said, reason_of
from vidray.pipeline.worker import Receipt
from vidray.store import SliceKey, Store

PUBLISHING_AT_ONCE = 4
PUBLISHING_HERE = 2
"""Threads of the driver: each holds a row group in memory."""
PUBLISH_S = 3600.0
"""A part is some GB at most."""

_Awaited = tuple[str, int]


class Publisher:
    """Knows which slices each (table, part) still waits for, and commits those that wait for none.

    On a cluster commits are Ray tasks, so that no rows pass through this process. On one machine a task would first
    have Ray start another process, and `threads` commit.
    """

    def __init__(self, store: Store, extractors: Mapping[str, Extractor], *, threads: Executor | None = None) -> None:
        self._store = store
        self._threads = threads
        self._columns = {table: (e.schema, video_schema_of(e)) for table, e in extractors.items()}
        self._expected: dict[_Awaited, tuple[SliceKey, ...]] = {}
        self._waiting: dict[_Awaited, set[SliceKey]] = {}
        self._running: dict[Future[None], _Awaited] = {}

    def expect(self, work: PartWork) -> None:
        """A part is being worked on; one whose slices are all staged already is committed at once."""
        missing = {(item.table, item.key) for block in work.blocks for item in block.slices}
        for table, keys in work.expected.items():
            awaited = (table, work.part)
            self._expected[awaited] = keys
            self._waiting[awaited] = {key for key in keys if (table, key) in missing}
            self._commit_when_whole(awaited)

    def received(self, receipt: Receipt) -> None:
        awaited = (receipt.work.table, receipt.work.key.part)
        if awaited in self._waiting:
            self._waiting[awaited].discard(receipt.work.key)
            self._commit_when_whole(awaited)

    def is_waiting_for(self, table: str, key: SliceKey) -> bool:
        return key in self._waiting.get((table, key.part), ())

    def is_waiting(self, table: str, part: int) -> bool:
        """Whether a part is not being committed yet."""
        return (table, part) in self._waiting

    def wait(self, running: int = 0) -> None:
        """Wait until at most so many commits are running. Raises StoreError and ClusterError."""
        import ray

        while len(self._running) > running:
            done = wait(self._running, PUBLISH_S, return_when=FIRST_COMPLETED).done
            if not done:
                table, part = next(iter(self._running.values()))
                raise ClusterError(
                    f"part {part} of {table} is not published after {PUBLISH_S / 60:.0f} min: its storage or its node "
                    "hangs; what is staged is kept, run again"
                )
            finished = done.pop()
            table, part = self._running.pop(finished)
            try:
                finished.result()
            except ray.exceptions.RayError as e:
                raise_as_said(e)
                raise ClusterError(f"part {part} of {table} could not be published: {reason_of(e)}") from e
            except OSError as e:
                raise StoreError(f"part {part} of {table} could not be published: {e}") from e

    def _commit_when_whole(self, awaited: _Awaited) -> None:
        if self._waiting[awaited]:
            return
        del self._waiting[awaited]
        table, part = awaited
        self.wait(PUBLISHING_AT_ONCE - 1)
        self._running[self._commit(table, part, self._expected.pop(awaited))] = awaited

    def _commit(self, table: str, part: int, slices: Sequence[SliceKey]) -> Future[None]:
        columns = self._columns[table]
        if self._threads is not None:
            return self._threads.submit(_publish, self._store.url, table, part, slices, *columns)
        import ray

        job = ray.remote(num_cpus=0, max_retries=3)(_publish)
        task: Future[None] = job.remote(self._store.url, table, part, slices, *columns).future()
        return task


def unstaged(blocks: Sequence[BlockWork], publisher: Publisher) -> list[BlockWork]:
    """The blocks in which a slice is still awaited, with these slices only."""
    left = []
    for block in blocks:
        slices = tuple(item for item in block.slices if publisher.is_waiting_for(item.table, item.key))
        if slices:
            left.append(replace(block, slices=slices))
    return left


def _publish(
    store_url: str,
    table: str,
    part: int,
    slices: Sequence[SliceKey],
    columns: pa.Schema,
    video_columns: pa.Schema | None,
) -> None:
    Store(store_url).publish(table, part, slices, columns, video_columns)

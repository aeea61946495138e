"""Build an index: the work of its segments as Ray tasks, where there is enough of it; from Parquet, without media."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from os import PathLike
from typing import Any

from vidray.arguments import check_extractor, check_whole_or_none
from vidray.errors import ClusterError, StoreError, UsageError
from vidray.extractors import Extractor
from vidray.extractors.registry import origin_of
from vidray.index import IndexInfo, ann
from vidray.index import build_index as build
from vidray.index.embeddings import Metric
from vidray.pipeline.cluster import Cluster, cluster, usable_cores
from vidray.pipeline.trouble import raise_as_said, reason_of
from vidray.pipeline.waiting import first_of, wait_for
from vidray.store import Store, part_file
from vidray.store.layout import features_of, index_of
from vidray.store.seals import check_parts
from vidray.store.tables import features_table
from vidray.store.verify.reading import CLIP, NONE, beyond_the_first, joined, unknown
from vidray.wording import counted, see_verify

DOING = "building the index"
RETRIES = 2
WORTH_A_CLUSTER = 4
"""Fewer segments are written in this process, with all of its threads, before a cluster would have started."""


def build_index(
    store: str | PathLike[str],
    *,
    extractor: str | Extractor,
    metric: Metric | None = None,
    factory: str | None = None,
    rebuild: bool = False,
    workers: int | None = None,
    ray_address: str | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> IndexInfo:
    """Build the index of one extractor's table, `index/<extractor>/`, or bring the one that is there up to date.

    What was built is the same, byte for byte, whoever builds: this process, or any number of workers.

    Args:
        store: fsspec URL of a store, or of any folder with `features/<extractor>/`.
        extractor: Whose table.
        metric, factory, rebuild: See `vidray.index.build_index`.
        workers: How many tasks of one thread each work at a time; 1 is this process. By default all cores, as Ray
            tasks where there are many segments to write.
        ray_address: A running Ray cluster, else RAY_ADDRESS, else one that is started on this machine.
        say: Told what is being done.

    Raises:
        UsageError: The store has no such table, or it has no embeddings.
        StoreError: A part of the table cannot be read, or has rows of clips that are not in the plan.
        ClusterError: There is no cluster, or it lost a task for good.
    """
    check_extractor(extractor=extractor)
    check_whole_or_none(workers=workers)
    if workers is not None and workers < 1:
        raise UsageError(f"workers must be at least 1, got {workers}")
    held = Store(store)
    held.check_there()
    table = features_table(held, extractor if isinstance(extractor, str) else origin_of(extractor))
    check_parts(held.folder, features_of(table), held.parts(features_of(table)))
    check_planned(held, table)
    with _threads(workers), cluster(ray_address) as connection:
        run = _Runner(connection, held, workers, forced=bool(ray_address or os.environ.get("RAY_ADDRESS")), say=say)
        return build(
            f"{held.url}/{features_of(table)}", f"{held.url}/{index_of(table)}", metric=metric, factory=factory,
            rebuild=rebuild, run=run, say=say,
        )  # fmt: skip


def check_planned(store: Store, table: str) -> None:
    """Refuse rows that are of no planned clip, say another span than the plan, or are there twice: StoreError.

    A folder of features that has no plan says itself what its clips are.
    """
    planned = set(store.parts("clips"))
    for part in store.parts(features_of(table)) if planned else ():
        clips = joined(store.read("clips", part, CLIP), CLIP) if part in planned else NONE
        rows = joined(store.read(features_of(table), part, CLIP), CLIP)
        wrong = unknown(rows, clips) + beyond_the_first(rows)
        if wrong:
            name = part_file(features_of(table), part)
            raise StoreError(
                f"{store.url}/{name}: {counted(wrong, 'row')} of clips that are not in the plan, or are there twice; "
                f"{see_verify(store.url)}"
            )


@contextlib.contextmanager
def _threads(workers: int | None) -> Iterator[None]:
    """Training and measuring, which this process does, have as many threads as there are workers."""
    before = ann.threads(workers)
    try:
        yield
    finally:
        ann.threads(before)


class _Runner:
    """Does jobs as Ray tasks, so many at a time, and gives back their results in order."""

    def __init__(
        self, connection: Cluster, store: Store, workers: int | None, *, forced: bool, say: Callable[[str], None]
    ) -> None:
        self._connection, self._store, self._workers = connection, store, workers
        self._forced, self._say = forced, say

    def __call__(self, work: Callable[[Any], Any], jobs: Sequence[Any]) -> Iterator[Any]:
        enough = 2 if self._forced or self._workers else WORTH_A_CLUSTER
        if self._workers == 1 or len(jobs) < enough:
            return map(work, jobs)
        return self._as_tasks(work, jobs)

    def _as_tasks(self, work: Callable[[Any], Any], jobs: Sequence[Any]) -> Iterator[Any]:
        import ray

        self._connection.connect()
        self._connection.check_nodes(self._store.folder, None)
        task = ray.remote(num_cpus=1, max_retries=RETRIES)(_alone)
        at_once = self._workers or max(1, int(ray.cluster_resources().get("CPU", usable_cores())))
        answers: list[Any] = []
        running: list[Any] = []
        try:
            for job in jobs:
                if len(running) >= at_once:
                    running.remove(first_of(running, doing=DOING, say=self._say))
                answers.append(task.remote(work, job))
                running.append(answers[-1])
            for answer in answers:
                yield self._result(wait_for(answer, doing=DOING, say=self._say))
        except TimeoutError as e:
            raise ClusterError(str(e)) from e

    def _result(self, reference: Any) -> Any:
        import ray

        try:
            return ray.get(reference)
        except ray.exceptions.RayTaskError as e:
            raise_as_said(e)
            raise ClusterError(f"a task of the index failed: {reason_of(e)}") from e
        except ray.exceptions.RayError as e:
            raise ClusterError(f"a task of the index was lost for good: {reason_of(e)}") from e


def _alone(work: Callable[[Any], Any], job: Any) -> Any:
    """One job on one thread."""
    ann.threads(1)
    return work(job)

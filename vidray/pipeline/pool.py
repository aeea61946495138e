"""Where there are only CPUs: a pool of workers, one a core, each of which decodes and extracts a task after another.

Plain Ray actors rather than Ray Data. There is but one stage, so there is nothing to stream between; and Ray Data's own
four actors, and its import in every process, cost a local run some ten seconds of processor time before it begins.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from vidray.arrow import without_pandas
from vidray.extractors.inputs import Bound
from vidray.extractors.protocol import Extractor
from vidray.pipeline.cluster import Placement
from vidray.pipeline.tasks import Task
from vidray.pipeline.trouble import Trouble, spare, trouble_of
from vidray.pipeline.worker import Receipt, SliceExtractor, decode_task, samplings
from vidray.sandbox import Sandbox

WORKER_RESTARTS = 3
TASK_RETRIES = 2


class Pool:
    """Workers that hold their networks for all of a run; they end with the `with` block.

    Attributes:
        stood: Whether any worker has been ready for work so far.
    """

    def __init__(
        self,
        placement: Placement,
        store_url: str,
        extractors: Mapping[str, Extractor],
        bound: Mapping[str, Bound],
    ) -> None:
        self._placement = placement
        self._held = (store_url, dict(extractors), dict(bound))
        self._workers: list[Any] = []
        self.stood = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the workers, and give their CPUs back; the next tasks start others."""
        import ray

        for worker in self._workers:
            ray.kill(worker)
        self._workers.clear()

    def receipts(self, tasks: Sequence[Task]) -> Iterator[Receipt]:
        """Run tasks, each on the next worker that is free, and yield what is staged as it comes in.

        A worker that is started again too often is given up with its task; the others go on.

        Raises:
            VidrayError: What keeps all of the work from being done, such as weights that cannot be had or a full disk.
            RayError: A worker was given up; all other tasks are done.
        """
        import ray

        self._start(min(self._placement.extractors, len(tasks)))
        waiting = deque(tasks)
        # one that still loads is given nothing to do, nor is one that the cluster has no room for yet
        starting = {worker.ready.remote(): worker for worker in self._workers}
        working: dict[Any, Any] = {}
        lost: Exception | None = None
        while working or (waiting and starting):
            # who comes too late for any task is not waited for
            (answer,), _ = ray.wait([*working, *(starting if waiting else ())], num_returns=1)
            worker = working.pop(answer, None) or starting.pop(answer)
            try:
                found = next(answer, None) if isinstance(answer, ray.ObjectRefGenerator) else answer
                receipt = None if found is None else ray.get(found)
            except ray.exceptions.RayError as e:
                lost = e
                self._workers.remove(worker)
                # else it would keep its CPU for as long as anything refers to it
                ray.kill(worker)
                continue
            if isinstance(receipt, Trouble):
                raise receipt.error
            self.stood = True
            if receipt is not None:
                working[answer] = worker
                yield receipt
            elif waiting:
                working[worker.work.options(num_returns="streaming").remote(waiting.popleft())] = worker
        if lost is not None:
            raise lost

    def _start(self, count: int) -> None:
        import ray

        job = ray.remote(
            num_cpus=1,
            memory=self._placement.memory_bytes,
            max_restarts=WORKER_RESTARTS,
            max_task_retries=TASK_RETRIES,
        )(_Worker)
        while len(self._workers) < count:
            self._workers.append(job.remote(*self._held))


class _Worker:
    """Decodes in a sandbox of its own and extracts, one after the other on one core."""

    def __init__(self, store_url: str, extractors: Mapping[str, Extractor], bound: Mapping[str, Bound]) -> None:
        if all(type(extractor).__module__.partition(".")[0] == "vidray" for extractor in extractors.values()):
            without_pandas()
        self._samplings = samplings(extractors)
        self._extractor = SliceExtractor(store_url, extractors, "cpu", bound)
        self._sandbox = Sandbox()

    def ready(self) -> Trouble | None:
        """Answers when the networks are loaded and the sandbox stands, or with why they cannot."""
        return trouble_of(self._prepare)

    def work(self, task: Task) -> Iterator[Receipt | Trouble]:
        """Trouble that concerns all work is handed on: raised here, the task would be tried again."""
        # Ray sends values into the generator, and `yield from` would pass them on to iterators that take none
        for found in spare(lambda: self._filled(task)):  # noqa: UP028
            yield found

    def _prepare(self) -> None:
        self._sandbox.start()
        self._extractor.wait()

    def _filled(self, task: Task) -> Iterator[Receipt]:
        receipts, left = self._extractor.split_staged(task)
        yield from receipts
        for decoded in decode_task(left, self._samplings, self._sandbox):
            yield self._extractor.stage(decoded)

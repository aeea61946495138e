"""Where there are only CPUs: a pool of workers, one a core, each of which decodes and extracts a task after another.

Plain Ray actors rather than Ray Data. There is but one stage, so there is nothing to stream between; and Ray Data's own
four actors, and its import in every process, cost a local run some ten seconds of processor time before it begins.

Ray starts no worker of it again: a lost one's task goes to the next that is free, wherever that is. A restarted actor
would wait for a CPU that idle ones keep, on the nodes that are left.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, Self

from vidray.arrow import without_pandas
from vidray.errors import ClusterError
from vidray.extractors.inputs import Bound
from vidray.extractors.protocol import Extractor
from vidray.extractors.with_steps import itself
from vidray.pipeline.cluster import Cluster
from vidray.pipeline.staff import Hired, Staff
from vidray.pipeline.tasks import Task
from vidray.pipeline.trouble import Trouble, spare, trouble_of
from vidray.pipeline.witness import Witnessed
from vidray.pipeline.worker import Receipt, Samplings, SliceExtractor, decode_task, samplings
from vidray.sandbox import Sandbox
from vidray.store import Store

TASK_RETRIES = 2
DEATHS_IN_A_ROW = 4
"""So many deaths a worker, with nothing staged in between, are no accident."""
LOOK_EVERY_S = 5.0
"""How often nodes are counted and limits checked, at least."""
SAY_EVERY_S = 60.0
SILENT_S = 1800.0
"""A worker stages a slice, of 64 MB decoded, in seconds to minutes; one that says nothing for so long hangs."""
START_S = 900.0
"""So long a cluster may take to have its first worker: a node to boot, and weights to be fetched."""


@dataclass(frozen=True)
class _Try:
    """A task, and how often it has taken a worker along."""

    task: Task
    lost: int = 0


@dataclass
class _Work:
    """A worker at a task, and when it was last heard of."""

    worker: Hired
    tried: _Try
    heard_at: float


class Pool:
    """Workers that stay for all of a run and hold one level's networks after another's; they end with the `with` block.

    Attributes:
        stood: Whether any worker has been ready for work so far.
        lost: How many workers were lost, with their nodes or alone.
    """

    def __init__(self, store_url: str, cluster: Cluster, *, say: Callable[[str], None] = lambda line: None) -> None:
        self._store_url = store_url
        self._cluster = cluster
        self._say = say
        self._held: tuple[Mapping[str, Extractor], Mapping[str, Bound]] = ({}, {})
        self._memory_bytes = 0
        self._staff: Staff | None = None
        self._waiting: deque[_Try] = deque()
        self._starting: dict[Any, Hired] = {}
        self._working: dict[Any, _Work] = {}
        self._idle: list[Hired] = []
        self._crew = 1
        self._deaths = 0
        self._error: Exception | None = None
        self._heard_at = self._said_at = 0.0
        self.stood = False
        self.lost = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def staff(self) -> Staff:
        """The workers of this run; the cluster must be connected."""
        if self._staff is None:
            self._staff = Staff(self._cluster, self._memory_bytes, say=self._say)
        return self._staff

    @property
    def nodes_lost(self) -> int:
        return 0 if self._staff is None else self._staff.nodes_lost

    def equip(self, extractors: Mapping[str, Extractor], bound: Mapping[str, Bound], memory_bytes: int) -> None:
        """Have workers hold these extractors' networks from now on; those that live, where they reserve enough."""
        self._held = (dict(extractors), dict(bound))
        self.stood = False
        if memory_bytes > self._memory_bytes:
            self.close()
            self._memory_bytes = memory_bytes
            self.staff.reserve(memory_bytes)
        for worker in self._idle:
            self._starting[worker.actor.hold.remote(*self._held)] = worker
        self._idle.clear()

    def close(self) -> None:
        """End the workers, wait until they have ended, and give their CPUs back; the next tasks start others."""
        if self._staff is not None:
            self._staff.end_all()
        for held in (self._waiting, self._starting, self._working, self._idle):
            held.clear()

    def receipts(self, tasks: Sequence[Task]) -> Iterator[Receipt]:
        """Run tasks, each on the next worker that is free, and yield what is staged as it comes in.

        A task that takes its worker along too often is given up; the others go on.

        Raises:
            VidrayError: What keeps all of the work from being done, such as weights that cannot be had, a full disk,
                or a cluster on which no worker starts.
            RayError: A task was given up; all others are done, unless workers die one after another.
        """
        import ray

        self._waiting.extend(map(_Try, tasks))
        self._error, self._deaths = None, 0
        self._crew = min(self.staff.room(), len(tasks))
        self._heard_at = self._said_at = time.monotonic()
        while self._waiting or self._working:
            self._hand_out()
            # who comes too late for any task is not waited for
            awaited = [*self._working, *(self._starting if self._waiting else ())]
            if awaited:
                for answer in ray.wait(awaited, num_returns=1, timeout=LOOK_EVERY_S)[0]:
                    yield from self._hear(answer)
            else:
                time.sleep(LOOK_EVERY_S)
            self._look()
        self._let_go()
        if self._error is not None:
            raise self._error

    def _hand_out(self) -> None:
        """Tasks to who is idle, and as many workers more as there are tasks and room for."""
        while self._waiting and self._idle:
            worker, tried = self._idle.pop(), self._waiting.popleft()
            answers = worker.actor.work.options(num_returns="streaming").remote(tried.task)
            self._working[answers] = _Work(worker, tried, time.monotonic())
        while len(self._starting) < len(self._waiting):
            hired = self.staff.hire(_Worker, self._store_url)
            if hired is None:
                break
            self._starting[hired.actor.hold.remote(*self._held)] = hired
        self.staff.scout(len(self._waiting) - len(self._starting))

    def _hear(self, answer: Any) -> Iterator[Receipt]:
        """What a worker answers: that it stands, a receipt, or that its task is done. One that died loses its task."""
        import ray

        work = self._working.get(answer)
        worker = self._starting[answer] if work is None else work.worker
        try:
            found = next(answer, None) if work is not None else answer
            receipt = None if found is None else ray.get(found)
        except ray.exceptions.RayError as e:
            self._lose(answer, e)
            return
        if work is None:
            del self._starting[answer]
        if isinstance(receipt, Trouble):
            if work is not None:
                raise receipt.error
            self.staff.blame(worker, receipt.error)
            return
        self.stood = True
        self._heard_at = self._said_at = time.monotonic()
        if receipt is None:
            self._working.pop(answer, None)
            self._idle.append(worker)
            return
        assert work is not None
        work.heard_at, self._deaths = self._heard_at, 0
        yield receipt

    def _lose(self, answer: Any, error: Exception) -> None:
        """Do without a worker, and have its task done by another; no task is to blame for a node that vanished."""
        self.lost += 1
        work = self._working.pop(answer, None)
        worker = self._starting.pop(answer) if work is None else work.worker
        is_of_node = self.staff.is_on_lost_node(worker)
        self.staff.end(worker)
        self._deaths += not is_of_node
        if work is not None and (is_of_node or work.tried.lost < TASK_RETRIES):
            self._waiting.appendleft(replace(work.tried, lost=work.tried.lost + (not is_of_node)))
        elif work is not None:
            self._error = error
        if self._deaths >= DEATHS_IN_A_ROW * self._crew:
            self._error = error
            self._waiting.clear()

    def _look(self) -> None:
        """Count the nodes, let go who has nothing to do, and end waits that last too long."""
        now = time.monotonic()
        self.staff.look()
        if not self._waiting:
            self._let_go()
        for answer, work in list(self._working.items()):
            if now - work.heard_at > SILENT_S:
                block = work.tried.task[0]
                what = f"the worker on {work.worker.node.address} says nothing for {SILENT_S / 60:.0f} min"
                self._say(f"{what} at {block.clips[0].uri}; it is ended, and its clips are tried again")
                self._lose(answer, ClusterError(f"{what}; no file is blamed, run again"))
        if self._working or self._idle or not self._waiting:
            self._say_quiet(now, f"{len(self._working)} workers are at their clips")
            return
        needs = f"each needs a CPU and {self._memory_bytes / (1 << 30):.1f} GiB of memory"
        if now - self._heard_at > START_S:
            raise ClusterError(
                f"no worker has started for {START_S / 60:.0f} min: {needs}, {self.staff.state()}; add nodes, or end "
                "what else runs there; what is done is kept"
            )
        self._say_quiet(now, f"waiting for a worker to start; {needs}, {self.staff.state()}")

    def _say_quiet(self, now: float, what: str) -> None:
        if now - self._said_at > SAY_EVERY_S:
            self._said_at = now
            self._say(f"nothing has come in for {now - self._heard_at:.0f} s: {what}")

    def _let_go(self) -> None:
        """Nothing waits: who still starts gives its CPU back, and who is idle too where others may need it."""
        for worker in self._starting.values():
            self.staff.end(worker)
        self._starting.clear()
        if not self._cluster.local:
            for worker in self._idle:
                self.staff.end(worker)
            self._idle.clear()


class _Worker:
    """Decodes in a sandbox of its own and extracts, one after the other on one core."""

    def __init__(self, store_url: str) -> None:
        self._store_url = store_url
        self._samplings: Samplings = {}
        self._extractor: SliceExtractor | None = None
        self._sandbox = Witnessed(Sandbox(), Store(store_url))

    def hold(self, extractors: Mapping[str, Extractor], bound: Mapping[str, Bound]) -> Trouble | None:
        """Answers when these extractors' networks are loaded, and the sandbox stands where they look at media; or with
        why they cannot. Those before are dropped first."""
        self._extractor = None
        return trouble_of(lambda: self._take(extractors, bound))

    def work(self, task: Task) -> Iterator[Receipt | Trouble]:
        """Trouble that concerns all work is handed on: raised here, the task would be tried again."""
        # Ray sends values into the generator, and `yield from` would pass them on to iterators that take none
        for found in spare(lambda: self._filled(task)):  # noqa: UP028
            yield found

    def _take(self, extractors: Mapping[str, Extractor], bound: Mapping[str, Bound]) -> None:
        if all(type(itself(extractor)).__module__.partition(".")[0] == "vidray" for extractor in extractors.values()):
            without_pandas()
        self._samplings = samplings(extractors)
        self._extractor = SliceExtractor(self._store_url, extractors, "cpu", bound)
        if any(self._samplings.values()):
            self._sandbox.start()
        self._extractor.wait()

    def _filled(self, task: Task) -> Iterator[Receipt]:
        assert self._extractor is not None
        receipts, left = self._extractor.split_staged(task)
        yield from receipts
        self._sandbox.about(task[0].slices[0].key.part)
        for decoded in decode_task(left, self._samplings, self._sandbox):
            yield self._extractor.stage(decoded)

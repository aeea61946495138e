"""Where there are GPUs: the graph of a wave on Ray Data, tasks in, receipts out. Its stages and what runs in them."""

from __future__ import annotations

import contextlib
import pickle
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import pyarrow as pa

from vidray.errors import ClusterError
from vidray.extractors.inputs import Bound
from vidray.extractors.protocol import Extractor
from vidray.pipeline.cluster import Placement, data_context
from vidray.pipeline.pool import TASK_RETRIES
from vidray.pipeline.tasks import Task
from vidray.pipeline.trouble import Trouble, spare
from vidray.pipeline.waiting import watched
from vidray.pipeline.witness import Witnessed
from vidray.pipeline.worker import DecodedSlice, Receipt, Samplings, SliceExtractor, decode_task, samplings
from vidray.sandbox import Sandbox
from vidray.store import Store

WORKER_RESTARTS = 3


def receipts(
    tasks: Sequence[Task],
    placement: Placement,
    store_url: str,
    extractors: Mapping[str, Extractor],
    bound: Mapping[str, Bound],
    *,
    say: Callable[[str], None] = lambda line: None,
) -> Iterator[Receipt]:
    """Run a wave, and yield what is staged as it comes in.

    Raises:
        VidrayError: What keeps all of the work from being done, such as weights that cannot be had or a full disk.
        RayError: A worker was lost more often than it is started again.
    """
    data = build_graph(tasks, placement, store_url, extractors, bound)
    batches = iter(data.iter_batches(batch_size=None, prefetch_batches=0, batch_format="pyarrow"))
    try:
        for batch in watched(batches, doing="extracting", say=say):
            for row in batch["receipt"].to_pylist():
                found = pickle.loads(row)
                if isinstance(found, Trouble):
                    raise found.error
                yield found
    except TimeoutError as e:
        raise ClusterError(str(e)) from e


def build_graph(
    tasks: Sequence[Task],
    placement: Placement,
    store_url: str,
    extractors: Mapping[str, Extractor],
    bound: Mapping[str, Bound],
) -> Any:
    """The stages of a wave as a Ray Dataset of receipts: one row is one task, one row a Ray block."""
    import ray.data

    data_context()
    rows = [pa.table({"task": pa.array([pickle.dumps(task)], pa.large_binary())}) for task in tasks]
    data = ray.data.from_arrow(rows)
    decoded = _stage(
        data,
        _decode,
        fn_args=(samplings(extractors), store_url),
        compute=ray.data.TaskPoolStrategy(size=min(placement.decoders, len(tasks))),
        num_cpus=1,
        max_retries=TASK_RETRIES,
    )
    # two calls at once, so that one copies to the GPU while the other computes
    pool = ray.data.ActorPoolStrategy(
        size=min(placement.extractors, len(tasks)), max_tasks_in_flight_per_actor=4, max_concurrent_calls_per_actor=2
    )
    return _stage(
        decoded,
        _Extract,
        fn_constructor_args=(store_url, dict(extractors), placement.device, dict(bound)),
        compute=pool,
        num_gpus=placement.gpus,
        memory=placement.memory_bytes,
        max_restarts=WORKER_RESTARTS,
        max_task_retries=TASK_RETRIES,
    )


def _stage(data: Any, work: Any, **options: Any) -> Any:
    with warnings.catch_warnings():
        # Ray 2.60 to 2.63 bound retries by arguments only, and announce that 2.64 will not
        warnings.filterwarnings("ignore", message=".*ray_remote_args.*")
        return data.map_batches(work, batch_size=None, batch_format="pyarrow", **options)


def _decode(batch: pa.Table, wanted: Samplings, store_url: str) -> Iterator[pa.Table]:
    for task in batch["task"].to_pylist():
        for decoded in spare(partial(_decoded, pickle.loads(task), wanted, store_url)):
            yield _row("slice", decoded)


def _decoded(task: Task, wanted: Samplings, store_url: str) -> Iterator[DecodedSlice]:
    with contextlib.closing(Witnessed(Sandbox(), Store(store_url))) as sandbox:
        sandbox.about(task[0].slices[0].key.part)
        yield from decode_task(task, wanted, sandbox)


class _Extract:
    """The networks of one worker. Trouble that concerns all work is handed on: raised here, it would be tried again."""

    def __init__(
        self, store_url: str, extractors: Mapping[str, Extractor], device: str, bound: Mapping[str, Bound]
    ) -> None:
        self._extractor = SliceExtractor(store_url, extractors, device, bound)

    def __call__(self, batch: pa.Table) -> Iterator[pa.Table]:
        for data in batch["slice"].to_pylist():
            for found in spare(partial(self._staged, pickle.loads(data))):
                yield _row("receipt", found)

    def _staged(self, decoded: DecodedSlice | Trouble) -> Iterator[Receipt]:
        if isinstance(decoded, Trouble):
            raise decoded.error
        yield self._extractor.stage(decoded)


def _row(column: str, value: object) -> pa.Table:
    return pa.table({column: pa.array([pickle.dumps(value, protocol=5)], pa.large_binary())})

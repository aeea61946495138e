"""The Ray cluster of a run: connect or start one, see that every node sees the store, choose where work goes."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import logging
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

from vidray.errors import ClusterError, UsageError, VidrayError, one_line
from vidray.extractors.protocol import Extractor
from vidray.extractors.with_steps import itself, like
from vidray.models.batching import RESERVED_BYTES
from vidray.pipeline.nodes import Node, Question, answer_of, ask, living, room_of
from vidray.sandbox import Limits
from vidray.storage import Folder, is_local, local_path
from vidray.store.layout import staged_of

Device = Literal["auto", "cpu", "cuda"]

SPARE_CPUS = 2
"""Logical CPUs that a local cluster has beyond the machine's cores: small tasks must not wait for a worker to end."""
WORKER_BYTES = 1 << 30
"""Of a worker with its libraries and a slice's samples, without networks and sandbox."""
SANDBOX_BYTES = Limits().growth_bytes
"""What the child that decodes for a worker may keep before it is replaced."""
STARTS = 3
"""Ray gives up when its own processes need more than 30 s to start, as they may on a busy machine."""
RAY_LOGS = "/tmp/ray/session_latest/logs"
"""Where Ray keeps the logs of its processes unless told otherwise."""
NODE_CHECK_S = 120.0
KNOWN_TO_WORKERS = {"vidray", *sys.stdlib_module_names}
"""Packages that every worker has."""


@dataclass(frozen=True)
class Placement:
    """Where decoding and extracting run.

    Attributes:
        decoders: Workers that decode; 0 where decoding and extracting share one worker.
        extractors: Workers that hold the networks.
        gpus: What share of a GPU each of them takes; 0 on CPUs.
        memory_bytes: What each of them reserves, its sandbox included.
    """

    decoders: int
    extractors: int
    gpus: float
    memory_bytes: int

    @property
    def device(self) -> str:
        return "cuda" if self.gpus else "cpu"


def place(nodes: Sequence[Node], *, device: Device, extractors: Iterable[Extractor], spare_cpus: int = 0) -> Placement:
    """Choose the placement from what each node has.

    With GPUs, decoders on all CPUs feed one worker a GPU. On CPUs alone, each core decodes and extracts, so that no
    core idles and no frame travels; workers are counted node by node. None reserves more than a node has that can hold
    one: Ray would wait for such a node for ever. A worker holds all networks.

    Raises:
        UsageError: `device` is "cuda" and the cluster has no GPU.
    """
    cpus = max(1, int(sum(node.cpus for node in nodes)) - spare_cpus)
    gpus = sum(node.gpus for node in nodes)
    if device == "cuda" and not gpus:
        raise UsageError("--device cuda: the cluster has no GPU; leave --device out or use cpu")
    has_gpu_work = bool(gpus) and device != "cpu"
    able = [node for node in nodes if (node.gpus if has_gpu_work else node.cpus >= 1)] or nodes
    most_bytes = max(node.memory_bytes for node in able)
    networks_bytes = sum(getattr(extractor, "memory_bytes", RESERVED_BYTES) for extractor in extractors)
    memory_bytes = int(min(WORKER_BYTES + SANDBOX_BYTES + networks_bytes, most_bytes))
    if has_gpu_work:
        workers = max(1, int(gpus))
        return Placement(max(1, cpus - workers), workers, min(1.0, gpus), memory_bytes)
    return Placement(0, max(1, min(cpus, room_of(nodes, memory_bytes))), 0.0, memory_bytes)


class Cluster:
    """A connection to Ray that is made when it is first needed, and undone if it was made here.

    Attributes:
        local: Whether it was started here, and so is this machine alone.
        question: What its nodes were asked before they got work, and nodes that join are asked.
    """

    def __init__(self, address: str | None, say: Callable[[str], None] = lambda line: None) -> None:
        self._address = address
        self._say = say
        self._started = False
        self._store: Folder | None = None
        self.question: Question | None = None
        self.local = False

    def connect(self) -> None:
        """Connect to the running cluster, or start one on this machine. Raises ClusterError."""
        import ray

        if self._started or ray.is_initialized():
            return
        _quiet_logs()
        address = self._address or os.environ.get("RAY_ADDRESS")
        where = "on this machine" if address is None else f"at {address}"
        self.local = address is None
        self._say(f"{'starting' if address is None else 'connecting to'} Ray {where}")
        if address is None:
            # else Ray starts idle workers ahead, one a CPU, whose imports take the cores that ours need
            os.environ.setdefault("RAY_prestart_worker_first_driver", "0")
            cpus = usable_cores() + SPARE_CPUS
            options: dict[str, Any] = {"address": "local", "num_cpus": cpus, "include_dashboard": False}
        else:
            options = {"address": address}
        for tries in range(1, STARTS + 1):
            try:
                with _swallow_stderr():
                    ray.init(**options, log_to_driver=False, logging_level=logging.ERROR)
                break
            except Exception as e:
                # some of Ray's failures are plain Exceptions
                ray.shutdown()
                if tries == STARTS or address is not None:
                    raise ClusterError(f"no Ray cluster {where}: {one_line(e)}; {_remedy(address)}") from e
        self._started = True
        # Ray prints what its nodes complain of among our results, in paragraphs; `Staff` has a line for it
        import ray._private.worker

        ray._private.worker.print_to_stdstream = lambda data, ignore_prefix: None

    def close(self) -> None:
        if self._store is not None and self.question is not None:
            # a store that is gone by now keeps it, until a run clears its staging
            with contextlib.suppress(OSError, VidrayError):
                self._store.remove(self.question.token)
        if self._started:
            import ray

            ray.shutdown()
            self._started = False

    def placement(self, *, device: Device, extractors: Iterable[Extractor]) -> Placement:
        return place(living(), device=device, extractors=extractors, spare_cpus=SPARE_CPUS if self.local else 0)

    def check_nodes(self, store: Folder, media_uri: str | None) -> None:
        """See, once, that every node reads what this process writes to the store, and sees the corpus.

        A cluster that was started here is this machine alone, which has seen both.

        Raises:
            ClusterError: Names the first node that does not, and what it does not see.
        """
        import ray

        if self.question is not None or self.local:
            return
        question = Question.about(store, media_uri)
        self._store = store
        self.question = question
        asked = {ask(node, question): node for node in living()}
        answered, late = ray.wait(list(asked), num_returns=len(asked), timeout=NODE_CHECK_S)
        complaints = {asked[answer].node_id: answer_of(answer) for answer in answered}
        complaints |= {asked[answer].node_id: f"did not answer within {NODE_CHECK_S:.0f} s" for answer in late}
        # one that was lost meanwhile is not asked for anything
        for node in living():
            if complaint := complaints.get(node.node_id):
                raise ClusterError(f"node {node.address} {complaint}")


@contextlib.contextmanager
def cluster(address: str | None, say: Callable[[str], None] = lambda line: None) -> Iterator[Cluster]:
    """A connection that is closed again; `say` is told when Ray is started, which takes seconds."""
    connection = Cluster(address, say)
    try:
        yield connection
    finally:
        connection.close()


def ship_weights(extractors: Mapping[str, Extractor], store: Folder) -> dict[str, Extractor]:
    """Copy local weights into the store, for nodes that would not find them, those that join later too."""
    return {table: _shipped(extractor, store) for table, extractor in extractors.items()}


def _shipped(extractor: Any, store: Folder) -> Any:
    weights = getattr(extractor, "weights", None)
    if not isinstance(weights, str) or not is_local(weights) or not dataclasses.is_dataclass(itself(extractor)):
        return extractor
    path = Path(local_path(weights))
    name = f"{staged_of('weights')}/{hashlib.sha256(path.read_bytes()).hexdigest()}{path.suffix}"
    if not store.exists(name):
        store.write_bytes(name, path.read_bytes())
    return like(extractor, dataclasses.replace(cast(Any, itself(extractor)), weights=f"{store.url}/{name}"))


def pickle_sources(extractors: Mapping[str, Extractor]) -> None:
    """Send the source of third parties' extractors along with them, and of the classes that they extend, where workers
    could not import it."""
    import ray.cloudpickle

    names = dict.fromkeys(
        cls.__module__ for extractor in extractors.values() for cls in type(itself(extractor)).__mro__
    )
    for module in map(sys.modules.get, names):
        path = getattr(module, "__file__", None)
        if module is None or path is None or module.__name__.partition(".")[0] in KNOWN_TO_WORKERS:
            continue
        if "site-packages" not in path and module.__name__ != "__main__":
            ray.cloudpickle.register_pickle_by_value(module)


def usable_cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _quiet_logs() -> None:
    """Ray's own notices and progress bars would run through vidray's."""
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    logging.getLogger("ray").setLevel(logging.ERROR)


@contextlib.contextmanager
def _swallow_stderr() -> Iterator[None]:
    """Drop what Ray and native code write to standard error as Ray starts: paragraphs, which a failure's error sums up.

    The processes that Ray starts keep logs of their own.
    """
    sys.stderr.flush()
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        sys.stderr.flush()
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def _remedy(address: str | None) -> str:
    if address is not None:
        return "see that it runs and that this machine reaches it"
    return f"run again when the machine is less busy; Ray's own logs are in {RAY_LOGS}"


def data_context() -> Any:
    """Ray Data's settings for our graphs: no progress bars, and no lost or endlessly repeated work."""
    import ray.data

    # importing it sets its logger up, so a level holds only afterwards
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.enable_operator_progress_bars = False
    context.print_on_execution_start = False
    context.max_errored_blocks = 0
    return context

"""The whole of `extract` in one process: stands in for Ray and for the sandbox, so that a run is one sequence.

What is planned, staged, published and retired, and in which order, is the product's own; only where it happens is not.
Made for fault points, of which there are hundreds: a run takes a second.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from typing import Any


class _Remote:
    """A function that runs when it is called, whatever is asked for it."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def options(self, **options: Any) -> _Remote:
        return self

    def remote(self, *arguments: Any) -> _Done:
        return _Done(self._function(*arguments))


class _Done:
    def __init__(self, value: Any) -> None:
        self.value = value

    def future(self) -> Future[Any]:
        done = Future[Any]()
        done.set_result(self.value)
        return done


class _RayError(Exception):
    pass


class _Pool:
    """The pool for CPUs: one worker, in this process."""

    stood = True
    lost = nodes_lost = 0

    def __init__(self, store_url: str, cluster: Any, **options: Any) -> None:
        from vidray.pipeline import pool

        self._worker = pool._Worker(store_url)

    def __enter__(self) -> _Pool:
        return self

    def __exit__(self, *error: object) -> None:
        """Nothing is held but memory."""

    def close(self) -> None:
        """Nothing is held but memory."""

    def equip(self, extractors: Mapping[str, Any], bound: Mapping[str, Any], memory_bytes: int) -> None:
        """Have the worker hold these."""
        trouble = self._worker.hold(extractors, bound)
        if trouble is not None:
            raise trouble.error

    def receipts(self, tasks: Sequence[Any]) -> Iterator[Any]:
        from vidray.pipeline import pool

        for task in tasks:
            for found in self._worker.work(task):
                if isinstance(found, pool.Trouble):
                    raise found.error
                yield found


class _Sandbox:
    """Decodes in this process, for files that are known to be harmless."""

    def __init__(self) -> None:
        self._uri = ""
        self._reader: Any = None
        self._file: Any = None

    def probe(self, uri: str) -> Any:
        from vidray.decode import probe
        from vidray.errors import DecodeError, ProbeError

        try:
            with open(uri, "rb") as file:
                return probe(file, uri)
        except DecodeError as e:
            raise ProbeError(e.kind, e.message, uri, e.at_s) from e

    def read(self, uri: str, requests: Sequence[Any], start_s: float, end_s: float, size: Any, **_: Any) -> Any:
        from vidray.decode import VideoReader
        from vidray.errors import DecodeError
        from vidray.media import Decoded

        if uri != self._uri:
            self.close()
            try:
                self._file = open(uri, "rb")  # noqa: SIM115
            except FileNotFoundError:
                error = DecodeError("not_found", "no such file", uri, start_s)
                return Decoded(samples=dict.fromkeys(requests, error))
            self._reader = VideoReader(self._file, uri)
            self._uri = uri
        return self._reader.read(requests, start_s, end_s)

    def start(self) -> None:
        """It stands already."""

    def close(self) -> None:
        """Give the file back."""
        if self._file is not None:
            if self._reader is not None:
                self._reader.close()
            self._file.close()
        self._uri, self._reader, self._file = "", None, None


def install() -> None:
    """Stand in for Ray and the sandbox, in this process and for good."""
    from vidray.pipeline import extract, plan, pool, survey  # noqa: F401  the modules, by way of sys.modules

    ray = types.ModuleType("ray")
    ray.__dict__.update(
        remote=lambda **options: _Remote,
        wait=lambda tasks, num_returns=1, timeout=None: (tasks[:num_returns], tasks[num_returns:]),
        get=lambda done: done.value,
        exceptions=types.SimpleNamespace(RayError=_RayError, RayTaskError=_RayError),
        cluster_resources=lambda: {"CPU": 2.0},
        nodes=lambda: [{"NodeID": "0", "NodeManagerAddress": "here", "Alive": True, "Resources": {"CPU": 2.0}}],
        is_initialized=lambda: True,
        cloudpickle=types.SimpleNamespace(register_pickle_by_value=lambda module: None),
    )
    strategies = types.ModuleType("ray.util.scheduling_strategies")
    strategies.__dict__.update(NodeAffinitySchedulingStrategy=lambda node, soft: None)
    for name, module in (("ray", ray), ("ray.cloudpickle", ray), ("ray.util", ray), (strategies.__name__, strategies)):
        sys.modules[name] = module
    ray.__dict__.update(util=types.SimpleNamespace(scheduling_strategies=strategies))
    names = ("extract", "plan", "pool", "survey")
    modules: dict[str, Any] = {name: sys.modules[f"vidray.pipeline.{name}"] for name in names}
    modules["plan"].Sandbox = modules["pool"].Sandbox = modules["survey"].Sandbox = _Sandbox
    modules["extract"].Pool = _Pool

"""Waiting for Ray: never without a limit, nor for long without saying for what."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

LOOK_EVERY_S = 5.0
SAY_EVERY_S = 120.0
SILENT_S = 3600.0
"""The longest piece of work that Ray does for us is a part of a plan: a network's look at some hours of video."""


def wait_for(
    task: Any, *, doing: str, limit_s: float = SILENT_S, say: Callable[[str], None] = lambda line: None
) -> Any:
    """The task, once it is done or has failed. Raises TimeoutError where that takes longer than the limit."""
    return first_of([task], doing=doing, limit_s=limit_s, say=say)


def first_of(
    tasks: Sequence[Any], *, doing: str, limit_s: float = SILENT_S, say: Callable[[str], None] = lambda line: None
) -> Any:
    """One of the tasks that is done or has failed.

    Args:
        doing: What a person is told that is being waited for.
        limit_s: Of silence: no node has room for any of them, or all of them hang.

    Raises:
        TimeoutError: None has been done for so long; the line says what there was to do, and with which nodes.
    """
    import ray

    began = said_at = time.monotonic()
    while True:
        done, _ = ray.wait(list(tasks), num_returns=1, timeout=LOOK_EVERY_S)
        if done:
            return done[0]
        now = time.monotonic()
        if now - began > limit_s:
            raise TimeoutError(f"{doing}: nothing has come in for {limit_s / 60:.0f} min, {_cluster()}; run again")
        if now - said_at > SAY_EVERY_S:
            said_at = now
            say(f"{doing}: nothing has come in for {now - began:.0f} s, {_cluster()}")


def _cluster() -> str:
    import ray

    alive = [node for node in ray.nodes() if node["Alive"]]
    cpus = ray.available_resources().get("CPU", 0.0)
    nodes = f"{len(alive)} {'node' if len(alive) == 1 else 'nodes'}"
    return f"{nodes} with {ray.cluster_resources().get('CPU', 0.0):g} CPUs are there, {cpus:g} of them free"

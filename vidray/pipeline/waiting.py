"""Waiting for Ray: never without a limit, nor for long without saying for what."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from vidray.wording import counted

T = TypeVar("T")
_END = object()

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
        said_at = _patient(began, said_at, doing, limit_s, say)


def watched(
    answers: Iterator[T], *, doing: str, limit_s: float = SILENT_S, say: Callable[[str], None] = lambda line: None
) -> Iterator[T]:
    """The same answers, of an iterator that may wait for ever; arguments and errors as of `first_of`.

    They are read by a thread, at most one ahead; an iterator that hangs is left to its thread.
    """
    read = queue.Queue[tuple[Any, BaseException | None]](1)
    is_left = threading.Event()

    def put(answer: Any, error: BaseException | None) -> None:
        while not is_left.is_set():
            with contextlib.suppress(queue.Full):
                read.put((answer, error), timeout=1.0)
                return

    def follow() -> None:
        try:
            for answer in answers:
                put(answer, None)
                if is_left.is_set():
                    return
            put(_END, None)
        except BaseException as e:
            put(None, e)

    threading.Thread(target=follow, name="answers", daemon=True).start()
    try:
        while True:
            answer, error = _taken(read, doing, limit_s, say)
            if error is not None:
                raise error
            if answer is _END:
                return
            yield answer
    finally:
        is_left.set()


def _taken(read: queue.Queue[Any], doing: str, limit_s: float, say: Callable[[str], None]) -> Any:
    began = said_at = time.monotonic()
    while True:
        with contextlib.suppress(queue.Empty):
            return read.get(timeout=LOOK_EVERY_S)
        said_at = _patient(began, said_at, doing, limit_s, say)


def _patient(began: float, said_at: float, doing: str, limit_s: float, say: Callable[[str], None]) -> float:
    """When something was last said: now, where it is time to. Raises TimeoutError beyond the limit."""
    now = time.monotonic()
    if now - began > limit_s:
        raise TimeoutError(f"{doing}: nothing has come in for {limit_s / 60:.0f} min, {_cluster()}; run again")
    if now - said_at <= SAY_EVERY_S:
        return said_at
    say(f"{doing}: nothing has come in for {now - began:.0f} s, {_cluster()}")
    return now


def _cluster() -> str:
    import ray

    alive = [node for node in ray.nodes() if node["Alive"]]
    cpus = ray.available_resources().get("CPU", 0.0)
    nodes = f"{counted(len(alive), 'node')} with {ray.cluster_resources().get('CPU', 0.0):g} CPUs"
    return f"{nodes} {'is' if len(alive) == 1 else 'are'} there, {cpus:g} of them free"

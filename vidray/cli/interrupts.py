"""Ctrl-C: one line, and no process left behind, at whatever moment it comes and however often.

The first one lets the run end in order, with its lease given back: everything that libraries write meanwhile is held
back, and what has not ended by then is ended. The second one ends all at once; the next run takes the lease over.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

INTERRUPTED = 130
ENDS_WITHIN_S = 8.0
KEEPING = frozenset({"extract", "plan"})
"""Commands that go on from where they were."""

_seen = threading.Event()
_terminal = 2
"""Standard error, wherever 2 leads by then: what starts Ray turns it away for a while."""
_watching = 0
"""The process that watches. One that it has forked, and that has not become another program yet, says nothing."""


def watch() -> None:
    """Take Ctrl-C from now on, where this process takes it at all: one in the background may be told not to."""
    global _terminal, _watching
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        _terminal, _watching = os.dup(2), os.getpid()
        signal.signal(signal.SIGINT, _interrupted)


def is_interrupted() -> bool:
    """Whether Ctrl-C was pressed."""
    return _seen.is_set()


def end() -> None:
    """End this process and all that it started, without another word."""
    for pid in descendants(os.getpid()):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)
    os._exit(INTERRUPTED)


def descendants(pid: int) -> list[int]:
    """The processes that a process started, and those that these started."""
    children: dict[int, list[int]] = {}
    for parent, child in _parents():
        children.setdefault(parent, []).append(child)
    found = list(children.get(pid, ()))
    for child in found:
        found += children.get(child, ())
    return found


def _interrupted(number: int, frame: FrameType | None) -> None:
    if os.getpid() != _watching:
        raise KeyboardInterrupt
    if _seen.is_set():
        end()
    _seen.set()
    kept = "; what is done is kept, run the same command again to go on" if KEEPING & set(sys.argv[1:2]) else ""
    # not by print: the interrupted code may hold the stream
    os.write(_terminal, f"\nvidray: interrupted{kept}\n".encode())
    if "--debug" not in sys.argv:
        _silence()
    # an interrupt may be lost in a library, and what it holds up may take for ever
    timer = threading.Timer(ENDS_WITHIN_S, end)
    timer.daemon = True
    timer.start()
    raise KeyboardInterrupt


def _silence() -> None:
    """Have nothing more come out, also from what has kept a copy of a stream and will put it back."""
    with contextlib.suppress(OSError):
        places = {_place(descriptor) for descriptor in (1, 2, _terminal)}
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for descriptor in [int(name) for name in os.listdir("/proc/self/fd")]:
            if descriptor > 0 and _place(descriptor) in places:
                os.dup2(nowhere, descriptor)


def _place(descriptor: int) -> tuple[int, int] | None:
    """Which file a descriptor is of, None where it is closed."""
    try:
        found = os.fstat(descriptor)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _parents() -> Iterator[tuple[int, int]]:
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError, IndexError, ValueError):
                # a command's name may hold anything, parentheses too
                yield int((folder / "stat").read_text().rpartition(")")[2].split()[1]), int(folder.name)

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


def watch() -> None:
    """Take Ctrl-C from now on, where this process takes it at all: one in the background may be told not to."""
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
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
    if _seen.is_set():
        end()
    _seen.set()
    kept = "; what is done is kept, run the same command again to go on" if KEEPING & set(sys.argv[1:2]) else ""
    # not by print: the interrupted code may hold the stream
    os.write(2, f"\nvidray: interrupted{kept}\n".encode())
    if "--debug" not in sys.argv:
        _silence()
    # an interrupt may be lost in a library, and what it holds up may take for ever
    timer = threading.Timer(ENDS_WITHIN_S, end)
    timer.daemon = True
    timer.start()
    raise KeyboardInterrupt


def _silence() -> None:
    with contextlib.suppress(OSError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for stream in (1, 2):
            os.dup2(nowhere, stream)


def _parents() -> Iterator[tuple[int, int]]:
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError, IndexError, ValueError):
                # a command's name may hold anything, parentheses too
                yield int((folder / "stat").read_text().rpartition(")")[2].split()[1]), int(folder.name)

"""Ctrl-C: one line, and no process left behind, at whatever moment it comes and however often.

The first one lets the run end in order, with its lease given back: everything that libraries write meanwhile is held
back, and what has not ended by then is ended. The second one ends all at once; the next run takes the lease over.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

INTERRUPTED = 130
ENDS_WITHIN_S = 8.0
ONE_S = 0.15
"""What comes so soon after the first is the same Ctrl-C, as a process got it that was being started."""
KEEPING = frozenset({"extract", "plan"})
"""Commands that go on from where they were."""

_seen = threading.Event()
_raised = threading.Event()
_telling = threading.RLock()
_terminal = 2
"""Standard error, wherever 2 leads by then: what starts Ray turns it away for a while."""
_watching = 0
"""The process that watches. One that it has forked, and that has not become another program yet, says nothing."""


def watch() -> None:
    """Take Ctrl-C from now on, where this process takes it at all: one in the background may be told not to.

    The main thread ends the run in order. Where a library keeps it, as Ray's start does for seconds, a thread says the
    line at once, and ends all when it takes too long or is asked again.
    """
    global _terminal, _watching
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        _terminal, _watching = os.dup(2), os.getpid()
        reader, writer = os.pipe()
        os.set_blocking(writer, False)
        threading.Thread(target=_listen, args=(reader,), daemon=True, name="interrupts").start()
        signal.signal(signal.SIGINT, _interrupted)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)


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
    if _raised.is_set():
        end()
    _raised.set()
    _tell()
    raise KeyboardInterrupt


def _listen(reader: int) -> None:
    """Say that Ctrl-C came, and end what has not ended in time, or when it comes again."""
    _wait_for_interrupt(reader, None)
    _tell()
    time.sleep(ONE_S)
    while select.select([reader], [], [], 0)[0]:
        os.read(reader, 1)
    _wait_for_interrupt(reader, time.monotonic() + ENDS_WITHIN_S)
    end()


def _wait_for_interrupt(reader: int, until: float | None) -> None:
    """Wait for a Ctrl-C that nobody else takes, as a server does that ends in its own way."""
    while select.select([reader], [], [], None if until is None else max(0.0, until - time.monotonic()))[0]:
        if os.read(reader, 1)[0] == signal.SIGINT and signal.getsignal(signal.SIGINT) is _interrupted:
            return


def _tell() -> None:
    with _telling:
        if _seen.is_set():
            return
        _seen.set()
        kept = "; what is done is kept, run the same command again to go on" if KEEPING & set(sys.argv[1:2]) else ""
        # not by print: the interrupted code may hold the stream
        with contextlib.suppress(OSError):
            os.write(_terminal, f"\nvidray: interrupted{kept}\n".encode())
        if "--debug" not in sys.argv:
            _silence()


def _silence() -> None:
    """Have nothing more come out, also from what has kept a copy of a stream and will put it back."""
    with contextlib.suppress(OSError):
        # one that is closed is no place: its number may be another file's by now
        places = {_place(descriptor) for descriptor in (1, 2, _terminal)} - {None}
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

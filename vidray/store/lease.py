"""One writer at a time: a lease on the store, renewed while its holder lives. Knows no Ray."""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from vidray.errors import StoreError
from vidray.storage import Folder

FILE = "_lease.json"
OF_LABELS = "labels"
"""Labels have a lease of their own: people label while an extraction runs. Who removes clips holds both."""
RENEW_EVERY_S = 10.0
EXPIRES_AFTER_S = 45.0
LOOK_EVERY_S = 2.0

_held_here: set[object] = set()
"""The tokens of this process's own leases. One that is not among them could not be removed when its run ended."""


class Lease:
    """Held by one run on one store, or on what `of` names of it, from `__enter__` to `__exit__`.

    A dead holder on this host is taken over at once, one elsewhere when it has not renewed for 45 seconds. A living one
    is never taken over: StoreError says who holds the store and since when.
    """

    def __init__(self, folder: Folder, *, say: Callable[[str], None], of: str = "") -> None:
        self._folder = folder
        self._file = _file_of(of)
        self._what = f"{folder.url}/{of}" if of else folder.url
        self._say = say
        self._mine = {
            "host": socket.gethostname(),
            "machine": _machine(),
            "pid": os.getpid(),
            "process_started": _process_started(os.getpid()),
            "since": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "token": os.urandom(8).hex(),
        }
        _held_here.add(self._mine["token"])
        self._renewals = 0
        self._lost: str | None = None
        self._seen = b""
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._renew, name="lease", daemon=True)

    def __enter__(self) -> Self:
        while not self._folder.create_bytes(self._file, self._content()):
            held = self._read()
            if held is not None and held["token"] == self._mine["token"]:
                # the storage's answer to the first try was lost
                break
            if held is not None and self._dies(held):
                self._say(f"taking over the store from {_who(held)}, which is dead")
                if not self._folder.swap_bytes(self._file, self._seen, self._content()):
                    continue
                time.sleep(0 if self._folder.local else LOOK_EVERY_S)
                taken = self._read()
                if taken is not None and taken["token"] == self._mine["token"]:
                    break
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        self._thread.join()
        _held_here.discard(self._mine["token"])
        with contextlib.suppress(OSError, StoreError):
            held = self._read()
            if held is not None and held["token"] == self._mine["token"]:
                self._folder.remove(self._file)

    def check(self) -> None:
        """Raise StoreError if the lease is lost: another run may be writing by now."""
        if self._lost is not None:
            raise StoreError(f"{self._what}: {self._lost}; this run stops, what is done is kept")

    def _dies(self, held: dict[str, Any]) -> bool:
        """Whether a holder is dead; False where it ends by itself meanwhile. Raises StoreError where it lives."""
        if self._is_here(held):
            left = held["pid"] == os.getpid() and held["token"] not in _held_here
            if held["process_started"] == _process_started(held["pid"]) and not left:
                raise self._refusal(held)
            return True
        self._say(f"the store is held by {_who(held)}; waiting up to {EXPIRES_AFTER_S:.0f} s to see whether it lives")
        deadline = time.monotonic() + EXPIRES_AFTER_S
        while time.monotonic() < deadline:
            time.sleep(LOOK_EVERY_S)
            now = self._read()
            if now is None:
                return False
            if now != held:
                raise self._refusal(now)
        return True

    def _is_here(self, held: dict[str, Any]) -> bool:
        return bool(held["machine"] == self._mine["machine"])

    def _refusal(self, held: dict[str, Any]) -> StoreError:
        return StoreError(f"{self._what} is being written by {_who(held)}; wait for it, or end it")

    def _renew(self) -> None:
        renewed_at = time.monotonic()
        while not self._done.wait(RENEW_EVERY_S):
            try:
                held = self._read()
                if held is None or held["token"] != self._mine["token"]:
                    self._lost = "another run has taken the store over" if held else "the lease was removed"
                    return
                self._renewals += 1
                if self._folder.swap_bytes(self._file, self._seen, self._content()):
                    renewed_at = time.monotonic()
            except (OSError, StoreError) as e:
                if time.monotonic() - renewed_at > EXPIRES_AFTER_S:
                    self._lost = f"the lease could not be renewed: {e}"
                    return

    def _content(self) -> bytes:
        return (json.dumps({**self._mine, "renewals": self._renewals}) + "\n").encode()

    def _read(self) -> dict[str, Any] | None:
        try:
            self._seen = self._folder.read_bytes(self._file)
            held = json.loads(self._seen)
            if not isinstance(held, dict) or "token" not in held:
                raise ValueError("no lease")
            return held
        except FileNotFoundError:
            return None
        except ValueError as e:
            raise StoreError(
                f"{self._folder.url}/{self._file} is damaged: remove it if no run is writing this store"
            ) from e


def is_left_behind(folder: Folder, *, of: str = "") -> bool:
    """Whether a process of this machine that has ended left a lease; of other machines' nothing is known at once."""
    try:
        held = json.loads(folder.read_bytes(_file_of(of)))
        is_here = held["machine"] == _machine() and held["token"] not in _held_here
        return bool(is_here and held["process_started"] != _process_started(held["pid"]))
    except (OSError, ValueError, KeyError, TypeError):
        return False


def damaged_leases(folder: Folder) -> list[str]:
    """The files of leases that nobody can read: they keep everybody from writing."""
    found = []
    for name in (_file_of(""), _file_of(OF_LABELS)):
        try:
            held = json.loads(folder.read_bytes(name))
            if not isinstance(held, dict) or "token" not in held:
                found.append(name)
        except FileNotFoundError:
            continue
        except ValueError:
            found.append(name)
    return found


def _file_of(of: str) -> str:
    return f"_{of}{FILE}" if of else FILE


def _who(held: dict[str, Any]) -> str:
    return f"process {held['pid']} on {held['host']} since {held['since']}"


def _machine() -> str:
    """Where process ids mean the same: this boot of this machine, and this container."""
    parts = [socket.gethostname()]
    with contextlib.suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip())
        parts.append(os.readlink("/proc/self/ns/pid"))
    return " ".join(parts)


def _process_started(pid: int) -> str | None:
    """When a process started, in the kernel's ticks; None if there is none. Tells a process from a later one."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = status.rpartition(")")[2].split()
    return None if fields[0] == "Z" else fields[19]

"""Runs of `vidray extract` for chaos campaigns: how they are started, watched, killed, and what they leave behind."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

LONGEST_RUN_S = 900.0
"""A run that takes longer hangs."""
GONE_WITHIN_S = 60.0
"""So long the processes of a dead run may take to end; Ray looks after workers whose driver is gone."""
SANDBOX = "vidray.sandbox.child"
SERVICES = (
    "IDLE", "DashboardAgent", "RuntimeEnvAgent", "ActorLocationTracker", "_AutoscalingCoordinatorActor", "_StatsActor",
    "_UsageCollectionActor",
)  # fmt: skip
"""Titles of Ray's own workers and of actors that Ray Data leaves to a cluster."""

Process = tuple[int, str]
"""A process id, and when it started: the same id may come again."""


@dataclass(frozen=True)
class Seen:
    """One line of the machine's table of processes."""

    parent: int
    started: str
    title: str


def processes() -> dict[int, Seen]:
    """All living processes of this machine."""
    found = {}
    for place in Path("/proc").iterdir():
        if place.name.isdigit():
            with contextlib.suppress(OSError, IndexError):
                fields = (place / "stat").read_text().rpartition(")")[2].split()
                title = (place / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                if fields[0] != "Z":
                    found[int(place.name)] = Seen(int(fields[1]), fields[19], title)
    return found


def below(roots: Iterable[int], table: dict[int, Seen]) -> dict[int, Seen]:
    """The processes that descend from some, without these themselves."""
    found: dict[int, Seen] = {}
    level = set(roots)
    while level:
        level = {pid for pid, seen in table.items() if seen.parent in level and pid not in found}
        found |= {pid: table[pid] for pid in level}
    return found


def still_there(remembered: Iterable[Process]) -> set[Process]:
    table = processes()
    return {(pid, started) for pid, started in remembered if pid in table and table[pid].started == started}


def wait_until_gone(remembered: Iterable[Process], within_s: float = GONE_WITHIN_S) -> set[Process]:
    """Those of the processes that do not end in time."""
    deadline = time.monotonic() + within_s
    while (left := still_there(remembered)) and time.monotonic() < deadline:
        time.sleep(0.2)
    return left


def is_sandbox(seen: Seen) -> bool:
    return SANDBOX in seen.title


def is_busy_worker(seen: Seen) -> bool:
    """Whether it is a worker process of Ray that works for some job; not one that serves the cluster."""
    return seen.title.startswith("ray::") and not seen.title[len("ray::") :].startswith(SERVICES)


class Forked:
    """The command line in a fork of this process, which has imported it all already; without Ray and sandboxes."""

    def __init__(self, arguments: Sequence[str], environ: dict[str, str], log: Path) -> None:
        self._status: int | None = None
        self.pid = os.fork()
        if self.pid:
            return
        status = 70
        try:
            descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(descriptor, 1)
            os.dup2(descriptor, 2)
            os.environ.update(environ)
            from tests.campaigns import chaos_inline
            from vidray.cli import main

            chaos_inline.install()
            status = main(arguments)
            sys.stderr.flush()
        except Exception:
            traceback.print_exc()
        finally:
            os._exit(status)

    def poll(self) -> int | None:
        if self._status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self._status = os.waitstatus_to_exitcode(status) if pid else None
        return self._status

    def kill(self) -> None:
        if self.poll() is None:
            os.kill(self.pid, signal.SIGKILL)

    def wait(self) -> int:
        while (status := self.poll()) is None:
            time.sleep(0.02)
        return status


@dataclass
class Run:
    """One `vidray extract` in a process of its own.

    Attributes:
        is_inline: Whether it does without Ray and sandboxes; else it is the command itself.
        roots: Processes below which its workers are: its own, and those of a cluster that it shares.
        remembered: Its workers and sandboxes, all that were ever seen.
    """

    arguments: Sequence[str]
    environ: dict[str, str]
    log: Path
    roots: tuple[int, ...] = ()
    is_inline: bool = False
    remembered: set[Process] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.began = time.monotonic()
        arguments = ["extract", *self.arguments, "--json"]
        self.process: subprocess.Popen[bytes] | Forked
        if self.is_inline:
            self.process = Forked(arguments, self.environ, self.log)
            return
        with self.log.open("wb") as out:
            command = [sys.executable, "-m", "vidray.cli", *arguments]
            # Ray ends the whole process group of a driver that was killed
            self.process = subprocess.Popen(
                command, stdout=out, stderr=subprocess.STDOUT, env=self.environ, start_new_session=True
            )

    def look(self) -> dict[int, Seen]:
        """Its workers and sandboxes that live now; they are remembered."""
        table = processes()
        local = below([self.process.pid], table)
        shared = {
            pid: seen for pid, seen in below(self.roots, table).items() if is_busy_worker(seen) or is_sandbox(seen)
        }
        found = {pid: seen for pid, seen in (local | shared).items() if pid != self.process.pid}
        self.remembered |= {(pid, seen.started) for pid, seen in found.items()}
        return found

    def wait(self, until: Callable[[dict[int, Seen]], bool] = lambda found: False) -> int | None:
        """Its exit status; None when the condition comes first. Raises TimeoutError where it hangs."""
        while (status := self.process.poll()) is None:
            # reading the table of processes takes as long as a small run, and one without others has no need of it
            if not self.is_inline and until(self.look()):
                return None
            if time.monotonic() - self.began > LONGEST_RUN_S:
                raise TimeoutError(f"no end after {LONGEST_RUN_S:.0f} s: {self.said()[-500:]}")
            time.sleep(0.1)
        return status

    def kill(self) -> None:
        self.look()
        self.process.kill()
        self.process.wait()

    def said(self) -> str:
        return self.log.read_text(errors="replace")

    def summary(self) -> dict[str, Any]:
        return dict(json.loads(self.said().strip().splitlines()[-1]))


def kill(pid: int) -> bool:
    """Whether it was there to be killed."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def contents(store: Path) -> dict[str, bytes]:
    """Every file of a store but the records of runs, with its bytes.

    Of seals what they say of the part that is there: one whose run was killed goes on admitting the part before.
    """
    files = (path for path in sorted(store.rglob("*")) if path.is_file() and path.parent.name != "runs")
    return {str(path.relative_to(store)): _sealed(path) if _is_seal(path) else path.read_bytes() for path in files}


def _is_seal(path: Path) -> bool:
    return path.name.startswith("_part-") and path.suffix == ".json"


def _sealed(path: Path) -> bytes:
    return json.dumps({name: said for name, said in json.loads(path.read_text()).items() if name != "before"}).encode()


def published(store: Path) -> dict[str, tuple[int, int]]:
    """Every published part of features, with what tells whether it was written again."""
    found = {}
    for path in store.glob("features/*/part-*.parquet"):
        with contextlib.suppress(FileNotFoundError):
            status = path.stat()
            found[str(path.relative_to(store))] = (status.st_ino, status.st_mtime_ns)
    return found


def finished_pairs(store: Path) -> int:
    """How many (clip, extractor) pairs are published or staged."""
    pairs = 0
    names = set(published(store))
    for name in names:
        errors = store / name.replace("features/", "errors/", 1)
        pairs += _rows(store / name) + _rows(errors)
    for path in store.glob("_staging/*/part-*/*.parquet"):
        table, part = path.parts[-3:-1]
        if f"features/{table}/{part}.parquet" not in names:
            pairs += _rows(path)
    return pairs


def _rows(path: Path) -> int:
    try:
        return int(pq.read_metadata(path).num_rows)
    except FileNotFoundError:
        return 0

"""One child process and the connection to it: started, asked, watched and ended."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from vidray.errors import ClusterError, VidrayError
from vidray.sandbox import wire
from vidray.sandbox.limits import Limits
from vidray.sandbox.opened import Opened

PASSED_ENVIRONMENT = ("LD_LIBRARY_PATH", "PYTHONHOME")
HUGE_PAGES = "glibc.malloc.hugetlb=1"
"""Has glibc, from 2.35 on, ask for its heap in pages of 2 MB where the kernel gives these on request."""
NEEDED_PACKAGES = ("vidray", "numpy", "av")
START_S = 120.0
STARTS = 3
END_S = 5.0
CODE = """
import sys
sys.path += {path!r}
from vidray.sandbox.child import main
main(*map(int, sys.argv[1:4]), from_main_thread={from_main_thread})
"""

_LONGEST_LOOK_S = 1.0
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class Status(NamedTuple):
    """What the kernel says of a process.

    Attributes:
        state: R where it runs or waits for a processor; other letters where it sleeps.
        processor_s: What it has used in its life.
    """

    state: str
    processor_s: float
    resident_bytes: int


GONE = Status(state="X", processor_s=0.0, resident_bytes=0)


class DiedError(Exception):
    """The child is gone or has to go, with what it died of: a kind and a message as in `errors/`.

    Attributes:
        by_kill: Whether somebody else ended it with SIGKILL, as a machine does that is short of memory.
    """

    def __init__(self, kind: str, message: str, by_kill: bool = False) -> None:
        super().__init__(kind, message, by_kill)
        self.kind = kind
        self.message = message
        self.by_kill = by_kill


class Child:
    """A decoder in a process of its own. Requests raise DiedError or WireError when it is to be replaced.

    Attributes:
        files: How many files it has been handed.
        answers: How many requests it has answered.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._held = contextlib.ExitStack()
        self._process: subprocess.Popen[bytes] | None = None
        self._stat: int | None = None
        self.files = 0
        self.answers = 0
        self._start()
        self._resident_bytes_new = self.status().resident_bytes

    def _start(self) -> None:
        """Start it and wait until it is ready; raises ClusterError where this machine cannot."""
        reason = ""
        for attempt in range(STARTS):
            time.sleep(attempt)
            with open(os.memfd_create("stderr"), "w+b") as stderr:
                try:
                    self._spawn(stderr)
                    self._receive(None, max_payload_bytes=0)
                    return
                except (DiedError, OSError) as e:
                    reason = e.message if isinstance(e, DiedError) else str(e)
                self.end()
                stderr.seek(0)
                told = stderr.read().decode(errors="replace").strip()
                reason = told.rpartition("\n")[2] or reason
        raise ClusterError(f"the decoding process does not start on {socket.gethostname()}: {reason}")

    def _spawn(self, stderr: BinaryIO) -> None:
        self._budget = _Budget(START_S, START_S, 0.0)
        self._connection, theirs = socket.socketpair()
        lifeline, kept = (os.fdopen(end, mode) for end, mode in zip(os.pipe(), ("rb", "wb"), strict=True))
        self._channel = wire.Channel(self._connection, self._watch)
        for held in (self._connection, kept):
            self._held.callback(held.close)
        with theirs, lifeline:
            self._process = subprocess.Popen(
                command(theirs.fileno(), lifeline.fileno()),
                pass_fds=[theirs.fileno(), lifeline.fileno()],
                env=environment(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=stderr,
                cwd="/",
            )
        self._stat = os.open(f"/proc/{self._process.pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
        self._held.callback(os.close, self._stat)

    def ask(
        self,
        request: Mapping[str, Any],
        opened: Opened | None,
        *,
        limit_s: float,
        payload: Sequence[memoryview] = (),
        max_payload_bytes: int = 0,
    ) -> wire.Message:
        """The answer to one request, within a number of seconds; serves its reads of the file meanwhile."""
        self._budget = _Budget(limit_s, limit_s * self._limits.idle_factor, self.status().processor_s)
        try:
            self._channel.send(request, payload)
        except OSError as e:
            raise self._death() from e
        answer = self._receive(opened, max_payload_bytes=max_payload_bytes)
        self.answers += 1
        return answer

    def ask_about(
        self, request: Mapping[str, Any], opened: Opened, *, limit_s: float, max_payload_bytes: int = 0
    ) -> wire.Message:
        """The same about another file, which is handed over: as a descriptor where it has one."""
        self.files += 1
        self._budget = _Budget(limit_s, limit_s * self._limits.idle_factor, self.status().processor_s)
        try:
            self._channel.send({**request, "size": None if opened.descriptor is not None else opened.size_bytes})
            if opened.descriptor is not None:
                socket.send_fds(self._connection, [b"f"], [opened.descriptor])
        except OSError as e:
            raise self._death() from e
        answer = self._receive(opened, max_payload_bytes=max_payload_bytes)
        self.answers += 1
        return answer

    def _receive(self, opened: Opened | None, *, max_payload_bytes: int) -> wire.Message:
        while True:
            try:
                header, payload = self._channel.receive(max_payload_bytes=max_payload_bytes)
            except OSError as e:
                if isinstance(e, wire.WireError) and not isinstance(e, wire.ClosedError):
                    raise
                raise self._death() from e
            if header.get("ask") != "read":
                return header, payload
            self._serve(opened, header)

    def _serve(self, opened: Opened | None, request: Mapping[str, Any]) -> None:
        """Read a range of the file for the child. What storage takes for it is not the child's time."""
        offset, count = wire.unpack_range(request)
        began = time.monotonic()
        try:
            assert opened is not None
            opened.file.seek(offset)
            data = opened.file.read(count)
            header, payload = {}, [memoryview(data)] if data else []
        except VidrayError:
            raise
        except Exception as e:
            # any storage's library may raise any error of its own
            header, payload = {"error": wire.plain_text(f"{type(e).__name__}: {e}")}, []
        self._budget.waited(time.monotonic() - began)
        if self._budget.storage_s > self._limits.storage_s:
            raise DiedError("timeout", f"its storage takes more than {self._limits.storage_s:g} s to give it")
        try:
            self._channel.send(header, payload)
        except OSError as e:
            raise self._death() from e

    def _watch(self) -> None:
        status, budget = self.status(), self._budget
        if status.resident_bytes > self._limits.memory_bytes:
            raise DiedError("memory", f"decoding needs more than {self._limits.memory_bytes >> 20} MiB of memory")
        if status.processor_s - budget.began_processor_s > budget.limit_s:
            raise DiedError("timeout", f"decoding takes more than {budget.limit_s:.0f} s")
        if budget.idle_s(is_idle=status.state != "R") > budget.idle_limit_s:
            raise DiedError("timeout", f"the decoder does nothing for {budget.idle_limit_s:.0f} s")

    def is_spent(self) -> bool:
        """Whether it has seen many files, or keeps more memory than a new one."""
        grown = self.status().resident_bytes - self._resident_bytes_new
        return self.files >= self._limits.files or grown > self._limits.growth_bytes

    def status(self) -> Status:
        """What the kernel says of it now."""
        if self._stat is None:
            return GONE
        try:
            data = os.pread(self._stat, 1024, 0).decode(errors="replace")
        except ProcessLookupError:
            return GONE
        # the second field is a name in brackets, which may hold anything
        fields = data.rpartition(")")[2].split()
        processor_s = (int(fields[11]) + int(fields[12])) / _TICKS_PER_S
        return Status(state=fields[0], processor_s=processor_s, resident_bytes=int(fields[21]) * _PAGE_BYTES)

    def end(self) -> None:
        """Kill it. One that the kernel does not let die is left to the kernel."""
        self._stat = None
        self._held.close()
        if self._process is not None:
            self._process.kill()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(END_S)

    def _death(self) -> DiedError:
        """What the child died of, when the connection says that it is gone."""
        assert self._process is not None
        try:
            status = self._process.wait(END_S)
        except subprocess.TimeoutExpired:
            return DiedError("crashed", "the decoder stopped answering")
        if status == -signal.SIGKILL:
            return DiedError("crashed", "the decoder was killed while at it, for want of memory perhaps", by_kill=True)
        if status < 0:
            name = signal.Signals(-status).name if -status in set(signal.Signals) else f"signal {-status}"
            return DiedError("crashed", f"the decoder crashed on it ({name})")
        return DiedError("crashed", f"the decoder ended on it with exit status {status}")


class _Budget:
    """What one request may take: seconds of the child's processor, and seconds of doing nothing, without storage."""

    def __init__(self, limit_s: float, idle_limit_s: float, began_processor_s: float) -> None:
        self.limit_s = limit_s
        self.idle_limit_s = idle_limit_s
        self.began_processor_s = began_processor_s
        self.storage_s = 0.0
        self._idle_s = 0.0
        self._looked_at = time.monotonic()

    def waited(self, seconds: float) -> None:
        """So long storage took for a read."""
        self.storage_s += seconds
        self._looked_at = time.monotonic()

    def idle_s(self, *, is_idle: bool) -> float:
        """How long it has done nothing in all, if it has done nothing since it was last looked at, or something."""
        now = time.monotonic()
        if is_idle:
            # a machine that was halted has halted both
            self._idle_s += min(now - self._looked_at, _LONGEST_LOOK_S)
        self._looked_at = now
        return self._idle_s


def command(connection: int, lifeline: int) -> list[str]:
    """What starts a child: a fresh interpreter that looks at no site, no user and no current directory."""
    specs = [importlib.util.find_spec(name) for name in NEEDED_PACKAGES]
    homes = [str(Path(spec.origin).parents[1]) for spec in specs if spec is not None and spec.origin]
    # behind the standard library, which packages on PYTHONPATH would hide
    path = list(dict.fromkeys(homes))
    # a thread may end before its process does, and the parent-death signal would come too soon
    code = CODE.format(path=path, from_main_thread=threading.current_thread() is threading.main_thread())
    return [sys.executable, "-P", "-s", "-S", "-c", code, str(connection), str(lifeline), str(os.getpid())]


def environment() -> dict[str, str]:
    """All that a child knows of its owner's environment: where its libraries are."""
    passed = {name: os.environ[name] for name in PASSED_ENVIRONMENT if name in os.environ}
    return {**passed, "PYTHONUTF8": "1", "OPENBLAS_NUM_THREADS": "1", "GLIBC_TUNABLES": HUGE_PAGES}

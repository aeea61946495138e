"""The owner's side: start the child, watch its time and memory, end it, and say what it died of."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from vidray.errors import DecodeError, ProbeError
from vidray.media import Decoded, PictureSize, Sampling, VideoInfo
from vidray.sandbox import wire
from vidray.storage import open_uri

PASSED_ENVIRONMENT = ("PATH", "LD_LIBRARY_PATH", "LANG", "LC_ALL", "TZ", "PYTHONHOME", "TMPDIR")
WATCH_EVERY_S = 0.05
START_S = 120.0
ATTEMPTS = 2


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What media may cost.

    Attributes:
        probe_s: Seconds to read the headers of one file, storage aside.
        clip_s: Seconds to decode one clip, storage aside, besides its pixels' share.
        pixels_per_s: The slowest decoding that is still taken for work: a clip's limit grows with its pixels.
        memory_bytes: Resident size of the child.
        growth_bytes: What the child may keep between files before it is replaced.
        files: After so many files the child is replaced.
    """

    probe_s: float = 30.0
    clip_s: float = 30.0
    pixels_per_s: float = 4e6
    memory_bytes: int = 2 << 30
    growth_bytes: int = 512 << 20
    files: int = 500

    def for_clip(self, length_s: float, size: PictureSize) -> float:
        """Seconds that decoding a clip may take, at sixty pictures a second."""
        return self.clip_s + 60.0 * length_s * size[0] * size[1] / self.pixels_per_s


class _Died(Exception):
    """The child is gone, with what it died of: a kind and a message as in `errors/`."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(kind, message)
        self.kind = kind
        self.message = message


class Sandbox:
    """Probes and decodes in a child process; started when it is first needed, and again when it is gone."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self._child: _Child | None = None
        self._file: BinaryIO | None = None
        self._opened: tuple[str, tuple[Sampling, ...]] | None = None
        self._refused: DecodeError | None = None

    def probe(self, uri: str) -> VideoInfo:
        """What the headers say. Raises ProbeError, also when the child does not survive it."""
        try:
            answer, _ = self._survive(lambda: self._request_file("probe", uri, (), self.limits.probe_s))
        except DecodeError as e:
            raise ProbeError(e.kind, e.message, uri, e.at_s) from e
        finally:
            self._let_go()
        return VideoInfo(**answer["info"])

    def read(self, uri: str, samplings: Sequence[Sampling], start_s: float, end_s: float, size: PictureSize) -> Decoded:
        """The samples of one clip; whatever goes wrong is in the answer, as a DecodeError for each sampling."""
        wanted = tuple(samplings)
        limit_s = self.limits.for_clip(end_s - start_s, size)
        try:
            answer, payload = self._survive(lambda: self._request_clip(uri, wanted, start_s, end_s, limit_s))
            return wire.unpack_decoded(answer, payload, wanted)
        except DecodeError as e:
            at = DecodeError(e.kind, e.message, uri, start_s)
            return Decoded(samples=dict.fromkeys(wanted, at), warning=None)
        except wire.WireError as e:
            self.close()
            broken = DecodeError("crashed", f"the decoder answered nonsense: {e}", uri, start_s)
            return Decoded(samples=dict.fromkeys(wanted, broken), warning=None)

    def close(self) -> None:
        """End the child."""
        self._let_go()
        if self._child is not None:
            self._child.end()
            self._child = None

    def _survive(self, request: Any) -> wire.Message:
        """Ask twice where the child crashes: it may have been killed by somebody else. Time and memory are final."""
        for attempt in range(ATTEMPTS):
            try:
                answer: wire.Message = request()
            except _Died as e:
                self.close()
                if e.kind != "crashed" or attempt == ATTEMPTS - 1:
                    raise DecodeError(e.kind, e.message, "") from e
                continue
            if "error" in answer[0]:
                raise wire.unpack_error(answer[0]["error"])
            return answer
        raise AssertionError("unreachable")

    def _request_clip(
        self, uri: str, wanted: tuple[Sampling, ...], start_s: float, end_s: float, limit_s: float
    ) -> wire.Message:
        if self._opened != (uri, wanted):
            self._let_go()
            self._opened = (uri, wanted)
            answer, _ = self._request_file("open", uri, wanted, self.limits.probe_s)
            if "error" in answer:
                self._refused = wire.unpack_error(answer["error"])
        if self._refused is not None:
            raise self._refused
        assert self._child is not None
        return self._child.ask({"ask": "read", "start_s": start_s, "end_s": end_s}, self._file, limit_s)

    def _request_file(self, ask: str, uri: str, wanted: Sequence[Sampling], limit_s: float) -> wire.Message:
        if self._child is not None and self._child.is_spent(self.limits):
            self._child.end()
            self._child = None
        if self._child is None:
            self._child = _Child(self.limits)
        self._file = _open(uri)
        request = {"ask": ask, "uri": uri, "samplings": [wire.pack_sampling(sampling) for sampling in wanted]}
        return self._child.ask_with_file(request, self._file, limit_s)

    def _let_go(self) -> None:
        if self._file is not None:
            self._file.close()
        self._file = self._opened = self._refused = None


class _Child:
    """One child process and the connection to it."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._files = 0
        self._connection, theirs = socket.socketpair()
        environment = {name: os.environ[name] for name in PASSED_ENVIRONMENT if name in os.environ}
        environment["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
        command = [sys.executable, "-m", "vidray.sandbox.child", str(theirs.fileno()), str(os.getpid())]
        with theirs:
            self._process = subprocess.Popen(
                command,
                pass_fds=[theirs.fileno()],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd="/",
            )
        self._await(None, START_S)
        self._resident_bytes_new = self.resident_bytes()

    def ask_with_file(self, request: Mapping[str, Any], file: BinaryIO, limit_s: float) -> wire.Message:
        self._files += 1
        descriptor = _descriptor(file)
        size = None if descriptor is not None else _size(file)
        try:
            wire.send(self._connection, {**request, "size": size})
            if descriptor is not None:
                socket.send_fds(self._connection, [b"f"], [descriptor])
        except OSError as e:
            raise self._death() from e
        return self._await(file, limit_s)

    def ask(self, request: Mapping[str, Any], file: BinaryIO | None, limit_s: float) -> wire.Message:
        try:
            wire.send(self._connection, request)
        except OSError as e:
            raise self._death() from e
        return self._await(file, limit_s)

    def is_spent(self, limits: Limits) -> bool:
        """Whether it has seen many files, or keeps more memory than a new one."""
        return self._files >= limits.files or self.resident_bytes() > self._resident_bytes_new + limits.growth_bytes

    def resident_bytes(self) -> int:
        try:
            pages = Path(f"/proc/{self._process.pid}/statm").read_text().split()[1]
        except (OSError, IndexError):
            return 0
        return int(pages) * os.sysconf("SC_PAGE_SIZE")

    def end(self) -> None:
        self._connection.close()
        self._process.kill()
        self._process.wait()

    def _await(self, file: BinaryIO | None, limit_s: float) -> wire.Message:
        """The child's answer; serves its reads, whose time does not count, and ends it at its limits."""
        left_s = limit_s
        while True:
            began = time.monotonic()
            ready, _, _ = select.select([self._connection], [], [], WATCH_EVERY_S)
            if not ready:
                left_s -= time.monotonic() - began
                self._check(left_s, limit_s)
                continue
            try:
                header, payload = wire.receive(self._connection, max_payload_bytes=self._limits.memory_bytes)
            except (OSError, ValueError) as e:
                raise self._death() from e
            left_s -= time.monotonic() - began
            if header.get("ask") != "read":
                return header, payload
            self._serve(file, header)
            self._check(left_s, limit_s)

    def _check(self, left_s: float, limit_s: float) -> None:
        if self.resident_bytes() > self._limits.memory_bytes:
            raise _Died("memory", f"decoding needs more than {self._limits.memory_bytes >> 20} MiB of memory")
        if left_s <= 0:
            raise _Died("timeout", f"decoding does not end within {limit_s:.0f} s")

    def _serve(self, file: BinaryIO | None, request: Mapping[str, Any]) -> None:
        try:
            assert file is not None
            file.seek(int(request["offset"]))
            data = file.read(min(int(request["count"]), 1 << 26))
            reply: tuple[dict[str, Any], list[memoryview]] = {}, [memoryview(data)] if data else []
        except Exception as e:
            # any storage's library may raise any error of its own
            reply = {"error": f"{type(e).__name__}: {e}"}, []
        try:
            wire.send(self._connection, *reply)
        except OSError as e:
            raise self._death() from e

    def _death(self) -> _Died:
        """What the child died of, when the connection says that it is gone."""
        try:
            status = self._process.wait(timeout=5.0)
        except subprocess.TimeoutExpired:
            return _Died("crashed", "the decoder stopped answering")
        if status < 0:
            name = signal.Signals(-status).name if -status in set(signal.Signals) else f"signal {-status}"
            return _Died("crashed", f"the decoder crashed on it ({name})")
        return _Died("crashed", f"the decoder ended on it with exit status {status}")


def _open(uri: str) -> BinaryIO:
    try:
        return open_uri(uri)
    except FileNotFoundError as e:
        raise DecodeError("not_found", "no such file", uri) from e
    except (OSError, ValueError) as e:
        raise DecodeError("unreadable", f"the storage does not give it: {' '.join(str(e).split())}", uri) from e


def _descriptor(file: BinaryIO) -> int | None:
    with contextlib.suppress(OSError, AttributeError, ValueError):
        return file.fileno()
    return None


def _size(file: BinaryIO) -> int:
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    return size

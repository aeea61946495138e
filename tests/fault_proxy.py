"""A web server on a loopback port that misbehaves on purpose, seeded: before an S3 server, or with files of its own."""

from __future__ import annotations

import http.client
import itertools
import random
import re
import socket
import ssl
import struct
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

FAULTS = ("500", "503", "reset", "lost", "stall", "truncate", "short")
"""Answers 500 and 503 SlowDown; connection reset in the middle of an answer; reset after the work is done, before the
answer; silence in the middle; a body that ends early; a range that is shorter than was asked for, and says so."""

HOP_BY_HOP = frozenset({"connection", "keep-alive", "transfer-encoding", "te", "upgrade", "expect", "content-length"})
_CODES = {"500": "InternalError", "503": "SlowDown"}
_ERROR = '<?xml version="1.0"?><Error><Code>{0}</Code><Message>an injected fault</Message></Error>'


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Answer:
    """Attributes:
    has_length: Whether the client is told how long the body is, or has to wait for the end of the connection.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    has_length: bool = True


Source = Callable[[Request], Answer]


@dataclass
class Faults:
    """What goes wrong, and what did.

    Attributes:
        rates: Of each fault, its share of the requests.
        stall_s: How long a silence lasts at most.
        outage_at: From this request on, all are answered with 503.
    """

    rates: Mapping[str, float] = field(default_factory=dict)
    seed: int = 0
    stall_s: float = 60.0
    outage_at: int | None = None
    injected: Counter[str] = field(default_factory=Counter)
    requests: int = 0
    sent_bytes: int = 0
    paths: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)
        self._lock = threading.Lock()
        self.is_over = threading.Event()

    def draw(self, request: Request) -> tuple[str | None, float]:
        """The fault of one request, if it has one, and a number in [0, 1) that says where."""
        with self._lock:
            self.requests += 1
            self.paths[f"{request.method} {urlsplit(request.path).path}"] += 1
            if self.outage_at is not None and self.requests >= self.outage_at:
                return "503", 0.0
            chance, where = self._random.random(), self._random.random()
            for kind, upto in zip(self.rates, itertools.accumulate(self.rates.values()), strict=True):
                if chance < upto:
                    return kind, where
            return None, where

    def count(self, kind: str) -> None:
        with self._lock:
            self.injected[kind] += 1

    def sent(self, count: int) -> None:
        with self._lock:
            self.sent_bytes += count

    def reset_counts(self) -> None:
        self.injected, self.paths, self.requests, self.sent_bytes = Counter(), Counter(), 0, 0


def relay(endpoint_url: str) -> Source:
    """Pass requests on to another server; the client's Host and signature stay as they are."""
    kept = threading.local()

    def answer(request: Request) -> Answer:
        where = urlsplit(endpoint_url)
        if not hasattr(kept, "connection"):
            kept.connection = http.client.HTTPConnection(where.hostname or "", where.port, timeout=60)
        headers = {name: value for name, value in request.headers.items() if name.lower() not in HOP_BY_HOP}
        try:
            kept.connection.request(request.method, request.path, body=request.body or None, headers=headers)
            got = kept.connection.getresponse()
            body = got.read()
        except (OSError, http.client.HTTPException):
            kept.connection.close()
            del kept.connection
            raise
        shown = {name: value for name, value in got.getheaders() if name.lower() not in HOP_BY_HOP}
        if request.method == "HEAD":
            shown["Content-Length"] = got.getheader("Content-Length", "0")
        return Answer(got.status, shown, body)

    return answer


def serve_files(folder: Path, *, has_ranges: bool = True, has_length: bool = True) -> Source:
    """Serve the files of a folder, with or without byte ranges and Content-Length."""

    def answer(request: Request) -> Answer:
        path = folder / unquote(urlsplit(request.path).path).lstrip("/")
        if not path.is_file():
            return Answer(404, {}, b"not here")
        size, changed_s = path.stat().st_size, path.stat().st_mtime
        headers = {"ETag": f'"{size:x}-{changed_s:f}"', "Last-Modified": formatdate(changed_s, usegmt=True)}
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("Range", ""))
        if not has_ranges or wanted is None:
            return Answer(200, headers, path.read_bytes(), has_length)
        start, stop = int(wanted[1]), min(int(wanted[2] or size) + 1, size)
        if start >= size:
            return Answer(416, {"Content-Range": f"bytes */{size}"}, b"")
        with path.open("rb") as file:
            file.seek(start)
            return Answer(206, headers | {"Content-Range": f"bytes {start}-{stop - 1}/{size}"}, file.read(stop - start))

    return answer


@contextmanager
def faulty_server(
    source: Source, faults: Faults, port: int = 0, *, context: ssl.SSLContext | None = None
) -> Iterator[str]:
    """The URL of a server that answers from a source, with faults; by TLS where there is a context."""

    class Handler(_Handler):
        pass

    Handler.source = staticmethod(source)
    Handler.faults = faults
    server = _Server(("127.0.0.1", port), Handler)
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield f"{'http' if context is None else 'https'}://127.0.0.1:{server.server_address[1]}"
    finally:
        faults.is_over.set()
        server.shutdown()
        server.server_close()
        thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away is no news."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 1 << 16
    source: Source
    faults: Faults

    def log_message(self, format: str, *args: object) -> None:
        pass

    def handle_expect_100(self) -> bool:
        going_on = super().handle_expect_100()
        self.wfile.flush()
        return going_on

    def relay(self) -> None:
        request = Request(self.command, self.path, dict(self.headers.items()), self._body())
        kind, where = self.faults.draw(request)
        if kind in _CODES:
            self.faults.count(kind)
            self._send(Answer(int(kind), {"Content-Type": "application/xml"}, _ERROR.format(_CODES[kind]).encode()))
        elif kind in ("reset", "stall") and where < 0.25:
            self.faults.count(kind)
            self._break(kind)
        else:
            self._send(self.source(request), kind, where)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = relay

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        chunks = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        while self.rfile.readline().strip():
            continue
        return b"".join(chunks)

    def _send(self, answer: Answer, kind: str | None = None, where: float = 0.0) -> None:
        body = answer.body
        part = int(where * len(body))
        if kind == "short" and answer.status == 206 and part:
            self.faults.count(kind)
            body = body[:part]
        if kind == "lost":
            self.faults.count(kind)
            self._break("reset")
            return
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        if "Content-Length" not in answer.headers and answer.has_length:
            self.send_header("Content-Length", str(len(body)))
        self.close_connection = not answer.has_length
        self.end_headers()
        if self.command == "HEAD":
            return
        if kind in ("reset", "stall", "truncate") and body and answer.has_length:
            self.faults.count(kind)
            self.faults.sent(part)
            self.wfile.write(body[:part])
            self.wfile.flush()
            self._break(kind)
            return
        self.faults.sent(len(body))
        self.wfile.write(body)

    def _break(self, kind: str) -> None:
        """Be silent for a time, and end the connection: by a reset, or as if nothing were wrong."""
        if kind == "stall":
            self.faults.is_over.wait(self.faults.stall_s)
        if kind == "reset":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
        self.close_connection = True

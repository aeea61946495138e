"""A proxy as companies have one, as a process of its own: it passes whole URLs on, and tunnels CONNECT.

    python forward_proxy.py PLAIN TUNNELED LOG

Whatever host is asked for, plain requests go to 127.0.0.1:PLAIN and tunnels to 127.0.0.1:TUNNELED, so that tests can
name hosts that nobody reaches. It prints its own port, writes each request's method and target to LOG, and ends with
its standard input.
"""

from __future__ import annotations

import contextlib
import http.client
import socket
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

HOP_BY_HOP = frozenset({"connection", "proxy-connection", "keep-alive", "transfer-encoding", "te", "upgrade", "expect"})


class Handler(BaseHTTPRequestHandler):
    """One client."""

    protocol_version = "HTTP/1.1"
    plain_port = tunneled_port = 0
    log = Path()
    writing = threading.Lock()

    def do_CONNECT(self) -> None:
        self._note()
        with socket.create_connection(("127.0.0.1", self.tunneled_port)) as there:
            self.send_response(200)
            self.end_headers()
            pump = threading.Thread(target=_pump, args=(there, self.connection), daemon=True)
            pump.start()
            _pump(self.connection, there)
            pump.join()
        self.close_connection = True

    def pass_on(self) -> None:
        self._note()
        where = urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers = {name: value for name, value in self.headers.items() if name.lower() not in HOP_BY_HOP}
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.plain_port, timeout=60)) as there:
            there.request(self.command, where._replace(scheme="", netloc="").geturl(), body or None, headers)
            got = there.getresponse()
            data = got.read()
        self.send_response(got.status)
        for name, value in got.getheaders():
            if name.lower() not in HOP_BY_HOP | {"content-length"}:
                self.send_header(name, value)
        length = got.getheader("Content-Length", "0") if self.command == "HEAD" else str(len(data))
        self.send_header("Content-Length", length)
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = pass_on

    def _note(self) -> None:
        with self.writing, self.log.open("a") as file:
            file.write(f"{self.command} {self.path}\n")

    def log_message(self, *arguments: object) -> None:
        pass


def _pump(one: socket.socket, other: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := one.recv(65536):
            other.sendall(data)
    with contextlib.suppress(OSError):
        other.shutdown(socket.SHUT_WR)


def main() -> None:
    Handler.plain_port, Handler.tunneled_port, Handler.log = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdout.write(f"{server.server_port}\n")
    sys.stdout.flush()
    sys.stdin.read()


if __name__ == "__main__":
    main()

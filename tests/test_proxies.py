"""Requests over HTTP: through the environment's proxy, and with what is percent-encoded as it stands."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from vidray.storage import open_uri

BODY = bytes(range(256)) * 8


class Served(BaseHTTPRequestHandler):
    """Answers every request with the same bytes, by ranges; a proxy is asked for whole URLs."""

    def do_HEAD(self) -> None:
        self.answer(with_body=False)

    def do_GET(self) -> None:
        self.answer(with_body=True)

    def answer(self, *, with_body: bool) -> None:
        self.server.asked.append(self.path)  # type: ignore[attr-defined]
        first, last = 0, len(BODY) - 1
        if (ranged := self.headers.get("Range")) is not None:
            begin, _, end = ranged.removeprefix("bytes=").partition("-")
            first, last = int(begin), min(last, int(end or last))
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {first}-{last}/{len(BODY)}")
        else:
            self.send_response(200)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(last + 1 - first))
        self.end_headers()
        if with_body:
            self.wfile.write(BODY[first : last + 1])

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[ThreadingHTTPServer]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Served) as served:
        served.asked = []  # type: ignore[attr-defined]
        thread = threading.Thread(target=served.serve_forever)
        thread.start()
        yield served
        served.shutdown()
        thread.join()


def test_the_proxy_of_the_environment_is_used(server: ThreadingHTTPServer, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("no_proxy", "NO_PROXY", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{server.server_port}")
    with open_uri("http://media.invalid/clips/a.mp4") as file:
        assert file.read() == BODY
    assert set(server.asked) == {"http://media.invalid/clips/a.mp4"}  # type: ignore[attr-defined]


def test_a_signed_url_is_sent_on_as_it_stands(server: ThreadingHTTPServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")
    path = "/b%20c/a::b.mp4?X-Credential=me%2F2026%2Fs3&Signature=a%2Bb%3D"
    with open_uri(f"http://127.0.0.1:{server.server_port}{path}") as file:
        file.seek(100)
        assert file.read(8) == BODY[100:108]
    assert set(server.asked) == {path}  # type: ignore[attr-defined]

"""The videos themselves, local or remote, by ranges of bytes: a player reads what it plays."""

from __future__ import annotations

import mimetypes
import os
import re
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import BinaryIO
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse

from vidray.errors import one_line
from vidray.storage import open_uri

CHUNK_BYTES = 256 << 10
RANGE = re.compile(r"bytes=(\d*)-(\d*)")


def original(request: Request, uri: str) -> Response:
    """The bytes of a file that were asked for; 404 where it is gone, 416 for a range outside of it."""
    try:
        file = open_uri(uri)
        size = file.seek(0, os.SEEK_END)
    except OSError as e:
        return PlainTextResponse(one_line(e) + "\n", 404)
    wanted = _span(request.headers.get("range"), size)
    if wanted is None:
        file.close()
        return Response(status_code=416, headers={"Content-Range": f"bytes */{size}"})
    first, stop = wanted
    headers = {"Accept-Ranges": "bytes", "Content-Length": str(stop - first)}
    is_part = "range" in request.headers
    if is_part:
        headers["Content-Range"] = f"bytes {first}-{stop - 1}/{size}"
    body = _read(file, first, stop)
    return StreamingResponse(body, 206 if is_part else 200, headers, media_type=_kind(uri))


def _span(text: str | None, size: int) -> tuple[int, int] | None:
    """[first, stop) in bytes; None where there is no such range."""
    if text is None:
        return 0, size
    match = RANGE.fullmatch(text.strip())
    if match is None or match.groups() == ("", ""):
        return None
    low, high = match.groups()
    first = int(low) if low else max(0, size - int(high))
    stop = min(size, int(high) + 1) if low and high else size
    return (first, stop) if first < stop else None


def _read(file: BinaryIO, first: int, stop: int) -> Iterator[bytes]:
    with file:
        file.seek(first)
        while first < stop:
            data = file.read(min(CHUNK_BYTES, stop - first))
            if not data:
                return
            first += len(data)
            yield data


def _kind(uri: str) -> str:
    """What a player is told; never what a browser would take for a page."""
    kind = mimetypes.guess_type(PurePosixPath(urlsplit(uri).path or uri).name)[0] or ""
    return kind if kind.startswith(("video/", "audio/")) else "video/mp4"

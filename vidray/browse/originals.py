"""The videos themselves, local or remote, by ranges of bytes: a player reads what it plays."""

from __future__ import annotations

import mimetypes
import re
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import BinaryIO
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse

from vidray.corpus import MEDIA_SUFFIXES
from vidray.errors import VidrayError, one_line
from vidray.sandbox.opened import open_media
from vidray.storage import is_local, local_path

CHUNK_BYTES = 256 << 10
RANGE = re.compile(r"bytes=(?:(\d{1,18})-(\d{0,18})|-(\d{1,18}))")
"""One range; what is none, or several, is answered with all of the file, as HTTP allows."""


def original(request: Request, uri: str) -> Response:
    """The bytes of a file that were asked for.

    404 where it is gone, is no regular file, or has no name of a video or sound: a store may name what it likes. 416
    for a range outside of it.
    """
    if PurePosixPath(_path(uri)).suffix.lower() not in MEDIA_SUFFIXES:
        return PlainTextResponse("not served: its name is none of a video or sound\n", 404)
    try:
        opened = open_media(uri)
    except (VidrayError, OSError) as e:
        return PlainTextResponse(one_line(e) + "\n", 404)
    size = opened.size_bytes
    match = RANGE.fullmatch(request.headers.get("range", "").strip())
    first, stop = (0, size) if match is None else _span(match, size)
    if match is not None and first >= stop:
        opened.close()
        return Response(status_code=416, headers={"Content-Range": f"bytes */{size}"})
    headers = {"Accept-Ranges": "bytes", "Content-Length": str(stop - first)}
    if match is not None:
        headers["Content-Range"] = f"bytes {first}-{stop - 1}/{size}"
    body = _read(opened.file, first, stop)
    return StreamingResponse(body, 200 if match is None else 206, headers, media_type=_kind(uri))


def _span(match: re.Match[str], size: int) -> tuple[int, int]:
    """[first, stop) in bytes; empty where there is no such range."""
    low, high, last = match.groups()
    if last:
        return max(0, size - int(last)), size
    return int(low), min(size, int(high) + 1) if high else size


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
    kind = mimetypes.guess_type(PurePosixPath(_path(uri)).name)[0] or ""
    return kind if kind.startswith(("video/", "audio/")) else "video/mp4"


def _path(uri: str) -> str:
    return local_path(uri) if is_local(uri) else urlsplit(uri).path

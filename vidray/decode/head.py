"""What the first bytes of a file tell: what it is where FFmpeg cannot open it, and whether an MP3 counts its frames."""

from __future__ import annotations

from typing import BinaryIO

import av

from vidray.decode.formats import SIGNATURES
from vidray.decode.input import Input
from vidray.errors import DecodeError

HEAD_BYTES = 4096
_TAGS_BYTES = 64 << 10


def unopened(head: bytes, error: Exception | None, uri: str) -> DecodeError:
    """Why a file that begins so cannot be opened, or holds nothing to decode."""
    if isinstance(error, PermissionError) and not isinstance(error, av.FFmpegError):
        return DecodeError("unsupported", str(error), uri)
    start = head.lstrip()[:16].lower()
    if start.startswith((b"#extm3u", b"ffconcat", b"<mpd", b"<?xml", b"v=0", b"[playlist]")):
        return DecodeError("unsupported", "a playlist or script that names other files, not a video", uri)
    if isinstance(error, av.ArgumentError):
        return DecodeError("unsupported", "a format that vidray does not open", uri)
    if any(head[at:].startswith(mark) for at, mark in SIGNATURES):
        return DecodeError("corrupt", "the headers are damaged, or the file is cut off before its index", uri)
    return DecodeError("not_media", "no container or codec that vidray knows, or damaged headers", uri)


def counts_frames(head: bytes, file: BinaryIO, size_bytes: int) -> bool:
    """Whether an MP3's first frame counts the others (Xing, Info), and the bytes of this file are those of them.

    Where files were joined, it counts the first one's.
    """
    data, begin = Input(file), 0
    if head.startswith(b"ID3"):
        begin = 10 + sum((byte & 0x7F) << 7 * place for place, byte in enumerate(reversed(head[6:10])))
    data.seek(begin)
    first = data.read(HEAD_BYTES)
    at = max(first.find(b"Xing"), first.find(b"Info"))
    if at < 0 or len(first) < at + 16 or first[at + 7] & 3 != 3:
        return False
    counted = int.from_bytes(first[at + 12 : at + 16], "big")
    return abs(size_bytes - begin - counted) <= max(_TAGS_BYTES, counted // 100)

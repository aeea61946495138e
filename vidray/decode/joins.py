"""Recordings joined end to end in one file: where each begins, so that each is read by the clock of its own.

`cat a.ts b.ts`, a broadcast cut in two, a recorder that started again or slept for hours: the clock jumps, and a time
means two places, or none. FFmpeg plays such files in order but seeks in them by time, so each recording is opened as
if it were a file of its own, and their clocks are laid end to end.

Containers with an index are followed from box to box; streams are looked at in a few places, and read through, without
decoding, only where their clock does not go on evenly.
"""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice, pairwise
from statistics import median
from typing import Any, BinaryIO

import av
from av.container import InputContainer
from av.packet import Packet

from vidray.decode.clocks import adts_frames, marks_of
from vidray.decode.input import Input

MOST_PIECES = 64
"""A clock that jumps more often is damaged: the file is read as it stands."""

_PLACES = 16
_BLOCK_BYTES = 64 << 10
_SMALL_BYTES = 1 << 20
_BACK_S = 1.0
_AHEAD_S = 60.0
"""A clock may stand still for so long, as of slides; a longer leap ahead is of a recorder that slept."""

_UNEVEN = 4.0
_STEADY = 5
_MOST_BOXES = 64


@dataclass(frozen=True)
class Piece:
    """One recording.

    Attributes:
        begin: Its first byte in the file.
        end: The byte behind its last, None for the end of the file.
        starts_s: When it begins, in the seconds of the first one's container: where the one before ended.
        ends_s: When it ends, None where nobody asked.
        shift_s: What is added to its own clock to start there.
    """

    begin: int
    end: int | None
    starts_s: Fraction = Fraction(0)
    ends_s: Fraction | None = None
    shift_s: Fraction = Fraction(0)


def begins_of(file: BinaryIO, size_bytes: int, container: str) -> list[int]:
    """Where recordings begin in a file, the first at 0; the rest by FFmpeg's name of the container."""
    walk = _WALKS.get(container)
    if walk is not None:
        return walk(Input(file), size_bytes)
    if container == "aac":
        return _adts_begins(Input(file), size_bytes)
    if container not in ("mpegts", "mpeg", "ogg", "flac") or size_bytes == 0:
        return [0]
    if size_bytes > _SMALL_BYTES and _is_even(Input(file), size_bytes, container):
        return [0]
    if container == "ogg":
        return _ogg_begins(Input(file), size_bytes)
    if container == "flac":
        return _flac_begins(Input(file), size_bytes)
    return [0, *(_header_before(Input(file), *place, container) for place in _jumps(file, container))]


def _is_even(data: Input, size_bytes: int, container: str) -> bool:
    """Whether the clock goes on evenly, by a look at a few places."""
    times: list[dict[int, float]] = []
    for place in range(_PLACES + 1):
        data.seek(min(place * size_bytes // _PLACES, max(0, size_bytes - _BLOCK_BYTES)))
        times.append(marks_of(container, data.read(_BLOCK_BYTES)))
    streams = set(times[0]) if container == "ogg" else {stream for seen in times for stream in seen}
    if container == "ogg" and any(set(seen) - streams for seen in times):
        return False
    return all(_goes_on([seen[stream] for seen in times if stream in seen]) for stream in streams)


def _goes_on(times_s: Sequence[float]) -> bool:
    steps = [later - sooner for sooner, later in pairwise(times_s)]
    usual = median(steps) if steps else 0.0
    return all(0 <= step <= _UNEVEN * usual + _AHEAD_S for step in steps)


def _jumps(file: BinaryIO, container: str) -> list[tuple[int, int]]:
    """Read through without decoding: (position of the last packet before, of the first after) each jump."""
    seen = _clock(file, container)
    jumps: list[tuple[int, int]] = []
    before: tuple[int, float] | None = None
    for index, (position, at_s) in enumerate(seen):
        if before is not None and not -_BACK_S <= at_s - before[1] <= _AHEAD_S:
            ahead = [at_s, *(later for _, later in seen[index + 1 : index + _STEADY])]
            is_steady = all(-_BACK_S <= later - sooner <= _AHEAD_S for sooner, later in pairwise(ahead))
            if len(ahead) < _STEADY or not is_steady:
                continue  # one packet with a damaged timestamp
            jumps.append((before[0], position))
        before = (position, at_s)
    return jumps if len(jumps) < MOST_PIECES else []


def _clock(file: BinaryIO, container: str) -> list[tuple[int, float]]:
    """(position, seconds) of all packets of one stream: of frames, or of audio where there is none."""
    seen: list[tuple[int, float]] = []
    options = {"format_whitelist": container, "protocol_whitelist": ""}
    with contextlib.suppress(av.FFmpegError, OSError), av.open(Input(file), options=options) as opened:
        assert isinstance(opened, InputContainer)
        streams = [*opened.streams.video, *opened.streams.audio][:1]
        for packet in _packets(opened.demux(streams)):
            stamp = packet.dts if packet.dts is not None else packet.pts
            if stamp is not None and packet.pos is not None and packet.pos >= 0:
                seen.append((packet.pos, float(stamp * packet.time_base)))
    return seen


def _packets(demuxed: Iterator[Packet[Any]]) -> Iterator[Packet[Any]]:
    with contextlib.suppress(av.FFmpegError, OSError, IndexError):
        yield from demuxed


def _header_before(data: Input, after: int, position: int, container: str) -> int:
    """Where the tables or pack begin that a stream's first packet belongs to."""
    start = max(after + 1, position - (1 << 20))
    data.seek(start)
    held = data.read(position - start)
    if container == "mpeg":
        found = held.rfind(b"\0\0\1\xba")
        return position if found < 0 else start + found
    for at in range(len(held) - 188, -1, -1):
        # the packet of a program association table: PID 0, and the start of a unit
        if held[at] == 0x47 and held[at + 1] & 0x5F == 0x40 and held[at + 2] == 0:
            return start + at
    return position


def _ogg_begins(data: Input, size_bytes: int) -> list[int]:
    """Each page that begins a stream after pages that do not begins a new link of the chain."""
    begins, position, in_head = [0], 0, True
    while position + 27 <= size_bytes and len(begins) <= MOST_PIECES:
        data.seek(position)
        head = data.read(27 + 255)
        if head[:4] != b"OggS" or len(head) < 27:
            position += 1 + max(0, head.find(b"OggS", 1) - 1 if head.find(b"OggS", 1) > 0 else len(head) - 5)
            continue
        is_first = bool(head[5] & 2)
        if is_first and not in_head:
            begins.append(position)
        in_head = is_first
        position += 27 + head[26] + sum(head[27 : 27 + head[26]])
    return begins if len(begins) <= MOST_PIECES else [0]


def _flac_begins(data: Input, size_bytes: int) -> list[int]:
    """Each marker that a description of a stream follows, of 34 bytes as all are."""
    begins, position = [0], 4
    while position < size_bytes and len(begins) <= MOST_PIECES:
        data.seek(position)
        held = data.read(_SMALL_BYTES + 8)
        for head in (b"fLaC\0\0\0\x22", b"fLaC\x80\0\0\x22"):
            at = held.find(head)
            while at >= 0:
                begins.append(position + at)
                at = held.find(head, at + 8)
        position += _SMALL_BYTES + 1
    return sorted(begins) if len(begins) <= MOST_PIECES else [0]


def _flv_begins(data: Input, size_bytes: int) -> list[int]:
    """From tag to tag, where the file is not what its header says of it, or is small."""
    data.seek(0)
    head = data.read(_BLOCK_BYTES)
    if size_bytes > _SMALL_BYTES and _flv_number(head, b"filesize") == size_bytes:
        return [0]
    begins, position = [0], 13
    while position + 15 <= size_bytes and len(begins) <= MOST_PIECES:
        data.seek(position)
        head = data.read(13)
        if head[:4] == b"FLV\x01":
            begins.append(position)
            position += int.from_bytes(head[5:9], "big") + 4
        elif head[:1] in (b"\x08", b"\x09", b"\x12") and head[8:11] == b"\0\0\0":
            position += 15 + int.from_bytes(head[1:4], "big")
        else:
            break
    return begins if len(begins) <= MOST_PIECES else [0]


def _flv_number(head: bytes, name: bytes) -> float | None:
    """What the metadata says of a name, which come as text, a zero and a double."""
    at = head.find(name)
    value = head[at + len(name) : at + len(name) + 9]
    return float(struct.unpack(">d", value[1:])[0]) if at >= 0 and len(value) == 9 and value[0] == 0 else None


def _adts_begins(data: Input, size_bytes: int) -> list[int]:
    """Where the rate or the channels of raw AAC change: FFmpeg goes on counting by the first rate."""
    data.seek(0)
    first = {said for _, said in adts_frames(data.read(_BLOCK_BYTES))}
    for place in range(1, _PLACES + 1):
        data.seek(min(place * size_bytes // _PLACES, max(0, size_bytes - _BLOCK_BYTES)))
        first |= {said for _, said in islice(adts_frames(data.read(_BLOCK_BYTES)), _STEADY, None)}
    if len(first) == 1:
        return [0]
    data.seek(0)
    frames = list(adts_frames(data.read(size_bytes)))
    begins = [0, *(at for (_, before), (at, said) in pairwise(frames) if before != said)]
    return begins if len(begins) <= MOST_PIECES else [0]


def _mp4_begins(data: Input, size_bytes: int) -> list[int]:
    begins, position = [0], 0
    for _ in range(_MOST_BOXES):
        data.seek(position)
        head = data.read(16)
        if len(head) < 8:
            break
        length, kind = int.from_bytes(head[:4], "big"), head[4:8]
        if length == 1 and len(head) == 16:
            length = int.from_bytes(head[8:], "big")
        if kind == b"ftyp" and position:
            begins.append(position)
        if length < 8:
            break
        position += length
    return begins


def _riff_begins(data: Input, size_bytes: int) -> list[int]:
    begins, position = [0], 0
    for _ in range(_MOST_BOXES):
        data.seek(position)
        head = data.read(12)
        if len(head) < 12 or head[:4] != b"RIFF":
            break
        # an AVI of more than 1 GB goes on in chunks of the kind AVIX
        if position and head[8:] in (b"AVI ", b"WAVE"):
            begins.append(position)
        length = int.from_bytes(head[4:8], "little")
        position += 8 + length + length % 2
    return begins


def _ebml_begins(data: Input, size_bytes: int) -> list[int]:
    begins, position = [0], 0
    for _ in range(_MOST_BOXES):
        head, length = _ebml_element(data, position)
        if head[:4] not in (_EBML, b"\x18S\x80g") or not length:
            break
        if position and head[:4] == _EBML:
            begins.append(position)
        if length == _UNKNOWN:
            position = _ebml_after_live(data, position + len(head), size_bytes)
        else:
            position += len(head) + length
    return begins


_EBML = b"\x1aE\xdf\xa3"
_UNKNOWN = -1
_MOST_ELEMENTS = 1_000_000


def _ebml_element(data: Input, position: int) -> tuple[bytes, int]:
    """The head of the element at a place and the length of what follows; `_UNKNOWN` where only its end says it."""
    data.seek(position)
    head = data.read(12)
    if len(head) < 2 or not head[0] or head[0] < 0x10:
        return b"", 0
    name = 9 - head[0].bit_length()
    if len(head) <= name or not head[name]:
        return b"", 0
    width = 9 - head[name].bit_length()
    value = int.from_bytes(head[name : name + width], "big") & ((1 << 7 * width) - 1)
    return head[: name + width], _UNKNOWN if value == (1 << 7 * width) - 1 else value


def _ebml_after_live(data: Input, position: int, size_bytes: int) -> int:
    """Behind a recording of unknown length, as of a live stream: where the next one begins, or the file ends.

    Goes from element to element; into clusters of unknown length, too.
    """
    for _ in range(_MOST_ELEMENTS):
        head, length = _ebml_element(data, position)
        if not head or head[:4] == _EBML or position >= size_bytes:
            return position
        position += len(head) + max(0, length)
    return size_bytes


_WALKS: dict[str, Callable[[Input, int], list[int]]] = {
    "mov": _mp4_begins,
    "avi": _riff_begins,
    "wav": _riff_begins,
    "matroska": _ebml_begins,
    "flv": _flv_begins,
}

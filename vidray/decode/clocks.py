"""The clock of a transport, program, Ogg or FLAC stream at some place, read from the bytes there."""

from __future__ import annotations

from collections.abc import Iterator

_HZ = 90_000
_SYNC = 0x47


def marks_of(container: str, block: bytes) -> dict[int, float]:
    """The first time of each stream in some bytes from the middle of a file, in seconds of an unknown zero.

    Of an Ogg stream, whose positions count what only its codec knows, and of FLAC, which counts frames or samples, they
    are in millions.
    """
    if container == "mpegts":
        return _transport_marks(block)
    if container == "flac":
        return _flac_marks(block)
    return _ogg_marks(block) if container == "ogg" else _program_marks(block)


def _transport_marks(block: bytes) -> dict[int, float]:
    for length in (188, 192, 204):
        for start in range(min(length, len(block) - 3 * length)):
            if all(block[start + n * length] == _SYNC for n in range(4)):
                return _packets_marks(block, start, length)
    return {}


def _packets_marks(block: bytes, start: int, length: int) -> dict[int, float]:
    marks: dict[int, float] = {}
    for at in range(start, len(block) - 187, length):
        if block[at] != _SYNC or not block[at + 1] & 0x40 or not block[at + 3] & 0x10:
            continue
        stream = (block[at + 1] & 0x1F) << 8 | block[at + 2]
        payload = at + 4 + (1 + block[at + 4] if block[at + 3] & 0x20 else 0)
        pes = block[payload : at + 188]
        if stream in marks or len(pes) < 19 or pes[:3] != b"\0\0\1" or not pes[7] & 0x80:
            continue
        # the time of decoding, where there is one: it never goes back from frame to frame
        marks[stream] = _stamp(pes[14:19] if pes[7] & 0x40 else pes[9:14]) / _HZ
    return marks


def _stamp(five: bytes) -> int:
    """33 bits with a marker after 3, 18 and 33."""
    return (five[0] >> 1 & 7) << 30 | five[1] << 22 | five[2] >> 1 << 15 | five[3] << 7 | five[4] >> 1


def _program_marks(block: bytes) -> dict[int, float]:
    at = block.find(b"\0\0\1\xba")
    if at < 0 or at + 10 > len(block):
        return {}
    head = block[at + 4 : at + 10]
    if head[0] & 0xC0 == 0x40:
        clock = (head[0] >> 3 & 7) << 30 | (head[0] & 3) << 28 | head[1] << 20 | head[2] >> 3 << 15
        clock |= (head[2] & 3) << 13 | head[3] << 5 | head[4] >> 3
    else:
        clock = _stamp(head[:5])
    return {0: clock / _HZ}


def _ogg_marks(block: bytes) -> dict[int, float]:
    marks: dict[int, float] = {}
    at = block.find(b"OggS")
    while 0 <= at <= len(block) - 27:
        granule = int.from_bytes(block[at + 6 : at + 14], "little", signed=True)
        stream = int.from_bytes(block[at + 14 : at + 18], "little")
        if block[at + 4] == 0 and granule >= 0:
            marks.setdefault(stream, granule / 1e6)
        at = block.find(b"OggS", at + 27)
    return marks


def _flac_marks(block: bytes) -> dict[int, float]:
    """By the number in the head of the first frame, which a checksum of eight bits tells from other bytes."""
    at = block.find(b"\xff")
    while 0 <= at <= len(block) - 16:
        if block[at + 1] in (0xF8, 0xF9) and block[at + 2] >> 4 and not block[at + 3] & 1:
            length = 8 - (block[at + 4] ^ 0xFF).bit_length() if block[at + 4] & 0x80 else 1
            end = at + 4 + max(1, length) + {6: 1, 7: 2}.get(block[at + 2] >> 4, 0)
            end += {12: 1, 13: 2, 14: 2}.get(block[at + 2] & 15, 0)
            if length != 8 and _crc8(block[at:end]) == block[end]:
                number = block[at + 4] & (0x7F >> length if length > 1 else 0x7F)
                for byte in block[at + 5 : at + 4 + max(1, length)]:
                    number = number << 6 | byte & 0x3F
                return {block[at + 1]: number / 1e6}
        at = block.find(b"\xff", at + 1)
    return {}


def _crc8(data: bytes) -> int:
    found = 0
    for byte in data:
        found ^= byte
        for _ in range(8):
            found = (found << 1 ^ 0x07 if found & 0x80 else found << 1) & 0xFF
    return found


def adts_frames(block: bytes, at: int = 0) -> Iterator[tuple[int, int]]:
    """(place, what the header says of rate and channels) of the frames of raw AAC; starts where two are in a row."""
    while (at := block.find(b"\xff", at)) >= 0:
        length = _adts_bytes(block, at)
        follows = at + length
        if not length or (follows + 7 <= len(block) and not _adts_bytes(block, follows)):
            at += 1
            continue
        yield at, (block[at + 2] & 0x3D) << 8 | block[at + 3] & 0xC0
        at = follows


def _adts_bytes(block: bytes, at: int) -> int:
    """How long the frame is that begins at a place; 0 where none does."""
    if at + 7 > len(block) or block[at] != 0xFF or block[at + 1] & 0xF6 != 0xF0:
        return 0
    length = (block[at + 3] & 3) << 11 | block[at + 4] << 3 | block[at + 5] >> 5
    return length if length > 7 else 0

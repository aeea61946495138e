"""Mutations that know a container: the sizes, tables and clocks that a demuxer believes are made to lie.

Each finds its places by the marks of a format, and does nothing in files without them.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Callable

Mutation = Callable[[random.Random, bytearray, bytes], None]

ATOMS = (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"mdat", b"moof", b"traf", b"udta")
TABLES = (b"stts", b"ctts", b"stsz", b"stsc", b"stco", b"co64", b"stss", b"mdhd", b"mvhd", b"tkhd")
EBML_IDS = (b"\x1aE\xdf\xa3", b"\x18S\x80g", b"\x1fC\xb6u", b"\x16T\xaek", b"\x1cS\xbbk", b"\xa3", b"\xe7", b"\xae")
EXTRADATA = (b"avcC", b"hvcC", b"esds", b"av1C", b"vpcC", b"dOps")
LIES = (0, 1, 7, 8, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


def places(data: bytes, marks: tuple[bytes, ...]) -> list[int]:
    """Where any of some marks begins."""
    found = []
    for mark in marks:
        at = data.find(mark)
        while at >= 0:
            found.append(at)
            at = data.find(mark, at + 1)
    return sorted(found)


def one(rng: random.Random, data: bytes, marks: tuple[bytes, ...]) -> int | None:
    found = places(data, marks)
    return rng.choice(found) if found else None


def put(data: bytearray, at: int, value: bytes) -> None:
    if at >= 0 and at + len(value) <= len(data):
        data[at : at + len(value)] = value


def lie(rng: random.Random) -> bytes:
    return struct.pack(">I", rng.choice((*LIES, rng.getrandbits(32), rng.getrandbits(12))))


def atom_sizes(rng: random.Random, data: bytearray, other: bytes) -> None:
    if (at := one(rng, data, ATOMS + TABLES)) is not None:
        put(data, at - 4, lie(rng))


def sample_tables(rng: random.Random, data: bytearray, other: bytes) -> None:
    """A number of a table: how many entries, or one of them."""
    if (at := one(rng, data, TABLES)) is not None:
        put(data, at + 8 + 4 * rng.randrange(12), lie(rng))


def edit_lists(rng: random.Random, data: bytearray, other: bytes) -> None:
    """Lengths, media times and rates of an edit list; an `edts` is as long as it was."""
    if (at := one(rng, data, (b"elst",))) is not None:
        put(data, at + 8 + 4 * rng.randrange(4), lie(rng))


def fragment_times(rng: random.Random, data: bytearray, other: bytes) -> None:
    if (at := one(rng, data, (b"tfdt", b"trun", b"tfhd", b"sidx"))) is not None:
        put(data, at + 4 + 4 * rng.randrange(8), lie(rng))


def extradata_of_others(rng: random.Random, data: bytearray, other: bytes) -> None:
    """What a decoder is set up by, of another file; else its bits are flipped."""
    at, source = one(rng, data, EXTRADATA), one(rng, other, EXTRADATA)
    if at is not None:
        length = rng.choice((8, 24, 48))
        piece = other[source + 4 : source + 4 + length] if source is not None else rng.randbytes(length)
        put(data, at + 4, piece)


def ebml_sizes(rng: random.Random, data: bytearray, other: bytes) -> None:
    if data[:4] == b"\x1aE\xdf\xa3" and (at := one(rng, data[: 1 << 16], EBML_IDS)) is not None:
        width = 4 if data[at] < 0x40 else 1
        put(data, at + width, bytes([rng.choice((0x80, 0xFF, 0x01, 0x40, rng.getrandbits(8)))]))


def nal_bits(rng: random.Random, data: bytearray, other: bytes) -> None:
    """The bits behind a start code: the kind of unit, and the first of its header."""
    for _ in range(rng.choice((1, 5, 20))):
        if (at := one(rng, data, (b"\0\0\1",))) is not None and at + 6 < len(data):
            data[at + 3 + rng.randrange(3)] ^= 1 << rng.randrange(8)


def pes_clocks(rng: random.Random, data: bytearray, other: bytes) -> None:
    """Timestamps of a program or transport stream, one or all."""
    found = [at for at in places(data, (b"\0\0\1\xe0", b"\0\0\1\xc0")) if at + 19 < len(data) and data[at + 7] & 0x80]
    for at in found if rng.random() < 0.5 else rng.sample(found, min(len(found), 3)):
        stamp = rng.getrandbits(33)
        head = data[at + 9] & 0xF0 | (stamp >> 30 & 7) << 1 | 1
        put(data, at + 9, struct.pack(">BHH", head, (stamp >> 15 & 0x7FFF) << 1 | 1, (stamp & 0x7FFF) << 1 | 1))


def ogg_positions(rng: random.Random, data: bytearray, other: bytes) -> None:
    if (at := one(rng, data, (b"OggS",))) is not None:
        put(data, at + 5 + rng.randrange(14), lie(rng))


STRUCTURES: tuple[Mutation, ...] = (
    atom_sizes, sample_tables, edit_lists, fragment_times, extradata_of_others, ebml_sizes, nal_bits, pes_clocks,
    ogg_positions,
)  # fmt: skip

"""Makers of media bombs: small or sparse files that ask for absurd sizes, times, counts and depths.

Each maker writes one file; `BOMBS` names them all, each with the suffix of its file.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

from tests.campaigns.bomb_parts import box, boxes, h264, ivf, jpeg, mux, png, small_mp4, vp9
from vidray.testing import Sweep, SyntheticVideo, write_video

Maker = Callable[[Path], None]
BOMBS: dict[str, Maker] = {}

WIDE, HIGH = 16_000, 16_000
"""About as large as FFmpeg takes."""
DAY_S = 86_400


def bomb(suffix: str) -> Callable[[Maker], Maker]:
    def register(make: Maker) -> Maker:
        BOMBS[f"{make.__name__}{suffix}"] = make
        return make

    return register


@bomb(".mov")
def huge_png(path: Path) -> None:
    mux(path, "png", [png(WIDE, HIGH, 8, 0)] * 3, WIDE, HIGH)


@bomb(".mov")
def huge_deep_png(path: Path) -> None:
    mux(path, "png", [png(WIDE, HIGH // 2, 16, 6)] * 3, WIDE, HIGH // 2)


@bomb(".mov")
def png_larger_than_ffmpeg_takes(path: Path) -> None:
    mux(path, "png", [png(60_000, 60_000, 1, 0)], 64, 64)


@bomb(".mov")
def narrow_png(path: Path) -> None:
    mux(path, "png", [png(1, WIDE)] * 30, 1, WIDE)


@bomb(".mov")
def flat_png(path: Path) -> None:
    mux(path, "png", [png(WIDE, 1)] * 30, WIDE, 1)


@bomb(".mov")
def growing_png(path: Path) -> None:
    """Small where it is probed, large later."""
    mux(path, "png", [png(64, 64)] * 50 + [png(WIDE, HIGH, 8, 0)] * 20, 64, 64)


@bomb(".avi")
def huge_jpeg(path: Path) -> None:
    mux(path, "mjpeg", [jpeg(WIDE, HIGH)] * 100, WIDE, HIGH)


@bomb(".h264")
def huge_h264(path: Path) -> None:
    path.write_bytes(h264(WIDE, HIGH))


@bomb(".ivf")
def huge_vp9(path: Path) -> None:
    path.write_bytes(ivf(b"VP90", [vp9(WIDE, HIGH)] * 50, WIDE, HIGH))


@bomb(".ivf")
def largest_vp9(path: Path) -> None:
    path.write_bytes(ivf(b"VP90", [vp9(65_536, 65_536)] * 50, 65_535, 65_535))


@bomb(".gif")
def huge_gif(path: Path) -> None:
    frame = b"\x21\xf9\x04\0\1\0\0\0\x2c\0\0\0\0\1\0\1\0\0\2\2\x44\1\0"
    path.write_bytes(b"GIF89a" + struct.pack("<HHBBB", WIDE, HIGH, 0x80, 0, 0) + bytes(6) + frame * 1000 + b";")


@bomb(".gif")
def year_long_gif(path: Path) -> None:
    """Each frame is shown for eleven minutes."""
    frame = b"\x21\xf9\x04\0\xff\xff\0\0\x2c\0\0\0\0\1\0\1\0\0\2\2\x44\1\0"
    path.write_bytes(b"GIF89a" + struct.pack("<HHBBB", 16, 16, 0x80, 0, 0) + bytes(6) + frame * 50_000 + b";")


@bomb(".mp4")
def weeks_by_headers(path: Path) -> None:
    """The headers say 49 days and more, the packets two seconds."""
    data = small_mp4(path)
    for name, at in ((b"mvhd", 16), (b"mdhd", 16), (b"tkhd", 20)):
        for body in boxes(data, name):
            struct.pack_into("!I", data, body + at, 0xFFFFFFFF)
    path.write_bytes(data)


@bomb(".mp4")
def centuries_by_packets(path: Path) -> None:
    """Each frame is shown for years."""
    data = small_mp4(path)
    for body in boxes(data, b"stts"):
        entries = struct.unpack_from("!I", data, body + 4)[0]
        for entry in range(entries):
            struct.pack_into("!I", data, body + 12 + 8 * entry, 0x7FFFFFFF)
    path.write_bytes(data)


@bomb(".mp4")
def days_by_edit_list(path: Path) -> None:
    data = small_mp4(path)
    for body in boxes(data, b"elst"):
        struct.pack_into("!I", data, body + 8, 0x7FFFFFFF)
    path.write_bytes(data)


@bomb(".mkv")
def centuries_in_matroska(path: Path) -> None:
    write_video(path, SyntheticVideo(frames=50))
    data = bytearray(path.read_bytes())
    at = data.index(b"\x44\x89\x88")
    struct.pack_into("!d", data, at + 3, 1e15)
    path.write_bytes(data)


@bomb(".mkv")
def late_last_packet(path: Path) -> None:
    """Two packets, a hundred days apart."""
    mux(path, "mjpeg", [jpeg(64, 64)] * 3, 64, 64, [0, 1, 100 * DAY_S * 25])


@bomb(".mkv")
def a_day_of_nothing(path: Path) -> None:
    """Three packets, the last 23 hours after the others."""
    mux(path, "mjpeg", [jpeg(64, 64)] * 3, 64, 64, [0, 1, 23 * 3600 * 25])


@bomb(".ts")
def stray_timestamp(path: Path) -> None:
    """One damaged timestamp near the end, 13 hours late."""
    write_video(path, SyntheticVideo(frames=50, b_frames=0))
    data = bytearray(path.read_bytes())
    at = data.rindex(b"\0\0\1\xe0") + 9
    data[at] |= 0x08
    path.write_bytes(data)


@bomb(".nut")
def unknown_container(path: Path) -> None:
    mux(path, "png", [png(32, 32)] * 3, 32, 32)


@bomb(".avi")
def ages_in_avi(path: Path) -> None:
    write_video(path, SyntheticVideo(frames=50, codec="mpeg4", b_frames=0))
    data = bytearray(path.read_bytes())
    for body in boxes(data, b"strh"):
        struct.pack_into("<III", data, body + 4 + 20, 1, 1, 0)
        struct.pack_into("<I", data, body + 4 + 32, 0xFFFFFFFF)
    struct.pack_into("<I", data, next(boxes(data, b"avih")) + 4 + 16, 0xFFFFFFFF)
    path.write_bytes(data)


@bomb(".wav")
def wav_that_claims_more(path: Path) -> None:
    head = struct.pack("<4sI4s4sIHHIIHH", b"RIFF", 0xFFFFFFFF, b"WAVE", b"fmt ", 16, 1, 1, 1, 1, 1, 8)
    path.write_bytes(head + b"data" + struct.pack("<I", 0xFFFFFFFE) + b"\x80" * 4000)


@bomb(".wav")
def wav_of_many_hertz(path: Path) -> None:
    head = struct.pack("<4sI4s4sIHHIIHH", b"RIFF", 100_036, b"WAVE", b"fmt ", 16, 1, 1, 0x7FFFFFFF, 1, 1, 8)
    path.write_bytes(head + b"data" + struct.pack("<I", 100_000) + b"\x80" * 100_000)


@bomb(".wav")
def wav_of_many_channels(path: Path) -> None:
    head = struct.pack("<4sI4s4sIHHIIHH", b"RIFF", 10_000_036, b"WAVE", b"fmt ", 16, 1, 60_000, 8000, 1, 60_000, 8)
    path.write_bytes(head + b"data" + struct.pack("<I", 10_000_000) + b"\x80" * 10_000_000)


@bomb(".wav")
def sparse_wav(path: Path) -> None:
    head = struct.pack("<4sI4s4sIHHIIHH", b"RF64", 0xFFFFFFFF, b"WAVE", b"fmt ", 16, 1, 1, 8000, 8000, 1, 8)
    path.write_bytes(head + b"data" + struct.pack("<I", 0xFFFFFFFF))
    os.truncate(path, 1 << 40)


@bomb(".flac")
def weeks_in_flac(path: Path) -> None:
    write_video(path, SyntheticVideo(frames=0, audio=Sweep(codec="flac", layout="mono")))
    data = bytearray(path.read_bytes())
    data[8 + 13 : 8 + 18] = bytes([data[8 + 13] | 0x0F, 0xFF, 0xFF, 0xFF, 0xFF])
    path.write_bytes(data)


@bomb(".ogg")
def centuries_in_ogg(path: Path) -> None:
    """The last page claims to be of a far time; its checksum is right."""
    write_video(path, SyntheticVideo(frames=0, audio=Sweep(codec="libopus")))
    data = bytearray(path.read_bytes())
    at = data.rindex(b"OggS")
    struct.pack_into("<Q", data, at + 6, 1 << 50)
    struct.pack_into("<I", data, at + 22, 0)
    checksum = 0
    for byte in data[at:]:
        checksum ^= byte << 24
        for _ in range(8):
            checksum = (checksum << 1 ^ (0x04C11DB7 if checksum & 1 << 31 else 0)) & 0xFFFFFFFF
    struct.pack_into("<I", data, at + 22, checksum)
    path.write_bytes(data)


@bomb(".mp4")
def a_billion_samples(path: Path) -> None:
    """A table without entries says how many samples there are, each of one byte, all in one chunk."""
    data = small_mp4(path)
    for body in boxes(data, b"stsz"):
        struct.pack_into("!II", data, body + 4, 1, 1_000_000_000)
    for body in boxes(data, b"stsc"):
        struct.pack_into("!III", data, body + 4, 1, 1, 1_000_000_000)
    for body in boxes(data, b"stts"):
        struct.pack_into("!III", data, body + 4, 1, 1_000_000_000, 1)
    path.write_bytes(data)


@bomb(".mp4")
def ten_million_samples(path: Path) -> None:
    data = small_mp4(path)
    for body in boxes(data, b"stsz"):
        struct.pack_into("!II", data, body + 4, 1, 10_000_000)
    for body in boxes(data, b"stsc"):
        struct.pack_into("!III", data, body + 4, 1, 1, 10_000_000)
    for body in boxes(data, b"stts"):
        struct.pack_into("!III", data, body + 4, 1, 10_000_000, 1)
    path.write_bytes(data)


@bomb(".mkv")
def a_million_packets(path: Path) -> None:
    mux(path, "mjpeg", [b"\0"] * 200_000, 64, 64)


@bomb(".mp4")
def a_million_tracks(path: Path) -> None:
    data = bytes(small_mp4(path))
    at = data.index(b"moov") - 4
    size = struct.unpack_from("!I", data, at)[0]
    moov = data[at + 8 : at + size]
    track = moov.index(b"trak") - 4
    one = moov[track : track + struct.unpack_from("!I", moov, track)[0]]
    path.write_bytes(data[:at] + box(b"moov", moov + one * 20_000) + data[at + size :])


@bomb(".ogg")
def a_million_streams(path: Path) -> None:
    page = b"".join(
        struct.pack("<4sBBQIIIBB", b"OggS", 0, 2, 0, serial, 0, 0, 1, 19) + b"OpusHead\1\1\0\0\x80\xbb\0\0\0\0\0"
        for serial in range(200_000)
    )
    path.write_bytes(page)


@bomb(".ts")
def many_programs(path: Path) -> None:
    """Every packet brings a programme table for a stream of its own."""
    packets = []
    for number in range(8000):
        section = struct.pack("!BHHBBB", 0, 0xB00D, 1, 0xC1, 0, 0) + struct.pack("!HH", 1, 0xE000 | (number & 0x1FFF))
        packets.append((b"\x47\x40\x00\x10\0" + section).ljust(188, b"\xff"))
    path.write_bytes(b"".join(packets) * 10)


@bomb(".mp4")
def nested_boxes(path: Path) -> None:
    depth = 200_000
    data = b"".join(struct.pack("!I", 8 * (depth - level)) + b"moov" for level in range(depth))
    path.write_bytes(box(b"ftyp", b"isom\0\0\2\0isom") + data)


@bomb(".mkv")
def nested_elements(path: Path) -> None:
    """Segment, Tags, Tag, and a SimpleTag in a SimpleTag, all of unknown size."""
    head = b"\x1a\x45\xdf\xa3\x8b\x42\x82\x88matroska"
    unknown = b"\x01\xff\xff\xff\xff\xff\xff\xff"
    path.write_bytes(
        head + b"\x18\x53\x80\x67" + unknown + b"\x12\x54\xc3\x67" + unknown + (b"\x73\x73" + unknown) * 200_000
    )


@bomb(".mp4")
def huge_metadata(path: Path) -> None:
    data = bytes(small_mp4(path))
    at = data.index(b"moov") - 4
    size = struct.unpack_from("!I", data, at)[0]
    text = box(b"data", struct.pack("!II", 1, 0) + b"x" * (60 << 20))
    tags = box(b"udta", box(b"meta", bytes(4) + box(b"ilst", box(b"\xa9cmt", text))))
    path.write_bytes(data[:at] + box(b"moov", data[at + 8 : at + size] + tags) + data[at + size :])


@bomb(".mov")
def zipped_headers(path: Path) -> None:
    """Compressed headers that unpack to a gigabyte, by their own account two."""
    packer = zlib.compressobj(1)
    zeros = bytes(1 << 20)
    data = b"".join(packer.compress(zeros) for _ in range(1024)) + packer.flush()
    packed = box(b"cmov", box(b"dcom", b"zlib") + box(b"cmvd", struct.pack("!I", 0x7FFFFFFF) + data))
    path.write_bytes(box(b"ftyp", b"qt  \0\0\0\0qt  ") + box(b"moov", packed))


@bomb(".mp3")
def tag_of_a_gigabyte(path: Path) -> None:
    path.write_bytes(b"ID3\3\0\0\x03\x7f\x7f\x7f" + b"COMM\x07\xff\xff\x00\0\0")
    os.truncate(path, 1 << 33)


@bomb(".mkv")
def far_timestamps(path: Path) -> None:
    mux(path, "mjpeg", [jpeg(64, 64)] * 50, 64, 64, [(1 << 52) + number for number in range(50)])


@bomb(".mkv")
def negative_timestamps(path: Path) -> None:
    mux(path, "mjpeg", [jpeg(64, 64)] * 50, 64, 64, [number - 1_000_000 for number in range(50)])


@bomb(".mp4")
def wild_composition_times(path: Path) -> None:
    data = small_mp4(path)
    for body in boxes(data, b"ctts"):
        for entry in range(struct.unpack_from("!I", data, body + 4)[0]):
            struct.pack_into("!i", data, body + 12 + 8 * entry, (-1) ** entry * 0x7FFFFFF0)
    path.write_bytes(data)


@bomb(".mp4")
def a_billion_frames_a_second(path: Path) -> None:
    data = small_mp4(path)
    for body in boxes(data, b"mdhd"):
        struct.pack_into("!I", data, body + 12, 1_000_000_000)
    for body in boxes(data, b"stts"):
        struct.pack_into("!I", data, body + 12, 1)
    path.write_bytes(data)


@bomb(".ivf")
def ivf_of_many_frames_a_second(path: Path) -> None:
    path.write_bytes(ivf(b"VP90", [vp9(64, 64)] * 50, 64, 64, rate=0xFFFFFFFF))


@bomb(".h264")
def sparse_h264(path: Path) -> None:
    write_video(path, SyntheticVideo(frames=20))
    os.truncate(path, 1 << 36)


@bomb(".ts")
def sparse_ts(path: Path) -> None:
    write_video(path, SyntheticVideo(frames=20))
    os.truncate(path, 1 << 40)


@bomb(".mpg")
def sparse_mpg(path: Path) -> None:
    write_video(path, SyntheticVideo(frames=20, codec="mpeg2video", fps=25))
    os.truncate(path, 1 << 40)


@bomb(".mkv")
def sparse_mkv(path: Path) -> None:
    write_video(path, SyntheticVideo(frames=20))
    os.truncate(path, 1 << 40)


@bomb(".mp3")
def sparse_mp3(path: Path) -> None:
    write_video(path, SyntheticVideo(frames=0, audio=Sweep(codec="libmp3lame")))
    os.truncate(path, 1 << 40)


@bomb(".aac")
def endless_aac(path: Path) -> None:
    """Real audio at the start and the end of a terabyte of nothing."""
    write_video(path, SyntheticVideo(frames=0, audio=Sweep(codec="aac")))
    data = path.read_bytes()
    with path.open("r+b") as file:
        file.seek(1 << 40)
        file.write(data)


@bomb(".mp4")
def far_headers(path: Path) -> None:
    """The headers stand behind a terabyte of nothing."""
    data = bytes(small_mp4(path))
    at = data.index(b"moov") - 4
    with path.open("wb") as file:
        file.write(data[:at] + struct.pack("!I4sQ", 1, b"free", 1 << 40))
        file.seek(at + (1 << 40))
        file.write(data[at:])


@bomb(".flv")
def flv_without_end(path: Path) -> None:
    """Tags of no bytes, each pointing on, and a claimed duration."""
    meta = b"\2\0\nonMetaData\x08\0\0\0\1\0\x08duration\0" + struct.pack("!d", 1e12) + b"\0\0\x09"
    head = b"FLV\1\5\0\0\0\x09\0\0\0\0"
    tag = b"\x12" + len(meta).to_bytes(3, "big") + bytes(7) + meta + struct.pack("!I", 11 + len(meta))
    path.write_bytes(head + tag + (b"\x09\0\0\0" + bytes(7) + struct.pack("!I", 11)) * 500_000)


def make_bombs(folder: Path, names: list[str] | None = None) -> None:
    """Write the bombs of these names, or all, into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names or list(BOMBS):
        BOMBS[name](folder / name)

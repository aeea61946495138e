"""Pieces of media files, written by hand where no encoder would write what they say."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av

from vidray.testing import Sweep, SyntheticVideo, write_video


class Bits:
    """Writes numbers bit by bit, most significant first."""

    def __init__(self) -> None:
        self._text = ""

    def u(self, count: int, value: int) -> Bits:
        self._text += format(value, f"0{count}b")
        return self

    def ue(self, *values: int) -> Bits:
        """Exponential Golomb codes, as in H.264."""
        for value in values:
            code = format(value + 1, "b")
            self._text += "0" * (len(code) - 1) + code
        return self

    def bytes(self) -> bytes:
        text = self._text + "1"
        text += "0" * (-len(text) % 8)
        return int(text, 2).to_bytes(len(text) // 8, "big")


def mux(path: Path, codec: str, packets: list[bytes], width: int, height: int, times: list[int] | None = None) -> None:
    """Write ready-made packets of a codec into the container that the path names, 25 a second or at given ticks."""
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(codec, rate=25)
        stream.width, stream.height = width, height
        stream.pix_fmt = {"mjpeg": "yuvj420p", "png": "rgb24", "gif": "rgb8"}.get(codec, "yuv420p")
        stream.time_base = Fraction(1, 25)
        container.start_encoding()
        for number, data in enumerate(packets):
            packet = av.Packet(data)
            packet.stream, packet.time_base = stream, Fraction(1, 25)
            packet.pts = packet.dts = number if times is None else times[number]
            packet.is_keyframe = True
            container.mux(packet)


def png(width: int, height: int, depth: int = 8, colour: int = 2) -> bytes:
    samples = {0: 1, 2: 3, 6: 4}[colour]
    row = b"\0" * (1 + width * samples * depth // 8)
    packer = zlib.compressobj(1)
    data = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    head = struct.pack("!IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack("!I", len(body)) + name + body + struct.pack("!I", zlib.crc32(name + body))
        for name, body in ((b"IHDR", head), (b"IDAT", data), (b"IEND", b""))
    )


def jpeg(width: int, height: int) -> bytes:
    """A real small frame whose header says that it is a large one."""
    encoder: Any = av.CodecContext.create("mjpeg", "w")
    encoder.width, encoder.height, encoder.pix_fmt, encoder.time_base = 64, 64, "yuvj420p", Fraction(1, 25)
    packets = [*encoder.encode(av.VideoFrame(64, 64, "yuvj420p")), *encoder.encode(None)]
    data = bytearray(bytes(packets[0]))
    at = data.index(b"\xff\xc0") + 5
    data[at : at + 4] = struct.pack("!HH", height, width)
    return bytes(data)


def h264(width: int, height: int) -> bytes:
    """Parameter sets of a large frame and the beginning of a slice."""
    sps = Bits().u(8, 66).u(8, 0).u(8, 62).ue(0, 0, 0, 0, 16).u(1, 0)
    sps.ue(width // 16 - 1, height // 16 - 1).u(1, 1).u(1, 1).u(1, 0).u(1, 0)
    pps = Bits().ue(0, 0).u(1, 0).u(1, 0).ue(0, 0, 0).u(1, 0).u(2, 0).ue(0, 0, 0).u(3, 0)
    idr = Bits().ue(0, 7, 0).u(4, 0).ue(0).ue(0).u(1, 0).u(1, 0).ue(0, 25)
    slices = [b"\x65" + idr.bytes() + b"\x80" * 64, b"\x41" + Bits().ue(0, 5, 0).u(4, 1).ue(0).bytes() + b"\x80" * 64]
    return b"".join(b"\0\0\0\1" + nal for nal in (b"\x67" + sps.bytes(), b"\x68" + pps.bytes(), *slices * 40))


def vp9(width: int, height: int) -> bytes:
    """A real small frame whose header says that it is a large one."""
    encoder: Any = av.CodecContext.create("libvpx-vp9", "w")
    encoder.width, encoder.height, encoder.pix_fmt, encoder.time_base = 64, 64, "yuv420p", Fraction(1, 25)
    packets = [*encoder.encode(av.VideoFrame(64, 64, "yuv420p")), *encoder.encode(None)]
    data = bytes(packets[0])
    # behind the frame's flags, the sync code and the colours: width and height, less one
    number, shift = int.from_bytes(data, "big"), 8 * len(data) - 36 - 32
    cleared = number & ~(0xFFFFFFFF << shift)
    return (cleared | ((width - 1) << 16 | height - 1) << shift).to_bytes(len(data), "big")


def ivf(codec: bytes, frames: list[bytes], width: int, height: int, rate: int = 25) -> bytes:
    head = struct.pack("<4sHH4sHHIIII", b"DKIF", 0, 32, codec, width & 0xFFFF, height & 0xFFFF, rate, 1, len(frames), 0)
    return head + b"".join(struct.pack("<IQ", len(frame), number) + frame for number, frame in enumerate(frames))


def small_mp4(path: Path, **options: Any) -> bytearray:
    write_video(path, SyntheticVideo(frames=50, audio=Sweep(length_s=2.0), **options))
    return bytearray(path.read_bytes())


def boxes(data: bytes, name: bytes) -> Iterator[int]:
    """Where the bodies of boxes of a name begin."""
    at = data.find(name)
    while at >= 0:
        yield at + 4
        at = data.find(name, at + 1)


def box(name: bytes, body: bytes) -> bytes:
    return struct.pack("!I", 8 + len(body)) + name + body

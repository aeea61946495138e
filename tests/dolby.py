"""Files of HEVC with Dolby Vision's metadata beside each frame, as no free encoder writes them."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np


class Bits:
    """Numbers as HEVC writes them."""

    def __init__(self) -> None:
        self._bits: list[str] = []

    def fixed(self, value: int, width: int) -> Bits:
        self._bits.append(f"{value:0{width}b}")
        return self

    def counted(self, *values: int) -> Bits:
        """Exponential Golomb codes."""
        for value in values:
            text = f"{value + 1:b}"
            self._bits.append("0" * (len(text) - 1) + text)
        return self

    def to_bytes(self) -> bytes:
        text = "".join(self._bits)
        text += "0" * (-len(text) % 8)
        return bytes(int(text[at : at + 8], 2) for at in range(0, len(text), 8))


def metadata(profile: int) -> bytes:
    """A reference processing unit that maps nothing (ETSI GS CCM 001); its checksum is not looked at."""
    bits = Bits().fixed(2, 6).fixed(0x12, 11).fixed(profile, 4).fixed(0, 4).fixed(1, 1)
    # no filter, coefficients with a fraction of 23 bits, full range, depths of 10, 10 and 12 bits, no residual
    bits.fixed(0, 3).counted(23).fixed(1, 2).fixed(1, 1).counted(2, 2, 4).fixed(0, 5).fixed(1, 1)
    bits.fixed(0, 2).counted(0, 0, 0)
    for _ in range(3):
        bits.counted(0).fixed(0, 10).fixed(1023, 10)
    bits.counted(0, 0)
    for _ in range(3):
        # a polynomial: 0 + 1 x
        bits.counted(0, 0).fixed(0, 1).counted(0).fixed(0, 23).counted(1).fixed(0, 23)
    return b"\x19" + bits.to_bytes() + bytes(4) + b"\x80"


def escaped(data: bytes) -> bytes:
    """With the byte between zeros that keeps start codes out."""
    found, zeros = bytearray(), 0
    for byte in data:
        if zeros >= 2 and byte <= 3:
            found.append(3)
            zeros = 0
        found.append(byte)
        zeros = zeros + 1 if byte == 0 else 0
    return bytes(found)


def write_dolby(path: Path, profile: int, *, frames: int = 10) -> None:
    """Grey frames, as a stream without a container."""
    encoder = av.CodecContext.create("libx265", "w")
    assert isinstance(encoder, av.VideoCodecContext)
    encoder.width, encoder.height, encoder.pix_fmt = 160, 96, "yuv420p10le"
    encoder.time_base = Fraction(1, 10)
    encoder.options = {"x265-params": "log-level=none:repeat-headers=1:bframes=0:pools=1"}
    unit = b"\0\0\0\1" + bytes([62 << 1, 1]) + escaped(metadata(profile))
    packets = []
    for number in range(frames):
        grey = np.full((96, 160, 3), 128, np.uint8)
        frame = av.VideoFrame.from_ndarray(grey, format="rgb24").reformat(format="yuv420p10le")
        frame.pts, frame.time_base = number, Fraction(1, 10)
        packets += encoder.encode(frame)
    packets += encoder.encode(None)
    path.write_bytes(b"".join(bytes(packet) + unit for packet in packets))

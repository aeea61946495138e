"""HDR and wide gamut to what networks were trained on: SDR in BT.709.

By ITU-R BT.2408: HDR's reference white, 203 cd/m2 (58 % of a PQ signal, 75 % of HLG), is SDR's white; what is brighter
is white too, as SDR has nothing above it. Light is converted, not code values: the transfer function is undone (ST
2084; BT.2100's HLG with its OOTF for a display of 1,000 cd/m2), the primaries are mapped to BT.709's, and the result is
coded for a display of gamma 2.4 (BT.1886).
"""

from __future__ import annotations

import sys
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
from av.sidedata.sidedata import Type
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter

_WHITE_NITS = 203.0
_PQ, _HLG = 16, 18
_GAMMA = 2.4
_STEPS = 4096
"""Of the tables: more than the 10 bits that HDR has."""

_ROWS = 128
"""Converted at a time, so that what is in between stays in the processor's cache."""

Floats = npt.NDArray[np.float32]

# Chromaticities (x, y) of red, green and blue, white being D65: BT.709; BT.2020; P3 (ST 432-1).
_PRIMARIES = {
    1: ((0.640, 0.330), (0.300, 0.600), (0.150, 0.060)),
    9: ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046)),
    12: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060)),
}
_D65 = (0.3127, 0.3290)


OWN_COLOURS = "its frames are in colours of Dolby Vision alone (profile 5), which are not converted"


def has_own_colours(frame: VideoFrame) -> bool:
    """Whether a frame is in the colours of Dolby Vision's profile 5, which no other decoder shows right.

    Its metadata says profile 0 of full range in that case, as FFmpeg's `AVDOVIMetadata` holds them; profiles that build
    on PQ, HLG or SDR are shown as these.
    """
    beside: Any = frame.side_data
    held = next((bytes(data) for data in beside if data.type == Type.DOVI_METADATA), b"")
    header = held[int.from_bytes(held[:8], sys.byteorder) :] if len(held) >= 8 else b""
    return len(header) > _FULL_RANGE_AT and header[_PROFILE_AT] == 0 and header[_FULL_RANGE_AT] == 1


_PROFILE_AT, _FULL_RANGE_AT = 4, 10
"""In FFmpeg's `AVDOVIRpuDataHeader`."""


def needs_mapping(frame: VideoFrame) -> bool:
    """Whether a frame's values are not SDR's in BT.709, by what it says of itself."""
    return frame.color_trc in (_PQ, _HLG) or frame.color_primaries in (9, 12)


def to_sdr(frame: VideoFrame, reformatter: VideoReformatter) -> VideoFrame:
    """A coded frame as rgb24 in SDR and BT.709. Raises what FFmpeg raises."""
    coded = np.asarray(reformatter.reformat(frame, format="rgb48le", threads=1).to_ndarray(), np.uint16)
    light_of = _linear(frame.color_trc)
    matrix = _to_bt709(frame.color_primaries)
    out = np.empty(coded.shape, np.uint8)
    for top in range(0, len(coded), _ROWS):
        light = light_of[coded[top : top + _ROWS] >> 4]
        if frame.color_trc == _HLG:
            light *= np.maximum(light @ _luminance(frame.color_primaries), 1e-6)[..., None] ** np.float32(0.2)
            light *= np.float32(1000.0 / _WHITE_NITS)
        light = np.clip(light @ matrix, 0.0, 1.0)
        out[top : top + _ROWS] = _coded()[(np.sqrt(light) * (_STEPS - 1) + 0.5).astype(np.int32)]
    return VideoFrame.from_ndarray(out, format="rgb24")


@cache
def _linear(transfer: int) -> Floats:
    """Code values to light: of PQ with reference white at 1, of HLG the scene's, of SDR the display's."""
    value = np.arange(_STEPS) / (_STEPS - 1)
    if transfer == _PQ:
        m1, m2, c1, c2, c3 = 2610 / 16384, 2523 / 4096 * 128, 3424 / 4096, 2413 / 4096 * 32, 2392 / 4096 * 32
        powered = value ** (1 / m2)
        light = (np.maximum(powered - c1, 0) / (c2 - c3 * powered)) ** (1 / m1) * (10_000 / _WHITE_NITS)
    elif transfer == _HLG:
        a, b, c = 0.17883277, 0.28466892, 0.55991073
        light = np.where(value <= 0.5, value**2 / 3, (np.exp((value - c) / a) + b) / 12)
    else:
        light = value**_GAMMA
    return np.asarray(light, np.float32)


@cache
def _coded() -> npt.NDArray[np.uint8]:
    """The square root of light, in steps, to SDR's code values; the root keeps dark tones apart."""
    root = np.arange(_STEPS) / (_STEPS - 1)
    return np.rint(255 * root ** (2 / _GAMMA)).astype(np.uint8)


@cache
def _to_bt709(primaries: int) -> Floats:
    """(3, 3), for row vectors of light."""
    return np.asarray((np.linalg.inv(_to_xyz(1)) @ _to_xyz(primaries)).T, np.float32)


@cache
def _luminance(primaries: int) -> Floats:
    return np.asarray(_to_xyz(primaries)[1], np.float32)


def _to_xyz(primaries: int) -> npt.NDArray[np.float64]:
    """By SMPTE RP 177; of primaries that are not in the table as of BT.709."""
    columns = np.array([[x / y, 1.0, (1 - x - y) / y] for x, y in _PRIMARIES.get(primaries, _PRIMARIES[1])]).T
    white = np.array([_D65[0] / _D65[1], 1.0, (1 - _D65[0] - _D65[1]) / _D65[1]])
    return np.asarray(columns * np.linalg.solve(columns, white))

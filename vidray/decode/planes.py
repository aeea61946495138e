"""From a decoded frame of audio to float32 samples: its channels, their mix, and their rate."""

from __future__ import annotations

import math
from fractions import Fraction

import av
import numpy as np
import numpy.typing as npt
from av.audio.frame import AudioFrame

Mono = npt.NDArray[np.float32]  # (N,)
Planes = npt.NDArray[np.float32]  # (C, N)

_FULL_SCALE = {"u8": 128.0, "s16": 32768.0, "s32": 2147483648.0, "flt": 1.0, "dbl": 1.0}

_RATES = (1_000, 768_000)

_PLANES_MAX = 7
"""With more planes than this, PyAV reads past the end of FFmpeg's list of them."""

_CANCELLED_DB = 12.0
"""A mix so much quieter than its loudest channel has lost it: channels of opposite phase, or one in six that speaks."""

_HEARD_RMS = 1e-3


def planes_of(frame: AudioFrame) -> Planes:
    """All channels, full scale at 1. Raises ValueError for rates that only damage explains."""
    if not _RATES[0] <= frame.sample_rate <= _RATES[1]:
        raise ValueError(f"sample rate must be in {_RATES}, got {frame.sample_rate}")
    channels = frame.layout.nb_channels
    name = frame.format.name.removesuffix("p")
    if (frame.format.is_planar and channels > _PLANES_MAX) or name not in _FULL_SCALE:
        name, frame = "flt", _packed(frame)
    samples = frame.to_ndarray()
    if not frame.format.is_planar:
        samples = samples.reshape(-1, channels).T
    as_float = samples.astype(np.float32)
    if name == "u8":
        as_float -= 128.0
    if _FULL_SCALE[name] != 1.0:
        as_float /= _FULL_SCALE[name]
    return as_float


def mixed(planes: Planes) -> Mono:
    """The plain mean of all channels."""
    return planes[0] if len(planes) == 1 else np.asarray(planes.mean(axis=0), dtype=np.float32)


def with_channels(planes: Planes, channels: int) -> Planes:
    """As many channels as wanted; where a stream changes their number on the way, each is the mix."""
    return planes if len(planes) == channels else np.repeat(mixed(planes)[None], channels, axis=0)


class Levels:
    """How loud the channels of a clip are, and their mix."""

    def __init__(self) -> None:
        self._loudest = self._mix = 0.0
        self._samples = 0

    def add(self, planes: Planes, mono: Mono) -> None:
        if len(planes) > 1:
            self._loudest += float(np.einsum("ij,ij->i", planes, planes).max())
            self._mix += float(np.dot(mono, mono))
            self._samples += len(mono)

    @property
    def lost_db(self) -> float | None:
        """By how much the mix is quieter than the loudest channel; None where that is not much."""
        if not self._samples or self._loudest < self._samples * _HEARD_RMS**2:
            return None
        lost_db = 10 * math.log10(self._loudest / max(self._mix, 1e-4 * self._loudest))
        return lost_db if lost_db > _CANCELLED_DB else None


def _packed(frame: AudioFrame) -> AudioFrame:
    to_packed = av.AudioResampler(format="flt", layout=frame.layout, rate=frame.sample_rate)
    (packed,) = to_packed.resample(frame)
    return packed


def resampled(planes: Planes, rate_from: int, rate_to: int) -> Planes:
    """Each channel at another rate; the first sample stays where it is."""
    if rate_from != rate_to:
        return np.stack([_resampled(plane, rate_from, rate_to) for plane in planes])
    return planes


def _resampled(mono: Mono, rate_from: int, rate_to: int) -> Mono:
    frame = AudioFrame.from_ndarray(np.ascontiguousarray(mono[None]), format="fltp", layout="mono")
    frame.sample_rate, frame.pts, frame.time_base = rate_from, 0, Fraction(1, rate_from)
    resampler = av.AudioResampler(format="fltp", layout="mono", rate=rate_to)
    out = [*resampler.resample(frame), *resampler.resample(None)]
    return np.concatenate([piece.to_ndarray()[0] for piece in out]).astype(np.float32, copy=False)

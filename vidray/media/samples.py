"""What decoding gives: raw frames and audio as the decoder answers, and the samples that extractors see."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from vidray.errors import DecodeError
from vidray.media.requests import Request


@dataclass(frozen=True, kw_only=True)
class RawFrames:
    """The decoder's answer to a `FrameRequest`.

    Attributes:
        times_s: float64 (T,), the wanted times; of keyframes their own.
        frames: uint8 (K, H, W, 3), RGB; each frame once.
        places: int64 (T,), which of the K frames is on display at each time; -1 where there is none.
        is_over: bool (T,), whether the track has ended by then: its last frame stands in `places`.
    """

    times_s: npt.NDArray[np.float64]
    frames: npt.NDArray[np.uint8]
    places: npt.NDArray[np.int64]
    is_over: npt.NDArray[np.bool_]

    def at(self, places: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
        """The frames of these places, (P, H, W, 3); without a copy where it is each frame once and in order."""
        if len(places) == len(self.frames) and np.array_equal(places, np.arange(len(places))):
            return self.frames
        return self.frames[places]


@dataclass(frozen=True, kw_only=True)
class Frames:
    """The frames of one clip by a `FrameRate`.

    Attributes:
        times_s: float64 (T,), the wanted times on the video's presentation clock; of keyframes their own times.
        frames: uint8 (T, H, W, 3), RGB; the frame on display at each of these times.
    """

    times_s: npt.NDArray[np.float64]
    frames: npt.NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class Windows:
    """The frames of one clip by a `FrameWindows`.

    Attributes:
        times_s: float64 (W, T).
        frames: uint8 (W, T, H, W, 3), RGB.
    """

    times_s: npt.NDArray[np.float64]
    frames: npt.NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class AudioSamples:
    """The audio of one clip by an `Audio`, with its context where that was asked for.

    Attributes:
        samples: float32 (N,), mono, or (C, N), all channels; in [-1, 1]. Silence where the clip has audio but not yet,
            or no longer.
        sample_rate: In hertz.
        start_s: When the first sample is heard, on the video's clock: sample i of a video stands at i / sample_rate,
            whatever the clip.
    """

    samples: npt.NDArray[np.float32]
    sample_rate: int
    start_s: float = 0.0


RawSamples = RawFrames | AudioSamples
"""What the decoder gives."""


@dataclass(frozen=True)
class Decoded:
    """What one read gave.

    Attributes:
        samples: For each request what there is; None where the clip has nothing of the kind (no audio, or no frame in
            this span); a DecodeError where it should have had something.
        warnings: One line on what was damaged of what a request reads; none for a request of which nothing was.
    """

    samples: Mapping[Request, RawSamples | DecodeError | None]
    warnings: Mapping[Request, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Holding:
    """What a file holds in a span, by all of its packets from start to end.

    Attributes:
        frames: How many frames begin in it.
        audio_s: How many seconds of audio could be decoded.
        peak: The loudest of these, of full scale.
    """

    frames: int
    audio_s: float
    peak: float

"""Frames at a constant rate, or the keyframes nearest to them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from vidray.media.requests import FrameRequest
from vidray.media.samples import Frames, RawFrames
from vidray.media.values import TIME_SLACK_S, FrameSize, Resize


@dataclass(frozen=True, kw_only=True)
class FrameRate:
    """Frames at start_s, start_s + 1/fps, ... of a clip: ragged, one `Frames` a clip.

    With `keyframes`, the first keyframe in each of the spans between these times instead, at its own time, or the last
    one before the clip where it holds none: a small part of the decoding, and whichever frames the encoder chose.

    Attributes:
        fps: Frames a second, at most so many with `keyframes`.
        resize: None for frames as displayed.
        keyframes: Whether keyframes alone are decoded.
        before_s: Seconds of context before a clip.
        after_s: Seconds of context behind it.
    """

    fps: float
    resize: Resize | None = None
    keyframes: bool = False
    before_s: float = 0.0
    after_s: float = 0.0

    @property
    def modality(self) -> Literal["frames"]:
        return "frames"

    @property
    def unit_s(self) -> float:
        return 1 / self.fps

    def times_s(self, start_s: float, end_s: float) -> npt.NDArray[np.float64]:
        """The wanted times of a span: float64 (T,) in [start_s, end_s), at least one."""
        count = max(1, math.ceil((end_s - start_s - TIME_SLACK_S) * self.fps))
        return start_s + np.arange(count, dtype=np.float64) / self.fps

    def request(self, start_s: float, end_s: float) -> FrameRequest:
        times_s = self.times_s(start_s, end_s)
        if not self.keyframes:
            times_s = np.minimum(times_s, end_s - 2 * TIME_SLACK_S)
        return FrameRequest(times_s=tuple(times_s.tolist()), end_s=end_s, resize=self.resize, keyframes=self.keyframes)

    def collect(self, raw: RawFrames, start_s: float, end_s: float) -> Frames:
        kept = np.flatnonzero((raw.places >= 0) & ~raw.is_over)
        return Frames(times_s=raw.times_s[kept], frames=raw.at(raw.places[kept]))

    def blank(self, start_s: float, end_s: float, size: FrameSize) -> Frames:
        times_s = self.times_s(start_s, end_s)
        return Frames(times_s=times_s, frames=np.zeros((len(times_s), *_shown(self.resize, size), 3), np.uint8))

    def nbytes(self, start_s: float, end_s: float, size: FrameSize) -> int:
        height, width = frame_size(self.resize, size)
        return self.times_s(start_s, end_s).size * height * width * 3


def frame_size(resize: Resize | None, size: FrameSize) -> FrameSize:
    """(height, width) of the frames that come out of frames of this size."""
    return size if resize is None else resize.size_of(size)


def _shown(resize: Resize | None, size: FrameSize) -> FrameSize:
    height, width = frame_size(resize, size)
    return max(1, height), max(1, width)

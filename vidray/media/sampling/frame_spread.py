"""Frames spread evenly over a clip, no more than some."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from vidray.media.requests import FrameRequest
from vidray.media.samples import Frames, RawFrames
from vidray.media.sampling.frame_rate import frame_size
from vidray.media.values import TIME_SLACK_S, FrameSize, Resize


@dataclass(frozen=True, kw_only=True)
class FrameSpread:
    """Frames at start_s, start_s + 1/fps, ... of a clip, or at `most` times as far apart where these would be more.

    Attributes:
        fps: Frames a second, of a clip that is not too long.
        most: How many frames a clip has at most.
        resize: None for frames as displayed.
    """

    fps: float
    most: int
    resize: Resize | None = None

    @property
    def modality(self) -> Literal["frames"]:
        return "frames"

    @property
    def unit_s(self) -> float:
        return 1 / self.fps

    def times_s(self, start_s: float, end_s: float) -> npt.NDArray[np.float64]:
        """The wanted times of a span: float64 (T,) in [start_s, end_s), from 1 to `most`."""
        count = max(1, math.ceil((end_s - start_s - TIME_SLACK_S) * self.fps))
        if count <= self.most:
            return start_s + np.arange(count, dtype=np.float64) / self.fps
        return start_s + np.arange(self.most, dtype=np.float64) * ((end_s - start_s) / self.most)

    def request(self, start_s: float, end_s: float) -> FrameRequest:
        times_s = np.minimum(self.times_s(start_s, end_s), end_s - 2 * TIME_SLACK_S)
        return FrameRequest(times_s=tuple(times_s.tolist()), end_s=end_s, resize=self.resize)

    def collect(self, raw: RawFrames, start_s: float, end_s: float) -> Frames:
        kept = np.flatnonzero((raw.places >= 0) & ~raw.is_over)
        return Frames(times_s=raw.times_s[kept], frames=raw.at(raw.places[kept]))

    def blank(self, start_s: float, end_s: float, size: FrameSize) -> Frames:
        times_s = self.times_s(start_s, end_s)
        height, width = frame_size(self.resize, size)
        return Frames(times_s=times_s, frames=np.zeros((len(times_s), max(1, height), max(1, width), 3), np.uint8))

    def nbytes(self, start_s: float, end_s: float, size: FrameSize) -> int:
        height, width = frame_size(self.resize, size)
        return self.times_s(start_s, end_s).size * height * width * 3

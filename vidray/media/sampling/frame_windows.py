"""Windows of a fixed number of frames, spread evenly over a clip."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from vidray.media.requests import FrameRequest
from vidray.media.samples import RawFrames, Windows
from vidray.media.sampling.frame_rate import frame_size
from vidray.media.values import TIME_SLACK_S, FrameSize, Resize


@dataclass(frozen=True, kw_only=True)
class FrameWindows:
    """Evenly spaced windows of a fixed number of frames: static, one `Windows` a clip.

    A clip of one window's length or less has one window, which repeats its last frame where the clip is shorter.

    Attributes:
        frames: Frames in a window.
        fps: Frames a second inside a window.
        resize: As in `FrameRate`.
        max_windows: How many windows a long clip has at most.
    """

    frames: int
    fps: float
    resize: Resize | None = None
    max_windows: int = 4

    @property
    def modality(self) -> Literal["frames"]:
        return "frames"

    @property
    def unit_s(self) -> float:
        return self.frames / self.fps

    def times_s(self, start_s: float, end_s: float) -> npt.NDArray[np.float64]:
        """The wanted times of a span: float64 (W, T); they may run past end_s, where the clip is too short."""
        length_s, window_s = end_s - start_s, self.unit_s
        windows = min(self.max_windows, max(1, math.floor((length_s + TIME_SLACK_S) / window_s)))
        firsts = start_s + (np.arange(windows) + 0.5) * (length_s / windows) - window_s / 2
        firsts = np.maximum(firsts, start_s)
        within = np.arange(self.frames, dtype=np.float64) / self.fps
        return np.asarray(firsts[:, None] + within[None, :], dtype=np.float64)

    def request(self, start_s: float, end_s: float) -> FrameRequest:
        # a window that runs past the clip repeats the last frame that begins inside
        times_s = np.minimum(self.times_s(start_s, end_s), end_s - 2 * TIME_SLACK_S)
        return FrameRequest(times_s=tuple(times_s.ravel().tolist()), end_s=end_s, resize=self.resize)

    def collect(self, raw: RawFrames, start_s: float, end_s: float) -> Windows:
        times_s = self.times_s(start_s, end_s)
        first = raw.places[raw.places >= 0][0]
        frames = raw.at(np.where(raw.places >= 0, raw.places, first))
        return Windows(times_s=times_s, frames=frames.reshape(*times_s.shape, *frames.shape[1:]))

    def blank(self, start_s: float, end_s: float, size: FrameSize) -> Windows:
        times_s = self.times_s(start_s, end_s)
        height, width = frame_size(self.resize, size)
        return Windows(times_s=times_s, frames=np.zeros((*times_s.shape, max(1, height), max(1, width), 3), np.uint8))

    def nbytes(self, start_s: float, end_s: float, size: FrameSize) -> int:
        height, width = frame_size(self.resize, size)
        return self.times_s(start_s, end_s).size * height * width * 3

"""Frames without noise, by non-local means (Buades et al. 2011, https://doi.org/10.5201/ipol.2011.bcm_nlm).

Luma and color differences each by itself: both are linear in the frame's values, so that noise in dark parts counts as
much as in bright ones. In OpenCV's own variant for color, by Lab, it stays in the dark.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from vidray.errors import UsageError
from vidray.steps.frames.opencv import EXTRA_WHAT, opencv, settle
from vidray.steps.protocol import Frame, FrameFn

LEAST_SIGMA = 3.0
"""Of luma, of 255: cameras and codecs leave as much, and fine texture measures as much."""

STRENGTH = 1.2
"""Of the noise's deviation, by how much two patches may differ and count as alike; best on real frames."""

PATCH, SEARCHED = 7, 11
"""Sides in pixels: of what is compared, and of where; 21 for the latter takes thrice the time and gains nothing."""

MASK = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)
"""Of Immerkaer 1996, "Fast Noise Variance Estimation": blind to slopes; noise comes out six times as large."""

MEDIAN_OF_NORMAL = 0.6745


@dataclass(frozen=True)
class Denoise:
    """Takes noise away, as much as there is: what is measured on the frame. A frame with next to none is left alone.

    Attributes:
        sigma: Standard deviation of the noise in each color, of 255; None to measure it.
    """

    name: ClassVar[str] = "denoise"
    modality: ClassVar[Literal["frames"]] = "frames"
    version: ClassVar[str] = "1"

    sigma: float | None = None

    def __post_init__(self) -> None:
        if self.sigma is not None and not 0 < self.sigma <= 255:
            raise UsageError(f"denoise: sigma must be > 0 and <= 255, got {self.sigma:g}")

    def settle(self) -> None:
        settle(EXTRA_WHAT.format("denoise"))

    def load(self) -> FrameFn:
        cv2 = opencv(EXTRA_WHAT.format("denoise"))

        def denoised(frame: Frame) -> Frame:
            sigma = noise_of(frame, cv2) if self.sigma is None else self.sigma * LUMA_SHARE
            if self.sigma is None and sigma < LEAST_SIGMA:
                return frame
            parts = cv2.cvtColor(np.ascontiguousarray(frame), cv2.COLOR_RGB2YCrCb)
            luma, color = (np.ascontiguousarray(part) for part in (parts[..., 0], parts[..., 1:]))
            luma, color = (cv2.fastNlMeansDenoising(x, None, STRENGTH * sigma, PATCH, SEARCHED) for x in (luma, color))
            found: Frame = cv2.cvtColor(np.dstack([luma, color]), cv2.COLOR_YCrCb2RGB)
            return found

        return denoised


LUMA_SHARE = float(np.linalg.norm([0.299, 0.587, 0.114]))
"""Of the noise of three colors by itself, what their luma has."""


def noise_of(frame: Frame, cv2: object) -> float:
    """The standard deviation of a frame's noise in luma, of 255: by the median, which texture moves little."""
    if min(frame.shape[:2]) < len(MASK):
        return 0.0
    luma = frame.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)
    answer = cv2.filter2D(luma, -1, MASK)[1:-1, 1:-1]  # type: ignore[attr-defined]
    return float(np.median(np.abs(answer))) / (MEDIAN_OF_NORMAL * float(np.linalg.norm(MASK)))

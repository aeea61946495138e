"""Frames without a cast of color, by shades of gray.

Finlayson and Trezzi 2004, "Shades of Gray and Colour Constancy".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from vidray.steps.protocol import Frame, FrameFn

NORM = 6
"""The paper's: 1 takes a scene's mean for gray, infinity its brightest spot."""
GAINS = (0.5, 2.0)
"""Of a color against the others: more is no cast but what the frame shows."""


@dataclass(frozen=True)
class WhiteBalance:
    """Gives each color one factor, so that the frame as a whole is gray; mean luma stays about as it is."""

    name: ClassVar[str] = "white_balance"
    modality: ClassVar[Literal["frames"]] = "frames"
    version: ClassVar[str] = "1"

    def load(self) -> FrameFn:
        def balanced(frame: Frame) -> Frame:
            values = np.arange(256, dtype=np.float64) / 255
            counts = np.stack([np.bincount(frame[..., color].ravel(), minlength=256) for color in range(3)])
            levels = (counts @ values**NORM / counts[0].sum()) ** (1 / NORM)
            if not levels.all():
                return frame
            gains = (levels.mean() / levels).clip(*GAINS)
            tables = np.round(255 * np.outer(gains, values)).clip(0, 255).astype(np.uint8)
            return np.stack([tables[color][frame[..., color]] for color in range(3)], axis=-1)

        return balanced

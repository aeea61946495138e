"""Sharper frames, by an unsharp mask."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from vidray.errors import UsageError
from vidray.steps.frames.opencv import EXTRA_WHAT, opencv, settle
from vidray.steps.protocol import Frame, FrameFn

MOST_AMOUNT = 100.0
"""Beyond, each edge is black and white."""

MOST_RADIUS = 100.0
"""The time that a blur takes grows with it."""


@dataclass(frozen=True)
class Sharpen:
    """Adds what a Gaussian blur takes away. Noise grows with it: name `denoise` before.

    Attributes:
        amount: How much of it is added.
        radius: Standard deviation of the blur, in pixels.
    """

    name: ClassVar[str] = "sharpen"
    modality: ClassVar[Literal["frames"]] = "frames"
    version: ClassVar[str] = "1"

    amount: float = 0.5
    radius: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.amount <= MOST_AMOUNT:
            raise UsageError(f"sharpen: amount must be >= 0 and <= {MOST_AMOUNT:g}, got {self.amount:g}")
        if not 0 < self.radius <= MOST_RADIUS:
            raise UsageError(f"sharpen: radius must be > 0 and <= {MOST_RADIUS:g}, got {self.radius:g}")

    def settle(self) -> None:
        settle(EXTRA_WHAT.format("sharpen"))

    def load(self) -> FrameFn:
        cv2 = opencv(EXTRA_WHAT.format("sharpen"))

        def sharpened(frame: Frame) -> Frame:
            values = frame.astype(np.float32)
            blurred = cv2.GaussianBlur(values, (0, 0), self.radius)
            found: Frame = (values + self.amount * (values - blurred)).round().clip(0, 255).astype(np.uint8)
            return found

        return sharpened

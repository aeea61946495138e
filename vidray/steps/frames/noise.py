"""Noise added to frames, for training and for tests of what takes it away."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from vidray.errors import UsageError
from vidray.steps.protocol import Frame, FrameFn
from vidray.steps.seeded import seeded


@dataclass(frozen=True)
class Noise:
    """Adds Gaussian noise to each color by itself. The same frame gets the same noise, another frame another one.

    Attributes:
        sigma: Standard deviation, of 255: at most all of it.
        seed: Another one gives other noise.
    """

    name: ClassVar[str] = "noise"
    modality: ClassVar[Literal["frames"]] = "frames"
    version: ClassVar[str] = "1"

    sigma: float = 25.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.sigma <= 255:
            raise UsageError(f"noise: sigma must be >= 0 and <= 255, got {self.sigma:g}")

    def load(self) -> FrameFn:
        def noisy(frame: Frame) -> Frame:
            noise = seeded(frame, self.seed).standard_normal(frame.shape, np.float32)
            return (frame + self.sigma * noise).round().clip(0, 255).astype(np.uint8)

        return noisy

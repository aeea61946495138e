"""Dark, glaring and flat frames as a well exposed one would be: gamma by exposure, and contrast by CLAHE."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from vidray.errors import UsageError
from vidray.steps.frames.bt709 import LUMA
from vidray.steps.frames.opencv import EXTRA_WHAT, opencv, settle
from vidray.steps.protocol import Frame, FrameFn

WELL_EXPOSED = (0.36, 0.60)
"""Mean luma that is left alone: most frames of everyday videos were found between 0.38 and 0.55, a few near 0.3."""
TARGET = 0.45
GAMMAS = (0.25, 4.0)
"""More would make a scene of what is black: a fade, say."""
SOLVED = 30
"""Halvings of the span of the exponent's logarithm."""

FLAT = (0.01, 0.12)
"""Standard deviation of luma of a flat frame; everyday videos have 0.16 and more, and below there is nothing to see."""
CLAHE_LIMIT, CLAHE_TILES = 2.0, (8, 8)
"""Zuiderveld 1994, with OpenCV's tiles and a limit that leaves noise in even areas alone."""


@dataclass(frozen=True)
class Light:
    """Brings the mean luma of a dark or glaring frame to a target by one exponent, and gives a flat frame contrast.

    A frame that is well exposed is left alone. What the camera cut off at black or white does not come back.

    Attributes:
        target: Mean luma, in (0, 1).
    """

    name: ClassVar[str] = "light"
    modality: ClassVar[Literal["frames"]] = "frames"
    version: ClassVar[str] = "1"

    target: float = TARGET

    def __post_init__(self) -> None:
        if not 0 < self.target < 1:
            raise UsageError(f"light: target must be > 0 and < 1, got {self.target:g}")

    def settle(self) -> None:
        settle(EXTRA_WHAT.format("light"))

    def load(self) -> FrameFn:
        cv2 = opencv(EXTRA_WHAT.format("light"))

        def lit(frame: Frame) -> Frame:
            if not WELL_EXPOSED[0] <= float(_luma(frame).mean()) <= WELL_EXPOSED[1]:
                frame = _table(_exponent(frame, self.target))[frame]
            return _with_contrast(frame, cv2) if FLAT[0] < float(_luma(frame).std()) < FLAT[1] else frame

        return lit


def _luma(frame: Frame) -> npt.NDArray[np.float32]:
    return (frame @ LUMA) / np.float32(255)


def _exponent(frame: Frame, target: float) -> float:
    """The exponent of all values, in [0, 1], after which the mean luma is the target, or as near as `GAMMAS` go."""
    counts = np.stack([np.bincount(frame[..., color].ravel(), minlength=256) for color in range(3)])
    weights = LUMA[:, None] * counts / counts[0].sum()
    values = np.arange(256) / 255
    low, high = (float(np.log(gamma)) for gamma in GAMMAS)
    for _ in range(SOLVED):
        middle = (low + high) / 2
        is_too_bright = float((weights * values ** np.exp(middle)).sum()) > target
        low, high = (middle, high) if is_too_bright else (low, middle)
    return float(np.exp(low))


def _table(exponent: float) -> Frame:
    return np.asarray(np.round(255 * (np.arange(256) / 255) ** exponent), np.uint8)


def _with_contrast(frame: Frame, cv2: Any) -> Frame:
    """CLAHE of lightness alone: colors keep their hue."""
    lab = cv2.cvtColor(np.ascontiguousarray(frame), cv2.COLOR_RGB2LAB)
    lab[..., 0] = cv2.createCLAHE(CLAHE_LIMIT, CLAHE_TILES).apply(np.ascontiguousarray(lab[..., 0]))
    found: Frame = cv2.cvtColor(lab, cv2.COLOR_LAB2RGB)
    return found

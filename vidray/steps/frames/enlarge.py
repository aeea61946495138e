"""Frames twice as high and wide, by a network that makes up what it does not know."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from vidray.models import realesrgan
from vidray.steps.protocol import FrameFn


@dataclass(frozen=True)
class Enlarge:
    """Perceptual enlargement by two, of Real-ESRGAN's network for animation: sharp to the eye, not what was there.

    For people who look at frames, and for extractors that take frames as displayed.
    """

    name: ClassVar[str] = "enlarge"
    modality: ClassVar[Literal["frames"]] = "frames"
    version: ClassVar[str] = "1"

    @property
    def scale(self) -> int:
        return realesrgan.SCALE

    @property
    def weights_record(self) -> Mapping[str, str]:
        return realesrgan.WEIGHTS

    def settle(self) -> None:
        realesrgan.settle()

    def load(self) -> FrameFn:
        return realesrgan.load()

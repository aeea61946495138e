"""Audio as loud as other audio: one gain for all that an extractor hears of a clip."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import numpy as np

from vidray.errors import UsageError
from vidray.media import AudioSamples
from vidray.steps.audio.bs1770 import LOUDNESS_GATE_LUFS, loudness
from vidray.steps.protocol import AudioFn

TARGET_LUFS = -23.0
"""Of EBU R 128, what broadcasts are levelled to: https://tech.ebu.ch/publications/r128."""

MOST_GAIN_DB = 20.0
"""More would make noise of what is all but silent."""


@dataclass(frozen=True)
class Loudness:
    """Brings the integrated loudness (ITU-R BS.1770-4) to a target by one gain.

    The gain is +20 dB at most, and no more than takes the loudest sample to full scale. What is silent by the
    standard's gate of -70 LUFS, or shorter than its block of 0.4 s, is left alone.

    Attributes:
        lufs: The target, from -70 to 0.
    """

    name: ClassVar[str] = "loudness"
    modality: ClassVar[Literal["audio"]] = "audio"
    version: ClassVar[str] = "1"

    lufs: float = TARGET_LUFS

    def __post_init__(self) -> None:
        if not LOUDNESS_GATE_LUFS < self.lufs <= 0:
            raise UsageError(f"loudness: lufs must be > {LOUDNESS_GATE_LUFS:g} and <= 0, got {self.lufs:g}")

    def load(self) -> AudioFn:
        def levelled(audio: AudioSamples) -> AudioSamples:
            found = loudness(audio)
            if found is None or found <= LOUDNESS_GATE_LUFS:
                return audio
            gain = 10 ** (min(self.lufs - found, MOST_GAIN_DB) / 20)
            peak = float(np.abs(audio.samples).max())
            return replace(audio, samples=audio.samples * np.float32(min(gain, max(1.0, 1 / peak))))

        return levelled

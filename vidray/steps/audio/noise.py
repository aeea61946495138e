"""Noise added to audio, for training and for tests of what cleans it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt

from vidray.errors import UsageError
from vidray.media import AudioSamples
from vidray.steps.protocol import AudioFn
from vidray.steps.seeded import seeded

MOST_DB = (-150.0, 150.0)
"""Beyond, one of the two is all that float32 keeps of the sum."""


@dataclass(frozen=True)
class Noise:
    """Adds noise so many decibels below the mean power of all that an extractor hears of a clip; silence stays silent.

    The same audio gets the same noise, other audio another one.

    Attributes:
        db: Signal to noise ratio.
        color: "pink", equal power in each octave as rooms and streets are, or "white".
        seed: Another one gives other noise.
    """

    name: ClassVar[str] = "noise"
    modality: ClassVar[Literal["audio"]] = "audio"
    version: ClassVar[str] = "1"

    db: float = 20.0
    color: Literal["pink", "white"] = "pink"
    seed: int = 0

    def __post_init__(self) -> None:
        if not MOST_DB[0] <= self.db <= MOST_DB[1]:
            raise UsageError(f"noise: db must be >= {MOST_DB[0]:g} and <= {MOST_DB[1]:g}, got {self.db:g}")

    def load(self) -> AudioFn:
        def noisy(audio: AudioSamples) -> AudioSamples:
            power = float(np.square(audio.samples, dtype=np.float64).mean())
            noise = unit_noise(audio.samples.shape, self.color, seeded(audio.samples, self.seed))
            added = audio.samples + noise * np.sqrt(power * 10 ** (-self.db / 10))
            return replace(audio, samples=added.clip(-1, 1).astype(np.float32))

        return noisy


def unit_noise(shape: tuple[int, ...], color: str, generator: np.random.Generator) -> npt.NDArray[np.float64]:
    """Noise of mean power one, (..., N)."""
    noise = generator.standard_normal(shape)
    if color == "pink":
        spectrum = np.fft.rfft(noise)
        # power falls with one over the frequency; what does not swing is left out
        weights = np.concatenate([[0.0], np.arange(1, spectrum.shape[-1]) ** -0.5])
        noise = np.fft.irfft(spectrum * weights, shape[-1])
    power = float(np.square(noise).mean()) or 1.0
    return np.asarray(noise / np.sqrt(power))

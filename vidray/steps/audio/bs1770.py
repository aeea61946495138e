"""How loud audio is, by ITU-R BS.1770-4: https://www.itu.int/rec/R-REC-BS.1770."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from vidray.media import AudioSamples

K_WEIGHTING = (
    ((1.53512485958697, -2.69169618940638, 1.19839281085285), (1.0, -1.69065929318241, 0.73248077421585)),
    ((1.0, -2.0, 1.0), (1.0, -1.99004745483398, 0.99007225036621)),
)
"""Numerator and denominator of the two filters of ITU-R BS.1770-4, annex 1, tables 1 and 2, which are for 48 kHz."""

LOUDNESS_STEP_S = 0.1
BLOCK_OF_STEPS = 4
LOUDNESS_GATE_LUFS = -70.0
RELATIVE_GATE_LU = -10.0
"""Blocks of 0.4 s that overlap by three quarters, and the two gates of ITU-R BS.1770-4."""

BLOCK_STEPS = 300
"""How many steps are weighted at once."""


def loudness(audio: AudioSamples) -> float | None:
    """Integrated loudness in LUFS by ITU-R BS.1770-4, of mono audio or of channels that all count alike; None where the
    audio is shorter than one of its blocks.
    """
    powers = sum(_powers(samples, audio.sample_rate) for samples in np.atleast_2d(audio.samples))
    assert isinstance(powers, np.ndarray)
    if powers.size < BLOCK_OF_STEPS:
        return None
    blocks = np.convolve(powers, np.full(BLOCK_OF_STEPS, 1 / BLOCK_OF_STEPS), "valid")
    absolute = blocks[blocks > _power(LOUDNESS_GATE_LUFS)]
    if not absolute.size:
        return LOUDNESS_GATE_LUFS
    relative = absolute[absolute > _power(_lufs(absolute.mean()) + RELATIVE_GATE_LU)]
    return _lufs(relative.mean())


def _powers(samples: npt.NDArray[np.float32], rate: int) -> npt.NDArray[np.float64]:
    """The weighted power of each whole step of a channel."""
    step = round(LOUDNESS_STEP_S * rate)
    parts = [np.square(part) for part in _k_weighted(samples, rate, BLOCK_STEPS * step)]
    return np.concatenate([part[: part.size // step * step].reshape(-1, step).mean(axis=1) for part in parts])


def _k_weighted(samples: npt.NDArray[np.float32], rate: int, size: int) -> Iterator[npt.NDArray[np.float64]]:
    """A channel through BS.1770's two filters, `size` samples at a time, each block after a second of what precedes it.

    In the frequency domain, where a recursive filter costs no loop; its response to what is older has died away.
    """
    lead = rate
    for first in range(0, samples.size, size):
        before = min(first, lead)
        block = samples[first - before : first + size].astype(np.float64)
        length = next_fast_length(block.size + lead)
        delay = np.exp(-2j * np.pi * np.arange(length // 2 + 1) / length)
        response = np.ones_like(delay)
        for numerator, denominator in K_WEIGHTING:
            response *= np.polyval(numerator[::-1], delay) / np.polyval(denominator[::-1], delay)
        yield np.fft.irfft(np.fft.rfft(block, length) * response, length)[before : block.size]


def next_fast_length(size: int) -> int:
    """The next length whose transform is quick: three or one times a power of two."""
    power = 1 << (size - 1).bit_length()
    return 3 * power // 4 if size <= 3 * power // 4 else power


def _lufs(power: float) -> float:
    return -0.691 + 10 * math.log10(power)


def _power(lufs: float) -> float:
    return float(10 ** ((lufs + 0.691) / 10))

"""From the audio of the steps to the rate of a sampling, on the same clock; and pieces of audio."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from vidray.media import AudioRequest, AudioSamples

REACH_S = 0.02
"""How far the filter below reaches to either side, at rates of 4 kHz and more."""

KAISER_BEST = {
    "lowpass_filter_width": 64,
    "rolloff": 0.9475937167399596,
    "resampling_method": "sinc_interp_kaiser",
    "beta": 14.769656459379492,
}
"""The settings that torchaudio's documentation gives for resampy's "kaiser_best"."""


def cut(audio: AudioSamples, start_s: float, end_s: float) -> AudioSamples:
    """What there is of audio in a span."""
    at = round(audio.start_s * audio.sample_rate)
    first = max(at, round(start_s * audio.sample_rate))
    stop = max(first + 1, round(end_s * audio.sample_rate))
    return replace(audio, samples=audio.samples[..., first - at : stop - at], start_s=first / audio.sample_rate)


def resampled(audio: AudioSamples, wanted: AudioRequest) -> AudioSamples:
    """The samples of a request from audio that holds its span, at whatever rate; silence where it does not.

    Sample i of a video stands at i / rate before and after, so that a sample is the same whatever is around it but for
    `REACH_S`.
    """
    first, samples = round(audio.start_s * audio.sample_rate), audio.samples
    if wanted.sample_rate != audio.sample_rate:
        first, samples = _resampled(samples, first, audio.sample_rate, wanted.sample_rate)
    found = np.zeros((*samples.shape[:-1], wanted.count), np.float32)
    low, high = max(first, wanted.first), min(first + samples.shape[-1], wanted.first + wanted.count)
    if low < high:
        found[..., low - wanted.first : high - wanted.first] = samples[..., low - first : high - first]
    return AudioSamples(samples=found, sample_rate=wanted.sample_rate, start_s=wanted.first / wanted.sample_rate)


def _resampled(
    samples: npt.NDArray[np.float32], first: int, rate: int, wanted: int
) -> tuple[int, npt.NDArray[np.float32]]:
    """The number of the first sample at the wanted rate, and the samples from it on."""
    import torch
    from torchaudio.functional import resample

    common = math.gcd(rate, wanted)
    # where samples of both rates stand at the same time
    lead = first % (rate // common)
    padded = np.pad(samples, [(0, 0)] * (samples.ndim - 1) + [(lead, 0)])
    found = resample(torch.from_numpy(padded), rate, wanted, **KAISER_BEST).numpy()
    return (first - lead) // (rate // common) * (wanted // common), found

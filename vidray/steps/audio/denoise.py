"""Speech without the noise around it, by DeepFilterNet3.

The network carries what it heard from frame to frame without end, so that where one begins to listen shows in all that
follows. It therefore begins anew in stretches that stand on the video's own clock, each after the same warm-up: the
answer at a time is the same to the last bit whatever clip asks for it, and a stretch is done once for all that do.

Where there is little noise the network takes more of the speech than of the noise, and costs words. What it takes away
says how much noise there is: where that is far below what it leaves, the audio stays as it was.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt

from vidray.errors import UsageError
from vidray.media import AudioSamples, Span
from vidray.models import deepfilter
from vidray.steps.protocol import AUDIO_RATE, AudioFn

STRETCH_S = 10.0
OFFSET_S = 5.0
"""Stretches are [10 k - 5, 10 k + 5): clips of ten seconds, which many are, touch two of them and not three."""
WARM_UP_S = 2.0
"""Heard before each stretch: twice the time constant of the network's own levels."""
LATENCY_S = deepfilter.LATENCY / deepfilter.SAMPLE_RATE

KEPT = 16
"""Stretches whose answers are kept, of 2 MB each: neighbouring clips, and other tables, ask for them again."""

FRAME_S = 0.01
WINDOW_S = 1.0
"""Noise is measured over so much before and after a moment: pauses between words are in it, and not the next scene."""
RAMP_DB = 6.0
"""From where nothing is taken away down to where all is."""

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Denoise:
    """Takes away what is not speech, music among it.

    Attributes:
        limit_db: No more than so many decibels are taken away, at any time and pitch.
        clean_db: Where the noise is so many decibels below the speech, or more, the audio is left as it is; from 6 dB
            less on all noise is taken away.
    """

    name: ClassVar[str] = "denoise"
    modality: ClassVar[Literal["audio"]] = "audio"
    version: ClassVar[str] = "2"

    limit_db: float = 100.0
    clean_db: float = 18.0

    def __post_init__(self) -> None:
        if not math.isfinite(self.clean_db):
            raise UsageError(f"denoise: clean_db must be finite, got {self.clean_db:g}")
        if not 0 < self.limit_db < math.inf:
            raise UsageError(f"denoise: limit_db must be > 0 and finite, got {self.limit_db:g}")

    @property
    def weights_record(self) -> Mapping[str, str]:
        return deepfilter.WEIGHTS

    def settle(self) -> None:
        deepfilter.settle()

    def around(self, start_s: float, end_s: float) -> Span:
        first, last = math.floor((start_s + OFFSET_S) / STRETCH_S), math.ceil((end_s + OFFSET_S) / STRETCH_S)
        return first * STRETCH_S - OFFSET_S - WARM_UP_S, last * STRETCH_S - OFFSET_S + LATENCY_S

    def load(self) -> AudioFn:
        network, most = deepfilter.load(), 1 - 10 ** (-self.limit_db / 20)
        clean = _kept(lambda samples: mixed(samples, network(samples), most, self.clean_db))

        def denoised(audio: AudioSamples) -> AudioSamples:
            first = round(audio.start_s * AUDIO_RATE)
            channels = [_by_stretch(channel, first, clean) for channel in np.atleast_2d(audio.samples)]
            return replace(audio, samples=np.stack(channels).reshape(audio.samples.shape))

        return denoised


def mixed(samples: Floats, cleaned: Floats, most: float, clean_db: float) -> Floats:
    """Audio without its noise: without `most` of it where there is much, as it is where that is `clean_db` below."""
    share = most * np.clip((clean_db - below_db(samples, cleaned)) / RAMP_DB, 0, 1)
    frame = round(FRAME_S * AUDIO_RATE)
    by_sample = np.interp(np.arange(len(samples)), (np.arange(len(share)) + 0.5) * frame, share)
    return np.asarray(samples + by_sample * (cleaned - samples), np.float32)


def below_db(samples: Floats, cleaned: Floats) -> npt.NDArray[np.float64]:
    """How far the noise that was taken away is below what is left, in decibels, for each hundredth of a second."""
    left, taken = (_around(np.square(part, dtype=np.float64)) for part in (cleaned, samples - cleaned))
    least = np.finfo(np.float32).tiny
    return np.asarray(10 * np.log10((left + least) / (taken + least)))


def _around(energy: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Energies within `WINDOW_S` of each frame."""
    frame = round(FRAME_S * AUDIO_RATE)
    frames = np.pad(energy, (0, -len(energy) % frame)).reshape(-1, frame).sum(axis=1)
    reach = round(WINDOW_S / FRAME_S)
    return np.convolve(np.pad(frames, reach), np.ones(2 * reach + 1), "valid")


def _by_stretch(samples: Floats, first: int, clean: Callable[[Floats], Floats]) -> Floats:
    """A channel from sample `first` of the video on, each stretch by itself.

    What comes before the warm-up that `around` asks for is left as it is: nobody takes it.
    """
    stretch, offset, warm_up = (round(length_s * AUDIO_RATE) for length_s in (STRETCH_S, OFFSET_S, WARM_UP_S))
    found = np.zeros_like(samples)
    end = first + len(samples)
    for start in range((first + offset) // stretch * stretch - offset, end, stretch):
        low, high = max(start, first), min(start + stretch, end)
        heard_from = max(start - warm_up, first)
        heard = samples[heard_from - first : min(high + deepfilter.LATENCY, end) - first]
        found[low - first : high - first] = clean(heard)[low - heard_from : high - heard_from]
    return found


def _kept(clean: Callable[[Floats], Floats]) -> Callable[[Floats], Floats]:
    """The same function, which keeps its last answers."""
    answers: OrderedDict[bytes, Floats] = OrderedDict()

    def kept(samples: Floats) -> Floats:
        key = blake2b(np.ascontiguousarray(samples).tobytes(), digest_size=16).digest()
        if key not in answers:
            answers[key] = clean(samples)
        answers.move_to_end(key)
        while len(answers) > KEPT:
            answers.popitem(last=False)
        return answers[key]

    return kept

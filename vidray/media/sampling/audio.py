"""All of a clip's audio."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import Literal

import numpy as np

from vidray.media.requests import AudioRequest
from vidray.media.samples import AudioSamples
from vidray.media.values import FrameSize


@dataclass(frozen=True)
class Audio:
    """All of a clip's audio, at one rate: one `AudioSamples` a clip.

    Attributes:
        sample_rate: In hertz; the audio is resampled to it.
        before_s: Seconds of context before a clip.
        after_s: Seconds of context behind it.
        channels: "mono" for the mix of all channels, "all" for each by itself.
        track: "auto" for what the file means to be heard, a number from 1 among its audio tracks, or a language.
    """

    sample_rate: int
    _: KW_ONLY
    before_s: float = 0.0
    after_s: float = 0.0
    channels: Literal["mono", "all"] = "mono"
    track: str | int = "auto"

    @property
    def modality(self) -> Literal["audio"]:
        return "audio"

    @property
    def unit_s(self) -> float:
        return 1 / self.sample_rate

    def request(self, start_s: float, end_s: float) -> AudioRequest:
        return AudioRequest(
            start_s=start_s, end_s=end_s, sample_rate=self.sample_rate, channels=self.channels, track=self.track
        )

    def collect(self, raw: AudioSamples, start_s: float, end_s: float) -> AudioSamples:
        return raw

    def blank(self, start_s: float, end_s: float, size: FrameSize) -> AudioSamples:
        wanted = self.request(start_s, end_s)
        shape = (wanted.count,) if self.channels == "mono" else (1, wanted.count)
        return AudioSamples(
            samples=np.zeros(shape, np.float32), sample_rate=self.sample_rate, start_s=wanted.first / self.sample_rate
        )

    def nbytes(self, start_s: float, end_s: float, size: FrameSize) -> int:
        channels = 1 if self.channels == "mono" else 2
        return 4 * channels * self.request(start_s, end_s).count

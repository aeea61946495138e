"""How good speech sounds, as numbers to filter by: `--where "speech_quality.overall > 2.5"`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import pyarrow as pa

from vidray.extractors.protocol import Answer, ExtractFn, ModelInfo
from vidray.media import Audio, ClipInput, Sampling
from vidray.models import dnsmos

NAME = "speech_quality"
COLUMNS = tuple(dnsmos.FITS)


@dataclass(frozen=True, kw_only=True)
class SpeechQuality:
    """DNSMOS P.835: what people would rate the speech of a clip, from 1 (bad) to 5 (excellent).

    - `speech`: the voice itself, whatever is around it.
    - `background`: what is around it; 5 is nothing.
    - `overall`: both together.

    All are null where a clip has no audio. Of a clip in which nobody speaks they mean nothing: `voice_activity` says
    which these are.
    """

    name: ClassVar[str] = NAME
    version: ClassVar[str] = "1"
    inputs: ClassVar[Mapping[str, Sampling]] = {"audio": Audio(sample_rate=dnsmos.SAMPLE_RATE)}
    """All of a clip's audio."""
    schema: ClassVar[pa.Schema] = pa.schema([(name, pa.float32()) for name in COLUMNS])

    @property
    def weights_record(self) -> Mapping[str, str]:
        """Which network it is. Raises MissingExtraError or WeightsError."""
        return dnsmos.weights_record()

    def settle(self) -> None:
        """See that the network is here."""
        dnsmos.weights_record()

    def load(self, device: str) -> ExtractFn:
        """The function; the same on all devices, on the CPU."""
        rated = dnsmos.load()

        def extract(items: Sequence[ClipInput]) -> Answer:
            ratings = [rated(item["audio"].samples) for item in items]
            return {name: [rating[name] for rating in ratings] for name in COLUMNS}

        return extract


EXTRACTOR = SpeechQuality


def info() -> ModelInfo:
    """What `vidray models` says of this extractor."""
    return ModelInfo(
        name=NAME,
        kind="quality",
        dim=None,
        inputs=f"mono audio at {dnsmos.SAMPLE_RATE // 1000} kHz, windows of 9 s",
        weights=f"DNSMOS P.835 of {dnsmos.PACKAGE}=={dnsmos.PACKAGE_VERSION}",
        licence="MIT",
        available=dnsmos.is_installed(),
    )

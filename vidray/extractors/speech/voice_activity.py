"""Where somebody speaks: Silero's network over all of a video, whatever its clips."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import pyarrow as pa

from vidray.extractors.protocol import Answer, ExtractFn, ModelInfo
from vidray.media import Audio, ClipInput
from vidray.models import silero
from vidray.models.speech_spans import AFTER_S, BEFORE_S, segments_of

NAME = "voice_activity"

SPANS_TYPE = pa.list_(pa.struct([pa.field("start_s", pa.float64()), pa.field("end_s", pa.float64())]))


@dataclass(frozen=True, kw_only=True)
class VoiceActivity:
    """The segments in which somebody speaks, and how much of a clip is speech.

    A segment belongs to the clip in which it starts, and may run past its end. The rules, and where they come from,
    stand in `vidray.models.speech_spans`.
    """

    name: ClassVar[str] = NAME
    version: ClassVar[str] = "1"
    inputs: ClassVar[Mapping[str, Audio]] = {"audio": Audio(silero.SAMPLE_RATE, before_s=BEFORE_S, after_s=AFTER_S)}
    schema: ClassVar[pa.Schema] = pa.schema([("segments", SPANS_TYPE), ("speech_share", pa.float32())])

    @property
    def weights_record(self) -> Mapping[str, str]:
        """Where the weights come from, and their sha256."""
        return silero.weights_record()

    def load(self, device: str) -> ExtractFn:
        """Load the network. Raises MissingExtraError or WeightsError."""
        speech = silero.speech_network()

        def extract(items: Sequence[ClipInput]) -> Answer:
            heard = segments_of(items, speech)
            spans = [[{"start_s": one.start_s, "end_s": one.end_s} for one in clip.segments] for clip in heard]
            return {"segments": spans, "speech_share": [clip.share for clip in heard]}

        return extract


EXTRACTOR = VoiceActivity


def info() -> ModelInfo:
    """What `vidray models` says of this extractor."""
    return ModelInfo(
        name=NAME,
        kind="audio",
        dim=None,
        inputs="mono audio at 16 kHz, steps of 32 ms",
        weights=f"in the wheel {silero.PACKAGE}=={silero.PACKAGE_VERSION}",
        licence="MIT",
        available=silero.is_installed(),
    )

"""How the voices in a clip sound: vectors of windows of speech, from which `speakers` tells who speaks when."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from vidray.extractors.protocol import Answer, ExtractFn, ModelInfo
from vidray.extractors.speech.transcribing import INPUTS, record_of
from vidray.media import Audio, AudioSamples, ClipInput
from vidray.models import silero, speaker_network
from vidray.models.speech_spans import Segment, segments_of
from vidray.models.weights import packaged_file

NAME = "voices"
RATE = speaker_network.SAMPLE_RATE

VOICES_TYPE = pa.list_(
    pa.struct(
        [
            pa.field("start_s", pa.float64()),
            pa.field("end_s", pa.float64()),
            pa.field("segment_end_s", pa.float64()),
            pa.field("voice", pa.list_(pa.float16(), speaker_network.DIM)),
        ]
    )
)


@dataclass(frozen=True, kw_only=True)
class Voices:
    """The voice in each window of 1.6 s of a clip's speech, every 0.4 s, as a unit vector.

    Windows lie within the segments of the voice activity, and belong with them to the clip in which these start; they
    do not depend on how a video is cut. A segment that is shorter than a window is one by itself.
    """

    name: ClassVar[str] = NAME
    version: ClassVar[str] = "1"
    inputs: ClassVar[Mapping[str, Audio]] = INPUTS
    schema: ClassVar[pa.Schema] = pa.schema([("voices", VOICES_TYPE)])

    @property
    def weights_record(self) -> Mapping[str, Any]:
        """Where the weights come from, and their sha256s."""
        return record_of(silero.weights_record(), speaker_network.weights_record())

    def load(self, device: str) -> ExtractFn:
        """Load the networks, on the CPU. Raises UsageError, MissingExtraError or WeightsError."""
        speech, voices = silero.speech_network(), speaker_network.voice_network()

        def extract(items: Sequence[ClipInput]) -> Answer:
            heard = [clip.segments for clip in segments_of(items, speech)]
            sounds = [_sound(item["audio"], one) for item, some in zip(items, heard, strict=True) for one in some]
            found = iter(zip(sounds, voices(sounds), strict=True))
            return {"voices": [[row for one in some for row in _rows(one, *next(found))] for some in heard]}

        return extract


def _sound(audio: AudioSamples, segment: Segment) -> npt.NDArray[np.float32]:
    offset = round(audio.start_s * RATE)
    first = max(0, round(segment.start_s * RATE) - offset)
    return audio.samples[first : max(first + 1, round(segment.end_s * RATE) - offset)]


def _rows(segment: Segment, samples: npt.NDArray[np.float32], vectors: npt.NDArray[np.float32]) -> list[dict[str, Any]]:
    return [
        {
            "start_s": segment.start_s + start / RATE,
            "end_s": segment.start_s + stop / RATE,
            "segment_end_s": segment.end_s,
            "voice": vector.astype(np.float16),
        }
        for (start, stop), vector in zip(speaker_network.windows(len(samples)), vectors, strict=True)
    ]


EXTRACTOR = Voices


def info() -> ModelInfo:
    """What `vidray models` says of this extractor."""
    return ModelInfo(
        name=NAME,
        kind="audio",
        dim=None,
        inputs="mono audio at 16 kHz, windows of 1.6 s",
        weights=f"in the wheel {speaker_network.PACKAGE}=={speaker_network.PACKAGE_VERSION}",
        licence="Apache-2.0",
        available=packaged_file(speaker_network.PACKAGE, speaker_network.FILE) is not None and silero.is_installed(),
    )

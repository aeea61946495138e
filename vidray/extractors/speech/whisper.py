"""Speech to text by Whisper, through faster-whisper: any language, any size, from a hub or a local folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from vidray.errors import MissingExtraError, UsageError, WeightsError, one_line
from vidray.extractors.protocol import ExtractFn, ModelInfo
from vidray.extractors.speech.transcribing import INPUTS, SCHEMA, Word, Written, record_of, transcriber
from vidray.media import Audio
from vidray.models import silero
from vidray.models.weights import sha256_of

NAME = "whisper"
MODEL_FILE = "model.bin"
BATCH = {"cpu": 1, "cuda": 16}
"""Segments at once. On a CPU more of them are no faster, and one alone is the same whatever its neighbours are."""
BEAMS = 5
"""faster-whisper's default."""

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Whisper:
    """What is said in a clip, with times of words.

    Attributes:
        size: "tiny", "base", "small", "medium", "large-v3", "turbo", a name on a hub, or a folder in CTranslate2's
            format.
        language: A code such as "de"; None for what is heard in each segment.
        compute_type: Of CTranslate2, as in "int8" or "float16"; "default" for that of the file.
        memory_bytes: What a worker reserves: enough for "small".
    """

    name: ClassVar[str] = NAME
    version: ClassVar[str] = "2"
    brings: ClassVar[tuple[str, ...]] = ("transcript",)
    inputs: ClassVar[Mapping[str, Audio]] = INPUTS
    schema: ClassVar[pa.Schema] = SCHEMA

    size: str = "small"
    language: str | None = None
    compute_type: str = "default"
    memory_bytes: int = 3 << 30

    @property
    def weights_record(self) -> Mapping[str, Any]:
        """Where the weights come from, and their sha256 where they are a folder."""
        file = Path(self.size) / MODEL_FILE
        own = {"source": self.size, "sha256": sha256_of(str(file)) if file.is_file() else None}
        if own["sha256"] is None and Path(self.size).is_dir():
            raise WeightsError(f"{self.size} has no {MODEL_FILE}: convert the model with ct2-transformers-converter")
        return record_of(silero.weights_record(), own)

    def load(self, device: str) -> ExtractFn:
        """Load the network; a name on a hub is downloaded. Raises MissingExtraError or WeightsError."""
        pipeline = _pipeline(self, device)
        if self.language is not None and self.language not in pipeline.model.supported_languages:
            known = ", ".join(pipeline.model.supported_languages)
            raise UsageError(f"whisper {self.size} knows no language '{self.language}'; it knows {known}")

        def write(sounds: Sequence[Floats]) -> list[Written]:
            found: dict[int, Written] = {}
            for first in range(0, len(sounds), BATCH[device]):
                some = sounds[first : first + BATCH[device]]
                heard = _languages(pipeline, some, self.language)
                for places in _alike([language for language, _ in heard]):
                    written = _written(pipeline, some, places, heard)
                    found.update({first + place: one for place, one in written.items()})
            return [found[place] for place in range(len(sounds))]

        return transcriber(write)


def _pipeline(extractor: Whisper, device: str) -> Any:
    if find_spec("faster_whisper") is None:
        raise MissingExtraError(NAME, "speech")
    from faster_whisper import BatchedInferencePipeline, WhisperModel

    try:
        network = WhisperModel(extractor.size, device=device, compute_type=extractor.compute_type, cpu_threads=1)
    except (OSError, RuntimeError, ValueError) as e:
        raise WeightsError(f"whisper '{extractor.size}' cannot be loaded: {one_line(e)}") from e
    network.encode = _EncodedOnce(network.encode)
    return BatchedInferencePipeline(network)


class _EncodedOnce:
    """An encoder that remembers what it gave last: languages are told from it before texts are written from it."""

    def __init__(self, encode: Callable[[Floats], Any]) -> None:
        self._encode = encode
        self._features: Floats | None = None
        self._encoded: Any = None

    def __call__(self, features: Floats) -> Any:
        if self._features is None or not np.array_equal(features, self._features):
            self._features, self._encoded = features, self._encode(features)
        return self._encoded


def _languages(pipeline: Any, sounds: Sequence[Floats], given: str | None) -> list[tuple[str, float]]:
    """The language of each of some sounds, with its probability: what `detect_language` of faster-whisper does."""
    network = pipeline.model
    if given is not None or not network.model.is_multilingual:
        return [(given or "en", 1.0)] * len(sounds)
    from faster_whisper.audio import pad_or_trim

    features = np.stack([pad_or_trim(network.feature_extractor(samples)[..., :-1]) for samples in sounds])
    found = network.model.detect_language(network.encode(features))
    return [(ranked[0][0][2:-2], float(ranked[0][1])) for ranked in found]  # a token is `<|de|>`


def _alike(languages: Sequence[str]) -> Iterator[list[int]]:
    """Places of one language together, in their order."""
    for language in dict.fromkeys(languages):
        yield [place for place, one in enumerate(languages) if one == language]


def _written(
    pipeline: Any, sounds: Sequence[Floats], places: Sequence[int], heard: Sequence[tuple[str, float]]
) -> dict[int, Written]:
    """What is said in some segments of one language; each is a chunk of its own, padded alone."""
    ends = np.cumsum([len(sounds[place]) for place in places])
    starts = [0.0, *(ends[:-1] / silero.SAMPLE_RATE).tolist()]
    # in the middle of a sample: faster-whisper cuts off what is behind the point
    edges = [(end + 0.5) / silero.SAMPLE_RATE for end in (0, *ends.tolist())]
    spans = [{"start": start_s, "end": end_s} for start_s, end_s in pairwise(edges)]
    segments, _ = pipeline.transcribe(
        np.concatenate([sounds[place] for place in places]),
        language=heard[places[0]][0],
        clip_timestamps=spans,
        batch_size=len(places),
        beam_size=BEAMS,
        temperature=0.0,  # nothing is drawn by chance
        without_timestamps=True,
        word_timestamps=True,
        vad_filter=False,
    )
    found: dict[int, Written] = {}
    for number, segment in enumerate(segments):
        words = tuple(
            Word(
                word=word.word.strip(),
                start_s=float(word.start) - starts[number],
                end_s=float(word.end) - starts[number],
                score=float(word.probability),
            )
            for word in segment.words
        )
        language, score = heard[places[number]]
        found[places[number]] = Written(
            text=segment.text.strip(),
            language=language,
            language_score=score,
            avg_logprob=float(segment.avg_logprob),
            no_speech_prob=float(segment.no_speech_prob),
            words=words,
        )
    return found


EXTRACTOR = Whisper


def info() -> ModelInfo:
    """What `vidray models` says of this extractor."""
    return ModelInfo(
        name=NAME,
        kind="audio",
        dim=None,
        inputs="mono audio at 16 kHz, 99 languages",
        weights="a hub's, by size=NAME, or a folder",
        licence="MIT",
        available=find_spec("faster_whisper") is not None and silero.is_installed(),
    )

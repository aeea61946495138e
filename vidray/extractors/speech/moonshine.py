"""Speech to text by Moonshine: English, small, and there without a hub."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from vidray.extractors.protocol import ExtractFn, ModelInfo
from vidray.extractors.speech.transcribing import INPUTS, SCHEMA, Written, record_of, transcriber
from vidray.media import Audio
from vidray.models import moonshine, silero
from vidray.models.weights import packaged_file

NAME = "moonshine"
LANGUAGE = "en"


@dataclass(frozen=True, kw_only=True)
class MoonshineText:
    """What is said in a clip, in English. Gives no times of words, only those of segments.

    Attributes:
        folder: A folder with `encoder_model.ort`, `decoder_model_merged.ort` and `tokenizer.bin`; None for those of the
            wheel `moonshine-voice`.
    """

    name: ClassVar[str] = NAME
    version: ClassVar[str] = "2"
    brings: ClassVar[tuple[str, ...]] = ("transcript",)
    inputs: ClassVar[Mapping[str, Audio]] = INPUTS
    schema: ClassVar[pa.Schema] = SCHEMA

    folder: str | None = None

    @property
    def weights_record(self) -> Mapping[str, Any]:
        """Where the weights come from, and their sha256."""
        return record_of(silero.weights_record(), moonshine.weights_record(self.folder))

    def load(self, device: str) -> ExtractFn:
        """Load the network, on the CPU. Raises MissingExtraError or WeightsError."""
        network = moonshine.Moonshine(self.folder)

        def write(sounds: Sequence[npt.NDArray[np.float32]]) -> list[Written]:
            return [_written(*network.write(samples)) for samples in sounds]

        return transcriber(write)


def _written(text: str, avg_logprob: float, is_cut: bool) -> Written:
    return Written(text=text, language=LANGUAGE, language_score=1.0, avg_logprob=avg_logprob, is_cut=is_cut)


EXTRACTOR = MoonshineText


def info() -> ModelInfo:
    """What `vidray models` says of this extractor."""
    file = packaged_file(moonshine.PACKAGE, f"{moonshine.FOLDER}/encoder_model.ort")
    return ModelInfo(
        name=NAME,
        kind="audio",
        dim=None,
        inputs="mono audio at 16 kHz, English",
        weights=f"in the wheel {moonshine.PACKAGE}=={moonshine.PACKAGE_VERSION}, or a folder",
        licence="MIT",
        available=file is not None and find_spec("onnxruntime") is not None and silero.is_installed(),
    )

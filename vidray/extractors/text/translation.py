"""Texts in another language, by a translating network of `transformers`: from a folder, or by its name on a hub."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, ClassVar, Literal

import pyarrow as pa

from vidray.errors import UsageError
from vidray.extractors.protocol import Answer, ExtractFn, ModelInfo
from vidray.extractors.speech.transcribing import SEGMENTS_TYPE
from vidray.extractors.text.timed import parts_of, texts_of
from vidray.media import ClipInput, Columns
from vidray.models.text_networks import folder_record
from vidray.models.writing import translator

NAME = "translation"


@dataclass(frozen=True, kw_only=True)
class Translation:
    """The texts of a table in another language, segment by segment, line by line or sentence by sentence.

    A translation has the times of what it is of, and stands in the clip in which that begins. What the table says is
    in the wanted language already is left as it is.

    Attributes:
        of: The table with the texts; None for the only one.
        to: The language, as the model calls it: "de", NLLB's "deu_Latn".
        model: A translating network, as a folder or by its name on a hub.
        memory_bytes: What a worker reserves: enough for a network of 600 million weights.
    """

    family: ClassVar[str] = NAME
    version: ClassVar[str] = "1"
    schema: ClassVar[pa.Schema] = pa.schema(
        [("text", pa.string()), ("language", pa.string()), ("segments", SEGMENTS_TYPE)]
    )

    of: str | None = None
    to: str | None = None
    model: str | None = None
    memory_bytes: int = 4 << 30
    scope: ClassVar[Literal["video"]] = "video"

    @property
    def name(self) -> str:
        """The table's name."""
        return NAME if self.of is None else f"{NAME}-{self.of}"

    @property
    def inputs(self) -> Mapping[str, Columns]:
        """Texts."""
        return {"text": texts_of(self.of)}

    @property
    def weights_record(self) -> Mapping[str, str | None]:
        """Where the weights come from, and their sha256. Raises UsageError or WeightsError."""
        return folder_record(self._options()[0])

    def load(self, device: str) -> ExtractFn:
        """Load the network. Raises UsageError, MissingExtraError or WeightsError."""
        translate = translator(*self._options(), what=NAME, device=device)

        def extract(items: Sequence[ClipInput]) -> Answer:
            rows: list[list[dict[str, Any]]] = [[] for _ in items]
            for part in parts_of([item.clip for item in items], [item["text"] for item in items]):
                text = part.text if part.language == self.to else translate(part.text)
                unknown = {"avg_logprob": None, "no_speech_prob": None, "invented": None}
                span = {"start_s": part.start_s, "end_s": part.end_s}
                rows[part.clip].append({**span, "text": text, "language": self.to, **unknown})
            return {
                "text": [" ".join(one["text"] for one in some) for some in rows],
                "language": [self.to if some else None for some in rows],
                "segments": rows,
            }

        return extract

    def _options(self) -> tuple[str, str]:
        """The model and the language; both have to be named, when there is something to translate."""
        if not self.to or not self.model:
            raise UsageError(f"-x '{NAME}?to=de&model=FOLDER' needs both options, got to={self.to}, model={self.model}")
        return self.model, self.to


EXTRACTOR = Translation


def info() -> ModelInfo:
    """What `vidray models` says of this extractor."""
    return ModelInfo(
        name=NAME,
        kind="text",
        dim=None,
        inputs="a table with texts",
        weights="a hub's or a folder's, by model=; checked on seeded weights alone",
        licence="of the model",
        available=find_spec("transformers") is not None,
    )

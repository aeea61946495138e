"""The language of a text, by py3langid, which carries its model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, ClassVar

import pyarrow as pa

from vidray.errors import MissingExtraError
from vidray.extractors.protocol import Answer, ExtractFn, ModelInfo
from vidray.media import ClipInput, Columns

NAME = "language"
FEWEST_LETTERS = 8
"""Of a shorter text nothing is said: names and numbers are of all languages."""


@dataclass(frozen=True, kw_only=True)
class Language:
    """The language of a table's texts, among 97, and how probable it is.

    Attributes:
        of: The table with the texts; None for the only one.
    """

    family: ClassVar[str] = NAME
    version: ClassVar[str] = "1"
    schema: ClassVar[pa.Schema] = pa.schema([("language", pa.string()), ("language_score", pa.float32())])
    """The columns that it adds; null where there is too little text to tell."""

    of: str | None = None

    @property
    def name(self) -> str:
        """The table's name."""
        return NAME if self.of is None else f"{NAME}-{self.of}"

    @property
    def inputs(self) -> Mapping[str, Columns]:
        """Texts."""
        return {"text": Columns(self.of, ["text"])}

    def load(self, device: str) -> ExtractFn:
        """Load the model. Raises MissingExtraError."""
        if find_spec("py3langid") is None:
            raise MissingExtraError(NAME, "words")
        from py3langid.langid import MODEL_DIR, MODEL_FILE, LanguageIdentifier

        identifier = LanguageIdentifier.from_modelpath(str(MODEL_DIR / MODEL_FILE), norm_probs=True)

        def extract(items: Sequence[ClipInput]) -> Answer:
            found = [_language(identifier, item["text"]["text"]) for item in items]
            return {"language": [one for one, _ in found], "language_score": [score for _, score in found]}

        return extract


def _language(identifier: Any, text: str | None) -> tuple[str | None, float | None]:
    if text is None or sum(character.isalpha() for character in text) < FEWEST_LETTERS:
        return None, None
    language, score = identifier.classify(text)
    return str(language), float(score)


EXTRACTOR = Language


def info() -> ModelInfo:
    """What `vidray models` says of this extractor."""
    return ModelInfo(
        name=NAME,
        kind="text",
        dim=None,
        inputs="a table with texts",
        weights="in the wheel py3langid",
        licence="BSD",
        available=find_spec("py3langid") is not None,
    )

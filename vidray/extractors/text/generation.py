"""What a language model writes on a clip's text, as a prompt asks: by `transformers`, from a folder or a hub."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import ClassVar

import pyarrow as pa

from vidray.errors import UsageError
from vidray.extractors.protocol import Answer, ExtractFn, ModelInfo
from vidray.media import ClipInput, Columns
from vidray.models.text_networks import folder_record
from vidray.models.writing import writer

NAME = "generate"


@dataclass(frozen=True, kw_only=True)
class Generate:
    """What a language model writes on each clip's text; null where a clip has none. It may be untrue.

    Attributes:
        of: The table with the texts; None for the only one.
        model: A language model, as a folder or by its name on a hub.
        prompt: What it is told; the text goes where `{text}` stands.
        tokens: How many it writes at most.
        memory_bytes: What a worker reserves: enough for a network of a billion weights.
    """

    family: ClassVar[str] = NAME
    version: ClassVar[str] = "1"
    schema: ClassVar[pa.Schema] = pa.schema([("generated", pa.string())])
    """The column that it adds; not called `text`, since it is not what is said or written."""

    of: str | None = None
    model: str | None = None
    prompt: str = "{text}"
    tokens: int = 100
    memory_bytes: int = 6 << 30

    def __post_init__(self) -> None:
        check_prompt(self.prompt, self.tokens)

    @property
    def name(self) -> str:
        """The table's name."""
        return NAME if self.of is None else f"{NAME}-{self.of}"

    @property
    def inputs(self) -> Mapping[str, Columns]:
        """Texts."""
        return {"text": Columns(self.of, ["text"])}

    @property
    def weights_record(self) -> Mapping[str, str | None]:
        """Where the weights come from, and their sha256. Raises UsageError or WeightsError."""
        return folder_record(self._model())

    def load(self, device: str) -> ExtractFn:
        """Load the network. Raises UsageError, MissingExtraError or WeightsError."""
        write = writer(self._model(), self.prompt, self.tokens, what=NAME, device=device).write

        def extract(items: Sequence[ClipInput]) -> Answer:
            texts = [(item["text"]["text"] or "").strip() for item in items]
            return {"generated": [write(text) if text else None for text in texts]}

        return extract

    def _model(self) -> str:
        """The model, which has to be named."""
        if not self.model:
            raise UsageError(f"-x '{NAME}?model=FOLDER&prompt=...' needs a model, got none")
        return self.model


def check_prompt(prompt: str, tokens: int) -> None:
    """Raises UsageError where a text has no place in a prompt, or nothing may be written."""
    if "{text}" not in prompt:
        raise UsageError(f"prompt must say where the text goes, by {{text}}, got {prompt!r}")
    if tokens < 1:
        raise UsageError(f"tokens must be at least 1, got {tokens}")


EXTRACTOR = Generate


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

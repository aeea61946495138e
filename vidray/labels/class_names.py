"""Any text against the classes that a network found: how probable each is, times how near its name is to the text.

This is zero-shot recognition by convex combination of class names' embeddings (ConSE, https://arxiv.org/abs/1312.5650),
with two changes that ranked better on frames and sounds of known content. Each class is compared with the text by
itself, since the mean of a robin's and a goldfinch's name means less than either; and nearness falls off steeply, so
that many classes that are vaguely near do not add up. A clip's ten best classes rank better than five do, which leave
out what is small in the frame, and better than all, which are somewhat near to anything.
"""

from __future__ import annotations

import itertools
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
from vidray.models.sentences import DIM, PACKAGE, PACKAGE_VERSION, embed_sentences

Floats = npt.NDArray[np.float32]
Numbers = npt.NDArray[np.float64]
Places = npt.NDArray[np.int64]

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
ROWS_AT_ONCE = 64
"""Ten vectors each stay in a core's cache: four times as fast as with 1024."""

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
        return self._scores(*self._found(rows))

    def _scores(self, counts: Places, places: Places, probabilities: Numbers) -> Floats:
        row_of = np.repeat(np.arange(len(counts)), counts)
        nearness = self._names.nearness[places]
        if self.sense == "object":
            # boxes exclude no others, as classes do: the best counts, by a score that is a probability already
            best = np.zeros((len(counts), len(self.prompts)))
            np.maximum.at(best, row_of, probabilities[:, None] * nearness)
            return best.clip(0, 1).astype(np.float32)
        sums = [np.bincount(row_of, probabilities * near, minlength=len(counts)) for near in nearness.T]
        a, b = CALIBRATION[self.sense]
        with np.errstate(divide="ignore"):
            scores = 1 / (1 + np.exp(-(a * np.log(np.stack(sums, axis=1)) + b)))
        return scores.astype(np.float32)

    def ranking_scores(self, rows: pa.Table, least: float = 0.0) -> Floats:
        """Scores by which clips are ranked: those of `scores`, weighed by what all classes of a clip mean together.

        The mean of the classes' vectors, by their probability and less the mean of all names, says what the clip is
        about where no class is named like the text. What a detector found ranks by its scores alone.

        Rows that cannot reach `least`, however well their classes agree, are 0: most, where the best are sought.
        """
        counts, places, probabilities = self._found(rows)
        scores = self._scores(counts, places, probabilities)
        if self.sense == "object":
            return scores
        ranking = np.zeros_like(scores)
        may = (_weighed(scores, np.float32(1)) >= least).any(axis=1)
        of_those = np.repeat(may, counts)
        ranking[may] = _weighed(scores[may], self._agreement(counts[may], places[of_those], probabilities[of_those]))
        return ranking

    def _agreement(self, counts: Places, places: Places, probabilities: Numbers) -> Floats:
        """The cosine of each clip's classes, taken together, and each text: float32 (N, prompts)."""
        ends = np.concatenate([[0], np.cumsum(counts)])
        meant = np.zeros((len(counts), DIM), np.float32)
        for first in range(0, len(counts), ROWS_AT_ONCE):
            last = min(first + ROWS_AT_ONCE, len(counts))
            some = slice(ends[first], ends[last])
            weighed = self._names.vectors[places[some]] * probabilities[some, None].astype(np.float32)
            has_any = counts[first:last] > 0
            if has_any.any():
                meant[first:last][has_any] = np.add.reduceat(weighed, ends[first:last][has_any] - ends[first])
        # the last bits depend on a row's neighbours, and clips that are alike are to tie
        return np.round(_unit(meant) @ _unit(self._wanted - mean_vector()).T, AGREEMENT_DIGITS).astype(np.float32)

    def _found(self, rows: pa.Table) -> tuple[Places, Places, Numbers]:
        """How many classes each row has, and of each, row by row, its name's place in `_names` and probability."""
        column = rows["labels"].combine_chunks()
        counts = pc.fill_null(pc.list_value_length(column), 0).to_numpy(zero_copy_only=False)
        found = column.flatten()
        names = pc.struct_field(found, "label").dictionary_encode()
        places = self._names.places(names.dictionary.to_pylist())[names.indices.to_numpy(zero_copy_only=False)]
        return counts, places, pc.struct_field(found, "score").to_numpy(zero_copy_only=False).astype(np.float64)

    @cached_property
    def _names(self) -> _Names:
        return _Names(self._wanted, MAKER_OF if self.sense == "audio" else kinds())

    @cached_property
    def _wanted(self) -> Floats:
        bare = [_PREAMBLE.sub("", prompt) for prompt in self.prompts]
        # a detector's classes are plain words; the calibrations of the others were fitted with articles
        return embed_sentences([_ARTICLE.sub("", text) for text in bare] if self.sense == "object" else bare)


class _Names:
    """What is known of the class names that were met, each looked at once.

    Attributes:
        nearness: How near each is to each text, by itself or with its kind: float64 (names, prompts) in [0, 1].
        vectors: Unit vectors, less what all names have in common: float32 (names, 384).
    """

    def __init__(self, wanted: Floats, kind_of: dict[str, str]) -> None:
        self._wanted, self._kind_of = wanted, kind_of
        self._place_of: dict[str, int] = {}
        self.nearness = np.zeros((0, len(wanted)))
        self.vectors = np.zeros((0, DIM), np.float32)

    def places(self, names: Sequence[str]) -> Places:
        """The rows of some names; those that are new are added."""
        if fresh := [name for name in names if name not in self._place_of]:
            self._add(fresh)
        return np.array([self._place_of[name] for name in names], dtype=np.int64)

    def _add(self, names: Sequence[str]) -> None:
        fuller = [with_kind(name, self._kind_of) for name in names]
        bare, full = np.split(vectors_of([*names, *fuller]), 2)
        nearer = np.maximum(bare @ self._wanted.T, full @ self._wanted.T).astype(np.float64)
        self.nearness = np.concatenate([self.nearness, np.clip(nearer, 0, 1) ** STEEPNESS])
        self.vectors = np.concatenate([self.vectors, _unit(bare - mean_vector())])
        self._place_of.update(zip(names, itertools.count(len(self._place_of))))


def _weighed(scores: Floats, agreement: Floats | np.float32) -> Floats:
    """Scores with what agreement adds to their log odds."""
    with np.errstate(divide="ignore", over="ignore"):
        odds = np.log(scores / (1 - scores)) + AGREEMENT_WEIGHT * (agreement - AGREEMENT_MIDDLE)
        return np.asarray(1 / (1 + np.exp(-odds)), dtype=np.float32)


def _unit(vectors: Floats) -> Floats:
    """Vectors of length 1; those of length 0 stay."""
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-9), dtype=np.float32)

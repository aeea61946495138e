"""A trained head as a labeler: a person's classes, from the features that it was trained on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from vidray.labels.examples import COLUMNS, Ragged, vectors_of
from vidray.labels.numbers import columns_of_names, number_features
from vidray.labels.protocol import Ranked

if TYPE_CHECKING:
    from torch import nn

LEAST_SCORE = 0.01
"""Classes less likely than this are no labels, but for a clip's likeliest."""


@dataclass(frozen=True, kw_only=True)
class Head:
    """What was learned from labeled clips. A class's score is its probability; those of a clip come to 1.

    Classes count alike in training, so that a score says how well a clip fits a class, whatever their shares are.

    Attributes:
        name: Under which it stands in the store.
        network: "linear", "gru", "text" or "text-lstm".
        classes: Their names, in the order of the network's answers.
        features: The feature table that it was trained on.
        sha256: Of its weights.
        model: The network itself.
        numbers: What it looks at where that is no embedding: `vidray.labels.numbers`.
    """

    name: str
    network: str
    classes: tuple[str, ...]
    features: str
    sha256: str
    model: nn.Module
    numbers: tuple[str, ...] = ()
    kind = "head"

    @property
    def columns(self) -> tuple[str, ...]:
        """The clip's embedding, those of its frames, its text, or its numbers."""
        return columns_of_names(self.numbers) or (COLUMNS[self.network],)

    def spec(self) -> dict[str, Any]:
        """Which head it is."""
        spec = {"head": self.name, "network": self.network, "classes": list(self.classes), "sha256": self.sha256}
        return spec | ({"numbers": list(self.numbers)} if self.numbers else {})

    def label(self, rows: pa.Table) -> list[Ranked]:
        """The classes of each row, best first, down to one percent."""
        _, usable, probabilities = self.look(rows)
        order = np.argsort(-probabilities, axis=1, kind="stable")
        scores = np.take_along_axis(probabilities, order, axis=1)
        kept = np.maximum((scores >= LEAST_SCORE).sum(axis=1), 1)
        found: list[Ranked] = [[] for _ in range(len(usable))]
        for row, places, row_scores, count in zip(np.flatnonzero(usable), order, scores, kept, strict=True):
            found[row] = [
                (self.classes[place], float(score))
                for place, score in zip(places[:count], row_scores[:count], strict=True)
            ]
        return found

    def look(self, rows: pa.Table) -> tuple[Ragged, npt.NDArray[np.bool_], npt.NDArray[np.float64]]:
        """The features of the rows that have some, which rows these are, and their class probabilities (N, classes)."""
        from vidray.labels.networks import predict

        if self.numbers:
            clips, usable = number_features(rows, self.numbers)
        else:
            clips, usable = vectors_of(rows, COLUMNS[self.network])
        if not len(clips):
            return clips, usable, np.zeros((0, len(self.classes)))
        return clips, usable, predict(self.model, clips)

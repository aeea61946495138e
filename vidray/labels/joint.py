"""Any text against clips, by a model that has seen both frames and texts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from vidray.errors import UsageError
from vidray.extractors import Extractor, restore
from vidray.extractors.answers import matrix_of
from vidray.extractors.protocol import TextTower
from vidray.labels.protocol import Ranked
from vidray.labels.ranking import ranked_rows

Floats = npt.NDArray[np.float32]

TEMPLATES = ("{}", "a photo of {}")
"""What a text is read as; its vector is the mean. Such models were trained on captions, not on single words."""

NOTHING = ("a photo", "a picture", "an image", "a frame of a video", "something")
"""What any frame is: a text is right where it fits better than these."""


@dataclass(frozen=True)
class JointModel:
    """Scores texts by the column `embedding` of a joint model's table, with the text tower of the same weights.

    A score is in [0, 1]. A model with a bias (SigLIP) was trained to give the probability that a text fits; this is it,
    sigmoid(scale * cosine + bias). Others were trained to choose between texts: their score is the probability of the
    text against the mean of texts that say nothing, sigmoid(scale * (cosine - cosine of nothing)).

    Attributes:
        features: The table.
        prompts: The texts, each a label.
        made_by: The table's `_spec.json`.
        given: The extractor that made it, where that is one that the user has to pass.
    """

    features: str
    prompts: tuple[str, ...]
    made_by: Mapping[str, Any]
    given: Extractor | None = None
    kind = "zero-shot"
    columns = ("embedding",)

    def spec(self) -> dict[str, Any]:
        """The texts, and what they are compared by."""
        return {"prompts": list(self.prompts), "by": "joint model", "text_model": self.made_by["name"]}

    def label(self, rows: pa.Table) -> Iterator[Ranked]:
        """Every text with its score, best first; nothing for a clip without an embedding."""
        return ranked_rows(self.prompts, self.scores(rows), rows["embedding"].is_valid())

    def scores(self, rows: pa.Table) -> Floats:
        """The score of each text for each row: float32 (N, prompts), 0 for a row without an embedding."""
        vectors, known = matrix_of(rows["embedding"])
        vectors = vectors.reshape(len(vectors), self.vectors.shape[1])
        vectors = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
        cosines = vectors @ self.vectors.T
        if self._tower.bias is None:
            logits = self._tower.scale * (cosines - vectors @ self._nothing[:, None])
        else:
            logits = self._tower.scale * cosines + self._tower.bias
        scores = np.zeros((len(rows), len(self.prompts)), np.float32)
        scores[known] = 1 / (1 + np.exp(-logits.astype(np.float64)))
        return scores

    def of(self, prompts: tuple[str, ...]) -> JointModel:
        """The same with other texts; the text tower is loaded once for both."""
        other = replace(self, prompts=prompts)
        # where `cached_property` looks first
        other.__dict__["_tower"] = self._tower
        return other

    @cached_property
    def vectors(self) -> Floats:
        """The texts as unit vectors of the table's space, float32 (prompts, dim)."""
        read = [[template.format(prompt) for prompt in self.prompts] for template in TEMPLATES]
        return _unit(np.mean([self._tower.embed(texts) for texts in read], axis=0))

    @cached_property
    def _nothing(self) -> Floats:
        return np.asarray(self._tower.embed(NOTHING).mean(axis=0), dtype=np.float32)

    @cached_property
    def _tower(self) -> TextTower:
        extractor: Any = restore(self.made_by, self.given)
        if not callable(getattr(extractor, "load_text", None)):
            raise UsageError(f"{self.features} was made by {extractor.name}, which has no text model")
        tower: TextTower = extractor.load_text()
        return tower


def _unit(vectors: npt.NDArray[Any]) -> Floats:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), dtype=np.float32)

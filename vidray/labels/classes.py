"""The classes that a ready network found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from vidray.labels.protocol import Ranked


@dataclass(frozen=True, kw_only=True)
class Classes:
    """The top classes of a classification network, as they stand in its table.

    A class's score is its probability, averaged over the clip's frames or patches of audio: of all classes together 1
    for a frame or video network (softmax), each by itself in [0, 1] for an audio network (sigmoid).

    Attributes:
        features: The network's table.
    """

    features: str
    kind = "classes"
    columns = ("labels",)

    def spec(self) -> dict[str, Any]:
        """Nothing but the table decides these labels."""
        return {}

    def label(self, rows: pa.Table) -> list[Ranked]:
        """The column `labels`, row by row."""
        found = rows["labels"].to_pylist()
        return [[(pair["label"], pair["score"]) for pair in ranked or ()] for ranked in found]

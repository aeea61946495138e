"""What a labeler is: a function from rows of a feature table to labels with scores."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol, runtime_checkable

import pyarrow as pa

Ranked = list[tuple[str, float]]
"""The labels of one clip with their scores, best first; empty where there is nothing to say."""


@runtime_checkable
class Labeler(Protocol):
    """Labels clips by what their feature table says. It opens no store, no media and no Ray."""

    @property
    def kind(self) -> str:
        """A short word, which becomes the `source` of its labels: `classes`, `zero-shot`, `head`."""
        ...

    @property
    def features(self) -> str:
        """The feature table that it reads, by its extractor's name or its own."""
        ...

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that it needs besides those that say which clip a row is."""
        ...

    def spec(self) -> dict[str, Any]:
        """Everything else that decides the labels, as plain JSON values."""
        ...

    def label(self, rows: pa.Table) -> Iterable[Ranked]:
        """The labels of each row, in order. A row whose columns are null has none."""
        ...

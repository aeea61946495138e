"""From a table of scores to each clip's labels, best first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from vidray.labels.protocol import Ranked


def ranked_rows(labels: Sequence[str], scores: npt.NDArray[np.float32], is_known: pa.ChunkedArray) -> Iterator[Ranked]:
    """The labels of each row with their scores (N, labels), best first, ties as given; none where not known.

    One row at a time: with thousands of labels, the pairs of a batch are far larger than its scores.
    """
    for row, has in zip(scores, is_known.to_pylist(), strict=True):
        order = np.argsort(-row, kind="stable")
        yield [(labels[place], score) for place, score in zip(order, row[order].tolist(), strict=True)] if has else []

"""From a table of scores to each clip's labels, best first."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from vidray.labelers.protocol import Ranked


def ranked_rows(labels: Sequence[str], scores: npt.NDArray[np.float32], is_known: pa.ChunkedArray) -> list[Ranked]:
    """The labels of each row with their scores (N, labels), best first, ties as given; none where not known."""
    order = np.argsort(-scores, axis=1, kind="stable")
    sorted_scores = np.take_along_axis(scores, order, axis=1).tolist()
    known = is_known.to_pylist()
    return [
        [(labels[place], score) for place, score in zip(places, row, strict=True)] if has else []
        for places, row, has in zip(order.tolist(), sorted_scores, known, strict=True)
    ]

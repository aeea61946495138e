"""The columns that extractors share: embeddings, the best labels, and what `per_frame` adds. All exactly typed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Floats = npt.NDArray[np.float32]

TOP_LABELS = 10

LABELS_TYPE = pa.list_(pa.struct([pa.field("label", pa.string()), pa.field("score", pa.float32())]))


def embedding_schema(dim: int, *, labels: bool, per_frame: bool = False) -> pa.Schema:
    """`embedding`, then `labels` where there are class names, then the columns of single frames where wanted."""
    fields = [pa.field("embedding", pa.list_(pa.float32(), dim))]
    if labels:
        fields.append(pa.field("labels", LABELS_TYPE))
    if per_frame:
        fields.append(pa.field("frame_times_s", pa.list_(pa.float64())))
        fields.append(pa.field("frame_embeddings", pa.list_(pa.list_(pa.float16(), dim))))
    return pa.schema(fields)


def classifier_columns(
    counts: Sequence[int], features: Floats, probabilities: Floats, class_names: Sequence[str] | None
) -> dict[str, Any]:
    """`embedding` and, where classes have names, `labels` of clips: means over each clip's `counts` rows.

    Classes are ranked by their mean probability.
    """
    columns: dict[str, Any] = {"embedding": mean_of_parts(features, counts)}
    if class_names is not None:
        columns["labels"] = top_labels(mean_of_parts(probabilities, counts), class_names)
    return columns


def mean_of_parts(rows: Floats, counts: Sequence[int]) -> Floats:
    """The mean of each run of `counts` rows: (sum(counts), D) -> float32 (len(counts), D), summed in float64."""
    parts = np.split(rows, np.cumsum(counts)[:-1])
    return np.stack([part.mean(axis=0, dtype=np.float64) for part in parts]).astype(np.float32)


def unit_rows(rows: Floats) -> Floats:
    """Each row at length 1, so that in a mean all count alike; a row of zeros stays one: float32 (N, D)."""
    lengths = np.linalg.norm(rows.astype(np.float64), axis=1, keepdims=True)
    return (rows / np.where(lengths > 0, lengths, 1.0)).astype(np.float32)


def top_labels(scores: Floats, names: Sequence[str]) -> pa.Array:
    """The `TOP_LABELS` best classes of each row, best first, ties by class number: (N, classes) -> N lists."""
    best = np.argsort(-scores, axis=1, kind="stable")[:, :TOP_LABELS]
    rows = [
        [{"label": names[index], "score": row[index]} for index in chosen]
        for row, chosen in zip(scores, best, strict=True)
    ]
    return pa.array(rows, type=LABELS_TYPE)


def frame_columns(times_s: Sequence[npt.NDArray[np.float64]], rows: Floats) -> dict[str, Any]:
    """`frame_times_s` and `frame_embeddings` of clips, whose frames' embeddings are the rows (sum of T, D)."""
    offsets = pa.array(np.cumsum([0, *map(len, times_s)]), type=pa.int32())
    limit = np.finfo(np.float16).max
    halves = np.clip(rows, -limit, limit).astype(np.float16)
    frames = pa.FixedSizeListArray.from_arrays(pa.array(halves.ravel()), rows.shape[1])
    return {
        "frame_times_s": pa.ListArray.from_arrays(offsets, pa.array(np.concatenate(times_s), type=pa.float64())),
        "frame_embeddings": pa.ListArray.from_arrays(offsets, frames),
    }

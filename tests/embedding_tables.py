"""Feature tables with known neighbours, for the tests of the index."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

Floats = npt.NDArray[np.float32]


def clustered(rows: int, dim: int, *, seed: int = 0, spread: float = 0.7) -> Floats:
    """Vectors about random centres, as clips of scenes are: float32 (rows, dim), of any length."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((max(2, rows // 40), dim))
    lengths = rng.uniform(0.1, 50, (rows, 1))
    near = centres[rng.integers(len(centres), size=rows)] + spread * rng.standard_normal((rows, dim))
    return (lengths * near).astype(np.float32)


def unit(vectors: npt.ArrayLike) -> npt.NDArray[np.float64]:
    values = np.asarray(vectors, np.float64)
    return values / np.linalg.norm(values, axis=-1, keepdims=True)


def clip_ids(rows: int) -> list[str]:
    return [f"clip{row:06d}" for row in range(rows)]


def embedding_column(vectors: Sequence[Sequence[float] | None] | Floats, dim: int) -> pa.Array:
    rows = None if isinstance(vectors, np.ndarray) else list(vectors)
    if rows is None:
        return pa.FixedSizeListArray.from_arrays(pa.array(np.asarray(vectors).ravel()), dim)
    return pa.array(rows, pa.list_(pa.float32(), dim))


def write_table(folder: Path, vectors: Floats, *, parts: int = 1, first: int = 0) -> None:
    """A table as vidray writes it: four clips of ten seconds a video."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = np.arange(len(vectors))
    table = pa.table(
        {
            "clip_id": clip_ids(len(vectors)),
            "video_id": [f"video{row // 4}" for row in rows],
            "uri": [f"/videos/{row // 4}.mp4" for row in rows],
            "start_s": rows % 4 * 10.0,
            "end_s": rows % 4 * 10.0 + 10,
            "embedding": embedding_column(vectors, vectors.shape[1]),
            "decode_warning": pa.nulls(len(vectors), pa.string()),
        }
    )
    for number, within in enumerate(np.array_split(rows, parts), start=first):
        pq.write_table(table.slice(within[0], len(within)), folder / f"part-{number:05d}.parquet")

"""An extractor's answer as Arrow arrays: the same for the pipeline, for queries and for the conformance check."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc


def to_arrow(answer: Mapping[str, Any], schema: pa.Schema, count: int) -> dict[str, pa.Array]:
    """The columns of a schema, in its order and of its types, each with one value a clip.

    Raises:
        ValueError: Other columns were answered, or not one value a clip; pyarrow's own where a value does not fit.
    """
    if not isinstance(answer, Mapping):
        raise TypeError(f"an extractor must answer a mapping of columns, answered {type(answer).__name__}")
    if set(answer) != set(schema.names):
        raise ValueError(f"columns {sorted(answer)} were extracted, the schema says {sorted(schema.names)}")
    arrays = {field.name: _array(answer[field.name], field.type) for field in schema}
    for name, array in arrays.items():
        if len(array) != count:
            raise ValueError(f"{len(array)} values of {name} were extracted for {count} clips")
    return arrays


def nulls(schema: pa.Schema, count: int) -> dict[str, pa.Array]:
    """Rows without any value."""
    return {field.name: pa.nulls(count, field.type) for field in schema}


def not_finite(embedding: pa.Array) -> npt.NDArray[np.bool_]:
    """Which rows of an embedding hold a value that is no finite number: bool (N,)."""
    found = np.zeros(len(embedding), np.bool_)
    vectors = embedding.drop_null()
    if len(vectors):
        values = vectors.flatten().to_numpy(zero_copy_only=False).reshape(len(vectors), -1)
        is_known = embedding.is_valid().to_numpy(zero_copy_only=False)
        found[is_known] = ~np.isfinite(values).all(axis=1)
    return found


def matrix_of(column: pa.Array | pa.ChunkedArray) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    """An embedding column as a matrix of the rows that are not null, float32 (M, D), and which rows these are, (N,).

    Raises ValueError where the vectors are not all of one length.
    """
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    is_known = array.is_valid().to_numpy(zero_copy_only=False)
    vectors = array.drop_null()
    lengths = pc.unique(pc.list_value_length(vectors)).to_pylist()
    if len(lengths) > 1:
        raise ValueError(f"vectors of {min(lengths)} and {max(lengths)} numbers; they must be of one length")
    dim = lengths[0] if lengths else 0
    values = vectors.flatten().to_numpy(zero_copy_only=False).astype(np.float32, copy=False)
    return values.reshape(len(vectors), dim), is_known


def _array(values: Any, kind: pa.DataType) -> pa.Array:
    if isinstance(values, pa.ChunkedArray):
        values = values.combine_chunks()
    if isinstance(values, np.ndarray) and values.ndim == 2 and pa.types.is_fixed_size_list(kind):
        flat = pa.array(np.ascontiguousarray(values).reshape(-1))
        values = pa.FixedSizeListArray.from_arrays(flat, values.shape[1])
    if isinstance(values, np.ndarray) and values.ndim > 1:
        values = values.tolist()
    return values.cast(kind) if isinstance(values, pa.Array) else pa.array(values, kind)


def rows_of(arrays: Mapping[str, pa.Array], rows: Sequence[int | None]) -> dict[str, pa.Array]:
    """These rows of each column, null where a row is None."""
    places = pa.array(rows, pa.int64())
    return {name: array.take(places) for name, array in arrays.items()}

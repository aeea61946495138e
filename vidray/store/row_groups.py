"""Row groups of a part: bounded by rows and by bytes, since a reader holds a group whole."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from vidray.store.layout import ROW_GROUP_BYTES, ROW_GROUP_ROWS


def row_groups(tables: Iterable[pa.Table], schema: pa.Schema) -> Iterator[pa.Table]:
    """Rows regrouped, so that the bytes of a part depend on its rows and not on how they were staged.

    A group is closed after `ROW_GROUP_ROWS`, or when it comes to `ROW_GROUP_BYTES`.
    """
    held: list[pa.Table] = []
    count, size = 0, 0
    for table in tables:
        left = table.select(schema.names).cast(schema)
        while left.num_rows:
            sizes = np.cumsum(row_bytes(left)) + size
            room = min(ROW_GROUP_ROWS - count, int(np.searchsorted(sizes, ROW_GROUP_BYTES)) + 1, left.num_rows)
            held.append(left.slice(0, room))
            count, size = count + room, int(sizes[room - 1])
            left = left.slice(room)
            if count == ROW_GROUP_ROWS or size >= ROW_GROUP_BYTES:
                yield pa.concat_tables(held).combine_chunks()
                held, count, size = [], 0, 0
    if count:
        yield pa.concat_tables(held).combine_chunks()


def row_bytes(table: pa.Table) -> npt.NDArray[np.int64]:
    """About how many bytes each row has, int64 (rows,): a function of its values alone."""
    found = np.zeros(table.num_rows, np.int64)
    for column in table.columns:
        found += _value_bytes(column)
    return found


def _value_bytes(column: pa.ChunkedArray) -> npt.NDArray[np.int64]:
    kind = column.type
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_string(kind):
        return _filled(pc.binary_length(column))
    if pa.types.is_list(kind):
        return _filled(pc.list_value_length(column)) * _width(kind.value_type)
    return np.full(len(column), _width(kind), np.int64)


def _filled(lengths: pa.ChunkedArray) -> npt.NDArray[np.int64]:
    return np.asarray(pc.fill_null(lengths, 0).to_numpy(), dtype=np.int64)


def _width(kind: pa.DataType) -> int:
    """The bytes of a value of a type; a guess for texts inside of lists."""
    if pa.types.is_fixed_size_list(kind):
        return int(kind.list_size) * _width(kind.value_type)
    if pa.types.is_struct(kind):
        return sum(_width(field.type) for field in kind)
    try:
        return max(1, int(kind.bit_width) // 8)
    except ValueError:
        return 64

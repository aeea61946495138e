"""Parquet files that may be a stranger's: page checksums are checked, and what one unpacks to is bounded.

A few bytes of Parquet can say gigabytes: compressed zeros, a number said once and repeated, a long text that all rows
point to. So the footer's own claims are looked at before anything is unpacked, rows come in batches that are smaller
where a value may be long, and what has been unpacked is counted.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from vidray.errors import StoreError

UNPACKED_BYTES = 1 << 30
"""Any part may unpack to so much, as far as it is read."""

UNPACKED_TIMES = 100
"""Or to so many times its size: features of real videos come to less than 3."""

BATCH_ROWS = 8192
WIDTHS = {"BOOLEAN": 1, "INT32": 4, "INT64": 8, "INT96": 12, "FLOAT": 4, "DOUBLE": 8}


def open_part(file: BinaryIO, columns: Sequence[str] | None = None, *, ahead: bool = False) -> pq.ParquetFile:
    """A Parquet file, once its footer is seen to claim no more than what may be unpacked of these columns.

    With `ahead`, the columns' bytes are fetched together: what all rows are read of, from storage far away.

    Raises StoreError for one that claims more, or lacks a column, and what pyarrow raises for one that is damaged.
    """
    part = pq.ParquetFile(file, page_checksum_verification=True, pre_buffer=ahead)
    lacking = [name for name in columns or () if name not in part.schema_arrow.names]
    if lacking:
        raise StoreError(f"has no column {', '.join(lacking)}")
    claimed, most = _claimed_bytes(part.metadata, columns), most_bytes(file)
    if claimed > most:
        raise _too_much(claimed, most)
    return part


def read_part(file: BinaryIO, columns: Sequence[str] | None = None) -> pa.Table:
    """All rows of a Parquet file; raises as `open_part` does."""
    part = open_part(file, columns, ahead=True)
    names = part.schema_arrow.names if columns is None else list(dict.fromkeys(columns))
    schema = pa.schema([part.schema_arrow.field(name) for name in names], part.schema_arrow.metadata)
    held = list(batches(file, part, columns, rows=BATCH_ROWS))
    return pa.Table.from_batches(held, held[0].schema if held else schema).select(names)


def batches(
    file: BinaryIO, part: pq.ParquetFile, columns: Sequence[str] | None, *, rows: int
) -> Iterator[pa.RecordBatch]:
    """The rows of an open part, at most so many at a time; StoreError once they come to more than may be."""
    most = most_bytes(file)
    unpacked = 0
    size = min(rows, max(1, most // max(1, _longest_row(part.metadata, columns))))
    chosen = None if columns is None else list(columns)
    # reading ahead would unpack other row groups meanwhile
    for batch in part.iter_batches(batch_size=size, columns=chosen, use_threads=False):
        unpacked += batch.nbytes
        if unpacked > most:
            raise _too_much(unpacked, most)
        yield batch


def most_bytes(file: BinaryIO) -> int:
    """What an open Parquet file may unpack to."""
    place = file.tell()
    size = file.seek(0, 2)
    file.seek(place)
    return max(UNPACKED_BYTES, UNPACKED_TIMES * size)


def _too_much(claimed: int, most: int) -> StoreError:
    return StoreError(f"unpacks to {claimed:,} bytes or more, {most:,} are allowed for its size; it is not read")


def _claimed_bytes(metadata: pq.FileMetaData, columns: Sequence[str] | None) -> int:
    """What the chosen columns unpack to by the footer: as pages, or as values of a fixed width, whichever is more."""
    return sum(
        max(chunk.total_uncompressed_size, chunk.num_values * WIDTHS.get(chunk.physical_type, 1))
        for chunk in _chunks(metadata, columns)
    )


def _longest_row(metadata: pq.FileMetaData, columns: Sequence[str] | None) -> int:
    """The bytes of a row at most, where each of its values is as long as all that its column has."""
    longest: dict[str, int] = {}
    for chunk in _chunks(metadata, columns):
        if chunk.physical_type not in WIDTHS:
            values = -(-chunk.num_values // max(1, metadata.num_rows // metadata.num_row_groups))
            longest[chunk.path_in_schema] = max(
                longest.get(chunk.path_in_schema, 0), max(1, values) * chunk.total_uncompressed_size
            )
    return sum(longest.values())


def _chunks(metadata: pq.FileMetaData, columns: Sequence[str] | None) -> Iterator[Any]:
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        for index in range(group.num_columns):
            chunk = group.column(index)
            if columns is None or chunk.path_in_schema.split(".")[0] in columns:
                yield chunk

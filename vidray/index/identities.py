"""Which clip a row of a segment is: an Arrow file of batches of one size, of which only what is asked for is read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from vidray.errors import IndexFileError, one_line
from vidray.index.embeddings import IDENTITY

BATCH_ROWS = 8192
Rows = npt.NDArray[np.int64]


class IdentityWriter:
    """Writes identities so that row n is in batch n // BATCH_ROWS. A context manager.

    The first rows fix the columns; what later ones lack is null, what they have besides is not kept.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._writer: Any = None
        self._schema: pa.Schema | None = None
        self._held: list[pa.Table] = []
        self._rows = 0

    def __enter__(self) -> IdentityWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._writer is not None:
            if kind is None and self._rows:
                self._flush(self._rows)
            self._writer.close()

    def write(self, rows: pa.Table) -> None:
        """Append some rows."""
        if self._schema is None:
            self._schema = rows.schema
            self._writer = pa.ipc.new_file(str(self._path), self._schema)
        has = rows.schema.names
        columns = [rows[f.name] if f.name in has else pa.nulls(len(rows), f.type) for f in self._schema]
        self._held.append(pa.table(columns, schema=self._schema))
        self._rows += rows.num_rows
        while self._rows >= BATCH_ROWS:
            self._flush(BATCH_ROWS)

    def _flush(self, count: int) -> None:
        joined = pa.concat_tables(self._held).combine_chunks()
        self._writer.write_table(joined.slice(0, count), max_chunksize=count)
        self._held = [joined.slice(count)]
        self._rows -= count


class Identities:
    """The rows of a memory-mapped file of identities. A batch is validated when it is first asked for.

    Raises IndexFileError, at opening and later, where the file is not what it should be.
    """

    def __init__(self, path: Path, rows: int) -> None:
        try:
            self._reader = pa.ipc.open_file(pa.memory_map(str(path)))
            self.schema = self._reader.schema
            names = self.schema.names
            known = "clip_id" in names and len(set(names)) == len(names)
            known = known and all(IDENTITY.get(column.name) == column.type for column in self.schema)
            enough = self._reader.num_record_batches == -(-rows // BATCH_ROWS)
        except (pa.ArrowException, OSError, ValueError) as e:
            raise IndexFileError(f"{path.name} is not an Arrow file: {one_line(e)[:200]}") from e
        if not (known and enough):
            raise IndexFileError(f"{path.name} does not name {rows} clips")
        self._name = path.name
        self._rows = rows
        self._batches: dict[int, pa.RecordBatch] = {}
        self._texts: dict[int, tuple[memoryview, memoryview]] = {}

    def __len__(self) -> int:
        return self._rows

    def batch(self, number: int) -> pa.RecordBatch:
        """Rows number * BATCH_ROWS and on."""
        held = self._batches.get(number)
        if held is not None:
            return held
        try:
            batch = self._reader.get_batch(number)
            batch.validate(full=True)
        except (pa.ArrowException, OSError, ValueError) as e:
            raise IndexFileError(f"{self._name} is damaged: {one_line(e)[:200]}") from e
        if batch.num_rows != min(BATCH_ROWS, self._rows - number * BATCH_ROWS):
            raise IndexFileError(f"{self._name} is damaged: batch {number} has {batch.num_rows} rows")
        # its buffers lie in the file's memory map, not in this process's own memory
        self._batches[number] = batch
        return batch

    def clip_id(self, row: int) -> str:
        """The clip of one row."""
        number, at = divmod(row, BATCH_ROWS)
        ends, text = self._texts.get(number) or self._read_texts(number)
        return str(text[ends[at] : ends[at + 1]], "utf-8")

    def _read_texts(self, number: int) -> tuple[memoryview, memoryview]:
        """Where the clip ids of a batch end, and their text: Arrow's own scalars take ten times as long."""
        column = self.batch(number)["clip_id"]
        if column.null_count or column.offset:
            raise IndexFileError(f"{self._name} is damaged: rows of batch {number} name no clip")
        _, ends, text = column.buffers()
        self._texts[number] = memoryview(ends).cast("i"), memoryview(text or b"")
        return self._texts[number]

    def slice(self, first: int, count: int) -> pa.Table:
        """Rows first to first + count."""
        numbers = range(first // BATCH_ROWS, -(-(first + count) // BATCH_ROWS)) if count else range(0)
        table = pa.Table.from_batches([self.batch(number) for number in numbers], self.schema)
        return table.slice(first % BATCH_ROWS, count) if count else table

    def take(self, rows: Rows) -> pa.Table:
        """Those rows, in that order."""
        if not rows.size:
            return self.schema.empty_table()
        order = np.argsort(rows, kind="stable")
        batches = rows[order] // BATCH_ROWS
        pieces = []
        for number in np.unique(batches).tolist():
            within = rows[order[batches == number]] % BATCH_ROWS
            pieces.append(self.batch(int(number)).take(pa.array(within)))
        back = np.empty(len(rows), np.int64)
        back[order] = np.arange(len(rows))
        return pa.Table.from_batches(pieces).combine_chunks().take(pa.array(back))

    def find(self, clip_id: str) -> list[int]:
        """The rows of a clip."""
        found = []
        for number in range(self._reader.num_record_batches):
            same = pc.equal(self.batch(number)["clip_id"], clip_id)
            found += [number * BATCH_ROWS + int(at) for at in np.flatnonzero(same.to_numpy(zero_copy_only=False))]
        return found

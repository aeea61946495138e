"""A table of embeddings as an index sees it: its parts, the vectors that can be compared, and whose they are."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from vidray.errors import StoreError, UsageError, one_line
from vidray.storage import Folder

Metric = Literal["cosine", "inner_product"]

READ_ROWS = 4096
FOOTERS_AT_ONCE = 16
LARGEST = 60_000.0
"""Vectors are kept as fp16, whose largest number is 65504."""

IDENTITY = {
    "clip_id": pa.string(),
    "video_id": pa.string(),
    "uri": pa.string(),
    "start_s": pa.float64(),
    "end_s": pa.float64(),
}
"""What is kept of a row, so far as the table has it."""

REASONS = ("null", "zero", "not_finite", "too_large")

F16 = npt.NDArray[np.float16]


@dataclass(frozen=True, kw_only=True)
class Seen:
    """A Parquet file as a listing shows it.

    Attributes:
        fingerprint: What changes whenever the file is written: its ETag, else the time of its last change. It stands in
            no file whose bytes are to follow from the table alone.
    """

    name: str
    size_bytes: int
    fingerprint: str


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Some rows of a part that can be compared.

    Attributes:
        vectors: float16 (N, dim); of unit length where clips are compared by cosine.
        identities: N rows of the columns of IDENTITY that the table has.
        rows: int64 (N,), which rows of the part they are.
    """

    vectors: F16
    identities: pa.Table
    rows: npt.NDArray[np.int64]


def parts_of(features: Folder) -> list[Seen]:
    """The Parquet files of a table, in order; one listing. Names that begin with `_` or `.` are passed over."""
    return [
        Seen(name=name, size_bytes=size_bytes, fingerprint=changed)
        for name, (size_bytes, changed) in features.seen().items()
        if _is_part(name)
    ]


def _is_part(name: str) -> bool:
    return name.endswith(".parquet") and not any(step.startswith(("_", ".")) for step in name.split("/"))


def row_counts(features: Folder, names: list[str]) -> list[int]:
    """How many rows each part has, by its footer. Raises StoreError."""

    def rows(name: str) -> int:
        try:
            with features.open(name) as file:
                return int(pq.read_metadata(file).num_rows)
        except (pa.ArrowException, OSError) as e:
            raise _unreadable(features, name, e) from e

    with ThreadPoolExecutor(FOOTERS_AT_ONCE) as threads:
        return list(threads.map(rows, names))


def first_dim(features: Folder, names: list[str]) -> int | None:
    """How long the first embedding is that there is, None where there is none. Raises StoreError and UsageError."""
    for name in names:
        try:
            with features.open(name) as file:
                part = pq.ParquetFile(file)
                _check_columns(part, f"{features.url}/{name}")
                for batch in part.iter_batches(batch_size=READ_ROWS, columns=["embedding"]):
                    column = batch["embedding"].drop_null()
                    if len(column):
                        return len(column[0].as_py())
        except (pa.ArrowException, OSError) as e:
            raise _unreadable(features, name, e) from e
    return None


def _check_columns(part: pq.ParquetFile, where: str) -> None:
    schema = part.schema_arrow
    for needed in ("clip_id", "embedding"):
        if needed not in schema.names:
            raise UsageError(
                f"{where}: no column '{needed}' (it has {', '.join(schema.names)}); this cannot be indexed"
            )
    kind = schema.field("embedding").type
    lists = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    if not (lists and pa.types.is_floating(kind.value_type)):
        raise UsageError(f"{where}: 'embedding' is {kind}, not a list of floats; this cannot be indexed")


class PartReader:
    """One part, read once from its start to its end; counts what cannot be compared.

    A context manager. `file` is the part as a local file, so that what is hashed is what is read.

    Attributes:
        dim: Of the vectors, 0 as long as none was seen.
        left_out: Rows that cannot be compared, by REASONS.
    """

    def __init__(self, features: Folder, name: str, metric: Metric, scratch: Path, *, dim: int = 0) -> None:
        self._features, self._name, self._metric = features, name, metric
        self._where = f"{features.url}/{name}"
        self.dim = dim
        self.left_out = dict.fromkeys(REASONS, 0)
        self.rows = 0
        self.file = _local_copy(features, name, scratch / "part.parquet")

    def __enter__(self) -> PartReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()

    def batches(self) -> Iterator[Batch]:
        """The rows that can be compared. Raises StoreError, and UsageError where this is no table of embeddings."""
        for batch in self._read(tuple(IDENTITY)):
            usable = self._usable(batch)
            self.rows += batch.num_rows
            if usable is not None:
                yield usable

    def vectors(self, wanted: npt.NDArray[np.int64]) -> Iterator[F16]:
        """The vectors of those of some rows, ascending, that can be compared. Raises as `batches` does."""
        first = 0
        for batch in self._read(()):
            low, high = np.searchsorted(wanted, (first, first + batch.num_rows))
            some = batch.take(pa.array(wanted[low:high] - first))
            some = some.filter(some["embedding"].is_valid())
            first += batch.num_rows
            if some.num_rows:
                values = self._matrix(some["embedding"])
                judged = _Judged.of(values, self._metric)
                yield _as_compared(values[judged.usable], judged.peaks[judged.usable], self._metric)

    def _read(self, identity: tuple[str, ...]) -> Iterator[pa.RecordBatch]:
        self.file.seek(0)
        try:
            part = pq.ParquetFile(self.file)
            _check_columns(part, self._where)
            columns = [name for name in (*identity, "embedding") if name in part.schema_arrow.names]
            yield from part.iter_batches(batch_size=READ_ROWS, columns=columns)
        except (pa.ArrowException, OSError) as e:
            raise _unreadable(self._features, self._name, e) from e

    def _usable(self, batch: pa.RecordBatch) -> Batch | None:
        present = batch["embedding"].is_valid()
        rows = self.rows + np.flatnonzero(present.to_numpy(zero_copy_only=False))
        self.left_out["null"] += batch.num_rows - len(rows)
        batch = batch.filter(present)
        if not batch.num_rows:
            return None
        values = self._matrix(batch["embedding"])
        judged = _Judged.of(values, self._metric)
        usable = judged.usable
        self.left_out["not_finite"] += int((~judged.finite).sum())
        self.left_out["zero"] += int((judged.finite & (judged.peaks == 0)).sum())
        self.left_out["too_large"] += int((judged.finite & ~judged.small).sum())
        kept = values if usable.all() else values[usable]
        identities = _identity(batch.filter(pa.array(usable)), self._where)
        vectors = _as_compared(kept, judged.peaks[usable], self._metric)
        return Batch(vectors=vectors, identities=identities, rows=rows[usable])

    def _matrix(self, column: pa.Array) -> npt.NDArray[np.floating]:
        """The embeddings of a batch, float (N, dim); a null inside a vector is not a number."""
        lengths = pc.unique(pc.list_value_length(column)).to_pylist()
        self.dim = self.dim or int(lengths[0])
        if lengths != [self.dim] or not self.dim:
            raise StoreError(
                f"{self._where}: embeddings of {', '.join(map(str, sorted(lengths)))} values, not {self.dim}"
            )
        values = column.flatten()
        if pa.types.is_float16(values.type):
            values = values.cast(pa.float32())
        if values.null_count:
            values = pc.fill_null(values, float("nan"))
        return np.asarray(values.to_numpy(zero_copy_only=False)).reshape(-1, self.dim)


@dataclass(frozen=True, kw_only=True)
class _Judged:
    """Which embeddings can be compared: bool (N,) each.

    Attributes:
        peaks: The largest magnitude in each, (N,); 0 in those that are not finite.
        small: Those that fp16 can hold as they are.
    """

    finite: npt.NDArray[np.bool_]
    small: npt.NDArray[np.bool_]
    peaks: npt.NDArray[np.floating]

    @classmethod
    def of(cls, values: npt.NDArray[np.floating], metric: Metric) -> _Judged:
        finite: npt.NDArray[np.bool_] = np.asarray(np.isfinite(values).all(axis=1))
        peaks = np.abs(values).max(axis=1, initial=0, where=finite[:, None])
        small = peaks <= LARGEST if metric == "inner_product" else np.ones(len(peaks), np.bool_)
        return cls(finite=finite, small=small, peaks=peaks)

    @property
    def usable(self) -> npt.NDArray[np.bool_]:
        return self.finite & (self.peaks > 0) & self.small


def _as_compared(values: npt.NDArray[np.floating], peaks: npt.NDArray[np.floating], metric: Metric) -> F16:
    if metric == "inner_product":
        return values.astype(np.float16)
    # the largest value goes first, so that no square overflows or vanishes
    scaled = np.asarray(values / peaks[:, None], dtype=np.float32)
    scaled /= np.linalg.norm(scaled, axis=1, keepdims=True)
    return scaled.astype(np.float16)


def _identity(batch: pa.RecordBatch, where: str) -> pa.Table:
    try:
        columns = {name: batch[name].cast(IDENTITY[name]) for name in IDENTITY if name in batch.schema.names}
    except pa.ArrowException as e:
        raise StoreError(f"{where}: {one_line(e)[:200]}") from e
    if columns["clip_id"].null_count:
        raise StoreError(f"{where}: {columns['clip_id'].null_count} rows have no clip_id")
    return pa.table(columns)


def _local_copy(features: Folder, name: str, scratch: Path) -> BinaryIO:
    """The part as one local file: a remote part is fetched once."""
    try:
        if features.local:
            return Path(features.path(name)).open("rb")
        features.fs.get_file(features.path(name), str(scratch))
    except OSError as e:
        raise _unreadable(features, name, e) from e
    file = scratch.open("rb")
    os.unlink(scratch)
    return file


def _unreadable(features: Folder, name: str, error: Exception) -> StoreError:
    return StoreError(f"{features.url}/{name}: cannot be read as Parquet: {one_line(error)[:200]}")

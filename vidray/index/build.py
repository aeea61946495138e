"""From a table of embeddings to an index: any folder of Parquet parts with `clip_id` and `embedding`.

One pass over the parts, in bounded memory: unit vectors and identities go to files beside the index, and the index is
made from those. The same parts give the same bytes. Knows no containers, no models and no Ray.
"""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from vidray.errors import StoreError, UsageError
from vidray.index import ann
from vidray.index.files import IDS_FILE, Manifest, Part, describe, publish, sha256_of, workspace
from vidray.storage import Folder
from vidray.store import spec_sha256

EXACT_UP_TO_CLIPS = 200_000
SEED = 0
READ_ROWS = 4096
IDS_BATCH_ROWS = 8192
IDENTITY = {"clip_id": pa.string(), "uri": pa.string(), "start_s": pa.float64(), "end_s": pa.float64()}


@dataclass(frozen=True, kw_only=True)
class IndexInfo:
    """What was built.

    Attributes:
        version: `v0001` and on.
        rows: Clips that are in it.
        left_out: Rows without a vector to compare, by reason: `null`, `zero`, `not_finite`.
        nlist: Inverted lists, 0 for an exact index.
        recall_at_10: As measured against exact search; 1.0 for an exact index.
        size_bytes: Of the index's files.
    """

    version: str
    rows: int
    left_out: dict[str, int]
    dim: int
    factory: str
    nlist: int
    nprobe: int
    recall_at_10: float
    size_bytes: int


def build_index(features: str, index_dir: str, *, exact_up_to: int = EXACT_UP_TO_CLIPS, seed: int = SEED) -> IndexInfo:
    """Build the index of a table of embeddings, and replace the one that is there.

    Vectors are compared by cosine. Rows whose embedding is null, zero or not finite are left out and counted. Readers
    see the old index until the new one is complete.

    Args:
        features: fsspec URL of a folder of Parquet parts with `clip_id` and `embedding` (a list of floats, all of one
            length); `uri`, `start_s` and `end_s` are kept where it has them. Names that begin with `_` or `.` are
            passed over.
        index_dir: fsspec URL of the index's own folder.
        exact_up_to: Up to this many clips, search is exact; above, it looks into the nearest inverted lists.
        seed: Of the sample that the lists are trained on.

    Raises:
        UsageError: There is nothing to index, or a column is missing.
        StoreError: A part cannot be read, or embeddings have different lengths.
    """
    source, target = Folder(features), Folder(index_dir)
    with workspace(target) as work:
        built = work / "built"
        built.mkdir()
        table = _collect(source, work / "vectors.f16", built / IDS_FILE)
        vectors = np.memmap(work / "vectors.f16", np.float16, "r", shape=(table.clips, table.dim))
        nlist = 0 if table.clips <= exact_up_to else ann.list_count(table.clips)
        nprobe, recall = _write(built, vectors, nlist, seed)
        manifest = Manifest(
            features=_seen_from(target.url, source.url),
            spec_sha256=spec_sha256(source),
            parts=tuple(table.parts),
            clips=table.clips,
            left_out=dict(sorted(table.left_out.items())),
            dim=table.dim,
            metric="cosine",
            factory=ann.factory(nlist),
            nlist=nlist,
            nprobe=nprobe,
            recall_at_10=recall,
            files={path.name: describe(path) for path in sorted(built.iterdir())},
        )
        version = publish(target, built, manifest)
    size_bytes = sum(file.size_bytes for file in manifest.files.values())
    return IndexInfo(
        version=version, rows=table.clips, left_out=dict(manifest.left_out), dim=table.dim, factory=manifest.factory,
        nlist=nlist, nprobe=nprobe, recall_at_10=recall, size_bytes=size_bytes,
    )  # fmt: skip


def part_sizes(features: Folder) -> dict[str, int]:
    """The Parquet files of a table with their sizes, in order; one listing."""
    sizes = features.sizes()
    return {
        name: size
        for name, size in sorted(sizes.items())
        if name.endswith(".parquet") and not any(step.startswith(("_", ".")) for step in name.split("/"))
    }


def _write(built: Path, vectors: ann.F16, nlist: int, seed: int) -> tuple[int, float]:
    if not nlist:
        ann.write_flat(built, vectors)
        return 1, 1.0
    ann.write_ivf(built, vectors, nlist, seed=seed)
    opened = ann.read(built, rows=len(vectors), dim=vectors.shape[1], nlist=nlist)
    return ann.choose_nprobe(opened, vectors, seed=seed)


def _seen_from(index_url: str, features_url: str) -> str:
    """The table's place relative to the index where they stand in one store, so that a store can be moved."""
    store = re.sub(r"/index/[^/]+$", "", index_url)
    if store != index_url and features_url.startswith(store + "/"):
        return posixpath.relpath(features_url[len(store) :], index_url[len(store) :])
    return features_url


@dataclass
class _Table:
    """What has been collected so far."""

    dim: int = 0
    clips: int = 0
    parts: list[Part] = field(default_factory=list)
    left_out: dict[str, int] = field(default_factory=lambda: {"null": 0, "zero": 0, "not_finite": 0})


def _collect(source: Folder, vectors_path: Path, ids_path: Path) -> _Table:
    """Write the unit vectors and the identities of all parts, in order."""
    names = part_sizes(source)
    if not names:
        raise UsageError(f"{source.url}: no Parquet parts here; run vidray extract first")
    table = _Table()
    with vectors_path.open("wb") as vectors, _IdsWriter(ids_path) as ids:
        for name, size_bytes in names.items():
            with _local_copy(source, name, vectors_path.with_name("part.parquet")) as file:
                sha256 = sha256_of(file)
                file.seek(0)
                before, rows = table.clips, 0
                for batch in _batches(file, f"{source.url}/{name}"):
                    rows += batch.num_rows
                    _add(batch, table, vectors, ids, f"{source.url}/{name}")
            clips = table.clips - before
            table.parts.append(Part(name=name, size_bytes=size_bytes, sha256=sha256, rows=rows, clips=clips))
    if not table.clips:
        rows = sum(part.rows for part in table.parts)
        raise UsageError(f"{source.url}: none of its {rows} rows has an embedding, there is nothing to index")
    return table


def _local_copy(source: Folder, name: str, scratch: Path) -> BinaryIO:
    """The part as one local file, so that what is hashed is what is read, and a remote part is fetched once."""
    if source.local:
        return Path(source.path(name)).open("rb")
    source.fs.get_file(source.path(name), str(scratch))
    file = scratch.open("rb")
    os.unlink(scratch)
    return file


def _batches(file: BinaryIO, where: str) -> Iterator[pa.RecordBatch]:
    try:
        part = pq.ParquetFile(file)
        names = part.schema_arrow.names
        for needed in ("clip_id", "embedding"):
            if needed not in names:
                raise UsageError(f"{where}: no column '{needed}' (it has {', '.join(names)}); this cannot be indexed")
        columns = [name for name in (*IDENTITY, "embedding") if name in names]
        yield from part.iter_batches(batch_size=READ_ROWS, columns=columns)
    except (pa.ArrowException, OSError) as e:
        raise StoreError(f"{where}: cannot be read as Parquet: {' '.join(str(e).split())[:200]}") from e


def _add(batch: pa.RecordBatch, table: _Table, vectors: BinaryIO, ids: _IdsWriter, where: str) -> None:
    """Append the usable rows of a batch."""
    present = batch["embedding"].is_valid()
    table.left_out["null"] += batch.num_rows - int(pc.sum(present).as_py() or 0)
    batch = batch.filter(present)
    if not batch.num_rows:
        return
    values = _matrix(batch["embedding"], table, where)
    finite: npt.NDArray[np.bool_] = np.asarray(np.isfinite(values).all(axis=1))
    # the largest value goes first, so that no square overflows or vanishes
    peaks = np.abs(values).max(axis=1, initial=0, where=finite[:, None])
    usable = finite & (peaks > 0)
    table.left_out["not_finite"] += int((~finite).sum())
    table.left_out["zero"] += int((finite & ~usable).sum())
    scaled = values[usable] / peaks[usable, None]
    units = scaled / np.linalg.norm(scaled, axis=1, keepdims=True)
    vectors.write(units.astype("<f2").tobytes())
    table.clips += int(usable.sum())
    ids.write(_identity(batch.filter(pa.array(usable)), where))


def _matrix(column: pa.Array, table: _Table, where: str) -> npt.NDArray[np.float64]:
    """The embeddings of a batch, float64 (N, dim); a null inside a vector is not a number."""
    kind = column.type
    lists = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    if not (lists and pa.types.is_floating(kind.value_type)):
        raise UsageError(f"{where}: 'embedding' is {kind}, not a list of floats; this cannot be indexed")
    lengths = pc.unique(pc.list_value_length(column)).to_pylist()
    table.dim = table.dim or int(lengths[0])
    if lengths != [table.dim] or not table.dim:
        raise StoreError(f"{where}: embeddings of {', '.join(map(str, sorted(lengths)))} values, not {table.dim}")
    values = column.flatten().cast(pa.float64())
    return np.asarray(pc.fill_null(values, float("nan")).to_numpy(zero_copy_only=False)).reshape(-1, table.dim)


def _identity(batch: pa.RecordBatch, where: str) -> pa.Table:
    try:
        columns = {name: batch[name].cast(IDENTITY[name]) for name in IDENTITY if name in batch.schema.names}
    except pa.ArrowException as e:
        raise StoreError(f"{where}: {' '.join(str(e).split())[:200]}") from e
    if columns["clip_id"].null_count:
        raise StoreError(f"{where}: {columns['clip_id'].null_count} rows have no clip_id")
    return pa.table(columns)


class _IdsWriter:
    """Writes identities as an Arrow file in batches of one size, so that row n is in batch n // IDS_BATCH_ROWS.

    The first rows fix the columns; what later parts lack is null, what they have besides is not kept.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._writer: Any = None
        self._schema: pa.Schema | None = None
        self._held: list[pa.Table] = []
        self._rows = 0

    def __enter__(self) -> _IdsWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._writer is not None:
            if kind is None and self._rows:
                self._flush(self._rows)
            self._writer.close()

    def write(self, rows: pa.Table) -> None:
        if self._schema is None:
            self._schema = rows.schema
            self._writer = pa.ipc.new_file(str(self._path), self._schema)
        has = rows.schema.names
        columns = [rows[f.name] if f.name in has else pa.nulls(len(rows), f.type) for f in self._schema]
        self._held.append(pa.table(columns, schema=self._schema))
        self._rows += rows.num_rows
        while self._rows >= IDS_BATCH_ROWS:
            self._flush(IDS_BATCH_ROWS)

    def _flush(self, count: int) -> None:
        joined = pa.concat_tables(self._held).combine_chunks()
        self._writer.write_table(joined.slice(0, count), max_chunksize=count)
        self._held = [joined.slice(count)]
        self._rows -= count

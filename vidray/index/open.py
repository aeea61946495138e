"""An index that is opened and searched: vectors in, clips and scores out."""

from __future__ import annotations

import posixpath
import tempfile
import weakref
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from vidray.errors import IndexFileError, StoreError, UsageError
from vidray.index import ann
from vidray.index import where as filters
from vidray.index.build import IDS_BATCH_ROWS, part_sizes
from vidray.index.files import IDS_FILE, REBUILD, Manifest, check_files, current, fetch
from vidray.storage import Folder
from vidray.store import spec_sha256

FEW_MATCHES = 0.02
"""Where a filter keeps no more than this share of the clips, all that it keeps are compared."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Matches:
    """The best clips of each query, best first.

    Attributes:
        ids: object (Q, k) of str, clip ids. k is less than was asked for where the index, or the filter, has fewer.
        scores: float32 (Q, k), cosine in [-1, 1].
        rows: int64 (Q, k), the clips' numbers in this version of the index.
    """

    ids: npt.NDArray[np.object_]
    scores: npt.NDArray[np.float32]
    rows: npt.NDArray[np.int64]


def open_index(
    index_dir: str, *, verify: bool = False, features: str | None = None, download_to: str | None = None
) -> Index:
    """Open the index in a folder.

    Sizes and the hashes of small files are compared with the manifest; with `verify`, the hashes of all of them.

    Args:
        index_dir: fsspec URL of the index's own folder. Files of a remote index are copied to this machine.
        verify: Read and hash every file, some 2.5 s a gigabyte.
        features: The table that the index was built from, where it is not where it was: filters, `stale` and
            `vector` read it.
        download_to: A local folder for the copies of a remote index, by default a temporary one that lives as long
            as the index object.

    Raises:
        IndexFileError: There is no index, or it is damaged, or of a type or format that is not opened.
    """
    folder = Folder(index_dir)
    scratch: tempfile.TemporaryDirectory[str] | None = None
    if download_to is None and not folder.local:
        scratch = tempfile.TemporaryDirectory(prefix="vidray-index-", ignore_cleanup_errors=True)
        download_to = scratch.name
    version, sha256 = current(folder)
    while True:
        try:
            index = _open(folder, version, sha256, Path(download_to or "."), features, verify=verify)
        except IndexFileError:
            tried = version
            version, sha256 = current(folder)
            # a rebuild removes the version that was current a moment ago
            if version == tried:
                raise
        else:
            break
    if scratch is not None:
        weakref.finalize(index, scratch.cleanup)
    return index


def _open(folder: Folder, version: str, sha256: str, download_to: Path, features: str | None, *, verify: bool) -> Index:
    where = f"{folder.url}/{version}"
    try:
        manifest, files = fetch(folder, version, sha256, download_to)
        check_files(files, manifest, where, every=verify)
    except FileNotFoundError as e:
        raise IndexFileError(f"{where}: {Path(str(e.filename or e)).name} is missing; {REBUILD}") from e
    try:
        lists = ann.read(files, rows=manifest.clips, dim=manifest.dim, nlist=manifest.nlist)
        ids = _Identities(files / IDS_FILE, manifest.clips)
    except (IndexFileError, OSError) as e:
        raise IndexFileError(f"{where}: {e}; {REBUILD}") from e
    return Index(manifest, lists, ids, Folder(_resolved(folder.url, features or manifest.features)), where)


def _resolved(index_url: str, features: str) -> str:
    if not features.startswith("."):
        return features
    head, slashes, path = index_url.rpartition("://")
    return head + slashes + posixpath.normpath(posixpath.join(path, features))


class Index:
    """One version of an index, opened; a rebuild does not change it. Searching is thread-safe."""

    def __init__(self, manifest: Manifest, lists: ann.Ann, ids: _Identities, features: Folder, where: str) -> None:
        self.manifest = manifest
        self.features = features
        self._lists = lists
        self._ids = ids
        self._where = where

    def __len__(self) -> int:
        return self.manifest.clips

    @property
    def dim(self) -> int:
        """Of the embeddings."""
        return self.manifest.dim

    @property
    def size(self) -> int:
        """How many clips are in it."""
        return self.manifest.clips

    def search(
        self, vectors: npt.ArrayLike, k: int = 10, where: str | None = None, *, nprobe: int | None = None
    ) -> Matches:
        """The k clips nearest to each vector by cosine.

        Args:
            vectors: Floats (Q, dim), or one of (dim,); of any length, but finite. A zero vector scores 0 everywhere.
            k: Fewer columns come back where the index, or the filter, has fewer clips.
            where: An SQL expression over the columns of the table, and of the store's clips and videos. What it keeps
                is searched exactly where it is at most 2% of the clips, else in proportionally more lists.
            nprobe: How many lists to look into; by default what gave a recall@10 of 0.99 when the index was built.
                Without meaning for an exact index.

        Raises:
            UsageError: Vectors of another dimension, or not finite; k < 1; an expression that DuckDB refuses.
        """
        queries = self._queries(vectors)
        if k < 1 or (nprobe is not None and nprobe < 1):
            raise UsageError(f"k and nprobe must be at least 1, got {k} and {nprobe}")
        allowed, count, probes = None, self.size, min(nprobe or self.manifest.nprobe, max(self._lists.nlist, 1))
        if where is not None:
            kept = self.rows_where(where)
            allowed, count = np.zeros(self.size, np.bool_), len(kept)
            allowed[kept] = True
            few = count <= FEW_MATCHES * self.size
            probes = self._lists.nlist if few else min(self._lists.nlist, -(-probes * self.size // count))
        scores, rows = self._search(queries, min(k, count), probes, allowed)
        return Matches(ids=self._ids.clip_ids(rows), scores=np.clip(scores, -1, 1), rows=rows)

    def _search(self, queries: ann.F32, k: int, nprobe: int, allowed: ann.Mask | None) -> tuple[ann.F32, ann.Rows]:
        if not k or not len(queries):
            return np.empty((len(queries), k), np.float32), np.empty((len(queries), k), np.int64)
        scores, rows = self._lists.search(queries, k, nprobe=nprobe, allowed=allowed)
        # lists near some queries may hold fewer than k that may be found
        short = (rows < 0).any(axis=1)
        if short.any() and self._lists.nlist:
            scores[short], rows[short] = self._lists.search(queries[short], k, allowed=allowed)
        if (rows < 0).any():
            raise IndexFileError(f"{self._where} does not hold all of its {self.size} clips; {REBUILD}")
        return scores, rows

    def _queries(self, vectors: npt.ArrayLike) -> ann.F32:
        queries = np.asarray(vectors, dtype=np.float64)
        if queries.ndim == 1:
            queries = queries[None, :]
        if queries.ndim != 2 or queries.shape[1] != self.dim:
            raise UsageError(f"vectors must be (Q, {self.dim}) for this index, got {queries.shape}")
        if not np.isfinite(queries).all():
            raise UsageError("vectors must be finite, got NaN or infinity")
        norms = np.linalg.norm(queries, axis=1, keepdims=True)
        return np.asarray(queries / np.where(norms > 0, norms, 1), dtype=np.float32)

    def rows_where(self, where: str) -> npt.NDArray[np.int64]:
        """The rows, ascending, for which an SQL expression is true; rows that the table has lost are not among them."""
        return filters.rows_where(where, self._ids.table(), self.features)

    def clips(self, rows: npt.ArrayLike) -> pa.Table:
        """`clip_id`, and `uri`, `start_s`, `end_s` where the table has them, of some rows, in their order."""
        return self._ids.take(np.asarray(rows, dtype=np.int64))

    def row_of(self, clip_id: str) -> int | None:
        """The row of a clip, None where it is not in the index."""
        return self._ids.find(clip_id)

    def vector(self, clip_id: str) -> npt.NDArray[np.float32]:
        """A clip's embedding from the table, (dim,), as it stands there; also of a clip newer than the index.

        Raises UsageError where the table has no such clip, or no embedding for it.
        """
        row = self.row_of(clip_id)
        names = list(part_sizes(self.features))
        if row is not None:
            ends = np.cumsum([part.clips for part in self.manifest.parts])
            likely = self.manifest.parts[int(np.searchsorted(ends, row, side="right"))].name
            names.sort(key=lambda name: name != likely)
        for name in names:
            found = self._embedding(name, clip_id)
            if found is not None:
                return found
        raise UsageError(f"{self.features.url}: no clip {clip_id!r} here; take one from its column clip_id")

    def _embedding(self, name: str, clip_id: str) -> npt.NDArray[np.float32] | None:
        try:
            with self.features.open(name) as file:
                values = _value(pq.ParquetFile(file), "embedding", clip_id)
        except (pa.ArrowException, OSError, KeyError) as e:
            raise StoreError(f"{self.features.url}/{name}: {' '.join(str(e).split())[:200]}") from e
        if values is None:
            return None
        vector = np.asarray(values.as_py() if values.is_valid else [], dtype=np.float32)
        if vector.shape != (self.dim,):
            reason = f"{len(vector)} values, not {self.dim}" if values.is_valid else "no embedding"
            raise UsageError(f"{self.features.url}: clip {clip_id!r} has {reason}; it cannot be searched for")
        return vector

    @cached_property
    def stale(self) -> bool:
        """Whether the table has changed since: its parts' names and sizes, or the extractor that made it."""
        built = {part.name: part.size_bytes for part in self.manifest.parts}
        return part_sizes(self.features) != built or spec_sha256(self.features) != self.manifest.spec_sha256

    def newer_clips(self) -> int:
        """How many rows the table has that the index has not seen; asks the footers of new and changed parts."""
        built = {part.name: part for part in self.manifest.parts}
        newer = 0
        for name, size in part_sizes(self.features).items():
            known = built.get(name)
            if known is None or known.size_bytes != size:
                with self.features.open(name) as file:
                    rows = int(pq.read_metadata(file).num_rows)
                newer += max(0, rows - known.rows) if known else rows
        return newer


def _value(part: pq.ParquetFile, column: str, clip_id: str) -> pa.Scalar | None:
    """A column's value for a clip, None where the part has no such clip."""
    for group in range(part.num_row_groups):
        ids = part.read_row_group(group, columns=["clip_id"])["clip_id"].cast(pa.string())
        place = pc.index(ids, clip_id).as_py()
        if place >= 0:
            return part.read_row_group(group, columns=[column])[column][place]
    return None


class _Identities:
    """Row number to clip, from a memory-mapped Arrow file; only what is asked for is read and validated."""

    def __init__(self, path: Path, rows: int) -> None:
        try:
            self._reader = pa.ipc.open_file(pa.memory_map(str(path)))
            schema = self._reader.schema
            known = "clip_id" in schema.names and schema.field("clip_id").type == pa.string()
            enough = self._reader.num_record_batches == -(-rows // IDS_BATCH_ROWS)
        except (pa.ArrowException, OSError, ValueError) as e:
            raise IndexFileError(f"{path.name} is not an Arrow file: {' '.join(str(e).split())[:200]}") from e
        if not (known and enough):
            raise IndexFileError(f"{path.name} does not name {rows} clips")
        self._name = path.name
        self._rows = rows

    def _batch(self, number: int) -> pa.RecordBatch:
        try:
            batch = self._reader.get_batch(number)
            batch.validate(full=True)
        except (pa.ArrowException, OSError) as e:
            raise IndexFileError(f"{self._name} is damaged: {' '.join(str(e).split())[:200]}; {REBUILD}") from e
        if batch.num_rows != min(IDS_BATCH_ROWS, self._rows - number * IDS_BATCH_ROWS):
            raise IndexFileError(f"{self._name} is damaged: batch {number} has {batch.num_rows} rows; {REBUILD}")
        return batch

    def table(self) -> pa.Table:
        numbers = range(self._reader.num_record_batches)
        return pa.Table.from_batches([self._batch(number) for number in numbers], self._reader.schema)

    def take(self, rows: npt.NDArray[np.int64]) -> pa.Table:
        """Those rows, in that order."""
        if not rows.size:
            return self._reader.schema.empty_table()
        order = np.argsort(rows, kind="stable")
        batches = rows[order] // IDS_BATCH_ROWS
        pieces = []
        for number in np.unique(batches).tolist():
            within = rows[order[batches == number]] % IDS_BATCH_ROWS
            pieces.append(self._batch(int(number)).take(pa.array(within)))
        back = np.empty(len(rows), np.int64)
        back[order] = np.arange(len(rows))
        return pa.Table.from_batches(pieces).combine_chunks().take(pa.array(back))

    def clip_ids(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.object_]:
        unique, places = np.unique(rows, return_inverse=True)
        ids = np.asarray(self.take(unique)["clip_id"].to_pylist(), dtype=np.object_)
        return ids[places].reshape(rows.shape) if rows.size else np.empty(rows.shape, np.object_)

    def find(self, clip_id: str) -> int | None:
        for number in range(self._reader.num_record_batches):
            place: Any = pc.index(self._batch(number)["clip_id"], clip_id)
            if place.as_py() >= 0:
                return number * IDS_BATCH_ROWS + int(place.as_py())
        return None

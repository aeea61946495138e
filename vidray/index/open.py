"""An index that is opened and searched: vectors in, clips and scores out."""

from __future__ import annotations

import math
import posixpath
import tempfile
import weakref
from bisect import bisect_right
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from vidray.arguments import check_whole
from vidray.errors import IndexFileError, StoreError, UsageError, one_line
from vidray.index.ann import F32, Bits, Found, Rows
from vidray.index.encode import read_centroids
from vidray.index.files import check_files, current, fetch, read_manifest
from vidray.index.filters import Filter, Filters
from vidray.index.following import Following
from vidray.index.manifest import REBUILD, SEGMENTS, Manifest, Segment
from vidray.index.segment import OpenSegment
from vidray.index.vectors import Vectors
from vidray.storage import Folder

TINY, HUGE = 1e-20, 1e20
"""Of the square of a vector's length: between them it is computed well enough in float32."""


@dataclass(frozen=True, kw_only=True)
class Work:
    """What was done for an answer.

    Attributes:
        lists: Lists that were looked into for each query; 0 where clips were taken one by one.
        compared: Clips that were compared, over all queries. With a filter, those in the lists that were looked into,
            kept by it or not, unless `explain` had them counted.
        kept: How many clips the filter keeps, None without one.
        exact: Whether everything that could be found was compared.
    """

    lists: int
    compared: int
    kept: int | None
    exact: bool


@dataclass(frozen=True, kw_only=True, eq=False)
class Matches:
    """The best clips of each query, best first.

    Attributes:
        ids: object (Q, k) of str, clip ids. k is less than was asked for where the index, or the filter, has fewer.
        scores: float32 (Q, k), cosine in [-1, 1], or the inner product where the index is one of that.
        rows: int64 (Q, k), the clips' numbers in this version of the index.
        work: What was done for it.
    """

    ids: npt.NDArray[np.object_]
    scores: F32
    rows: Rows
    work: Work


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
            as the index object. What is there already of the same index is not fetched again.

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
            # a build removes what only the version before had
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
        manifest = read_manifest(folder, version, sha256)
        files = fetch(folder, manifest, download_to)
        check_files(files, manifest, folder.url, every=verify)
    except FileNotFoundError as e:
        raise IndexFileError(f"{where}: {Path(str(e.filename or e)).name} is missing; {REBUILD}") from e
    try:
        vectors = _vectors(files, manifest)
    except (IndexFileError, OSError) as e:
        raise IndexFileError(f"{where}: {e}; {REBUILD}") from e
    return Index(manifest, vectors, Folder(_resolved(folder.url, features or manifest.features)), where)


def _vectors(files: Path, manifest: Manifest) -> Vectors:
    layout = manifest.layout
    segments = [OpenSegment.open(files / SEGMENTS / s.name, s, layout) for s in manifest.segments]
    centroids = np.zeros((1, layout.dim), np.float32)
    for name in manifest.centroids:
        centroids = read_centroids(files / name, layout)
    return Vectors(layout, centroids, segments)


def _resolved(index_url: str, features: str) -> str:
    if not features.startswith("."):
        return features
    head, slashes, path = index_url.rpartition("://")
    return head + slashes + posixpath.normpath(posixpath.join(path, features))


class Index:
    """One version of an index, opened; a rebuild does not change it. Searching is thread-safe.

    Clips that are no longer in the table are not found: every two seconds at most, a search looks whether it changed.
    """

    def __init__(self, manifest: Manifest, vectors: Vectors, features: Folder, where: str) -> None:
        self.manifest = manifest
        self.features = features
        self._vectors = vectors
        self._where = where
        self._following = Following(manifest, vectors, features)
        self._filters = Filters(vectors, self._following, features)

    def __len__(self) -> int:
        return self.size

    @property
    def size(self) -> int:
        """How many clips it has."""
        return self.manifest.clips

    @property
    def dim(self) -> int:
        """Of its vectors."""
        return self.manifest.dim

    @property
    def segments(self) -> tuple[Segment, ...]:
        """What it is made of."""
        return self.manifest.segments

    def search(
        self,
        vectors: npt.ArrayLike,
        k: int = 10,
        where: str | Filter | None = None,
        *,
        nprobe: int | None = None,
        explain: bool = False,
    ) -> Matches:
        """The k clips that are most like each query vector.

        Args:
            vectors: (Q, dim) or (dim,), finite; of any length where clips are compared by cosine.
            k: How many a query.
            where: An SQL expression over the columns of the store's tables, or what `filter` made of one. Few matches
                are compared one by one, more are looked for in the lists, in more of them the fewer there are.
            nprobe: How many inverted lists to look into, instead of as many as the measured recall takes.
            explain: Count of the lists that were looked into only what the filter keeps, which takes time.

        Raises:
            UsageError: Vectors of another length or not finite, k < 1, or a filter that DuckDB refuses.
            IndexFileError: The index is damaged.
        """
        queries = self._queries(vectors)
        check_whole(k=k)
        # FAISS takes no other integers than Python's
        k = int(k)
        if k < 1:
            raise UsageError(f"k must be at least 1, got {k}")
        live = self._following.live()
        kept = self._filters.kept(where, live) if where is not None else None
        count = live.count if kept is None else len(kept.rows)
        k = min(k, count)
        if not k or not len(queries):
            none = np.empty((len(queries), k), np.float32), np.empty((len(queries), k), np.int64)
            found = Found(scores=none[0], rows=none[1], compared=0, probed=0)
        elif kept is not None and kept.vectors is not None:
            found = self._vectors.exact(queries, k, kept.rows, kept.vectors)
        else:
            bits = live.bits if kept is None else kept.bits
            probes, rerank = self._effort(count)
            found = self._search(queries, k, min(nprobe or probes, self.manifest.nlist), max(rerank, 2 * k), bits)
        scores = found.scores
        if self.manifest.metric == "cosine":
            np.minimum(scores, 1, out=scores)
            np.maximum(scores, -1, out=scores)
        work = self._work(found, queries, kept, count)
        if explain and kept is not None and work.lists:
            work = replace(work, compared=self._vectors.count(queries, work.lists, kept.rows))
        return Matches(ids=self._ids(found.rows), scores=scores, rows=found.rows, work=work)

    def _work(self, found: Found, queries: F32, kept: Any, count: int) -> Work:
        lists = found.probed // max(1, len(queries))
        exact = not lists or lists >= self.manifest.nlist
        return Work(
            lists=lists, compared=found.compared, kept=None if kept is None else count,
            exact=exact and self.manifest.codec == "fp16",
        )  # fmt: skip

    def _search(self, queries: F32, k: int, nprobe: int, rerank: int, bits: Bits | None) -> Found:
        found = self._vectors.search(queries, k, nprobe=nprobe, rerank=rerank, allowed=bits)
        # lists near some queries may hold fewer than k that may be found
        short = found.rows[:, -1] < 0
        if not short.any():
            return found
        if nprobe < self.manifest.nlist:
            more = self._vectors.search(queries[short], k, nprobe=self.manifest.nlist, rerank=rerank, allowed=bits)
            found.scores[short], found.rows[short] = more.scores, more.rows
        if found.rows.min() < 0:
            raise IndexFileError(f"{self._where} does not hold all of its {self.size} clips; {REBUILD}")
        return found

    def _effort(self, count: int) -> tuple[int, int]:
        """How many lists to look into and how many to rerank, where so many clips may be found.

        As it was measured; between what was measured by a straight line of logarithms, and below it in proportion.
        """
        if count >= self.size:
            return self.manifest.measured[0].nprobe, self.manifest.measured[0].rerank
        kept = count / self.size
        above = [one for one in self.manifest.measured if one.kept >= kept] or [self.manifest.measured[0]]
        below = [one for one in self.manifest.measured if one.kept < kept]
        high = above[-1]
        if not below:
            return -(
                -high.nprobe * round(high.kept * self.size) // count
            ) if kept < high.kept else high.nprobe, high.rerank
        low = below[0]
        share = math.log(kept / low.kept) / math.log(high.kept / low.kept)
        return math.ceil(high.nprobe**share * low.nprobe ** (1 - share)), max(high.rerank, low.rerank)

    def _queries(self, vectors: npt.ArrayLike) -> F32:
        queries = np.asarray(vectors)
        if queries.dtype != np.float32:
            queries = queries.astype(np.float64)
        if queries.ndim == 1:
            queries = queries[None, :]
        if queries.ndim != 2 or queries.shape[1] != self.dim:
            raise UsageError(f"vectors must be (Q, {self.dim}) for this index, got {queries.shape}")
        squares = np.einsum("ij,ij->i", queries, queries)
        # what is so large or small, or no number, is looked at with more care
        if (squares > TINY).all() and (squares < HUGE).all():
            units = queries if self.manifest.metric == "inner_product" else queries / np.sqrt(squares)[:, None]
            return np.asarray(units, dtype=np.float32)
        return self._unlikely_queries(queries)

    def _unlikely_queries(self, queries: npt.NDArray[np.floating]) -> F32:
        if not np.isfinite(queries).all():
            raise UsageError("vectors must be finite, got NaN or infinity")
        if self.manifest.metric == "inner_product":
            return np.asarray(queries, dtype=np.float32)
        # the largest value goes first, so that no square overflows or vanishes
        peaks = np.abs(queries).max(axis=1, keepdims=True, initial=0)
        scaled = queries / np.where(peaks > 0, peaks, 1)
        norms = np.linalg.norm(scaled, axis=1, keepdims=True)
        return np.asarray(scaled / np.where(norms > 0, norms, 1), dtype=np.float32)

    def filter(self, where: str) -> Filter:
        """A filter for many searches. It keeps what it keeps now, whatever becomes of the tables.

        Raises UsageError where DuckDB refuses it.
        """
        return self._filters.prepared(where)

    def rows_where(self, where: str) -> Rows:
        """The rows, ascending, for which an SQL expression is true; rows that the table has lost are not among them."""
        return self._filters.kept(where, self._following.live()).rows

    def clips(self, rows: npt.ArrayLike) -> pa.Table:
        """`clip_id`, and what the table has of `video_id`, `uri`, `start_s`, `end_s`, of some rows, in their order."""
        wanted = np.asarray(rows, dtype=np.int64)
        owners = self._vectors.owners(wanted)
        pieces, order = [self._vectors.segments[0].identities.schema.empty_table()], []
        for number in np.unique(owners).tolist():
            own = np.flatnonzero(owners == number)
            pieces.append(self._vectors.segments[number].identities.take(wanted[own] - self._vectors.bases[number]))
            order.append(own)
        if not order:
            return pieces[0]
        back = np.argsort(np.concatenate(order), kind="stable")
        return pa.concat_tables(pieces, promote_options="default").take(pa.array(back))

    def _ids(self, rows: Rows) -> npt.NDArray[np.object_]:
        ids = np.empty(rows.size, np.object_)
        segments, bases = self._vectors.segments, self._vectors.bases
        for at, row in enumerate(rows.ravel().tolist()):
            number = bisect_right(bases, row) - 1
            ids[at] = segments[number].identities.clip_id(row - bases[number])
        return ids.reshape(rows.shape)

    def row_of(self, clip_id: str) -> int | None:
        """The row of a clip, None where it is not in the index."""
        alive = self._following.live().mask
        for number, segment in enumerate(self._vectors.segments):
            rows = [self._vectors.bases[number] + row for row in segment.identities.find(clip_id)]
            for row in rows:
                if alive[row]:
                    return row
        return None

    def vector(self, clip_id: str) -> F32:
        """A clip's embedding from the table, (dim,), as it stands there; also of a clip newer than the index.

        Raises UsageError where the table has no such clip, or no embedding for it.
        """
        names = [part.name for part in self._following.table()]
        row = self.row_of(clip_id)
        likely = None if row is None else self._part_of(row)
        for name in sorted(names, key=lambda name: name != likely):
            found = self._embedding(name, clip_id)
            if found is not None:
                return found
        raise UsageError(f"{self.features.url}: no clip {clip_id!r} here; take one from its column clip_id")

    def _part_of(self, row: int) -> str | None:
        segment = self._vectors.segments[int(self._vectors.owners(np.array([row]))[0])].segment
        runs = (run for run in segment.runs if 0 <= row - segment.base - run.first < run.clips)
        return next((run.part for run in runs), None)

    def _embedding(self, name: str, clip_id: str) -> F32 | None:
        try:
            with self.features.open(name) as file:
                values = _value(pq.ParquetFile(file), "embedding", clip_id)
        except (pa.ArrowException, OSError, KeyError) as e:
            raise StoreError(f"{self.features.url}/{name}: {one_line(e)[:200]}") from e
        if values is None:
            return None
        vector = np.asarray(values.as_py() if values.is_valid else [], dtype=np.float32)
        if vector.shape != (self.dim,):
            reason = f"{len(vector)} values, not {self.dim}" if values.is_valid else "no embedding"
            raise UsageError(f"{self.features.url}: clip {clip_id!r} has {reason}; it cannot be searched for")
        return vector

    @property
    def stale(self) -> bool:
        """Whether the table has changed since: its parts' names and sizes, or the extractor that made it."""
        return self._following.stale

    def newer_clips(self) -> int:
        """How many rows the table has that the index has not seen; asks the footers of new and changed parts."""
        return self._following.newer_clips()


def _value(part: pq.ParquetFile, column: str, clip_id: str) -> pa.Scalar | None:
    """A column's value for a clip, None where the part has no such clip."""
    for group in range(part.num_row_groups):
        ids = part.read_row_group(group, columns=["clip_id"])["clip_id"].cast(pa.string())
        place = pc.index(ids, clip_id).as_py()
        if place >= 0:
            return part.read_row_group(group, columns=[column])[column][place]
    return None

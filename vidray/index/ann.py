"""Nearest neighbours of unit vectors, in files: the only importer of FAISS. Knows arrays and rows, no clips.

Two types of index are written and opened: exact fp16 (`SQfp16`), and inverted lists over it (`IVF...,SQfp16`). Codes
are the fp16 vectors themselves in both, so both give the same scores.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import faiss as _faiss
import numpy as np
import numpy.typing as npt

from vidray.errors import IndexFileError

# its type information lacks most of what is used here
faiss: Any = _faiss

MAIN_FILE = "main.index"
LISTS_FILE = "main.ivfdata"
CHUNK_ROWS = 8192
TRAIN_ROWS_PER_LIST = 64
FEWEST_ROWS_PER_LIST = 39
"""FAISS's own `min_points_per_centroid`: with fewer, k-means warns and its centroids are the points."""

SUPER_KMEANS_DIM = 32
TARGET_RECALL = 0.99
RECALL_AT = 10
RECALL_QUERIES = 200
FEWEST_PROBES = 8
"""What is searched for may lie between the clips that recall is measured by: another rendering, another corpus."""

SAME_SCORE = 1e-5

ID_BYTES = 8
DEFAULT_LIMITS = (0, 1 << 40)
_reading = threading.Lock()

F16 = npt.NDArray[np.float16]
F32 = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


def list_count(rows: int) -> int:
    """How many inverted lists: 4√N, and no more than k-means can fill."""
    return max(1, min(round(4 * math.sqrt(rows)), rows // FEWEST_ROWS_PER_LIST))


def factory(nlist: int) -> str:
    """FAISS's factory string of an index; nlist 0 is the exact one."""
    return f"IVF{nlist},SQfp16" if nlist else "SQfp16"


def write_flat(folder: Path, vectors: F16) -> None:
    """Write an exact index of unit vectors, (N, dim)."""
    index = faiss.IndexScalarQuantizer(vectors.shape[1], faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT)
    index.is_trained = True
    for first in range(0, len(vectors), CHUNK_ROWS):
        index.add(vectors[first : first + CHUNK_ROWS].astype(np.float32))
    faiss.write_index(index, str(folder / MAIN_FILE))


def write_ivf(folder: Path, vectors: F16, nlist: int, *, seed: int) -> None:
    """Write an index of `nlist` inverted lists of unit vectors, (N, dim); `vectors` may be a memory map.

    The lists are laid out here, as FAISS's `OnDiskInvertedLists` wants them: building one through FAISS writes
    messages to standard output, and the file's path into the index.
    """
    index = faiss.index_factory(vectors.shape[1], factory(nlist), faiss.METRIC_INNER_PRODUCT)
    index.by_residual = False
    index.cp.seed = seed
    # several times as fast, but only made for vectors that can be split
    index.cp.use_super_kmeans = vectors.shape[1] >= SUPER_KMEANS_DIM
    sample = _sample(len(vectors), TRAIN_ROWS_PER_LIST * nlist, seed)
    index.train(vectors[sample].astype(np.float32))
    lists = np.empty(len(vectors), np.int32)
    for first in range(0, len(vectors), CHUNK_ROWS):
        chunk = vectors[first : first + CHUNK_ROWS].astype(np.float32)
        lists[first : first + len(chunk)] = index.quantizer.search(chunk, 1)[1][:, 0]
    inverted = _lay_out(folder / LISTS_FILE, vectors, lists, nlist)
    index.replace_invlists(inverted, False)
    index.ntotal = len(vectors)
    faiss.write_index(index, str(folder / MAIN_FILE))


def _lay_out(path: Path, vectors: F16, lists: npt.NDArray[np.int32], nlist: int) -> Any:
    row_bytes = vectors.shape[1] * vectors.itemsize
    inverted = faiss.OnDiskInvertedLists(nlist, row_bytes, str(path))
    inverted.lists.clear()
    order = np.argsort(lists, kind="stable")
    ends = np.cumsum(np.bincount(lists, minlength=nlist))
    with path.open("wb") as file:
        for rows in np.split(order, ends[:-1]):
            place = faiss.OnDiskOneList()
            place.size = place.capacity = len(rows)
            place.offset = file.tell()
            inverted.lists.push_back(place)
            for first in range(0, len(rows), CHUNK_ROWS):
                file.write(vectors[rows[first : first + CHUNK_ROWS]].tobytes())
            file.write(rows.astype("<i8").tobytes())
        inverted.totsize = file.tell()
    # the name alone, so that an index has the same bytes wherever it was built
    inverted.filename = LISTS_FILE
    return inverted


def choose_nprobe(opened: Ann, vectors: F16, *, seed: int) -> tuple[int, float]:
    """The fewest lists, from 8, to look into for a recall@10 of 0.99, and the recall that they have.

    It is measured by rows of the index, which do not count as their own neighbours. A neighbour that scores like the
    tenth best counts as found: copies of a clip are interchangeable.
    """
    picked = _sample(len(vectors), RECALL_QUERIES, seed)
    queries = vectors[picked].astype(np.float32)
    k = min(RECALL_AT, len(vectors) - 1)
    if k < 1:
        return opened.nlist, 1.0
    wanted = _exact_scores(vectors, queries, k + 1)[:, -1:] - SAME_SCORE
    nprobe = min(FEWEST_PROBES, opened.nlist)
    while True:
        scores, rows = opened.search(queries, k + 1, nprobe=nprobe)
        found = (scores >= wanted) & (rows >= 0) & (rows != picked[:, None])
        recall = float(np.minimum(found.sum(axis=1), k).mean() / k)
        if recall >= TARGET_RECALL or nprobe >= opened.nlist:
            return nprobe, round(recall, 4)
        nprobe = min(2 * nprobe, opened.nlist)


def _exact_scores(vectors: F16, queries: F32, k: int) -> F32:
    best = np.full((len(queries), 0), -np.inf, np.float32)
    for first in range(0, len(vectors), CHUNK_ROWS):
        scores = queries @ vectors[first : first + CHUNK_ROWS].astype(np.float32).T
        both = np.concatenate([best, scores], axis=1)
        best = -np.partition(-both, k - 1, axis=1)[:, :k] if both.shape[1] > k else both
    return -np.sort(-best, axis=1)


def _sample(rows: int, count: int, seed: int) -> Rows:
    if count >= rows:
        return np.arange(rows, dtype=np.int64)
    return np.sort(np.random.default_rng(seed).choice(rows, count, replace=False))


class Ann:
    """An opened index. Searching is thread-safe; the files are memory-mapped and may be removed meanwhile."""

    def __init__(self, index: Any, nlist: int) -> None:
        self._index = index
        self.nlist = nlist
        self.size = int(index.ntotal)
        self.dim = int(index.d)

    def search(self, queries: F32, k: int, *, nprobe: int = 0, allowed: Mask | None = None) -> tuple[F32, Rows]:
        """The k best rows of each unit query: scores float32 (Q, k) and rows int64 (Q, k), best first.

        Rows are -1 past the last one found, by lists (`nprobe`) or by rows (`allowed`, bool (N,)). Raises
        IndexFileError where the index names a row that it cannot have.
        """
        # FAISS keeps a pointer to the bits, not a reference
        bits = None if allowed is None else np.packbits(allowed, bitorder="little")
        options: dict[str, Any] = {} if bits is None else {"sel": faiss.IDSelectorBitmap(bits)}
        if self.nlist:
            params = faiss.SearchParametersIVF(nprobe=nprobe or self.nlist, **options)
        else:
            params = faiss.SearchParameters(**options)
        try:
            scores, rows = self._index.search(np.ascontiguousarray(queries), k, params=params)
        except RuntimeError as e:
            raise IndexFileError(f"the index cannot be searched, run vidray index again: {_one_line(e)}") from e
        if rows.max(initial=-1) >= self.size or rows.min(initial=0) < -1:
            raise IndexFileError("the index names rows that it does not have; it is damaged, run vidray index again")
        # rows of the same score stand in the order of the table
        order = np.lexsort((np.where(rows < 0, self.size, rows), -scores), axis=1)
        return np.take_along_axis(scores, order, axis=1), np.take_along_axis(rows, order, axis=1)


def read(folder: Path, *, rows: int, dim: int, nlist: int) -> Ann:
    """Open what `write_flat` or `write_ivf` wrote, and nothing else.

    Types other than these two are refused before FAISS reads them, FAISS allocates no more than the file's own size,
    and no list may lie outside its file. Raises IndexFileError.
    """
    path = folder / MAIN_FILE
    with path.open("rb") as file:
        kind = file.read(4)
    if kind != (b"IwSq" if nlist else b"IxSQ"):
        raise IndexFileError(f"{path.name} is FAISS type {kind!r}, which vidray does not open")
    flags = faiss.IO_FLAG_SKIP_IVF_DATA if nlist else faiss.IO_FLAG_MMAP_IFC
    with _reading:
        # the limits are FAISS's own globals; no vector in a file is longer than the file
        faiss.set_deserialization_vector_byte_limit(path.stat().st_size)
        faiss.set_deserialization_loop_limit(nlist + 1024)
        try:
            index = faiss.read_index(str(path), flags)
        except (RuntimeError, MemoryError) as e:
            raise IndexFileError(f"{path.name} cannot be read by FAISS: {_one_line(e)}") from e
        finally:
            faiss.set_deserialization_loop_limit(DEFAULT_LIMITS[0])
            faiss.set_deserialization_vector_byte_limit(DEFAULT_LIMITS[1])
    wrong = ", ".join(_differences(index, rows, dim, nlist))
    if wrong:
        raise IndexFileError(f"{path.name} is not the index that its manifest describes: {wrong}")
    if nlist:
        _map_lists(index, folder / LISTS_FILE, rows)
    return Ann(index, nlist)


def _differences(index: Any, rows: int, dim: int, nlist: int) -> Iterator[str]:
    if (int(index.ntotal), int(index.d)) != (rows, dim):
        yield f"{index.ntotal} rows of {index.d}, not {rows} of {dim}"
    if index.metric_type != faiss.METRIC_INNER_PRODUCT or index.sq.qtype != faiss.ScalarQuantizer.QT_fp16:
        yield "not fp16 by inner product"
    if not nlist:
        return
    quantizer = faiss.downcast_index(index.quantizer)
    if type(quantizer) not in (faiss.IndexFlat, faiss.IndexFlatIP):
        yield f"lists found by a {type(quantizer).__name__}"
    elif (index.nlist, int(quantizer.ntotal), int(quantizer.d)) != (nlist, nlist, dim) or index.by_residual:
        yield f"not {nlist} lists of whole vectors"
    if not isinstance(faiss.downcast_InvertedLists(index.invlists), faiss.OnDiskInvertedLists):
        yield "its lists are not in a file of their own"


def _map_lists(index: Any, path: Path, rows: int) -> None:
    inverted = faiss.downcast_InvertedLists(index.invlists)
    size = path.stat().st_size
    row_bytes = index.d * 2
    places = [inverted.lists.at(i) for i in range(inverted.lists.size())]
    inside = all(p.size <= p.capacity and p.offset + p.capacity * (row_bytes + ID_BYTES) <= size for p in places)
    same = (len(places), inverted.nlist, inverted.code_size, inverted.totsize) == (
        index.nlist, index.nlist, row_bytes, size,
    )  # fmt: skip
    if not (inside and same and sum(p.size for p in places) == rows):
        raise IndexFileError(f"{path.name} is not the file of the lists in {MAIN_FILE}")
    inverted.filename = str(path)
    inverted.read_only = True
    # FAISS starts a pool of threads for each search otherwise: 80 times slower when the lists are in memory
    inverted.prefetch_nthread = 0
    try:
        inverted.do_mmap()
    except RuntimeError as e:
        raise IndexFileError(f"{path.name} cannot be mapped: {_one_line(e)}") from e


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    # FAISS puts its own source file and line before the reason
    return text.rsplit("Error: ", 1)[-1][:300]

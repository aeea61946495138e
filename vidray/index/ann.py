"""Nearest neighbours in inverted lists: the only importer of FAISS. Knows arrays, rows and files, no clips.

Every index is inverted lists; an exact one has a single list. FAISS parses no file of ours: centroids, sizes and lists
are plain arrays, which are mapped and checked here and handed to FAISS objects that are made in memory.
"""

from __future__ import annotations

import ctypes
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from vidray.errors import IndexFileError, UsageError, one_line


class _Faiss:
    """FAISS, imported when something of it is first used: a search by classes or by words uses nothing."""

    def __getattr__(self, name: str) -> Any:
        import faiss

        # found without this call the next time
        value = self.__dict__[name] = getattr(faiss, name)
        return value


faiss = _Faiss()

Codec = Literal["fp16", "rabitq"]

CHUNK_ROWS = 8192
TRAIN_ROWS_PER_LIST = 64
FEWEST_ROWS_PER_LIST = 39
"""FAISS's own `min_points_per_centroid`: with fewer, its centroids are the points."""

TRAIN_BYTES = 4 << 30
"""The sample that centroids are trained on takes no more memory; more lists than it can fill are not made."""

SUPER_KMEANS_DIM = 32
EXACT_UP_TO_CLIPS = 200_000
FP16_UP_TO_CLIPS = 20_000_000
QUERY_BITS = 4
"""How finely RaBitQ sees the query: 4 bits answer 1.3 times as fast as 8, at the same recall once reranked."""

ID_BYTES = 8

F16 = npt.NDArray[np.float16]
F32 = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]
Bits = npt.NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class Layout:
    """How vectors are kept.

    Attributes:
        nlist: Inverted lists, 1 where the index is exact.
        codec: What a list holds of a vector: itself as fp16, or one bit a dimension and two numbers, by which the best
            are found that are then compared as fp16.
    """

    dim: int
    nlist: int
    codec: Codec

    def __post_init__(self) -> None:
        if not (self.dim > 0 and self.nlist > 0 and self.codec in ("fp16", "rabitq")):
            raise ValueError(f"no layout: {self.dim} x {self.nlist} as {self.codec}")

    @property
    def factory(self) -> str:
        """FAISS's name of it."""
        code = "SQfp16" if self.codec == "fp16" else "RaBitQ"
        return code if self.exact else f"IVF{self.nlist},{code}"

    @property
    def exact(self) -> bool:
        return self.nlist == 1 and self.codec == "fp16"

    @property
    def code_bytes(self) -> int:
        return (
            self.vector_bytes
            if self.codec == "fp16"
            else int(faiss.RaBitQuantizer(self.dim, faiss.METRIC_INNER_PRODUCT).code_size)
        )

    @property
    def vector_bytes(self) -> int:
        return 2 * self.dim


def layout_for(clips: int, dim: int, factory: str | None = None) -> Layout:
    """The layout of an index of so many clips, or the one that a factory string names.

    Up to 200,000 clips exact; to 20 million inverted lists of fp16; above, of RaBitQ codes. Raises UsageError.
    """
    if factory is None:
        if clips <= EXACT_UP_TO_CLIPS:
            return Layout(dim=dim, nlist=1, codec="fp16")
        codec: Codec = "fp16" if clips <= FP16_UP_TO_CLIPS else "rabitq"
        return Layout(dim=dim, nlist=list_count(clips, dim), codec=codec)
    if factory in ("Flat", "SQfp16"):
        return Layout(dim=dim, nlist=1, codec="fp16")
    match = re.fullmatch(r"IVF(\d{0,7}),(SQfp16|RaBitQ)", factory)
    if match is None or match[1] == "0":
        raise UsageError(f"--factory is SQfp16, IVF<lists>,SQfp16 or IVF<lists>,RaBitQ, got {factory!r}")
    nlist = int(match[1]) if match[1] else list_count(clips, dim)
    if nlist > clips:
        raise UsageError(f"--factory {factory}: {nlist:,} lists for {clips:,} clips; name no more lists than clips")
    return Layout(dim=dim, nlist=nlist, codec="fp16" if match[2] == "SQfp16" else "rabitq")


def list_count(clips: int, dim: int) -> int:
    """How many inverted lists: 4√N, and no more than k-means can fill."""
    most = min(clips, TRAIN_BYTES // (4 * dim)) // FEWEST_ROWS_PER_LIST
    return max(1, min(round(4 * math.sqrt(clips)), most))


def train_rows(layout: Layout) -> int:
    """How many vectors the centroids are trained on; 0 where there is nothing to train."""
    if layout.nlist == 1:
        return 0
    return min(TRAIN_ROWS_PER_LIST * layout.nlist, max(layout.nlist, TRAIN_BYTES // (4 * layout.dim)))


def train(sample: F32, nlist: int, *, seed: int) -> F32:
    """The centroids of the lists, (nlist, dim), by k-means over a sample, (N, dim)."""
    index = faiss.IndexIVFFlat(faiss.IndexFlatIP(sample.shape[1]), sample.shape[1], nlist, faiss.METRIC_INNER_PRODUCT)
    index.cp.seed = seed
    index.cp.min_points_per_centroid = 1
    # several times as fast, but only made for vectors that can be split
    index.cp.use_super_kmeans = sample.shape[1] >= SUPER_KMEANS_DIM
    index.train(sample)
    centroids: F32 = index.quantizer.reconstruct_n(0, nlist)
    return centroids


def threads(count: int | None) -> int:
    """Have FAISS use so many threads in this process, None for as they were; returns how many it used before."""
    before = int(faiss.omp_get_max_threads())
    if count is not None:
        faiss.omp_set_num_threads(count)
    return before


class Encoder:
    """From vectors to the lists that they belong to, and to their codes there."""

    def __init__(self, layout: Layout, centroids: F32) -> None:
        self.layout = layout
        self._quantizer = _flat(layout.dim, centroids)
        self._index = _empty(layout, self._quantizer)

    def assign(self, vectors: F16) -> npt.NDArray[np.int32]:
        """The list of each vector, (N,)."""
        if self.layout.nlist == 1:
            return np.zeros(len(vectors), np.int32)
        nearest = self._quantizer.search(vectors.astype(np.float32), 1)[1][:, 0]
        return np.asarray(nearest, dtype=np.int32)

    def encode(self, vectors: F16, number: int) -> bytes:
        """The codes of vectors in one list, one after the other."""
        if self.layout.codec == "fp16":
            return vectors.tobytes()
        codes = np.empty((len(vectors), self.layout.code_bytes), np.uint8)
        floats = np.ascontiguousarray(vectors, dtype=np.float32)
        numbers = np.full(len(vectors), number, np.int64)
        pointers = (faiss.swig_ptr(array) for array in (floats, numbers, codes))
        self._index.encode_vectors(len(vectors), *pointers)
        return codes.tobytes()


@dataclass(frozen=True, kw_only=True)
class ListFile:
    """The lists of one segment: for each, its codes, then the rows that they are of, int64.

    Attributes:
        path: The file.
        sizes: How many vectors each list has, (nlist,).
    """

    path: Path
    sizes: npt.NDArray[np.int64]

    def offsets(self, layout: Layout) -> npt.NDArray[np.int64]:
        """Where each list begins, and where the last one ends, in bytes: (nlist + 1,)."""
        ends = np.cumsum(self.sizes) * (layout.code_bytes + ID_BYTES)
        return np.concatenate([np.zeros(1, np.int64), ends])


@dataclass(frozen=True, kw_only=True)
class Found:
    """The best rows of each query, best first.

    Attributes:
        scores: float32 (Q, k).
        rows: int64 (Q, k), -1 past the last one found.
        compared: Codes that were looked at, over all queries.
        probed: Lists that were looked into, over all queries.
    """

    scores: F32
    rows: Rows
    compared: int
    probed: int


class Lists:
    """The lists of an index, opened. Searching is thread-safe; the files are mapped and may be removed meanwhile."""

    def __init__(self, layout: Layout, centroids: F32, files: Sequence[ListFile]) -> None:
        self.layout = layout
        self._quantizer = _flat(layout.dim, centroids)
        mapped = [_map(file, layout) for file in files]
        # codes of fp16 need no centroid, so that all lists of all segments can be one index
        groups = [mapped] if layout.codec == "fp16" else [[one] for one in mapped]
        self._groups = [_Group(layout, self._quantizer, group) for group in groups if group]

    def nearest(self, queries: F32, nprobe: int) -> tuple[F32, Rows]:
        """The lists to look into for each query, best first, with the score of their centroids: (Q, nprobe) each."""
        if self.layout.nlist == 1:
            return np.zeros((len(queries), 1), np.float32), np.zeros((len(queries), 1), np.int64)
        scores, lists = np.empty((len(queries), nprobe), np.float32), np.empty((len(queries), nprobe), np.int64)
        pointers = (faiss.swig_ptr(array) for array in (scores, lists))
        self._quantizer.search_c(len(queries), faiss.swig_ptr(queries), nprobe, *pointers)
        return scores, lists

    def search(self, queries: F32, k: int, *, nprobe: int, allowed: Bits | None = None) -> Found:
        """The k best rows of each query by their codes; of those whose bit in `allowed` is set, where that is given.

        Raises IndexFileError where FAISS cannot search the lists.
        """
        queries = np.ascontiguousarray(queries)
        near = self.nearest(queries, min(nprobe, self.layout.nlist))
        try:
            found = [group.search(queries, k, *near, allowed) for group in self._groups]
        except RuntimeError as e:
            raise IndexFileError(f"the index cannot be searched: {_one_line(e)}") from e
        if len(found) == 1:
            return found[0]
        scores, rows = (np.concatenate([getattr(one, name) for one in found], axis=1) for name in ("scores", "rows"))
        # a row that was not found has the lowest score that there is
        best = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        return Found(
            scores=np.take_along_axis(scores, best, axis=1),
            rows=np.take_along_axis(rows, best, axis=1),
            compared=sum(one.compared for one in found),
            probed=found[0].probed,
        )


class _Group:
    """Lists of some segments as one index of FAISS: list n of segment s is number s * nlist + n."""

    def __init__(self, layout: Layout, quantizer: Any, mapped: Sequence[Any]) -> None:
        self._layout, self._quantizer, self._mapped = layout, quantizer, mapped
        self._index = _empty(layout, quantizer)
        if len(mapped) == 1:
            self._lists = mapped[0]
        else:
            self._pointers = faiss.InvertedListsPtrVector()
            for one in mapped:
                self._pointers.push_back(one)
            self._lists = faiss.VStackInvertedLists(len(mapped), self._pointers.data())
        self._index.nlist = self._lists.nlist
        self._index.replace_invlists(self._lists, False)
        self._firsts = np.arange(len(mapped), dtype=np.int64) * layout.nlist

    def search(self, queries: F32, k: int, near: F32, lists: Rows, allowed: Bits | None) -> Found:
        count, segments, numbers, coarse = len(queries), len(self._firsts), lists, near
        if segments > 1:
            numbers = (lists[:, :, None] + self._firsts).reshape(count, -1)
            coarse = np.repeat(near, segments, axis=1)
        scores, rows = np.empty((count, k), np.float32), np.empty((count, k), np.int64)
        # of this search alone: FAISS's own counters are the process's
        stats = faiss.IndexIVFStats()
        params = self._params(numbers.shape[1], allowed)
        pointers = (faiss.swig_ptr(array) for array in (numbers, coarse, scores, rows))
        self._index.search_preassigned_c(count, faiss.swig_ptr(queries), k, *pointers, False, params, stats)
        return Found(scores=scores, rows=rows, compared=int(stats.ndis), probed=lists.size)

    def _params(self, nprobe: int, allowed: Bits | None) -> Any:
        # FAISS keeps a pointer to the bits, not a reference; its caller holds them
        options = {} if allowed is None else {"sel": faiss.IDSelectorBitmap(allowed)}
        if self._layout.codec == "fp16":
            return faiss.SearchParametersIVF(nprobe=nprobe, **options)
        return faiss.IVFRaBitQSearchParameters(nprobe=nprobe, qb=QUERY_BITS, centered=False, **options)


class _Place(ctypes.Structure):
    """FAISS's `OnDiskOneList`."""

    _fields_ = (("size", ctypes.c_size_t), ("capacity", ctypes.c_size_t), ("offset", ctypes.c_size_t))


def _map(file: ListFile, layout: Layout) -> Any:
    """The lists in a file, mapped. Raises IndexFileError where the file is not as long as its lists."""
    offsets = file.offsets(layout)
    size_bytes = file.path.stat().st_size
    if len(file.sizes) != layout.nlist or size_bytes != offsets[-1]:
        raise IndexFileError(f"{file.path.name} is not the file of {len(file.sizes)} lists: {size_bytes} bytes")
    inverted = faiss.OnDiskInvertedLists(layout.nlist, layout.code_bytes, str(file.path))
    # one object of FAISS a list would take longer than all the rest of opening
    places = (_Place * layout.nlist).from_address(int(inverted.lists.data().this))
    table = np.frombuffer(memoryview(places).cast("B"), np.uint64).reshape(layout.nlist, 3)
    table[:, 0] = table[:, 1] = file.sizes
    table[:, 2] = offsets[:-1]
    inverted.totsize = size_bytes
    inverted.read_only = True
    # FAISS starts a pool of threads for each search otherwise: 80 times slower when the lists are in memory
    inverted.prefetch_nthread = 0
    try:
        if size_bytes:
            inverted.do_mmap()
    except RuntimeError as e:
        raise IndexFileError(f"{file.path.name} cannot be mapped: {_one_line(e)}") from e
    return inverted


def _flat(dim: int, centroids: F32) -> Any:
    quantizer = faiss.IndexFlatIP(dim)
    quantizer.add(np.ascontiguousarray(centroids))
    return quantizer


def _empty(layout: Layout, quantizer: Any) -> Any:
    """An index of FAISS that is trained and has no lists yet."""
    if layout.codec == "fp16":
        kind = faiss.ScalarQuantizer.QT_fp16
        # vectors whole, not what is left of them beside their centroid
        index = faiss.IndexIVFScalarQuantizer(
            quantizer, layout.dim, layout.nlist, kind, faiss.METRIC_INNER_PRODUCT, False
        )
    else:
        index = faiss.IndexIVFRaBitQ(quantizer, layout.dim, layout.nlist, faiss.METRIC_INNER_PRODUCT)
    index.is_trained = True
    return index


def _one_line(error: BaseException) -> str:
    text = one_line(error)
    # FAISS puts its own source file and line before the reason
    return text.rsplit("Error: ", 1)[-1][:300]

"""One segment: the clips of some parts, laid out by lists, written once and never changed.

    ids.arrow      which clip each row is
    lists.bin      for each list, the codes of its vectors, then their rows in the index (int64)
    sizes.u32      how many vectors each list has
    places.u64     where each row's fp16 vector begins, in bytes: in lists.bin, or in vectors.f16
    vectors.f16    fp16 vectors in the order of the lists, where codes are not these themselves

Segments that are merged have the bytes of one that was made of all their parts at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vidray.errors import IndexFileError
from vidray.index.ann import CHUNK_ROWS, F16, F32, ID_BYTES, Bits, Encoder, Layout, ListFile, Rows
from vidray.index.identities import BATCH_ROWS, Identities, IdentityWriter
from vidray.index.manifest import IDS_FILE, LISTS_FILE, PLACES_FILE, SIZES_FILE, VECTORS_FILE, Run, Segment

Lists = npt.NDArray[np.int32]


def write_lists(folder: Path, vectors: F16, lists: Lists, base: int, encoder: Encoder) -> None:
    """Lay out a segment's vectors, (N, dim), by the list of each; `vectors` may be a memory map."""
    order = np.argsort(lists, kind="stable")
    sizes = np.bincount(lists, minlength=encoder.layout.nlist)
    with _ListWriter(folder, encoder.layout, sizes) as writer:
        for number, rows in enumerate(np.split(order, np.cumsum(sizes)[:-1])):
            for first in range(0, len(rows), CHUNK_ROWS):
                chunk = vectors[rows[first : first + CHUNK_ROWS]]
                writer.add(encoder.encode(chunk, number), chunk)
            writer.end(rows, base)


def merge(folder: Path, sources: Sequence[OpenSegment], layout: Layout, base: int) -> tuple[Run, ...]:
    """Write one segment of what is alive in several, in their order; returns its runs."""
    runs: list[Run] = []
    maps, rows = [], 0
    with IdentityWriter(folder / IDS_FILE) as ids:
        for source in sources:
            renumbered = np.full(source.segment.rows, -1, np.int64)
            for run in source.segment.runs:
                runs.append(Run(part=run.part, first=rows, clips=run.clips))
                renumbered[run.first : run.first + run.clips] = np.arange(rows, rows + run.clips)
                rows += run.clips
                for first in range(run.first, run.first + run.clips, BATCH_ROWS):
                    ids.write(source.identities.slice(first, min(BATCH_ROWS, run.first + run.clips - first)))
            maps.append(renumbered)
    sizes = sum(_alive(source, renumbered) for source, renumbered in zip(sources, maps, strict=True))
    with _ListWriter(folder, layout, np.asarray(sizes)) as writer:
        for number in range(layout.nlist):
            placed = []
            for source, renumbered in zip(sources, maps, strict=True):
                old = source.rows_of(number)
                keep = renumbered[old] >= 0
                placed.append(renumbered[old[keep]])
                writer.add(source.codes_of(number)[keep].tobytes(), source.vectors(old[keep]))
            writer.end(np.concatenate(placed), base)
    return tuple(runs)


def _alive(source: OpenSegment, renumbered: Rows) -> npt.NDArray[np.int64]:
    """How many vectors of each list of a source go on."""
    return np.array([(renumbered[source.rows_of(n)] >= 0).sum() for n in range(len(source.sizes))], np.int64)


class _ListWriter:
    """Writes the files of lists, list after list. A context manager."""

    def __init__(self, folder: Path, layout: Layout, sizes: npt.NDArray[np.int64]) -> None:
        self._folder, self._layout = folder, layout
        self._count = int(sizes.sum())
        sizes.astype("<u4").tofile(folder / SIZES_FILE)
        self._places = np.zeros(self._count, "<u8")
        self._vectors: Any = None

    def __enter__(self) -> _ListWriter:
        self._file = (self._folder / LISTS_FILE).open("wb")
        if self._layout.codec != "fp16":
            self._vectors = (self._folder / VECTORS_FILE).open("wb")
        self._start = 0
        return self

    def add(self, codes: bytes, vectors: F16) -> None:
        """Append to the list at hand."""
        self._file.write(codes)
        if self._vectors is not None:
            self._vectors.write(vectors.tobytes())

    def end(self, rows: Rows, base: int) -> None:
        """End the list at hand, whose vectors are of these rows of the segment."""
        self._file.write((rows + base).astype("<i8").tobytes())
        self._places[rows] = self._start + np.arange(len(rows), dtype=np.uint64) * np.uint64(self._layout.vector_bytes)
        self._start = self._file.tell() if self._vectors is None else self._vectors.tell()

    def __exit__(self, *_: object) -> None:
        self._file.close()
        if self._vectors is not None:
            self._vectors.close()
        self._places.tofile(self._folder / PLACES_FILE)


@dataclass(frozen=True, eq=False)
class OpenSegment:
    """A segment whose files are mapped; they may be removed meanwhile.

    Attributes:
        segment: What the manifest says of it.
        identities: Which clips its rows are.
        sizes: Of its lists, int64 (nlist,).
        file: Its lists.
    """

    segment: Segment
    layout: Layout
    identities: Identities
    sizes: npt.NDArray[np.int64]
    file: ListFile
    _lists: npt.NDArray[np.uint8]
    _offsets: npt.NDArray[np.int64]
    _windows: F16
    _places: npt.NDArray[np.uint64]

    @classmethod
    def open(cls, folder: Path, segment: Segment, layout: Layout) -> OpenSegment:
        """Map a segment's files. Raises IndexFileError where they do not fit together, OSError where one is missing."""
        sizes = _mapped(folder / SIZES_FILE, "<u4").astype(np.int64)
        places = _mapped(folder / PLACES_FILE, "<u8")
        lists = _mapped(folder / LISTS_FILE, np.uint8)
        whole = lists if layout.codec == "fp16" else _mapped(folder / VECTORS_FILE, np.uint8)
        needed = segment.rows * (layout.code_bytes + ID_BYTES)
        if len(sizes) != layout.nlist or sizes.sum() != segment.rows or len(places) != segment.rows:
            raise IndexFileError(f"segment {segment.name} does not have {segment.rows} rows in {layout.nlist} lists")
        if len(lists) != needed or (whole is not lists and len(whole) != segment.rows * layout.vector_bytes):
            raise IndexFileError(f"segment {segment.name} does not hold {segment.rows} vectors")
        identities = Identities(folder / IDS_FILE, segment.rows)
        file = ListFile(path=folder / LISTS_FILE, sizes=sizes)
        offsets = file.offsets(layout)
        return cls(segment, layout, identities, sizes, file, lists, offsets, _windows(whole, layout.dim), places)

    @property
    def end(self) -> int:
        """The index's row behind its last one."""
        return self.segment.base + self.segment.rows

    def vectors(self, rows: Rows) -> F16:
        """The vectors of some of its rows, float16 (N, dim). Raises IndexFileError."""
        places = self._places[rows] // np.uint64(2)
        if len(places) and int(places.max()) >= len(self._windows):
            raise IndexFileError(f"segment {self.segment.name} is damaged: a vector outside its file")
        vectors: F16 = self._windows[places]
        return vectors

    def stored_order(self) -> Rows:
        """Its rows in the order in which their vectors lie in the file, for reading all of them."""
        return np.argsort(self._places, kind="stable")

    def _list(self, number: int) -> npt.NDArray[np.uint8]:
        return self._lists[self._offsets[number] : self._offsets[number + 1]]

    def codes_of(self, number: int) -> npt.NDArray[np.uint8]:
        """The codes in one list, uint8 (N, bytes)."""
        size = int(self.sizes[number])
        return self._list(number)[: size * self.layout.code_bytes].reshape(size, self.layout.code_bytes)

    def rows_of(self, number: int) -> Rows:
        """The segment's rows in one list. Raises IndexFileError."""
        size = int(self.sizes[number])
        rows = self._list(number)[size * self.layout.code_bytes :].view("<i8") - self.segment.base
        if len(rows) and not (rows.min() >= 0 and rows.max() < self.segment.rows):
            raise IndexFileError(f"segment {self.segment.name} is damaged: rows that it does not have")
        return np.asarray(rows, dtype=np.int64)

    def alive(self) -> npt.NDArray[np.bool_]:
        """Which of its rows are alive, (rows,)."""
        mask = np.zeros(self.segment.rows, np.bool_)
        for run in self.segment.runs:
            mask[run.first : run.first + run.clips] = True
        return mask


def chunks(segment: OpenSegment, rows: Rows) -> Iterator[tuple[Rows, F32]]:
    """Some rows of a segment with their vectors, float32, so many at a time; quickest in the order of the file."""
    for first in range(0, len(rows), CHUNK_ROWS):
        chunk = rows[first : first + CHUNK_ROWS]
        yield chunk, segment.vectors(chunk).astype(np.float32)


def _mapped(path: Path, kind: Any) -> Any:
    dtype = np.dtype(kind)
    size_bytes = path.stat().st_size
    if size_bytes % dtype.itemsize:
        raise IndexFileError(f"{path.name} is cut off: {size_bytes} bytes")
    return np.memmap(path, dtype, "r") if size_bytes else np.empty(0, dtype)


def _windows(data: npt.NDArray[np.uint8], dim: int) -> F16:
    """All runs of `dim` numbers in a file, so that vectors are taken by where they begin and nothing else is copied."""
    numbers = np.asarray(data[: len(data) // 2 * 2]).view("<f2")
    if len(numbers) < dim:
        return np.empty((0, dim), np.float16)
    return np.lib.stride_tricks.as_strided(numbers, (len(numbers) - dim + 1, dim), (2, 2), writeable=False)


def bits_of(mask: npt.NDArray[np.bool_]) -> Bits:
    """A bitmap as FAISS reads it."""
    return np.packbits(mask, bitorder="little")

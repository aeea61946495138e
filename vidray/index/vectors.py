"""The vectors of all segments of an index as one: queries in, rows out. Knows no clips and no tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from vidray.errors import IndexFileError
from vidray.index.ann import F16, F32, Bits, Found, Layout, Lists, Rows
from vidray.index.segment import OpenSegment, bits_of

Mask = npt.NDArray[np.bool_]


class Vectors:
    """Searches segments. Thread-safe.

    Attributes:
        layout: How they are kept.
        segments: In the order of their rows.
        rows: The row behind the last one; some below it may belong to nobody.
        bases: The first row of each segment.
    """

    def __init__(self, layout: Layout, centroids: F32, segments: Sequence[OpenSegment]) -> None:
        self.layout = layout
        self.segments = tuple(segments)
        self.rows = segments[-1].end
        self._lists = Lists(layout, centroids, [segment.file for segment in segments])
        self.bases = [segment.segment.base for segment in segments]
        self._bases = np.array(self.bases, np.int64)
        self._ends = np.array([segment.end for segment in segments], np.int64)

    @cached_property
    def alive(self) -> Mask | None:
        """Which rows are alive, None where all are that the lists can name."""
        if all(segment.segment.clips == segment.segment.rows for segment in self.segments):
            return None
        mask = np.zeros(self.rows, np.bool_)
        for segment in self.segments:
            mask[segment.segment.base : segment.end] = segment.alive()
        return mask

    def mask(self) -> Mask:
        """Which rows are alive, (rows,); its caller's own."""
        mask = np.zeros(self.rows, np.bool_)
        for segment in self.segments:
            mask[segment.segment.base : segment.end] = segment.alive()
        return mask

    @cached_property
    def alive_bits(self) -> Bits | None:
        return None if self.alive is None else bits_of(self.alive)

    def search(self, queries: F32, k: int, *, nprobe: int, rerank: int = 0, allowed: Bits | None = None) -> Found:
        """The k best rows of each query, of the lists that are nearest to it, best first, ties in the order of rows.

        Args:
            queries: float32 (Q, dim).
            k: How many; rows are -1 past the last one found.
            nprobe: Into how many lists to look.
            rerank: How many of the best by their codes are compared as fp16, where codes are less than that.
            allowed: A bitmap of the rows that may be found; by default, of those that are alive.

        Raises:
            IndexFileError: The index names rows that it does not have.
        """
        bits = self.alive_bits if allowed is None else allowed
        coded = self.layout.codec != "fp16"
        found = self._lists.search(queries, max(k, rerank) if coded else k, nprobe=nprobe, allowed=bits)
        if found.rows.max(initial=-1) >= self.rows or found.rows.min(initial=0) < -1:
            raise IndexFileError("the index names rows that it does not have; it is damaged, run vidray index again")
        scores = self._scores(queries, found.rows) if coded else found.scores
        if not coded and not (scores[:, 1:] == scores[:, :-1]).any():
            return found
        order = np.lexsort((np.where(found.rows < 0, self.rows, found.rows), -scores), axis=1)[:, :k]
        return replace(
            found, scores=np.take_along_axis(scores, order, axis=1), rows=np.take_along_axis(found.rows, order, axis=1)
        )

    def count(self, queries: F32, nprobe: int, rows: Rows) -> int:
        """How many of some rows are in the lists nearest to the queries, over all queries."""
        _, lists = self._lists.nearest(queries, min(nprobe, self.layout.nlist))
        numbers, times = np.unique(lists, return_counts=True)
        mask = np.zeros(self.rows, np.bool_)
        mask[rows] = True
        held = [sum(mask[s.segment.base + s.rows_of(n)].sum() for s in self.segments) for n in numbers.tolist()]
        return int(np.dot(held, times))

    def exact(self, queries: F32, k: int, rows: Rows, vectors: F32) -> Found:
        """The k best of some rows, ascending, whose vectors are given, (N, dim): all are compared."""
        k = min(k, len(rows))
        scores = _products(queries, vectors.T)
        order = np.lexsort((np.broadcast_to(rows, scores.shape), -scores), axis=1)[:, :k]
        return Found(scores=np.take_along_axis(scores, order, axis=1), rows=rows[order], compared=scores.size, probed=0)

    def _scores(self, queries: F32, rows: Rows) -> F32:
        """The score of each query with each of its own rows, (Q, n); the lowest that there is where a row is -1."""
        scores = np.full(rows.shape, -np.inf, np.float32)
        for query, found, into in zip(queries, rows, scores, strict=True):
            there = found >= 0
            into[there] = _products(self.vectors(found[there]).astype(np.float32), query)
        return scores

    def vectors(self, rows: Rows) -> F16:
        """The vectors of some rows, float16 (N, dim), in their order. Raises IndexFileError."""
        owners = self.owners(rows)
        if len(self.segments) == 1:
            return self.segments[0].vectors(rows - self._bases[0])
        vectors = np.empty((len(rows), self.layout.dim), np.float16)
        for number in np.unique(owners).tolist():
            own = owners == number
            vectors[own] = self.segments[number].vectors(rows[own] - self._bases[number])
        return vectors

    def owners(self, rows: Rows) -> Rows:
        """The number of the segment that each row belongs to. Raises IndexFileError where it belongs to none."""
        owners: Rows = np.searchsorted(self._bases, rows, side="right") - 1
        if len(rows) and (owners.min() < 0 or (rows >= self._ends[owners]).any()):
            raise IndexFileError("the index names rows that it does not have; it is damaged, run vidray index again")
        return owners


def _products(left: F32, right: F32) -> F32:
    """Raises IndexFileError where a vector of a damaged file is none."""
    with np.errstate(over="ignore", invalid="ignore"):
        products: F32 = left @ right
    if not np.isfinite(products).all():
        raise IndexFileError("the index is damaged: vectors that are no numbers, run vidray index again")
    return products

"""How many of the truly best clips an index finds, and into how many lists it has to look for that.

Clips of the index itself are the queries, and do not count as their own neighbours. A neighbour that scores like the
tenth best counts as found: copies of a clip are interchangeable. One pass over all vectors gives the truth for clips
without a filter, and with filters that keep a random tenth and hundredth of them.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from vidray.index.ann import F32, Rows
from vidray.index.manifest import Measured
from vidray.index.segment import bits_of, chunks
from vidray.index.vectors import Mask, Vectors

RECALL_AT = 10
QUERIES = 200
FEWER_QUERIES = 64
"""Where a table only grew by a little, so that measuring takes no more than the growth itself."""

TARGETS = {1.0: 0.99, 0.1: 0.98, 0.01: 0.98}
"""The share of the clips that a filter keeps, and the recall that is aimed at."""

FEWEST_PROBES = 8
"""What is searched for may lie between the clips that recall is measured by: another rendering, another corpus."""

STEP = 1.25
RERANKS = (50, 100, 200, 400, 800, 1600)
RERANK_LOSS = 0.002
SAME_SCORE = 1e-5
"""Scores of one pair of vectors by FAISS and by NumPy differ by less."""


def measure(vectors: Vectors, *, queries: int = QUERIES, seed: int = 0) -> tuple[Measured, ...]:
    """For each share of TARGETS the fewest lists that reach its recall, and the fewest reranked that keep it."""
    if vectors.layout.exact:
        return tuple(Measured(kept=kept, nprobe=1, rerank=0, recall_at_10=1.0) for kept in TARGETS)
    found: list[Measured] = []
    for truth in _truths(vectors, queries, seed):
        best = truth.fewest_lists(vectors, found[-1].nprobe if found else FEWEST_PROBES)
        found.append(truth.fewest_reranked(vectors, best) if best.rerank else best)
    return tuple(found)


class _Truth:
    """What is best by comparison with all clips that a filter keeps.

    Attributes:
        wanted: The score of the last of the k best, (Q,).
    """

    def __init__(self, kept: float, mask: Mask, picked: Rows, queries: F32) -> None:
        self.kept, self.mask, self.picked, self.queries = kept, mask, picked, queries
        self.k = max(0, min(RECALL_AT, int(mask.sum()) - 1))
        self._best = np.full((len(picked), self.k), -np.inf, np.float32)

    def add(self, rows: Rows, scores: F32) -> None:
        """Take in the scores, (Q, N), of some rows."""
        if self.k:
            both = np.concatenate([self._best, scores[:, self.mask[rows]]], axis=1)
            self._best = -np.partition(-both, self.k - 1, axis=1)[:, : self.k]

    def recall(self, vectors: Vectors, rerank: int, nprobe: int) -> float:
        """The share of the k best that a search finds."""
        if not self.k:
            return 1.0
        allowed = None if self.kept == 1 else bits_of(self.mask)
        found = vectors.search(self.queries, self.k + 1, nprobe=nprobe, rerank=rerank, allowed=allowed)
        wanted = self._best.min(axis=1, keepdims=True)
        near = found.scores >= wanted - SAME_SCORE * np.maximum(1.0, np.abs(wanted))
        hits = (near & (found.rows >= 0) & (found.rows != self.picked[:, None])).sum(axis=1)
        return round(float(np.minimum(hits, self.k).mean() / self.k), 4)

    def fewest_lists(self, vectors: Vectors, start: int) -> Measured:
        """The fewest lists, from `start`, that reach the recall that is aimed at."""
        nlist = vectors.layout.nlist
        rerank = 0 if vectors.layout.codec == "fp16" else RERANKS[-1]
        nprobe = min(start, nlist)
        while True:
            recall = self.recall(vectors, rerank, nprobe)
            if recall >= TARGETS[self.kept] or nprobe >= nlist:
                return Measured(kept=self.kept, nprobe=nprobe, rerank=rerank, recall_at_10=recall)
            nprobe = min(max(nprobe + 1, round(STEP * nprobe)), nlist)

    def fewest_reranked(self, vectors: Vectors, best: Measured) -> Measured:
        """The same with the fewest that are reranked at next to no loss."""
        for rerank in RERANKS[:-1]:
            recall = self.recall(vectors, rerank, best.nprobe)
            if recall >= best.recall_at_10 - RERANK_LOSS:
                return replace(best, rerank=rerank, recall_at_10=recall)
        return best


def _truths(vectors: Vectors, count: int, seed: int) -> list[_Truth]:
    alive = vectors.mask()
    rows = np.flatnonzero(alive)
    rng = np.random.default_rng(seed)
    picked = np.sort(rng.choice(rows, min(count, len(rows)), replace=False))
    queries = vectors.vectors(picked).astype(np.float32)
    draw = rng.random(vectors.rows, dtype=np.float32)
    truths = [_Truth(kept, alive & (draw < kept), picked, queries) for kept in TARGETS]
    for segment in vectors.segments:
        base = segment.segment.base
        order = segment.stored_order()
        for local, floats in chunks(segment, order[alive[base + order]]):
            scores = queries @ floats.T
            own, at = np.nonzero(picked[:, None] == base + local[None, :])
            scores[own, at] = -np.inf
            for truth in truths:
                truth.add(base + local, scores)
    return truths

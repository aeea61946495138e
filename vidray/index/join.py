"""Vectors joined with themselves: of each those that are most like it, by the lists that are nearest to it.

As in an index with lists, but list by list: all vectors that look into a list are compared with those in it at once,
which costs a matrix product instead of as many searches.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from vidray.index import ann
from vidray.index.ann import F16, F32, Rows
from vidray.index.build import SEED

EXACT_ROWS = 10_000
"""So many vectors are compared each with each, at once."""

PROBES = 8
"""Lists that each vector looks into; neighbours that are near enough to matter are nearly always in these."""

TRAIN_PER_LIST = 32
BLOCK = 4096


def self_join(vectors: F16, *, k: int, least: float, probes: int = PROBES) -> tuple[Rows, Rows, F32]:
    """Pairs of vectors whose inner product is no less than `least`, of each its k best: each once, the lower row first.

    Args:
        vectors: float16 (N, D), of length 1 where the cosine is meant.
        k: Neighbours of a vector, itself not counted.
        least: Of the inner product.
        probes: Lists to look into; more find more, and take as much more time.

    Returns:
        int64 (P,) twice, ascending, and float32 (P,).
    """
    best = np.full((len(vectors), k), -np.inf, np.float32)
    rows = np.full((len(vectors), k), -1, np.int64)
    for asking, asked in _blocks(vectors, probes):
        some = vectors[asked].astype(np.float32).T
        for first in range(0, len(asking), BLOCK):
            _merge(best, rows, asking[first : first + BLOCK], asked, vectors, some)
    one, place = np.nonzero((rows >= 0) & (best >= least))
    pairs = np.sort(np.stack([one, rows[one, place]], axis=1), axis=1)
    found, places = np.unique(pairs, axis=0, return_index=True)
    return found[:, 0], found[:, 1], best[one, place][places]


def _blocks(vectors: F16, probes: int) -> Iterator[tuple[Rows, Rows]]:
    """What is compared with what: all rows that look into a list, and the rows that are in it."""
    everything = np.arange(len(vectors))
    nlist = ann.list_count(*vectors.shape)
    if len(vectors) <= EXACT_ROWS or nlist <= probes:
        for first in range(0, len(vectors), BLOCK):
            yield everything, everything[first : first + BLOCK]
        return
    draw = np.random.default_rng(SEED)
    sample = np.sort(draw.choice(len(vectors), min(len(vectors), TRAIN_PER_LIST * nlist), replace=False))
    centroids = ann.train(vectors[sample].astype(np.float32), nlist, seed=SEED)
    near = np.concatenate(
        [_nearest(vectors[at : at + BLOCK], centroids, probes) for at in range(0, len(vectors), BLOCK)]
    )
    inside = _by_list(near[:, :1], nlist)
    for asked, asking in zip(inside, _by_list(near, nlist), strict=True):
        if len(asked):
            yield asking, asked


def _nearest(vectors: F16, centroids: F32, probes: int) -> npt.NDArray[np.int32]:
    """The nearest lists of each vector, the nearest first: (N, probes)."""
    scores = vectors.astype(np.float32) @ centroids.T
    lists = np.argpartition(-scores, probes - 1, axis=1)[:, :probes]
    order = np.argsort(-np.take_along_axis(scores, lists, axis=1), axis=1, kind="stable")
    return np.take_along_axis(lists, order, axis=1).astype(np.int32)


def _by_list(lists: npt.NDArray[np.int32], nlist: int) -> list[Rows]:
    """The rows, ascending, that name each list: (N, n) lists of rows."""
    order = np.argsort(lists, axis=None, kind="stable")
    counts = np.bincount(lists.ravel(), minlength=nlist)
    return [np.sort(rows) for rows in np.split(order // lists.shape[1], np.cumsum(counts)[:-1])]


def _merge(best: F32, rows: Rows, asking: Rows, asked: Rows, vectors: F16, some: F32) -> None:
    """Compare vectors with those of a list, and keep what is better than what they had."""
    scores = vectors[asking].astype(np.float32) @ some
    scores[asking[:, None] == asked[None, :]] = -np.inf
    k = best.shape[1]
    if scores.shape[1] > k:
        chosen = np.argpartition(-scores, k - 1, axis=1)[:, :k]
        scores = np.take_along_axis(scores, chosen, axis=1)
        found = asked[chosen]
    else:
        found = np.broadcast_to(asked, scores.shape)
    both = np.concatenate([best[asking], scores], axis=1)
    names = np.concatenate([rows[asking], found], axis=1)
    order = np.argpartition(-both, k - 1, axis=1)[:, :k]
    best[asking] = np.take_along_axis(both, order, axis=1)
    rows[asking] = np.where(np.isfinite(best[asking]), np.take_along_axis(names, order, axis=1), -1)

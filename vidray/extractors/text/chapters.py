"""Where a talk turns to something else: the segmentation of its sentences' vectors that leaves the least scatter.

Kernel change points (Arlot, Celisse and Harchaoui 2019, https://arxiv.org/abs/1202.3878) with the inner product of unit
vectors: the chapters that minimize the squared distances of sentences to their chapter's mean, plus a price a chapter,
found exactly by dynamic programming.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

FEWEST_SENTENCES = 8
"""A chapter has as many: half a minute of speech. Digressions are shorter."""
MOST_SENTENCES = 500
"""A chapter has no more, some forty minutes of speech: time and memory grow as the talk does, not as its square."""
PRICE = 1.1
"""Of a chapter, in squared distances: chosen on made talks, of which docs/meaning.md says how well it parts them."""


def chapter_starts(vectors: npt.NDArray[np.float32]) -> list[int]:
    """The place of the first sentence of each chapter, from sentences' unit vectors (N, D); none of no sentences."""
    count = len(vectors)
    if count < 2 * FEWEST_SENTENCES:
        return [0] if count else []
    sums = np.concatenate([np.zeros((1, vectors.shape[1])), np.cumsum(vectors.astype(np.float64), axis=0)])
    best, before = np.full(count + 1, np.inf), np.zeros(count + 1, np.int64)
    best[0] = 0.0
    for end in range(FEWEST_SENTENCES, count + 1):
        starts = np.arange(max(0, end - MOST_SENTENCES), end - FEWEST_SENTENCES + 1)
        lengths = end - starts
        scatter = lengths - ((sums[end] - sums[starts]) ** 2).sum(axis=1) / lengths
        totals = best[starts] + scatter + PRICE
        before[end] = starts[totals.argmin()]
        best[end] = totals.min()
    found = [int(before[count])]
    while found[-1] > 0:
        found.append(int(before[found[-1]]))
    return found[::-1]

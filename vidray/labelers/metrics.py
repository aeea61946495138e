"""How good predictions are: accuracy, macro F1, average precision, with intervals that know that clips of one video are
alike.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

RESAMPLES = 1000
LEVEL = 0.95
CHUNK_CELLS = 4_000_000


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A figure and the bounds of its 95% interval: percentiles over resampled videos (cluster bootstrap)."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Metrics:
    """What predictions of clips come to.

    Attributes:
        accuracy: Share of clips whose likeliest class is theirs.
        macro_f1: Mean of the classes' F1, each class counting alike; a class that never occurs and is never
            predicted counts 0.
        average_precision: Of each class against the others, in the order of the classes.
        confusion: int64 (classes, classes), clips by their class (rows) and the predicted one (columns).
    """

    accuracy: Estimate
    macro_f1: Estimate
    average_precision: tuple[Estimate, ...]
    confusion: Ints


def measure(classes: Ints, probabilities: Floats, videos: Ints, *, seed: int = 0) -> Metrics:
    """Measure predictions, with 95% intervals by drawing whole videos, with replacement, 1000 times.

    Clips of one video are no independent witnesses, so that an interval over clips would be too narrow:
    https://doi.org/10.1093/biostatistics/kxu041 (bootstrap for clustered data).

    Args:
        classes: (N,) the true classes, as numbers from 0.
        probabilities: (N, C).
        videos: (N,) which video each clip is of, as numbers from 0.
        seed: Of the draws.
    """
    count = probabilities.shape[1]
    clusters = int(videos.max()) + 1
    draws = np.random.default_rng(seed).multinomial(clusters, np.full(clusters, 1 / clusters), RESAMPLES)
    weights = np.concatenate([np.ones((1, clusters)), draws])
    confusions = _confusions(classes, probabilities.argmax(axis=1), videos, weights, count)
    return Metrics(
        accuracy=_estimate(_accuracy(confusions)),
        macro_f1=_estimate(_macro_f1(confusions)),
        average_precision=tuple(
            _estimate(_average_precisions(classes == number, probabilities[:, number], videos, weights))
            for number in range(count)
        ),
        confusion=confusions[0].astype(np.int64),
    )


def _estimate(values: Floats) -> Estimate:
    """From the figure itself, which comes first, and those of the draws; those without the class are left out."""
    low, high = np.nanquantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Estimate(value=float(values[0]), low=float(low), high=float(high))


def _confusions(truth: Ints, predicted: Ints, videos: Ints, weights: Floats, count: int) -> Floats:
    """(R, C, C) from the weights (R, videos) of resamples: sums of the videos' own confusions."""
    cells, places = np.unique(truth * count + predicted, return_inverse=True)
    by_video = np.zeros((weights.shape[1], len(cells)))
    np.add.at(by_video, (videos, places), 1)
    confusions = np.zeros((len(weights), count * count))
    confusions[:, cells] = weights @ by_video
    return confusions.reshape(-1, count, count)


def _accuracy(confusions: Floats) -> Floats:
    right: Floats = np.trace(confusions, axis1=1, axis2=2) / confusions.sum(axis=(1, 2))
    return right


def _macro_f1(confusions: Floats) -> Floats:
    right = np.diagonal(confusions, axis1=1, axis2=2)
    both = confusions.sum(axis=1) + confusions.sum(axis=2)
    f1: Floats = np.divide(2 * right, both, out=np.zeros_like(both), where=both > 0)
    return np.asarray(f1.mean(axis=1), np.float64)


def _average_precisions(is_class: npt.NDArray[np.bool_], scores: Floats, videos: Ints, weights: Floats) -> Floats:
    """(R,) the mean of the precision over the class's clips, from the best score down; NaN where a draw has none.

    Clips of equal score are one step, as in scikit-learn's `average_precision_score`.
    """
    order = np.argsort(-scores, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(scores[order])), len(order) - 1)
    found = np.empty(len(weights))
    rows = max(1, CHUNK_CELLS // len(order))
    for first in range(0, len(weights), rows):
        seen = weights[first : first + rows][:, videos[order]]
        hits = np.cumsum(seen * is_class[order], axis=1)[:, ends]
        total = np.cumsum(seen, axis=1)[:, ends]
        precision = np.divide(hits, total, out=np.zeros_like(hits), where=total > 0)
        gained = np.diff(hits, axis=1, prepend=0)
        with np.errstate(invalid="ignore"):
            found[first : first + rows] = (gained * precision).sum(axis=1) / hits[:, -1]
    return found

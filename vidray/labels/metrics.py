"""How good predictions are: accuracy, macro F1, average precision, with intervals that know that clips of one video are
alike.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Counts = npt.NDArray[np.uint8]

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
    weights = _weights(clusters, seed)
    predicted = probabilities.argmax(axis=1)
    is_right = predicted == classes
    right = _tallies(classes[is_right], videos[is_right], weights, count)
    actual = _tallies(classes, videos, weights, count)
    return Metrics(
        accuracy=_estimate(right.sum(axis=1) / actual.sum(axis=1)),
        macro_f1=_estimate(_macro_f1(right, actual + _tallies(predicted, videos, weights, count))),
        average_precision=tuple(
            _estimate(_average_precisions(classes == number, probabilities[:, number], videos, weights))
            for number in range(count)
        ),
        confusion=np.bincount(classes * count + predicted, minlength=count * count).reshape(count, count),
    )


def _estimate(values: Floats) -> Estimate:
    """From the figure itself, which comes first, and those of the draws; those without the class are left out.

    All are NaN where no clip is of the class.
    """
    if np.isnan(values[0]):
        return Estimate(value=np.nan, low=np.nan, high=np.nan)
    low, high = np.nanquantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Estimate(value=float(values[0]), low=float(low), high=float(high))


def _weights(clusters: int, seed: int) -> Counts:
    """How often each resample has each video: (R, videos), all of them once in the first.

    A byte each: that one of N videos is drawn more than 255 times in N draws does not happen.
    """
    rng = np.random.default_rng(seed)
    weights = np.ones((1 + RESAMPLES, clusters), np.uint8)
    for drawn in weights[1:]:
        drawn[:] = np.bincount(rng.integers(0, clusters, clusters), minlength=clusters)
    return weights


def _tallies(classes: Ints, videos: Ints, weights: Counts, count: int) -> Floats:
    """How many clips of each class each resample has: (R, C)."""
    return np.stack([np.bincount(classes, weights=drawn[videos], minlength=count) for drawn in weights])


def _macro_f1(right: Floats, both: Floats) -> Floats:
    """From the clips (R, C) rightly taken for a class, and the sum of those that are of it and those taken for it."""
    f1: Floats = np.divide(2 * right, both, out=np.zeros_like(both), where=both > 0)
    return np.asarray(f1.mean(axis=1), np.float64)


def _average_precisions(is_class: npt.NDArray[np.bool_], scores: Floats, videos: Ints, weights: Counts) -> Floats:
    """(R,) the mean of the precision over the class's clips, from the best score down; NaN where a draw has none.

    Clips of equal score are one step, as in scikit-learn's `average_precision_score`.
    """
    order = np.argsort(-scores, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(scores[order])), len(order) - 1)
    found = np.empty(len(weights))
    rows = max(1, CHUNK_CELLS // len(order))
    for first in range(0, len(weights), rows):
        seen = weights[first : first + rows][:, videos[order]]
        hits = np.cumsum(seen * is_class[order], axis=1, dtype=np.float64)[:, ends]
        total = np.cumsum(seen, axis=1, dtype=np.float64)[:, ends]
        precision = np.divide(hits, total, out=np.zeros_like(hits), where=total > 0)
        gained = np.diff(hits, axis=1, prepend=0)
        with np.errstate(invalid="ignore"):
            found[first : first + rows] = (gained * precision).sum(axis=1) / hits[:, -1]
    return found

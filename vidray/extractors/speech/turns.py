"""Who speaks when, from the vectors of windows: voices are grouped, and each moment is given to the nearest window."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

SAME_VOICE = 0.70
"""Groups are joined as long as the mean cosine between their windows is at least this. Two windows of one voice have
0.78 on average, those of two voices 0.6, of the same sex 0.65. Chosen by the errors on the Spanish, Russian and Italian
prompts of Asterisk, one, two and three at a time; at 0.66 and 0.74 there were too few and too many speakers."""
LEAST_S = 3.0
"""A group with less speech is given to the others: a window over a change of voices is like neither."""
MOST_WINDOWS = 3000
"""Of more than twenty minutes of speech neighbouring windows are joined first, since groups are found by all pairs."""
ADJOINING_S = 0.6
"""Turns of one voice with less between them are one."""

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Window:
    """A span of speech, and how its voice sounds.

    Attributes:
        start_s: On the video's clock.
        end_s: Windows overlap.
        segment_end_s: Where the speech ends in which it lies.
        voice: A unit vector.
    """

    start_s: float
    end_s: float
    segment_end_s: float
    voice: Floats


@dataclass(frozen=True, kw_only=True)
class Turn:
    """A span in which one voice speaks; `speaker` is its number, in the order in which they are first heard."""

    start_s: float
    end_s: float
    speaker: int


def turns_of(windows: Sequence[Window], *, count: int | None = None) -> list[Turn]:
    """Who speaks when in a video.

    Args:
        windows: Of all of it, in order.
        count: How many speakers there are; None for as many as differ.
    """
    if not windows:
        return []
    spans = list(_owned(windows))
    seconds = np.array([end_s - start_s for start_s, end_s in spans])
    groups = _groups(np.stack([window.voice for window in windows]).astype(np.float64), seconds, count)
    _, first, numbers = np.unique(groups, return_index=True, return_inverse=True)
    speakers = np.argsort(np.argsort(first))[numbers]
    found: list[Turn] = []
    for (start_s, end_s), speaker in zip(spans, speakers.tolist(), strict=True):
        if found and found[-1].speaker == speaker and start_s - found[-1].end_s < ADJOINING_S:
            found[-1] = Turn(start_s=found[-1].start_s, end_s=end_s, speaker=speaker)
        else:
            found.append(Turn(start_s=start_s, end_s=end_s, speaker=speaker))
    return found


def _owned(windows: Sequence[Window]) -> Iterator[tuple[float, float]]:
    """Of each window the moments whose nearest one it is: in the middle between neighbours' centres."""
    start_s = windows[0].start_s
    for place, window in enumerate(windows):
        after = windows[place + 1] if place + 1 < len(windows) else None
        if after is None or after.start_s >= window.segment_end_s or after.segment_end_s != window.segment_end_s:
            yield start_s, window.segment_end_s
            start_s = after.start_s if after is not None else 0.0
        else:
            middle_s = (window.start_s + window.end_s + after.start_s + after.end_s) / 4
            yield start_s, middle_s
            start_s = middle_s


def _groups(voices: npt.NDArray[np.float64], seconds: npt.NDArray[np.float64], count: int | None) -> Ints:
    """Which voice each window is: groups by average linkage, then each window to the group that it is most like."""
    size = -(-len(voices) // MOST_WINDOWS)
    joined = np.stack([_unit(voices[first : first + size].sum(axis=0)) for first in range(0, len(voices), size)])
    groups = np.repeat(_linked(joined, count), size)[: len(voices)]
    for _ in range(2):
        held = np.array([seconds[groups == group].sum() for group in range(groups.max() + 1)])
        kept = np.flatnonzero(held >= LEAST_S) if count is None else np.flatnonzero(held > 0)
        if not len(kept):
            kept = np.array([held.argmax()])
        centres = np.stack([_unit(voices[groups == group].sum(axis=0)) for group in kept])
        groups = np.argmax(voices @ centres.T, axis=1)
    return np.asarray(groups, np.int64)


def _linked(voices: npt.NDArray[np.float64], count: int | None) -> Ints:
    from sklearn.cluster import AgglomerativeClustering

    if len(voices) == 1:
        return np.zeros(1, np.int64)
    distances = np.maximum(0.0, 1.0 - voices @ voices.T)
    grouping = AgglomerativeClustering(
        n_clusters=None if count is None else min(count, len(voices)),
        distance_threshold=1.0 - SAME_VOICE if count is None else None,
        metric="precomputed",
        linkage="average",
    )
    return np.asarray(grouping.fit_predict(distances), np.int64)


def _unit(vector: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.asarray(vector / max(float(np.linalg.norm(vector)), 1e-9))

"""Which clips are worth labeling next: those that a head is unsure of, and that are not alike."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from vidray.labels.examples import Ragged
from vidray.labels.word_examples import word_directions

Floats = npt.NDArray[np.float64]


def uncertainty(probabilities: Floats) -> Floats:
    """1 less the margin between a clip's two likeliest classes (Scheffer et al. 2001): (N, C) -> (N,) in [0, 1]."""
    second, first = np.partition(probabilities, -2, axis=1)[:, -2:].T
    return np.asarray(1 - (first - second), np.float64)


def directions(clips: Ragged) -> npt.NDArray[np.float32]:
    """The mean frame of each clip, or what words it has, as a unit vector: (N, D)."""
    starts = np.cumsum(clips.lengths) - clips.lengths
    is_words = clips.frames.dtype == np.int64
    frames = word_directions(clips.frames) if is_words else clips.frames.astype(np.float32)
    sums = np.add.reduceat(frames, starts, axis=0)
    return np.asarray(sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-12), np.float32)


def others_first(uncertain: Floats, videos: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """An order of clips: the least certain clip of each video, least certain first, then all second ones, and so on."""
    order = np.argsort(-uncertain, kind="stable")
    by_video = order[np.argsort(videos[order], kind="stable")]
    _, counts = np.unique(videos, return_counts=True)
    place = np.empty(len(order), np.int64)
    place[by_video] = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)
    return np.lexsort((-uncertain, place))


def choose(
    uncertain: Floats, vectors: npt.NDArray[np.float32], videos: npt.NDArray[np.int64], count: int
) -> npt.NDArray[np.int64]:
    """The numbers of so many clips, the first being the least certain one.

    Each next one is farthest from those that were chosen (greedy k-center, https://arxiv.org/abs/1708.00489), its
    distance weighted by its uncertainty; a second clip of a video comes only where all videos have been chosen from.

    Args:
        uncertain: (N,) in [0, 1].
        vectors: (N, D), of length 1.
        videos: (N,) which video each is of.
        count: How many; all where there are no more.
    """
    chosen: list[int] = []
    distance = np.ones(len(uncertain))
    taken = np.zeros(int(videos.max(initial=-1)) + 1, np.int64)
    open_ = np.ones(len(uncertain), np.bool_)
    while len(chosen) < count and open_.any():
        allowed = open_ & (taken[videos] == taken[videos[open_]].min())
        worth = np.where(allowed, uncertain * distance, -1.0)
        best = int(worth.argmax())
        chosen.append(best)
        open_[best] = False
        taken[videos[best]] += 1
        distance = np.minimum(distance, 1 - vectors @ vectors[best])
    return np.array(chosen, np.int64)

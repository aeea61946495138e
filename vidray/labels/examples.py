"""The features that heads look at: clips of differing numbers of frames in one array, from a table's columns."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from vidray.errors import StoreError
from vidray.labels.word_examples import word_numbers

Ints = npt.NDArray[np.int64]

COLUMNS = {"linear": "embedding", "gru": "frame_embeddings", "text": "text", "text-lstm": "text"}
"""The column that each kind of head looks at."""


@dataclass(frozen=True)
class Ragged:
    """The features of N clips.

    Attributes:
        frames: float16 or float32 (F, D), the frames of all clips one after the other; one a clip for a clip's own
            embedding; int64 (F, 1) for words.
        lengths: int64 (N,), how many of them each clip has, at least one; they come to F.
    """

    frames: npt.NDArray[Any]
    lengths: Ints

    def __len__(self) -> int:
        return len(self.lengths)

    def take(self, clips: npt.NDArray[np.int64] | npt.NDArray[np.bool_]) -> Ragged:
        """These clips, by number or by mask, in this order."""
        chosen = np.arange(len(self))[clips]
        starts = np.cumsum(self.lengths) - self.lengths
        lengths = self.lengths[chosen]
        within = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        return Ragged(self.frames[np.repeat(starts[chosen], lengths) + within], lengths)

    def between(self, first: int, last: int) -> Ragged:
        """The clips from one number to before another, without a copy."""
        start, stop = self.lengths[:first].sum(), self.lengths[:last].sum()
        return Ragged(self.frames[start:stop], self.lengths[first:last])


def joined(parts: Iterable[Ragged]) -> Ragged:
    """The clips of several, at least one."""
    held = list(parts)
    return Ragged(np.concatenate([p.frames for p in held]), np.concatenate([p.lengths for p in held]))


def vectors_of(rows: pa.Table, column: str) -> tuple[Ragged, npt.NDArray[np.bool_]]:
    """The features of the rows that have usable ones, and which rows these are: (Ragged of N, bool (rows,)).

    A row whose embedding is null, empty or not finite has none.

    Args:
        rows: With the column, a list of floats (`embedding`), or of lists of floats (`frame_embeddings`), or texts.
        column: Which.

    Raises:
        StoreError: The vectors are not all of one length.
    """
    values = rows[column].combine_chunks()
    if pa.types.is_string(values.type):
        words, counts = word_numbers(values)
        return Ragged(words, counts[counts > 0]), counts > 0
    counts = values.is_valid().to_numpy(zero_copy_only=False).astype(np.int64)
    vectors = values.drop_null()
    if pa.types.is_nested(vectors.type.value_type):
        counts[counts > 0] = pc.list_value_length(vectors).to_numpy(zero_copy_only=False)
        vectors = vectors.flatten()
    dims = pc.unique(pc.list_value_length(vectors)).to_pylist()
    if len(dims) > 1:
        raise StoreError(f"{column} holds vectors of {min(dims)} and {max(dims)} numbers; they must be of one length")
    frames = vectors.flatten().to_numpy(zero_copy_only=False).reshape(len(vectors), dims[0] if dims else 0)
    clips = Ragged(frames, counts)
    of_clip = np.repeat(np.arange(len(counts)), counts)
    usable = counts > 0
    usable[of_clip[~np.isfinite(frames).all(axis=1)]] = False
    return clips if usable.all() else clips.take(usable), usable

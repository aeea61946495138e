"""Texts as what a text head looks at: the words of a clip, in their order, as numbers."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Ints = npt.NDArray[np.int64]

MOST_WORDS = 512
"""Of a longer text the first words count: about three minutes of speech."""
BUCKETS = 256
"""Directions of which a word has one, where clips are compared by the words that they share."""

_WORD = re.compile(r"\w+(?:['’]\w+)*")


def words_of(text: str | None) -> list[str]:
    """The words of a text in lower case, without punctuation."""
    return _WORD.findall((text or "").lower())[:MOST_WORDS]


def word_numbers(texts: pa.Array) -> tuple[Ints, Ints]:
    """The words of texts one after the other, int64 (F, 1), and how many each has (N,): 0 for null and for no word.

    A word's number is a hash of it, so that a head needs no list of words to know them again.
    """
    words = [words_of(text) for text in texts.to_pylist()]
    counts = np.array([len(some) for some in words], np.int64)
    return np.array([_number(word) for some in words for word in some], np.int64).reshape(-1, 1), counts


def vocabulary(numbers: Sequence[Ints], most: int) -> Ints:
    """The words that texts share, ascending: those of two texts or more, the most frequent ones where there are many.

    All of them where no two texts share a word.
    """
    seen, counts = np.unique(np.concatenate([np.unique(some) for some in numbers]), return_counts=True)
    shared = np.flatnonzero(counts > 1)
    chosen = shared if len(shared) else np.arange(len(seen))
    best = chosen[np.argsort(-counts[chosen], kind="stable")[:most]]
    return np.sort(seen[best])


def word_directions(numbers: Ints) -> npt.NDArray[np.float32]:
    """A direction for each word, float32 (F, 256): those of two words are mostly at right angles."""
    return np.eye(BUCKETS, dtype=np.float32)[numbers[:, 0] % BUCKETS]


@lru_cache(maxsize=1 << 16)
def _number(word: str) -> int:
    return int.from_bytes(hashlib.blake2b(word.encode(), digest_size=8).digest(), "little") >> 1

"""Which clips of different videos are worth comparing: those with hashes that nearly agree, or near embeddings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations, pairwise

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from vidray.duplicates.pictures import Video
from vidray.index.join import self_join
from vidray.labels.examples import vectors_of
from vidray.store import Store
from vidray.store.layout import features_of

SURE_BITS = 3
"""Two hashes that differ in so many bits share a key, the blocks that they agree in: they meet where few others do."""

BLOCKS = {4: 8, 5: 6, 6: 5}
"""Into so many blocks hashes are parted, all but `SURE_BITS` of which are a key: of 16, 25 or 32 bits (Manku, Jain and
Das Sarma 2007). Short keys find more pairs that differ in more bits, long ones keep apart what is many. Two hashes of
a bucket may be of one picture where they differ in so many bits: re-encoding changes 0 to 4, another picture about 32,
but of ten million by chance some pairs have 7 or 8."""

BUCKET_MEAN, BUCKET_MOST = 8, 48
"""Hashes that share a key: how many do so by chance at most, and how many are all held against each other."""

CHAINED = 2
"""Where more share a key, each is held against so many next ones: what is copied a thousand times is a chain."""

CHAIN_LEAST, CHAIN_SHARE = 4, 0.25
"""Hashes that such clips share, and their share of the clip's that has fewer: a title is not worth a comparison."""

NEIGHBOURS = 10
LEAST_COSINE = 0.5
"""Embeddings of a crop or of half a clip are this near at least to the original's; measured, see docs/duplicates.md."""

LEAST_LENGTH = 1e-12
READ_ROWS = 4096

Hashes = npt.NDArray[np.uint64]
Places = npt.NDArray[np.int64]
Pairs = tuple[Places, Places, Places]
"""Clips by their places among those of all videos, the lower first, and how often each two meet."""

Candidates = dict[tuple[int, int], dict[tuple[int, int], float]]
"""By the places of two videos, the lower first: pairs of their clips, the more promising the higher."""


def by_hashes(videos: Sequence[Video]) -> Candidates:
    """Clips of different videos that have nearly the same hash somewhere."""
    hashes, clips = _distinct(videos)
    owners = np.repeat(np.arange(len(videos)), [len(video.clip_ids) for video in videos])
    firsts = np.concatenate([[0], np.cumsum([len(video.clip_ids) for video in videos])])
    found: Candidates = {}

    for ones, others, votes in _near(hashes, clips, owners):
        for one, other, count in zip(ones.tolist(), others.tolist(), votes.tolist(), strict=True):
            a, b = int(owners[one]), int(owners[other])
            pair = int(one - firsts[a]), int(other - firsts[b])
            if pair not in found.get((a, b), ()):
                _add(found, (a, pair[0]), (b, pair[1]), float(count))
    return found


def _distinct(videos: Sequence[Video]) -> tuple[Hashes, Places]:
    """The hashes of all clips, of each each once, and the clips that they are of, counted over all videos."""
    rows, first = [], 0
    for video in videos:
        rows.append(np.unique(np.stack([video.clips.astype(np.uint64) + np.uint64(first), video.hashes]), axis=1))
        first += len(video.clip_ids)
    both = np.concatenate(rows, axis=1) if rows else np.empty((2, 0), np.uint64)
    return both[1], both[0].astype(np.int64)


def _near(hashes: Hashes, clips: Places, owners: Places) -> Iterator[Pairs]:
    """Clips with hashes that differ in few bits: of those that share a key with few, and of the others."""
    few, many = [], []
    masks, most_bits = _masks(len(hashes))
    for mask in masks:
        # by key, then by clip, in whose order they come
        order = np.argsort(hashes & mask, kind="stable")
        keys = (hashes & mask)[order]
        edges = np.flatnonzero(np.diff(keys, prepend=~keys[:1], append=~keys[-1:]))
        is_few = np.repeat(np.diff(edges) <= BUCKET_MOST, np.diff(edges))
        for one, other in _neighbours(keys[is_few], order[is_few], BUCKET_MOST - 1):
            one, other = _alike(hashes, one, other, most_bits)
            few.append(_met(clips[one], clips[other], owners))
        # of the clips of a video one: else the next ones of a still video would be its own
        is_repeated = (np.diff(keys, prepend=~keys[:1]) == 0) & (np.diff(owners[clips[order]], prepend=-1) == 0)
        kept = ~is_few & ~is_repeated
        for one, other in _neighbours(keys[kept], order[kept], CHAINED):
            one, other = _alike(hashes, one, other, most_bits)
            many.append(one * len(hashes) + other)
    yield _counted(few, owners)
    # two hashes may share several keys, and count once
    both = np.unique(np.concatenate([np.empty(0, np.int64), *many]))
    one, other = (clips[rows] for rows in (both // len(hashes), both % len(hashes)))
    one, other, shared = _counted([_met(one, other, owners)], owners)
    lengths = np.bincount(clips, minlength=len(owners))
    worth = shared >= np.maximum(CHAIN_LEAST, CHAIN_SHARE * np.minimum(lengths[one], lengths[other]))
    yield one[worth], other[worth], shared[worth]


def _masks(count: int) -> tuple[list[np.uint64], int]:
    """The bits of each key by which so many hashes are sorted, and in how many bits those of a bucket may differ."""
    for blocks in BLOCKS:
        edges = [64 * block // blocks for block in range(blocks + 1)]
        bits = [((1 << stop) - 1) ^ ((1 << start) - 1) for start, stop in pairwise(edges)]
        masks = [sum(some) for some in combinations(bits, blocks - SURE_BITS)]
        if count <= BUCKET_MEAN * 2 ** min(mask.bit_count() for mask in masks):
            break
    return [np.uint64(mask) for mask in masks], BLOCKS[blocks]


def _neighbours(keys: Hashes, rows: Places, most: int) -> Iterator[tuple[Places, Places]]:
    """The rows of ordered keys that are the same, and as far apart: one, then two, ..., then `most`."""
    places = np.arange(len(keys))
    for apart in range(1, most + 1):
        places = places[places + apart < len(keys)]
        places = places[keys[places] == keys[places + apart]]
        if not len(places):
            return
        yield rows[places], rows[places + apart]


def _alike(hashes: Hashes, one: Places, other: Places, most_bits: int) -> tuple[Places, Places]:
    """Those pairs of rows whose hashes may be of one picture."""
    is_near = np.bitwise_count(hashes[one] ^ hashes[other]) <= most_bits
    return one[is_near], other[is_near]


def _met(one: Places, other: Places, owners: Places) -> Places:
    """Pairs of clips of different videos, the lower first, each as one number: int64 (N,)."""
    apart = owners[one] != owners[other]
    one, other = one[apart], other[apart]
    return np.asarray(np.minimum(one, other) * len(owners) + np.maximum(one, other))


def _counted(met: Sequence[Places], owners: Places) -> Pairs:
    """Each pair once, in order, with how often it occurs."""
    each, counts = np.unique(np.concatenate([np.empty(0, np.int64), *met]), return_counts=True)
    return each // len(owners), each % len(owners), counts


def _add(found: Candidates, one: tuple[int, int], other: tuple[int, int], votes: float) -> None:
    one, other = sorted((one, other))
    pairs = found.setdefault((one[0], other[0]), {})
    key = one[1], other[1]
    pairs[key] = pairs.get(key, 0.0) + votes


def by_embeddings(store: Store, table: str, videos: Sequence[Video], found: Candidates) -> None:
    """Add clips of different videos whose embeddings are near."""
    places = {clip_id: (v, c) for v, video in enumerate(videos) for c, clip_id in enumerate(video.clip_ids)}
    ids: list[str] = []
    vectors = []
    for part in store.parts(features_of(table)):
        for rows in store.stream(features_of(table), part, ["clip_id", "embedding"], rows=READ_ROWS):
            some, usable = vectors_of(rows, "embedding")
            ids += rows.filter(pa.array(usable))["clip_id"].to_pylist()
            lengths = np.linalg.norm(some.frames.astype(np.float32), axis=1, keepdims=True)
            vectors += [(some.frames / np.maximum(lengths, LEAST_LENGTH)).astype(np.float16)] if len(some) else []
    if not ids:
        return
    for a, b, score in zip(*self_join(np.concatenate(vectors), k=NEIGHBOURS, least=LEAST_COSINE), strict=True):
        one, other = places.get(ids[a]), places.get(ids[b])
        if one is not None and other is not None and one[0] != other[0]:
            _add(found, one, other, float(score))

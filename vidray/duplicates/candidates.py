"""Which clips of different videos are worth comparing: those with hashes that nearly agree, or near embeddings."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from vidray.duplicates.pictures import Video
from vidray.index.join import self_join
from vidray.labels.examples import vectors_of
from vidray.store import Store
from vidray.store.layout import features_of

BANDS = 4
BAND_BITS = 16
"""Two hashes that differ in three bits agree in one of four bands at least."""

MOST_BITS = 8
"""Of two hashes that may be of one picture; re-encoding changes 0 to 4, another picture about 32."""

BUCKET_MOST = 48
"""Hashes that agree in a band; more are those of a common picture, such as a title, and tell nothing."""

NEIGHBOURS = 10
LEAST_COSINE = 0.5
"""Embeddings of a crop or of half a clip are this near at least to the original's; measured, see docs/duplicates.md."""

LEAST_LENGTH = 1e-12
READ_ROWS = 4096

Candidates = dict[tuple[int, int], dict[tuple[int, int], float]]
"""By the places of two videos, the lower first: pairs of their clips, the more promising the higher."""


def by_hashes(videos: Sequence[Video]) -> Candidates:
    """Clips of different videos that have nearly the same hash somewhere."""
    found: Candidates = {}
    hashes, owners, clips = _distinct(videos)
    for band in range(BANDS):
        keys = (hashes >> np.uint64(band * BAND_BITS)) & np.uint64((1 << BAND_BITS) - 1)
        order = np.argsort(keys, kind="stable")
        edges = np.flatnonzero(np.diff(keys[order])) + 1
        for bucket in np.split(order, edges):
            if 2 <= len(bucket) <= BUCKET_MOST:
                _pair(bucket, hashes, owners, clips, found)
    return found


def _distinct(
    videos: Sequence[Video],
) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The hashes of all videos, of each clip each once, with the video and the clip that they are of."""
    rows = [np.unique(np.stack([v.clips.astype(np.uint64), v.hashes]), axis=1) for v in videos]
    owners = np.repeat(np.arange(len(videos)), [row.shape[1] for row in rows])
    both = np.concatenate(rows, axis=1) if rows else np.empty((2, 0), np.uint64)
    return both[1], owners, both[0].astype(np.int64)


def _pair(
    bucket: npt.NDArray[np.int64],
    hashes: npt.NDArray[np.uint64],
    owners: npt.NDArray[np.int64],
    clips: npt.NDArray[np.int64],
    found: Candidates,
) -> None:
    one, other = np.triu_indices(len(bucket), 1)
    one, other = bucket[one], bucket[other]
    apart = owners[one] != owners[other]
    one, other = one[apart], other[apart]
    near = np.bitwise_count(hashes[one] ^ hashes[other]) <= MOST_BITS
    for a, b in zip(one[near].tolist(), other[near].tolist(), strict=True):
        _add(found, (int(owners[a]), int(clips[a])), (int(owners[b]), int(clips[b])), 1.0)


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

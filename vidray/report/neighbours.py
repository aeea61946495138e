"""The clips that are most like each clip, from the indexes that a store has."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from vidray.errors import VidrayError
from vidray.extractors.spec import modalities
from vidray.index import Index
from vidray.report.clips import Clips, streamed
from vidray.report.shards import Site, packed
from vidray.retrieval.indexed import check_same, indexed, open_table
from vidray.store import Store
from vidray.store.layout import features_of

NEIGHBOURS = 24
SHARD_CLIPS = 2000
NONE = 2**32 - 1
"""In place of a neighbour where there are fewer."""


def write_neighbours(site: Site, store: Store, clips: Clips) -> list[dict[str, object]]:
    """Write each clip's neighbours by every index: what there is, and why an index cannot be used."""
    found: list[dict[str, object]] = []
    for number, table in enumerate(indexed(store)):
        named: dict[str, object] = {"table": table, "of": sorted(modalities(store.spec(table) or {}))}
        try:
            index = open_table(store, table)
            check_same(store, table, index)
        except VidrayError as e:
            found.append({**named, "error": str(e)})
            continue
        nearest = _nearest(store, clips, table, index)
        for shard, first in enumerate(range(0, len(clips), SHARD_CLIPS)):
            site.data(f"neighbours/{number}-{shard}", packed(nearest[first : first + SHARD_CLIPS].ravel()))
        found.append({**named, "number": number})
    return found


def _nearest(store: Store, clips: Clips, table: str, index: Index) -> npt.NDArray[np.uint32]:
    """Numbers of clips, uint32 (N, NEIGHBOURS), the nearest first."""
    number_of = {clip: number for number, clip in enumerate(clips.ids.to_pylist())}
    found = np.full((len(clips), NEIGHBOURS), NONE, np.uint32)
    for numbers, rows in streamed(store, clips, features_of(table), ["embedding"]):
        known = rows["embedding"].is_valid()
        values = rows["embedding"].filter(known).combine_chunks()
        vectors = values.flatten().to_numpy(zero_copy_only=False).reshape(-1, index.dim)
        usable = np.isfinite(vectors).all(axis=1) & vectors.any(axis=1)
        if not usable.any():
            continue
        asked = numbers[np.asarray(known)][usable]
        matches = index.search(vectors[usable], NEIGHBOURS + 1)
        for number, ids in zip(asked.tolist(), matches.ids.tolist(), strict=True):
            others = [number_of[clip] for clip in ids if clip in number_of]
            others = [other for other in others if other != number][:NEIGHBOURS]
            found[number, : len(others)] = others
    return found

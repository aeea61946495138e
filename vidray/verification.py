"""Account for every planned clip, from the store alone: rows(features) + rows(errors) == rows(clips)."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from vidray.errors import StoreError, UsageError
from vidray.store import Store

_NONE = pa.array([], pa.string())


@dataclass(frozen=True, kw_only=True)
class Verification:
    """What `verify` counts, over all extractors of a store, in (clip, extractor) pairs.

    Attributes:
        planned: Clips times extractors.
        done: Rows of features.
        failed: Rows of errors.
        missing: Pairs that have neither.
        duplicated: Rows beyond the first of a pair.
        orphaned: Rows of clips that are not in the plan, or that say another video or span than the plan.
        notes: One line each on where something is wrong, for a person.
    """

    planned: int
    done: int
    failed: int
    missing: int
    duplicated: int
    orphaned: int
    notes: tuple[str, ...] = ()

    @property
    def is_whole(self) -> bool:
        return not (self.missing or self.duplicated or self.orphaned)


def verify(store: str) -> Verification:
    """Compare every table of a store with its plan, part by part.

    Raises:
        UsageError: There is no store.
        StoreError: A part cannot be read.
    """
    source = Store(store)
    if source.config() is None:
        raise UsageError(f"{source.url}: no vidray store there (no vidray.json)")
    tables = [table for table in source.tables("features") if source.spec(table) is not None]
    doubled = _planned_twice(source)
    counts: Counter[str] = Counter()
    notes: list[str] = []
    for table in tables:
        names = ("clips", f"features/{table}", f"errors/{table}")
        held = {name: source.parts(name) for name in names}
        for part in sorted(set().union(*held.values())):
            found = _compare(*(_keys(source, name, part) if part in held[name] else _NONE for name in names))
            found["duplicated"] += _planned_before(source, part, doubled) if doubled else 0
            counts.update(found)
            wrong = [f"{found[name]} {name}" for name in ("missing", "duplicated", "orphaned") if found[name]]
            if wrong:
                notes.append(f"{table} part {part}: {', '.join(wrong)}")
    totals = ("planned", "done", "failed", "missing", "duplicated", "orphaned")
    return Verification(**{name: counts[name] for name in totals}, notes=tuple(notes))


def _compare(planned: pa.Array, done: pa.Array, failed: pa.Array) -> Counter[str]:
    rows = pa.chunked_array([done, failed]).combine_chunks()
    unique = pc.unique(rows)
    orphaned = pc.sum(pc.invert(pc.is_in(rows, value_set=planned))).as_py() or 0
    missing = pc.sum(pc.invert(pc.is_in(planned, value_set=unique))).as_py() or 0
    return Counter(
        planned=len(planned),
        done=len(done),
        failed=len(failed),
        missing=missing,
        duplicated=len(rows) - len(unique),
        orphaned=orphaned,
    )


def _planned_twice(store: Store) -> dict[int, int]:
    """The videos that more than one part plans, by a short hash of their ids, with the first part of each.

    Eight bytes a video are held in memory.
    """
    parts = store.parts("clips")
    ids = [_hashed(store.read("videos", part, ["video_id"])["video_id"]) for part in parts]
    if not ids:
        return {}
    unique, first, count = np.unique(np.concatenate(ids), return_index=True, return_counts=True)
    part_of = np.repeat(parts, [len(found) for found in ids])
    return {int(unique[i]): int(part_of[first[i]]) for i in np.flatnonzero(count > 1)}


def _planned_before(store: Store, part: int, doubled: Mapping[int, int]) -> int:
    """How many clips of a part are of videos that an earlier part plans already."""
    if part not in store.parts("clips"):
        return 0
    ids = _hashed(store.read("clips", part, ["video_id"])["video_id"])
    return sum(doubled.get(int(video), part) < part for video in ids)


def _hashed(video_ids: pa.ChunkedArray) -> npt.NDArray[np.uint64]:
    digests = (hashlib.blake2b(video_id.encode(), digest_size=8).digest() for video_id in video_ids.to_pylist())
    return np.frombuffer(b"".join(digests), np.uint64)


def _keys(store: Store, table: str, part: int) -> pa.Array:
    """What a row must agree on with its clip, as one text a row."""
    try:
        rows = store.read(table, part, ["clip_id", "video_id", "uri", "start_s", "end_s"])
    except pa.ArrowException as e:
        raise StoreError(f"{store.url}/{table} part {part} is damaged: {e}") from e
    columns = [rows[name].cast(pa.string()) for name in rows.column_names]
    joined = pc.binary_join_element_wise(*columns, "\x1f")
    return joined.combine_chunks() if isinstance(joined, pa.ChunkedArray) else joined

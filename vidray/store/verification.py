"""Account for every planned clip, from the store alone: rows(features) + rows(errors) == rows(clips)."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from vidray.errors import StoreError, UsageError
from vidray.store import Store

_NONE = pa.array([], pa.string())
VIDEO = ("video_id", "uri")
CLIP = ("clip_id", *VIDEO, "start_s", "end_s")


@dataclass(frozen=True, kw_only=True)
class Verification:
    """What `verify` counts, over all extractors of a store, in (clip, extractor) pairs; of labels only what is wrong.

    Attributes:
        planned: Clips times extractors.
        done: Rows of features.
        failed: Rows of errors.
        missing: Pairs that have neither, and parts of labels without those of their videos.
        duplicated: Rows beyond the first of a pair.
        orphaned: Rows, labels too, of clips that are not in the plan, or that say another video or span than the plan.
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
            notes += _noted(f"{table} part {part}", found)
    for name in source.tables("labels"):
        notes += _unfinished(source, name)
        for part, found in _verified_labels(source, name):
            counts.update(found)
            notes += _noted(f"labels/{name} part {part}", found)
    totals = ("planned", "done", "failed", "missing", "duplicated", "orphaned")
    return Verification(**{name: counts[name] for name in totals}, notes=tuple(notes))


def _noted(where: str, found: Mapping[str, int]) -> list[str]:
    wrong = [f"{found[name]} {name}" for name in ("missing", "duplicated", "orphaned") if found[name]]
    return [f"{where}: {', '.join(wrong)}"] if wrong else []


def _unfinished(store: Store, name: str) -> Iterator[str]:
    """What the labels' own description says of them: an interrupted run, or features that are no longer the same."""
    spec = store.labels_spec(name) or {}
    if spec.get("whole") is False:
        yield f"labels/{name}: a run was interrupted, some parts may be older; run it again, import before label"
    table = spec.get("features")
    if table is not None and spec.get("features_sha256") != store.spec_sha256(table):
        yield f"labels/{name}: features/{table} are no longer those that they were made from; run vidray label again"


def _verified_labels(store: Store, name: str) -> Iterator[tuple[int, Counter[str]]]:
    """Each part of labels and of those of the videos, by the plan: a clip may have many labels, or none."""
    tables = {f"labels/{name}": CLIP, f"video_labels/{name}": VIDEO}
    labels, of_videos = (set(store.parts(table)) for table in tables)
    planned = set(store.parts("clips"))
    for part in sorted(labels | of_videos):
        found = Counter(missing=int(part not in of_videos))
        for (table, columns), held in zip(tables.items(), (labels, of_videos), strict=True):
            if part in held:
                known = _keys(store, "clips", part, columns) if part in planned else _NONE
                found["orphaned"] += _unknown(_keys(store, table, part, columns), known)
        yield part, found


def _unknown(rows: pa.Array, known: pa.Array) -> int:
    return int(pc.sum(pc.invert(pc.is_in(rows, value_set=known))).as_py() or 0)


def _compare(planned: pa.Array, done: pa.Array, failed: pa.Array) -> Counter[str]:
    rows = pa.chunked_array([done, failed]).combine_chunks()
    unique = pc.unique(rows)
    return Counter(
        planned=len(planned),
        done=len(done),
        failed=len(failed),
        missing=_unknown(planned, unique),
        duplicated=len(rows) - len(unique),
        orphaned=_unknown(rows, planned),
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


def _keys(store: Store, table: str, part: int, columns: Sequence[str] = CLIP) -> pa.Array:
    """What a row must agree on with its clip, as one text a row."""
    try:
        rows = store.read(table, part, columns)
    except pa.ArrowException as e:
        raise StoreError(f"{store.url}/{table} part {part} is damaged: {e}") from e
    texts = [rows[name].cast(pa.string()) for name in columns]
    joined = pc.binary_join_element_wise(*texts, "\x1f")
    return joined.combine_chunks() if isinstance(joined, pa.ChunkedArray) else joined

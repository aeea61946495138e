"""Account for every planned clip, from the store alone: rows(features) + rows(errors) == rows(clips), and what was
published is what is there.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike

import numpy as np
import numpy.typing as npt

from vidray import wording
from vidray.errors import StoreError
from vidray.storage import STORE_FILE
from vidray.store.layout import INTENT
from vidray.store.lease import damaged_leases
from vidray.store.remedies import plan_command
from vidray.store.store import Store
from vidray.store.verify.duplicates import check_duplicates, check_duplicates_spec
from vidray.store.verify.features import FeatureTable, check_features, feature_tables, stale_tables
from vidray.store.verify.findings import WRONG, Check, Finding, counted, damaged, plan_anew
from vidray.store.verify.inventory import Inventory, inventory
from vidray.store.verify.labels import check_labels, check_labels_spec
from vidray.store.verify.plan import check_plan

TOTALS = ("planned", "done", "failed", *WRONG)


@dataclass(frozen=True, kw_only=True)
class Verification:
    """What `verify` counts, over all extractors of a store, in (clip, extractor) pairs; of all else what is wrong.

    Attributes:
        planned: Clips times extractors.
        done: Rows of features.
        failed: Rows of errors.
        missing: Pairs that have neither, and parts and specs that should be there.
        duplicated: Rows beyond the first of a pair, of a video, or of a label.
        orphaned: Rows, labels too, of clips that are not in the plan, or that say another video or span than the plan,
            and clips of videos that are not there.
        damaged: Files that are not as they were published, or cannot be read; rows that cannot be.
        stale: What was made from something else than there is now: indexes, labels, derived parts.
        unsealed: Parts without a record of their bytes, as earlier versions wrote them: these count as whole.
        notes: One line each on where something is wrong and what to do, for a person.
    """

    planned: int
    done: int
    failed: int
    missing: int
    duplicated: int
    orphaned: int
    damaged: int = 0
    stale: int = 0
    unsealed: int = 0
    notes: tuple[str, ...] = ()

    @property
    def is_whole(self) -> bool:
        return not any(getattr(self, name) for name in WRONG)


def verify(store: str | PathLike[str], *, full: bool = False, beside: Sequence[Check] = ()) -> Verification:
    """Compare every table of a store with its plan, part by part, and each part with its seal.

    Args:
        store: fsspec URL of a store.
        full: Read every byte. Else of parts above 16 MiB the size, the footer and the columns that name clips are
            compared: whatever changes where columns lie, how long they are or their range is found, a value that is
            changed for another of its length may not be.
        beside: Other checks, as of what was made from the tables.

    Raises:
        UsageError: There is no store.
        StoreError: What the store says of itself cannot be read.
    """
    source = Store(store)
    if source.config() is None and not source.is_file() and source.folder.sizes("clips"):
        raise StoreError(f"{source.url}/{STORE_FILE}: is not there, though clips are; put it back from a copy")
    source.check_planned()
    held = inventory(source)
    counts: Counter[str] = Counter()
    notes: list[str] = []
    tables, found = feature_tables(source, held)
    for finding in (*held.findings(), *found, *_checked(source, held, tables, counts, full), *_others(source, held)):
        counts.update({name: count for name, count in finding.counts.items() if name in WRONG})
        notes.append(finding.line)
    for check in beside:
        for finding in check(source, full):
            counts.update(finding.counts)
            notes.append(finding.line)
    counts["unsealed"] = sum(len(parts - held.sealed_of(table)) for table, parts in held.parts.items())
    if counts["unsealed"]:
        notes.append(
            f"{wording.counted(counts['unsealed'], 'part')} without a seal: a change of bytes cannot be found there"
        )
    return Verification(**{name: counts[name] for name in (*TOTALS, "unsealed")}, notes=tuple(notes))


def _checked(
    store: Store, held: Inventory, tables: Sequence[FeatureTable], counts: Counter[str], full: bool
) -> Iterator[Finding]:
    """Part by part, the plan, the features and the labels; adds what is planned, done and failed to the counts."""
    doubled = _planned_twice(store, held)
    labels = held.names("labels", "video_labels")
    for part in sorted(frozenset[int]().union(*held.parts.values(), *held.sealed.values())):
        planned, found = check_plan(store, held, part, full=full)
        yield from found
        twice = sum(doubled.get(int(video), part) < part for video in _hashed(planned.video_ids)) if doubled else 0
        yield from counted(f"clips part {part}", Counter(duplicated=twice), plan_anew(store, part))
        for table in tables:
            pairs, found = check_features(store, held, table, part, planned, full=full)
            counts.update(pairs)
            yield from found
        for name in labels:
            yield from check_labels(store, held, name, part, planned, full=full)
        for name in held.names("duplicates"):
            yield from check_duplicates(store, held, name, part, planned, full=full)
    yield from stale_tables(store, tables)


def _others(store: Store, held: Inventory) -> Iterator[Finding]:
    for name in held.names("labels", "video_labels"):
        yield from check_labels_spec(store, name)
    for name in damaged_leases(store.folder):
        yield damaged(name, "cannot be read, and keeps runs from writing", "remove it if no run is writing this store")
    for name in held.names("duplicates"):
        yield from check_duplicates_spec(store, name)
    if store.folder.exists(INTENT):
        try:
            store.intents.retiring()
        except StoreError as e:
            what = str(e).removeprefix(f"{store.url}/{INTENT}: ").partition("; ")[0]
            remedy = f"remove it, and to look anew for what it was about run {plan_command(store)}"
            yield damaged(INTENT, what, remedy)
            return
        what = "videos were being removed when a run ended"
        yield Finding(where=INTENT, what=what, remedy=f"to go on with that run {plan_command(store)}")


def _planned_twice(store: Store, held: Inventory) -> Mapping[int, int]:
    """The videos that more than one part plans, by a short hash of their ids, with the first part of each.

    Eight bytes a video are held in memory.
    """
    ids, parts = [], []
    for part in sorted(held.parts_of("clips") & held.parts_of("videos")):
        try:
            ids.append(_hashed(store.read("videos", part, ["video_id"])["video_id"].to_pylist()))
        except StoreError:
            # checking the part says so
            continue
        parts.append(part)
    if not ids:
        return {}
    unique, first, count = np.unique(np.concatenate(ids), return_index=True, return_counts=True)
    part_of = np.repeat(parts, [len(found) for found in ids])
    return {int(unique[i]): int(part_of[first[i]]) for i in np.flatnonzero(count > 1)}


def _hashed(video_ids: Sequence[object]) -> npt.NDArray[np.uint64]:
    digests = (hashlib.blake2b(str(video_id).encode(), digest_size=8).digest() for video_id in video_ids)
    return np.frombuffer(b"".join(digests), np.uint64)

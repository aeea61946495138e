"""What there is in a store: its tables with what they lack, its indexes, and who is writing it."""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike
from typing import Any

from vidray.errors import VidrayError
from vidray.index import words
from vidray.retrieval.indexed import open_table
from vidray.storage import STAGING, find
from vidray.store import Store
from vidray.store.changes import derived_tables, outdated
from vidray.store.layout import PROBE_TABLE, duplicates_of, errors_of, features_of, index_of, labels_of
from vidray.store.lease import FILE, OF_LABELS, is_left_behind
from vidray.store.remedies import corpora_of


@dataclass(frozen=True, kw_only=True)
class TableStatus:
    """One feature table.

    Attributes:
        name: Of `features/<name>`.
        done: Clips with features.
        failed: Clips with an error.
        missing: Clips of the plan with neither.
        outdated: Parts that were made from rows that are others now.
        changed_at: When a part of it was last written, ISO 8601 in UTC; None where the storage does not say.
        index: "none", "current", "behind" where the table has changed since, or why it cannot be opened.
    """

    name: str
    done: int
    failed: int
    missing: int
    outdated: int
    changed_at: str | None
    index: str


@dataclass(frozen=True, kw_only=True)
class Status:
    """A store as it stands.

    Attributes:
        store: Its URL.
        corpora: What was planned into it.
        plan: How videos become clips.
        videos: Planned.
        videos_failed: Of these, how many cannot be read.
        video_s: Seconds of the others.
        clips: Planned.
        tables: Of features.
        labels: The rows of each set of labels.
        duplicates: The rows of each set of duplicates.
        heads: The names of the heads that were trained.
        staged: Files of slices that a run has done, and not published.
        held_by: Who is writing the store or its labels, one line each.
    """

    store: str
    corpora: tuple[str, ...]
    plan: Mapping[str, Any]
    videos: int
    videos_failed: int
    video_s: float
    clips: int
    tables: tuple[TableStatus, ...]
    labels: Mapping[str, int]
    duplicates: Mapping[str, int]
    heads: tuple[str, ...]
    staged: int
    held_by: tuple[str, ...]


def status(store: str | PathLike[str]) -> Status:
    """Look at a store: footers, listings and the plan's videos are read, no features.

    Raises:
        UsageError: There is no store.
        StoreError: A part cannot be read.
    """
    held = Store(store)
    config = held.check_planned()
    parts = held.parts("clips")
    seconds = (held.read("videos", part, ["duration_s"])["duration_s"].to_pylist() for part in parts)
    planned = held.counts("clips", parts)
    return Status(
        store=held.url,
        corpora=tuple(corpora_of(held)),
        plan=config["plan"],
        videos=held.count("videos", parts),
        videos_failed=held.count(PROBE_TABLE),
        video_s=sum(value or 0.0 for values in seconds for value in values),
        clips=sum(planned.values()),
        tables=tuple(_table(held, name, planned) for name in held.tables("features")),
        labels={name: _rows(held, labels_of(name)) for name in held.tables("labels")},
        duplicates={name: _rows(held, duplicates_of(name)) for name in held.tables("duplicates")},
        heads=tuple(held.tables("heads")),
        staged=sum(len(held.staging.slices(name)) for name in held.tables(STAGING)),
        held_by=tuple(line for of in ("", OF_LABELS) if (line := _holder(held, of)) is not None),
    )


def index_state(store: Store, table: str) -> str:
    """How the indexes of a table stand, of vectors and of words: "none", "current", "behind", or why one cannot be
    opened."""
    place = index_of(table)
    files = [name.removeprefix(f"{place}/") for name in store.folder.sizes(place)]
    behind = []
    try:
        if words.CURRENT in files:
            behind.append(words.known_words(store, table)[1])
        if not all(map(words.is_file_of_words, files)):
            behind.append(open_table(store, table).stale)
    except VidrayError as e:
        return str(e)
    if not behind:
        return "none"
    return "behind" if any(behind) else "current"


def _table(store: Store, name: str, planned: Mapping[int, int]) -> TableStatus:
    done, failed = _rows(store, features_of(name)), _rows(store, errors_of(name))
    bound = derived_tables(store).get(name)
    return TableStatus(
        name=name,
        done=done,
        failed=failed,
        missing=max(0, sum(planned.values()) - done - failed),
        outdated=len(outdated(store, name, bound.values())) if bound else 0,
        changed_at=_changed_at(store, features_of(name)),
        index=index_state(store, name),
    )


def _rows(store: Store, table: str) -> int:
    return store.count(table)


def _changed_at(store: Store, table: str) -> str | None:
    infos = find(store.folder.fs, store.folder.path(table)).values()
    times = [found for info in infos if (found := _time(info)) is not None]
    return max(times).isoformat(timespec="seconds") if times else None


def _time(info: Mapping[str, Any]) -> datetime.datetime | None:
    changed = info.get("mtime") or info.get("LastModified") or info.get("last_modified")
    if isinstance(changed, int | float):
        return datetime.datetime.fromtimestamp(changed, datetime.UTC)
    return changed if isinstance(changed, datetime.datetime) else None


def _holder(store: Store, of: str) -> str | None:
    """Who holds a lease; nobody where a process of this machine has died with it, which the next run takes over."""
    if is_left_behind(store.folder, of=of):
        return None
    try:
        held = json.loads(store.folder.read_bytes(f"_{of}{FILE}" if of else FILE))
        what = "the labels" if of else "the store"
        return f"{what}: process {held['pid']} on {held['host']} since {held['since']}"
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError):
        return f"{of or 'the store'}: a lease that cannot be read"

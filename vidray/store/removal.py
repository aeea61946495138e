"""Removing a table, labels or an index from a store, with all that belongs to it and a record of it."""

from __future__ import annotations

import datetime
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from os import PathLike
from typing import Any

from vidray.arguments import check_text
from vidray.errors import UsageError
from vidray.storage import STAGING
from vidray.store.changes import derived_tables
from vidray.store.layout import split_table
from vidray.store.lease import OF_LABELS, Lease
from vidray.store.store import Store
from vidray.store.tables import named

KINDS = ("features", "labels", "duplicates", "index", "heads")


@dataclass(frozen=True, kw_only=True)
class Removal:
    """What `drop` removes.

    Attributes:
        table: As in `features/<name>`, `labels/<name>`, `duplicates/<name>`, `index/<name>` or `heads/<name>`.
        folders: All folders that go, the one by which the table is known first.
        rows: Of the table, and of its errors where it has some.
        derived: Tables that were made from it, which stay.
    """

    table: str
    folders: tuple[str, ...]
    rows: int
    derived: tuple[str, ...] = ()


def find_removal(store: str | PathLike[str], table: str) -> Removal:
    """What `drop` would remove. Raises UsageError where there is no store, or no such table."""
    held = Store(store)
    held.check_planned()
    check_text(table=table)
    kind, name = split_table(table.strip("/"))
    if not name or kind not in KINDS:
        kind, name = "features", table.strip("/")
    if kind == "features":
        name = named(held, held.tables("features"), name) or name
    if not name or "/" in name or not held.folder.sizes(f"{kind}/{name}"):
        there = [f"{kind}/{one}" for kind in KINDS for one in held.tables(kind)]
        raise UsageError(f"{held.url}: no table '{table}'; there are {', '.join(there) or 'none'}")
    beside = {"features": ("video_features", "errors", STAGING, "index"), "labels": ("video_labels",)}
    counted = {"features": ("features", "errors"), "labels": ("labels",), "duplicates": ("duplicates",)}
    tables = (f"{one}/{name}" for one in counted.get(kind, ()))
    return Removal(
        table=f"{kind}/{name}",
        folders=tuple(f"{one}/{name}" for one in (kind, *beside.get(kind, ())) if held.folder.sizes(f"{one}/{name}")),
        rows=sum(map(held.count, tables)),
        derived=tuple(sorted(made for made, bound in derived_tables(held).items() if name in bound.values()))
        if kind == "features"
        else (),
    )


def drop(store: str | PathLike[str], table: str, *, say: Callable[[str], None] = lambda line: None) -> Removal:
    """Remove a feature table with its errors and its index, labels with those of the videos, or what else has a name.

    Args:
        store: fsspec URL of a store.
        table: `features/<name>`, `labels/<name>`, `duplicates/<name>`, `index/<name>` or `heads/<name>`; a name alone
            is of a feature table.
        say: Called with a line where another run holds the store.

    Raises:
        UsageError: There is no store, or no such table.
        StoreError: The store is being written by another run.
    """
    held = Store(store)
    of = OF_LABELS if find_removal(store, table).table.startswith(("labels/", "heads/", "duplicates/")) else ""
    with Lease(held.folder, say=say, of=of):
        removal = find_removal(store, table)
        for folder in removal.folders:
            held.folder.remove_tree(folder)
        write_removal(held, {"dropped": removal.table, "folders": list(removal.folders), "rows": removal.rows})
    return removal


def write_removal(store: Store, what: Mapping[str, Any]) -> None:
    """Keep a record of what was removed, in `runs/`."""
    now = datetime.datetime.now(datetime.UTC)
    record = {"started_at": now.isoformat(timespec="seconds"), **what}
    store.write_run(f"{now:%Y%m%dT%H%M%S}-{secrets.token_hex(3)}", record)

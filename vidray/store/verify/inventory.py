"""What files a store has: the parts of its tables, their seals, and what is neither."""

from __future__ import annotations

import contextlib
import datetime
import json
import posixpath
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from vidray.errors import StoreError
from vidray.store.layout import KINDS, PART_FILE, PROBE, SEAL_FILE
from vidray.store.store import Store
from vidray.store.verify.findings import Finding, damaged


@dataclass(frozen=True)
class Inventory:
    """The files of a store's tables, as one listing of each kind showed them.

    Attributes:
        parts: The numbers of the published parts, by table.
        sealed: The numbers of the parts that have a seal, by table.
        strays: Parquet files in the folders of tables that are no parts, which other readers would take for some.
        blocking: Files where the folders of tables belong.
        recorded: The tables that runs made by their records and that none dropped since.
        unread: Records of runs that cannot be read, with the reason.
    """

    parts: dict[str, frozenset[int]]
    sealed: dict[str, frozenset[int]]
    strays: tuple[str, ...]
    blocking: tuple[str, ...]
    recorded: frozenset[str]
    unread: tuple[tuple[str, str], ...]

    def parts_of(self, table: str) -> frozenset[int]:
        return self.parts.get(table, frozenset())

    def sealed_of(self, table: str) -> frozenset[int]:
        return self.sealed.get(table, frozenset())

    def names(self, *kinds: str) -> list[str]:
        """The tables that have a part or a seal in one of these kinds."""
        found = {table.partition("/") for table in (*self.parts, *self.sealed)}
        return sorted({name for kind, _, name in found if kind in kinds and name not in ("", PROBE)})

    def findings(self) -> Iterator[Finding]:
        """What lies where nothing of its kind belongs."""
        for name in self.strays:
            yield damaged(name, "no part of the table, but other readers take it for one", "move it out of the store")
        for name in self.blocking:
            yield damaged(name, "a file where the folder of a table belongs", "move it out of the store")
        for name, reason in self.unread:
            yield damaged(name, f"cannot be read: {reason}", "remove it: it is the record of a run, and no more")


def inventory(store: Store) -> Inventory:
    """List a store, and read the records of its runs."""
    parts: dict[str, set[int]] = {}
    sealed: dict[str, set[int]] = {}
    strays, blocking = [], []
    for kind in ("videos", "clips", *(kind.name for kind in KINDS)):
        for path in store.folder.sizes(kind):
            table, name = posixpath.split(path)
            if table == kind and kind not in ("videos", "clips"):
                blocking.append(path)
            elif match := PART_FILE.fullmatch(name):
                parts.setdefault(table, set()).add(int(match[1]))
            elif match := SEAL_FILE.fullmatch(name):
                sealed.setdefault(table, set()).add(int(match[1]))
            elif name.endswith(".parquet") and not name.startswith(("_", ".")):
                strays.append(path)
    recorded, unread = _recorded(store)
    return Inventory(
        {table: frozenset(numbers) for table, numbers in parts.items()},
        {table: frozenset(numbers) for table, numbers in sealed.items()},
        tuple(strays),
        tuple(blocking),
        recorded,
        unread,
    )


def _recorded(store: Store) -> tuple[frozenset[str], tuple[tuple[str, str], ...]]:
    """The tables that runs made and none dropped since, and the records that cannot be read."""
    tables: set[str] = set()
    records, unread = [], []
    for name in store.folder.sizes("runs"):
        if name.endswith(".json"):
            try:
                record = json.loads(store.folder.read_bytes(name))
                records.append((datetime.datetime.fromisoformat(record["started_at"]), record))
            except (OSError, ValueError, KeyError, TypeError) as e:
                unread.append((name, f"{type(e).__name__}: {e}"))
    for _, record in sorted(records, key=lambda pair: pair[0]):
        with contextlib.suppress(AttributeError, TypeError):
            tables.update(map(str, record.get("extractors") or {} if _made_rows(record) else ()))
            tables.discard(str(record.get("dropped")).removeprefix("features/"))
    return frozenset(tables), tuple(unread)


def _made_rows(record: dict[str, Any]) -> bool:
    """Whether a run ended with rows in its tables: one that was refused names tables that never were."""
    counts = record.get("counts") or {}
    return any(int(counts.get(name) or 0) for name in ("done", "failed", "skipped"))


def spec_of(store: Store, table: str) -> tuple[dict[str, Any] | None, str | None]:
    """What a table says that made it, and why it cannot be read."""
    try:
        return store.spec(table), None
    except StoreError as e:
        return None, str(e)

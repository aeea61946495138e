"""What failed or warned in a store, row by row and by kind."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from os import PathLike

import pyarrow.compute as pc

from vidray.store.layout import PROBE_TABLE, WARNING, errors_of, features_of
from vidray.store.store import Store

COLUMNS = ("table", "stage", "kind", "uri", "start_s", "end_s", "message")
WARNED = "warning"


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A video that cannot be read, a clip without features, or one with a warning.

    Attributes:
        table: The feature table, None for a video that cannot be read.
        stage: "probe", "decode", "extract", "input"; "warning" for a clip that has features all the same.
        kind: A short word to group by.
        start_s: Of the clip, as end_s is; None for a video.
    """

    table: str | None
    stage: str
    kind: str
    uri: str
    start_s: float | None
    end_s: float | None
    message: str


@dataclass(frozen=True, kw_only=True)
class FailureKind:
    """All failures of one kind in one table.

    Attributes:
        first: One of them.
        count: How many there are.
    """

    table: str | None
    stage: str
    kind: str
    count: int
    first: Failure


def failures(store: str | PathLike[str]) -> Iterator[Failure]:
    """Everything that failed or warned in a store: first the videos, then table by table in the order of the plan.

    Raises UsageError where there is no store.
    """
    held = Store(store)
    held.check_planned()
    for part in held.parts(PROBE_TABLE):
        for row in held.read(PROBE_TABLE, part, ["uri", "stage", "kind", "message"]).to_pylist():
            yield Failure(table=None, start_s=None, end_s=None, **row)
    for table in held.tables("features"):
        for part in held.parts(errors_of(table)):
            columns = ["uri", "start_s", "end_s", "stage", "kind", "message"]
            for row in held.read(errors_of(table), part, columns).to_pylist():
                yield Failure(table=table, **row)
        yield from _warnings(held, table)


def _warnings(store: Store, table: str) -> Iterator[Failure]:
    name = WARNING.name
    for part in store.parts(features_of(table)):
        if name not in store.columns(features_of(table), part):
            continue
        rows = store.read(features_of(table), part, ["uri", "start_s", "end_s", name])
        for row in rows.filter(pc.is_valid(rows[name])).to_pylist():
            yield Failure(table=table, stage=WARNED, kind=WARNED, message=row.pop(name), **row)


def by_kind(found: Sequence[Failure]) -> list[FailureKind]:
    """The failures grouped by table, stage and kind, the most frequent first."""
    groups: dict[tuple[str | None, str, str], list[Failure]] = {}
    for failure in found:
        groups.setdefault((failure.table, failure.stage, failure.kind), []).append(failure)
    kinds = [
        FailureKind(table=table, stage=stage, kind=kind, count=len(some), first=some[0])
        for (table, stage, kind), some in groups.items()
    ]
    return sorted(kinds, key=lambda kind: -kind.count)


def retried(store: str | PathLike[str], kinds: Sequence[FailureKind]) -> list[str]:
    """The tables to name so that all of these are tried again: a video that can be read by then is new to every one."""
    failed = {kind.table for kind in kinds if kind.stage != WARNED}
    if None in failed:
        return Store(store).tables("features")
    return sorted(table for table in failed if table is not None)


def empty_tables(store: str | PathLike[str], tables: Sequence[str]) -> list[tuple[str, int, str]]:
    """The tables in which every clip failed: their names, how many clips that are, and why the first did."""
    held = Store(store)
    found = []
    for table in tables:
        done = held.count(features_of(table))
        errors = {part: rows for part, rows in held.counts(errors_of(table)).items() if rows}
        parts = list(errors)
        if not done and parts:
            failed = sum(errors.values())
            first = held.read(errors_of(table), parts[0], ["message"])["message"][0].as_py()
            found.append((table, failed, first))
    return found

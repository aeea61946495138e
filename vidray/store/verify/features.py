"""Feature tables against the plan: rows(features) + rows(errors) == rows(clips), of the columns that the spec says."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from vidray import wording
from vidray.errors import StoreError, one_line
from vidray.extractors.spec import bound_in, current
from vidray.store.changes import outdated
from vidray.store.layout import (
    ERRORS,
    IDENTITY,
    SPEC_FILE,
    VIDEO_IDENTITY,
    WARNING,
    errors_of,
    features_of,
    split_table,
    video_features_of,
)
from vidray.store.store import Store
from vidray.store.verify.findings import Finding, counted, damaged, extract_again, make_anew
from vidray.store.verify.inventory import Inventory, spec_of
from vidray.store.verify.plan import PlannedPart
from vidray.store.verify.reading import CLIP, NONE, VIDEO, PartReader, beyond_the_first, unknown


@dataclass(frozen=True)
class FeatureTable:
    """One feature table of a store.

    Attributes:
        name: Of the table.
        spec: What it says that made it, None where it does not.
    """

    name: str
    spec: Mapping[str, Any] | None

    def columns(self) -> list[tuple[str, str]] | None:
        """Names and types of its features, None where it does not say."""
        return _named(IDENTITY, (self.spec or {}).get("columns"), WARNING)

    def video_columns(self) -> list[tuple[str, str]] | None:
        """Names and types of what a video has a row of; None where it has none."""
        return _named(VIDEO_IDENTITY, current(self.spec or {}).get("video_columns"))


def feature_tables(store: Store, held: Inventory) -> tuple[list[FeatureTable], list[Finding]]:
    """The tables that there are, or should be: of features, of errors and of runs, whatever their specs say."""
    tables, findings = [], []
    for name in sorted({*held.names("features", "errors", "video_features"), *held.recorded, *_specified(store)}):
        spec, reason = spec_of(store, name)
        where = f"{features_of(name)}/{SPEC_FILE}"
        if reason is not None:
            findings.append(damaged(where, reason, f"remove it, and to write it anew {extract_again(store, name)}"))
        elif spec is None and _is_foreign(held, name):
            findings.append(Finding(where=features_of(name), what="was not made by vidray, and is not verified"))
            continue
        elif spec is None:
            again = f"to write it anew {extract_again(store, name)}"
            findings.append(Finding(where=where, what="is not there", remedy=again, counts={"missing": 1}))
        tables.append(FeatureTable(name, spec))
    return tables, findings


def check_features(
    store: Store, held: Inventory, table: FeatureTable, part: int, planned: PlannedPart, *, full: bool
) -> tuple[Counter[str], list[Finding]]:
    """One part of one table: how many pairs are planned, done and failed, and what is wrong."""
    done, failed = (
        _read(store, held, f"{kind}/{table.name}", part, expected, full=full)
        for kind, expected in (("features", table.columns()), ("errors", [(f.name, str(f.type)) for f in ERRORS]))
    )
    findings = [*done.findings, *failed.findings]
    counts = Counter(planned=len(planned.clips))
    if done.keys is not None and failed.keys is not None:
        rows = pa.chunked_array([done.keys, failed.keys]).combine_chunks()
        counts.update(done=len(done.keys), failed=len(failed.keys))
        wrong = Counter(missing=unknown(planned.clips, rows), duplicated=beyond_the_first(rows))
        if planned.is_read:
            wrong["orphaned"] = unknown(rows, planned.clips)
        is_anew = done.is_there or wrong["duplicated"] or wrong.get("orphaned")
        # a part that is published is not done again for a row that it lacks
        if any(wrong.values()):
            how = make_anew(store, table.name, part) if is_anew else extract_again(store, table.name)
            findings += counted(f"{table.name} part {part}", wrong, how)
    if done.is_there and not failed.is_there and not failed.findings:
        absent = Counter(missing=1)
        findings += counted(f"errors/{table.name} part {part}", absent, make_anew(store, table.name, part))
    findings += _check_videos(store, held, table, part, planned, full=full) if done.is_there else ()
    return counts, findings


def stale_tables(store: Store, tables: Sequence[FeatureTable]) -> Iterator[Finding]:
    """Derived tables that were made from others than there are now."""
    for table in tables:
        inputs = current(table.spec or {}).get("inputs") or {}
        where, name = features_of(table.name), table.name
        try:
            bound = bound_in({"inputs": inputs})
            for record in inputs.values():
                if "table" in record and record.get("spec_sha256") != store.spec_sha256(record["table"]):
                    what = f"was made from features/{record['table']}, which was made anew since"
                    again = extract_again(store, name, "--refresh")
                    yield Finding(where=where, what=what, remedy=again, counts={"stale": 1})
                    break
            else:
                old = outdated(store, table.name, bound.values()) if bound else []
                if old:
                    makers = ", ".join(sorted({*bound.values()}))
                    what = f"has {wording.counted(len(old), 'part')} made from other rows of {makers}"
                    again = extract_again(store, name)
                    yield Finding(where=where, what=what, remedy=again, counts={"stale": len(old)})
        except (StoreError, OSError, AttributeError, TypeError) as e:
            what = f"what it was made from cannot be told: {one_line(e)[:200]}"
            yield damaged(where, what, extract_again(store, name))


@dataclass(frozen=True)
class _Read:
    """What a part of a table holds: the keys of its rows, None where these cannot be read."""

    is_there: bool
    keys: pa.Array | None
    findings: list[Finding]


def _read(
    store: Store, held: Inventory, table: str, part: int, expected: list[tuple[str, str]] | None, *, full: bool
) -> _Read:
    reader = PartReader(store, table, part, lambda: make_anew(store, split_table(table)[1], part))
    is_there = part in held.parts_of(table)
    if part in held.sealed_of(table) and (is_there or table.startswith("errors/")):
        # without features, a part was not committed: what is sealed of it was about to be written
        reader.check_seal(full=full, is_there=is_there)
    if not is_there:
        return _Read(False, NONE, [])
    if expected is not None:
        reader.check_columns(expected)
    keys = reader.keys(CLIP)
    return _Read(True, keys, reader.findings)


def _check_videos(
    store: Store, held: Inventory, table: FeatureTable, part: int, planned: PlannedPart, *, full: bool
) -> Iterator[Finding]:
    """The rows of videos of a table that has such."""
    expected = table.video_columns()
    name = video_features_of(table.name)
    if expected is None and part not in held.parts_of(name):
        return
    reader = PartReader(store, name, part, lambda: make_anew(store, table.name, part))
    if part not in held.parts_of(name):
        yield from counted(reader.where, Counter(missing=1), reader.remedy)
        return
    if part in held.sealed_of(name):
        reader.check_seal(full=full)
    if expected is not None:
        reader.check_columns(expected)
    keys = reader.keys(VIDEO)
    yield from reader.findings
    if keys is not None and planned.is_read:
        wrong = Counter(duplicated=beyond_the_first(keys), orphaned=unknown(keys, planned.videos))
        yield from counted(f"{name} part {part}", wrong, reader.remedy)


def _named(first: pa.Schema, columns: object, *last: pa.Field) -> list[tuple[str, str]] | None:
    if not isinstance(columns, list):
        return None
    said = [(str(column[0]), str(column[1])) for column in columns if isinstance(column, list) and len(column) == 2]
    return [*((f.name, str(f.type)) for f in first), *said, *((f.name, str(f.type)) for f in last)]


def _specified(store: Store) -> set[str]:
    """The tables that say what made them."""
    return set(store.holding("features", SPEC_FILE))


def _is_foreign(held: Inventory, name: str) -> bool:
    """Whether nothing of vidray's stands by a table: no errors, no seal, no run that made it."""
    theirs = (held.parts_of(errors_of(name)), held.sealed_of(features_of(name)), held.sealed_of(errors_of(name)))
    return name not in held.recorded and not any(theirs)

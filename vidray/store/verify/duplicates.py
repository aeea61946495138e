"""Duplicates against the plan, and against what they were found in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pyarrow.compute as pc

from vidray.errors import StoreError
from vidray.store.layout import DUPLICATES, duplicates_of, features_of
from vidray.store.store import Store
from vidray.store.verify.findings import Finding, counted, damaged, find_again
from vidray.store.verify.inventory import Inventory
from vidray.store.verify.plan import PlannedPart
from vidray.store.verify.reading import PartReader, beyond_the_first, joined, unknown

ONE_ROW = ("group_id", "clip_id", "start_s", "end_s", "of_start_s")
"""What a row is about: some of a clip may repeat two stretches of what is kept."""
SEPARATOR = "\x1f"
"""Between what `joined` puts together."""


def check_duplicates(
    store: Store, held: Inventory, name: str, part: int, planned: PlannedPart, *, full: bool
) -> Iterator[Finding]:
    """One part of duplicates: rows of clips that are planned, each once."""
    table = duplicates_of(name)
    reader = PartReader(store, table, part, lambda: find_again(store, name))
    is_there = part in held.parts_of(table)
    if part in held.sealed_of(table):
        reader.check_seal(full=full, is_there=is_there)
    found: Counter[str] = Counter()
    if is_there:
        reader.check_columns([(column.name, str(column.type)) for column in DUPLICATES])
        rows = reader.rows([*ONE_ROW, "video_id", "uri"])
        if rows is not None:
            clips = pc.list_element(pc.split_pattern(planned.clips, SEPARATOR), 0)
            of_nobody = max(
                unknown(rows["clip_id"].combine_chunks(), clips),
                unknown(joined(rows, ("video_id", "uri")), planned.videos),
            )
            found["orphaned"] = of_nobody if planned.is_read else 0
            found["duplicated"] = beyond_the_first(joined(rows, ONE_ROW))
    yield from reader.findings
    yield from counted(f"{table} part {part}", found, reader.remedy)


def check_duplicates_spec(store: Store, name: str) -> Iterator[Finding]:
    """Whether the tables that duplicates were found in are as they were."""
    where, remedy = duplicates_of(name), find_again(store, name)
    try:
        spec = store.duplicates_spec(name)
        if spec is None:
            yield damaged(f"{where}/_spec.json", "is not there", remedy)
            return
        known = dict(spec["parts"])
        table = str(spec["features"])
        now = {str(part): store.content_hash(table, part) for part in store.parts(features_of(table))}
    except (StoreError, OSError, KeyError, TypeError, ValueError) as e:
        yield damaged(f"{where}/_spec.json", f"cannot be compared: {' '.join(str(e).split())}", remedy)
        return
    if known != now:
        what = f"{features_of(table)} are no longer those that they were found in"
        yield Finding(where=where, what=what, remedy=remedy, counts={"stale": 1})

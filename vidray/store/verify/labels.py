"""Labels against the plan: a clip may have many, or none, each once and with a score that is a number."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc

from vidray.errors import StoreError
from vidray.store.layout import LABELS, SPEC_FILE, VIDEO_LABELS, labels_of, video_labels_of
from vidray.store.store import Store
from vidray.store.verify.findings import Finding, counted, damaged, label_again, label_anew
from vidray.store.verify.inventory import Inventory
from vidray.store.verify.plan import PlannedPart
from vidray.store.verify.reading import CLIP, VIDEO, PartReader, beyond_the_first, joined, unknown


def check_labels(
    store: Store, held: Inventory, name: str, part: int, planned: PlannedPart, *, full: bool
) -> Iterator[Finding]:
    """One part of labels, and of those of the videos, which are written first."""
    there = {table: part in held.parts_of(table) for table in (labels_of(name), video_labels_of(name))}
    found: Counter[str] = Counter()
    for table, schema, columns in ((labels_of(name), LABELS, CLIP), (video_labels_of(name), VIDEO_LABELS, VIDEO)):
        reader = PartReader(store, table, part, lambda: label_anew(store, name, part))
        if part in held.sealed_of(table):
            reader.check_seal(full=full, is_there=there[table])
        if there[table]:
            reader.check_columns([(column.name, str(column.type)) for column in schema])
            found.update(_rows(reader, columns, planned))
        yield from reader.findings
        missing = any(finding.counts.get("missing") for finding in reader.findings)
        found["missing"] += any(there.values()) and not there[table] and not missing
    is_wrong = found["duplicated"] or found["orphaned"]
    if any(found.values()):
        how = label_anew(store, name, part) if is_wrong else label_again(store, name)
        yield from counted(f"labels/{name} part {part}", found, how)


def _rows(reader: PartReader, columns: tuple[str, ...], planned: PlannedPart) -> Counter[str]:
    """How many rows are of clips, or videos, that are not planned, or are there already; says which are not well."""
    rows = reader.rows([*columns, "label", "score", "source"])
    if rows is None:
        return Counter()
    try:
        keys = joined(rows, columns)
        labels = joined(rows, (*columns, "label"))
        scores = rows["score"].cast(pa.float64())
        is_well = pc.and_(pc.fill_null(pc.is_finite(scores), False), pc.is_valid(rows["label"].cast(pa.string())))
        wrong = len(rows) - int(pc.sum(is_well).as_py() or 0)
    except pa.ArrowException as e:
        reader.say(f"cannot be read: {e}")
        return Counter()
    reader.say(f"has {wrong:,} rows without a label, or with a score that is no number", wrong)
    known = planned.clips if columns == CLIP else planned.videos
    return Counter(duplicated=beyond_the_first(labels), orphaned=unknown(keys, known) if planned.is_read else 0)


def check_labels_spec(store: Store, name: str) -> Iterator[Finding]:
    """What the labels' own description says of them: an interrupted run, or features that are no longer the same."""
    where = labels_of(name)
    try:
        spec = store.labels_spec(name)
        if spec is None:
            yield damaged(f"{where}/{SPEC_FILE}", "is not there", label_again(store, name))
            return
        table = spec.get("features")
        is_same = table is None or spec.get("features_sha256") == store.spec_sha256(str(table))
    except StoreError as e:
        yield damaged(f"{where}/{SPEC_FILE}", str(e), f"remove it, then {label_again(store, name)}")
        return
    if spec.get("whole") is False:
        remedy = f"run it again, import before label: {label_again(store, name)}"
        yield Finding(where=where, what="a run was interrupted, some parts may be older", remedy=remedy)
    if not is_same:
        what = f"features/{table} are no longer those that they were made from"
        yield Finding(where=where, what=what, remedy=label_again(store, name), counts={"stale": 1})

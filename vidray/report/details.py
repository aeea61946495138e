"""All that the tables say of a clip, for its own page: read in small shards when somebody opens one."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from vidray.report.clips import whole
from vidray.report.columns import is_wide
from vidray.report.shards import Site

SHARD_CLIPS = 64
"""Some ten to a hundred kilobytes: opening a clip loads the shard that it is in."""

MOST_ITEMS = 400
"""Of a list, such as words or boxes; how many there are is said where there are more."""

DIGITS = 7
"""That a float32 has; beyond these bounds decimals are no shorter, or no float64 any more."""
LEAST_ROUNDED, MOST_ROUNDED = 1e-9, 1e6

SHOWN_ELSEWHERE = ("clip_id", "video_id", "uri", "part", "block", "tile_width", "tile_height", "columns")


def write_details(site: Site, tables: Mapping[str, pa.Table], count: int) -> None:
    """Write the rows of all tables, clip by clip: a shard is a list of {table: {column: value}}."""
    shown = {}
    for table, rows in tables.items():
        names = [name for name in rows.column_names if name not in SHOWN_ELSEWHERE]
        columns = {name: tidied(whole(rows[name])) for name in names}
        if columns:
            shown[table] = pa.table(columns), [name for name, column in columns.items() if _is_special(column)]
    for number, first in enumerate(range(0, count, SHARD_CLIPS)):
        found: list[dict[str, Any]] = [{} for _ in range(min(SHARD_CLIPS, count - first))]
        for table, (rows, special) in shown.items():
            for clip, row in zip(found, rows.slice(first, SHARD_CLIPS).to_pylist(), strict=True):
                for name in special:
                    row[name] = plain(row[name])
                kept = {name: value for name, value in row.items() if value is not None and value != []}
                if kept:
                    clip[table] = kept
        site.data(f"details/{number}", found)


def tidied(column: pa.Array) -> pa.Array:
    """The same values with float32 as the shortest decimals that mean them, null for what is no number in JSON, and
    structs without their vectors and bytes."""
    kind = column.type
    if pa.types.is_floating(kind):
        return _decimals(column)
    if pa.types.is_list(kind):
        mask = column.is_null() if column.null_count else None
        return pa.ListArray.from_arrays(column.offsets, tidied(column.values), mask=mask)
    if pa.types.is_struct(kind) and kind.num_fields:
        mask = column.is_null() if column.null_count else None
        shown = [place for place in range(kind.num_fields) if not is_wide(kind.field(place).type)]
        fields = [tidied(column.field(place)) for place in shown]
        return pa.StructArray.from_arrays(fields, names=[kind.field(place).name for place in shown], mask=mask)
    return column


def _decimals(column: pa.Array) -> pa.Array:
    values = column.to_numpy(zero_copy_only=False).astype(np.float64)
    known = np.isfinite(values)
    if column.type != pa.float64():
        size = np.abs(values)
        usual = known & (size >= LEAST_ROUNDED) & (size < MOST_ROUNDED)
        factor = 10.0 ** (DIGITS - 1 - np.floor(np.log10(size[usual])))
        values[usual] = np.round(values[usual] * factor) / factor
    return pa.array(values, mask=~known)


def _is_special(column: pa.Array) -> bool:
    """Whether values have to be looked at one by one: lists that are long, and types that JSON lacks."""
    kind = column.type
    if pa.types.is_list(kind):
        most = pc.max(pc.list_value_length(column)).as_py() or 0
        return most > MOST_ITEMS or _is_special(column.values)
    if pa.types.is_struct(kind):
        return any(_is_special(column.field(place)) for place in range(kind.num_fields))
    known = (pa.types.is_string, pa.types.is_integer, pa.types.is_boolean, pa.types.is_floating, pa.types.is_null)
    return not any(is_so(kind) for is_so in known)


def plain(value: Any) -> Any:
    """A value as JSON has it: what it lacks becomes text, long lists are cut, with how long they are."""
    if isinstance(value, list):
        cut = [plain(item) for item in value[:MOST_ITEMS]]
        return cut if len(value) <= MOST_ITEMS else {"first": cut, "of": len(value)}
    if isinstance(value, dict):
        return {str(name): plain(item) for name, item in value.items()}
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if isinstance(value, str | int | bool | None) else str(value)

"""All that the tables say of a clip, for its own page: read in small shards when somebody opens one."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from vidray.report.shards import Site

SHARD_CLIPS = 64
"""Some ten to a hundred kilobytes: opening a clip loads the shard that it is in."""

MOST_ITEMS = 400
"""Of a list, such as words or boxes; how many there are is said where there are more."""

SHOWN_ELSEWHERE = ("clip_id", "video_id", "uri", "part", "block", "tile_width", "tile_height", "columns")


def write_details(site: Site, tables: Mapping[str, pa.Table], count: int) -> None:
    """Write the rows of all tables, clip by clip: a shard is a list of {table: {column: value}}."""
    shown = {
        table: rows.select([name for name in rows.column_names if name not in SHOWN_ELSEWHERE])
        for table, rows in tables.items()
    }
    shown = {table: rows for table, rows in shown.items() if rows.num_columns}
    for number, first in enumerate(range(0, count, SHARD_CLIPS)):
        found: list[dict[str, Any]] = [{} for _ in range(min(SHARD_CLIPS, count - first))]
        for table, rows in shown.items():
            for clip, row in zip(found, rows.slice(first, SHARD_CLIPS).to_pylist(), strict=True):
                kept = {name: plain(value) for name, value in row.items() if value is not None and value != []}
                if kept:
                    clip[table] = kept
        site.data(f"details/{number}", found)


def plain(value: Any) -> Any:
    """A value as JSON has it: numbers that it lacks become texts, long lists are cut, with how long they are."""
    if isinstance(value, float):
        # seven digits are all that a float32 has
        return float(f"{value:.7g}") if math.isfinite(value) else str(value)
    if isinstance(value, list):
        cut = [plain(item) for item in value[:MOST_ITEMS]]
        return cut if len(value) <= MOST_ITEMS else {"first": cut, "of": len(value)}
    if isinstance(value, dict):
        return {str(name): plain(item) for name, item in value.items()}
    return value if isinstance(value, str | int | bool | None) else str(value)

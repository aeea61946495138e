"""Rows of published tables that are inputs of others, by clip."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from vidray.errors import ExtractError
from vidray.media import Clip, Columns
from vidray.store import Store
from vidray.store.layout import errors_of, features_of

HELD_PARTS = 4
"""Neighbouring slices are of the same part; a worker goes from part to part."""

Row = dict[str, Any] | ExtractError | None
"""A clip's columns; None where all are null; an error where the table has one for it."""


class TableReader:
    """Reads columns of the clips of a slice; parts are read once for all of their slices."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._held: OrderedDict[tuple[str, int, Columns], tuple[pa.Table, dict[str, str]]] = OrderedDict()

    def read(self, table: str, part: int, wanted: Columns, clips: Sequence[Clip]) -> list[Row]:
        """What a table says of clips of one part, in their order."""
        rows, failed = self._part(table, part, wanted)
        ids = pa.array([clip.clip_id for clip in clips], pa.string())
        places = pc.index_in(ids, value_set=rows["clip_id"].combine_chunks()).to_pylist()
        return [self._row(table, rows, wanted, place, failed, clip) for clip, place in zip(clips, places, strict=True)]

    def _row(
        self,
        table: str,
        rows: pa.Table,
        wanted: Columns,
        place: int | None,
        failed: dict[str, str],
        clip: Clip,
    ) -> Row:
        if place is None:
            reason = failed.get(clip.clip_id, "it has no row for this clip")
            return ExtractError("input", f"{table}: {reason}", clip.uri, clip.start_s)
        values = {name: rows[name][place].as_py() for name in rows.column_names if name != "clip_id"}
        values |= {name: None for name in wanted.optional if name not in values}
        return None if all(value is None for value in values.values()) else values

    def _part(self, table: str, part: int, wanted: Columns) -> tuple[pa.Table, dict[str, str]]:
        key = (table, part, wanted)
        if key not in self._held:
            there = self._store.columns(features_of(table), part) if wanted.optional else ()
            columns = [*wanted.columns, *(name for name in wanted.optional if name in there)]
            rows = self._store.read(features_of(table), part, ["clip_id", *dict.fromkeys(columns)])
            errors = self._store.read(errors_of(table), part, ["clip_id", "message"]).to_pylist()
            self._held[key] = rows, {row["clip_id"]: row["message"] for row in errors}
            while len(self._held) > HELD_PARTS:
                self._held.popitem(last=False)
        self._held.move_to_end(key)
        return self._held[key]

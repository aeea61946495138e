"""Which clips a report shows, and the rows that the tables of a store have of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from vidray.store import Store

MOST_CLIPS = 200_000
"""More are looked at as a sample: what a browser sorts and filters in a blink, in some tens of megabytes."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Chosen:
    """The clips of one part that are shown.

    Attributes:
        part: Of the plan.
        first: The number of its first clip among all that are shown.
        ids: Their clip ids, in order of the plan.
    """

    part: int
    first: int
    ids: pa.Array


@dataclass(frozen=True, kw_only=True, eq=False)
class Clips:
    """The clips of a report, in order of the plan.

    Attributes:
        table: Their rows of `clips`.
        chosen: The same part by part.
        total: How many clips the store has.
    """

    table: pa.Table
    chosen: tuple[Chosen, ...]
    total: int

    def __len__(self) -> int:
        return int(self.table.num_rows)

    @property
    def ids(self) -> pa.Array:
        """Their clip ids."""
        return whole(self.table["clip_id"])


def read_clips(store: Store, *, most: int = MOST_CLIPS) -> Clips:
    """All clips of a store, or so many of them: evenly spaced in the order of the plan, so that each video is shown by
    its share of clips. Raises StoreError."""
    parts = store.parts("clips")
    counts = [store.rows("clips", part) for part in parts]
    total = sum(counts)
    places = spread(total, most)
    tables, chosen, base, first = [], [], 0, 0
    for part, count in zip(parts, counts, strict=True):
        low, high = np.searchsorted(places, (base, base + count))
        rows = store.read("clips", part).take(pa.array(places[low:high] - base))
        tables.append(rows)
        chosen.append(Chosen(part=part, first=first, ids=whole(rows["clip_id"])))
        base, first = base + count, first + rows.num_rows
    empty = pa.table({name: pa.array([], pa.string()) for name in ("clip_id", "video_id", "uri")})
    table = pa.concat_tables(tables, promote_options="permissive") if tables else empty
    return Clips(table=table, chosen=tuple(chosen), total=total)


def spread(total: int, most: int) -> npt.NDArray[np.int64]:
    """At most so many numbers below `total`, ascending and evenly spaced."""
    count = min(total, most)
    return ((np.arange(count) + 0.5) * (total / max(count, 1))).astype(np.int64)


Columns = Callable[[pa.Schema], list[str]]
"""Which columns are wanted of a part: parts may have different ones, as manifests have."""


def rows_of_clips(store: Store, clips: Clips, table: str, columns: Columns) -> pa.Table:
    """Columns of a table for each clip that is shown, nulls where the table has no row of it or a part no such
    column."""
    return _rows(store, clips, table, "clip_id", columns)


def rows_of_videos(store: Store, clips: Clips, table: str, columns: Columns) -> pa.Table:
    """Columns of a table of videos for each clip that is shown, nulls as of `rows_of_clips`."""
    return _rows(store, clips, table, "video_id", columns)


def _rows(store: Store, clips: Clips, table: str, key: str, columns: Columns) -> pa.Table:
    there = set(store.parts(table))
    read = [pa.table({key: pa.array([], pa.string())})]
    for chosen in clips.chosen:
        if chosen.part in there and len(chosen.ids):
            wanted = columns(store.schema(table, chosen.part))
            read.append(store.read(table, chosen.part, [key, *wanted]))
    rows = pa.concat_tables(read, promote_options="permissive")
    places = pc.index_in(whole(clips.table[key]), value_set=whole(rows[key]))
    return rows.drop_columns([key]).take(places)


def streamed(
    store: Store, clips: Clips, table: str, columns: list[str], *, rows: int = 512
) -> Iterator[tuple[npt.NDArray[np.int64], pa.Table]]:
    """The rows of wide columns, so many at a time, each with the numbers of the clips that they are of."""
    there = set(store.parts(table))
    for chosen in clips.chosen:
        if chosen.part not in there or not len(chosen.ids):
            continue
        for batch in store.stream(table, chosen.part, ["clip_id", *columns], rows=rows):
            places = pc.index_in(whole(batch["clip_id"]), value_set=chosen.ids)
            known = places.is_valid()
            numbers = places.filter(known).to_numpy(zero_copy_only=False).astype(np.int64) + chosen.first
            yield numbers, batch.filter(known)


def whole(column: pa.ChunkedArray) -> pa.Array:
    """A column as one array."""
    made = column.combine_chunks()
    return pa.concat_arrays(made.chunks) if isinstance(made, pa.ChunkedArray) else made

"""Filters of one index: an expression becomes rows and a bitmap once, and is used for as many searches as there are."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from vidray.index.ann import F32, Bits, Rows
from vidray.index.filter_tables import filter_tables, listed, stamp
from vidray.index.following import Following, Live
from vidray.index.segment import bits_of
from vidray.index.vectors import Vectors
from vidray.index.where import matching_rows
from vidray.storage import Folder

FEW = 2048
"""So few matches are compared one by one: their vectors take some megabytes, and less time than any list."""

REMEMBERED = 8


@dataclass(frozen=True, eq=False)
class Filter:
    """An expression and the rows of an index for which it was true when it was asked.

    Attributes:
        where: The SQL expression.
        rows: int64, ascending.
    """

    where: str
    rows: Rows
    _kept: dict[int, _Kept]


@dataclass(frozen=True, kw_only=True, eq=False)
class _Kept:
    """What a filter keeps of what may be found.

    Attributes:
        bits: As a bitmap.
        vectors: float32 (N, dim), where they are few.
    """

    live: Live
    rows: Rows
    bits: Bits
    vectors: F32 | None


class Filters:
    """Makes filters and remembers the last ones, as long as no table changes. Thread-safe."""

    def __init__(self, vectors: Vectors, following: Following, features: Folder) -> None:
        self._vectors, self._following, self._features = vectors, following, features
        self._making = threading.Lock()
        self._known: OrderedDict[tuple[str, str], Filter] = OrderedDict()

    def kept(self, where: str | Filter, live: Live) -> _Kept:
        """What a filter keeps of the rows that may be found."""
        made = where if isinstance(where, Filter) else self.prepared(where)
        # one entry, replaced when what may be found changes
        known = made._kept.get(0)
        if known is None or known.live is not live:
            made._kept[0] = known = self._keep(made, live)
        return known

    def _keep(self, made: Filter, live: Live) -> _Kept:
        rows = made.rows[live.mask[made.rows]]
        mask = np.zeros(len(live.mask), np.bool_)
        mask[rows] = True
        vectors = self._vectors.vectors(rows).astype(np.float32) if len(rows) <= FEW else None
        return _Kept(live=live, rows=rows, bits=bits_of(mask), vectors=vectors)

    def prepared(self, where: str) -> Filter:
        """A filter of an expression; the same one as before where no table has changed. Raises UsageError."""
        with self._making:
            tables = listed(self._features)
            key = where, stamp(tables)
            if key not in self._known:
                rows = matching_rows(where, self._identities(), filter_tables(self._features, tables))
                self._known[key] = Filter(where, self._numbers()[rows], {})
                while len(self._known) > REMEMBERED:
                    self._known.popitem(last=False)
            self._known.move_to_end(key)
            return self._known[key]

    def _identities(self) -> pa.Table:
        tables = [segment.identities.slice(0, segment.segment.rows) for segment in self._vectors.segments]
        return pa.concat_tables(tables, promote_options="default")

    def _numbers(self) -> Rows:
        """The index's row of each identity."""
        segments = self._vectors.segments
        return np.concatenate([np.arange(s.segment.base, s.end, dtype=np.int64) for s in segments])

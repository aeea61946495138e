"""How a column is named in a filter (`--where`): bare where one table has it, else with its table."""

from __future__ import annotations

import re
from collections.abc import Sequence

from vidray.index.embeddings import IDENTITY
from vidray.index.filter_tables import FilterTable, filter_tables, listed
from vidray.store import Store
from vidray.store.layout import features_of

PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

_RESERVED = (
    "all analyse analyze and any array as asc asymmetric both case cast check collate column columns constraint create "
    "default deferrable desc describe distinct do else end except false fetch for foreign from group having in "
    "initially intersect into lambda lateral leading limit not null offset on only or order pivot pivot_longer "
    "pivot_wider placing primary qualify references returning select show some summarize symmetric table then to "
    "trailing true union unique unpivot using variadic when where window with"
)
RESERVED = frozenset(_RESERVED.split())
"""DuckDB's words that are no column's name without quotes: `duckdb_keywords()`, category reserved, and `columns`."""


def identifier(name: str) -> str:
    """A name as SQL writes it, in quotes where it needs them."""
    if PLAIN.fullmatch(name) and name.lower() not in RESERVED:
        return name
    return '"' + name.replace('"', '""') + '"'


class Names:
    """What the columns of a store's tables are called in a filter."""

    def __init__(self, store: Store) -> None:
        features = store.tables("features")
        folder = store.folder_of(features_of(features[0])) if features else None
        self._tables: Sequence[FilterTable] = () if folder is None else filter_tables(folder, listed(folder))
        self._paths = {table.path: table for table in self._tables}

    def of(self, path: str, column: str) -> str | None:
        """The column of a table, such as `features/quality`; None where a filter cannot name it."""
        table = self._paths.get(path)
        if table is None or column.lower() not in {name.lower() for name in table.columns}:
            return None
        having = [one for one in self._tables if one.name is not None and self._has(one, column)]
        if table.name is not None and (len(having) == 1 or column.lower() in IDENTITY):
            return identifier(column)
        return f"{self._spoken(table)}.{identifier(column)}"

    def _has(self, table: FilterTable, column: str) -> bool:
        return column.lower() in {name.lower() for name in table.columns}

    def _spoken(self, table: FilterTable) -> str:
        called = [one for one in self._tables if (one.name or "").lower() == (table.name or "").lower()]
        return identifier(table.name if table.name and len(called) == 1 else table.path)

"""From the name of an extractor, as somebody types it, to its table in a store."""

from __future__ import annotations

from collections.abc import Collection

from vidray.errors import UsageError
from vidray.extractors import slug
from vidray.store import Store


def named(store: Store, tables: Collection[str], extractor: str) -> str | None:
    """The one of these tables that a name means: the directory's, its extractor's, or as typed when it was made."""
    if slug(extractor) in tables:
        return slug(extractor)
    for table in tables:
        spec = store.spec(table) or {}
        if extractor in (spec.get("name"), spec.get("extractor")):
            return table
    return None


def features_table(store: Store, extractor: str) -> str:
    """The feature table of an extractor. Raises UsageError where there is none."""
    tables = store.tables("features")
    table = named(store, tables, extractor)
    if table is not None:
        return table
    there = f"there are {', '.join(tables)}" if tables else "there is none"
    raise UsageError(f"{store.url}: no table of '{extractor}', {there}; run vidray extract CORPUS STORE -x {extractor}")

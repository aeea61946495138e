"""Names in a store: which feature table is meant, by its extractor's name or by what it is good for, and what labels
and heads may be called.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from typing import Any

from vidray.arguments import check_text
from vidray.errors import UsageError
from vidray.extractors import Extractor, slug
from vidray.extractors.registry import origin_of
from vidray.extractors.spec import has_classes, hears, is_joint
from vidray.store.remedies import to_extract
from vidray.store.store import Store

Spec = Mapping[str, Any]
"""What a table's `_spec.json` says."""


def checked_name(name: str) -> str:
    """The same name, of labels or a head, once it is seen that it can be a directory's. Raises UsageError."""
    check_text(name=name)
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise UsageError(f"a name must be of A-Z, a-z, 0-9, '.', '_' and '-', a letter or digit first, got {name!r}")
    return name


def named(store: Store, tables: Collection[str], extractor: str) -> str | None:
    """The one of these tables that a name means: the directory's, its extractor's, or as typed when it was made."""
    if slug(extractor) in tables:
        return slug(extractor)
    for table in tables:
        spec = store.spec(table) or {}
        if extractor in (spec.get("name"), spec.get("extractor")):
            return table
    return None


def features_table(store: Store, extractor: str | Extractor) -> str:
    """The feature table of an extractor, by its name or itself. Raises UsageError where there is none."""
    extractor = extractor if isinstance(extractor, str) else origin_of(extractor)
    tables = store.tables("features")
    table = named(store, tables, extractor)
    if table is not None:
        return table
    store.check_there()
    there = f"there are {', '.join(tables)}" if tables else "there is none"
    raise UsageError(f"{store.url}: no table of '{extractor}', {there}; run {to_extract(store, '-x', extractor)}")


def suiting_table(
    store: Store,
    extractor: str | Extractor | None,
    wanted: Mapping[str, Callable[[Spec], bool]],
    *,
    remedy: str = "-x efficientnet_lite0",
) -> str:
    """The table that was named, or the only one of the first kind that there are tables of.

    Args:
        store: The store.
        extractor: As typed, or None.
        wanted: Kinds of tables, the better ones first: what they have, and whether a `_spec.json` is of the kind.
        remedy: What to extract where there is none, as options of `vidray extract`.

    Raises:
        UsageError: There is no such table, or several are as good.
    """
    if extractor is not None:
        return features_table(store, extractor)
    specs = {table: store.spec(table) or {} for table in store.tables("features")}
    for what, is_so in wanted.items():
        suiting = [table for table, spec in specs.items() if is_so(spec)]
        if len(suiting) == 1:
            return suiting[0]
        if suiting:
            raise UsageError(f"{store.url}: {', '.join(suiting)} have {what}; say which, with -x NAME")
    store.check_there()
    there = f"no table has {' or '.join(wanted)} ({', '.join(specs)})" if specs else "there are no features yet"
    raise UsageError(f"{store.url}: {there}; run {to_extract(store, *remedy.split())}")


def text_table(store: Store, extractor: str | Extractor | None) -> str:
    """The table to compare texts with: one of a joint model, else one of frames with classes, else one of sounds.

    Raises UsageError as `suiting_table` does.
    """
    kinds = {
        "a text model": is_joint,
        "classes of frames": lambda spec: has_classes(spec) and not hears(spec),
        "classes of sounds": has_classes,
    }
    return suiting_table(store, extractor, kinds)

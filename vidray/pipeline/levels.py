"""Extractors that take each other's tables: which table each input is, what has to be added, what made what."""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from vidray.errors import UsageError
from vidray.extractors import describe, inventory, resolve, slug
from vidray.extractors.inputs import Bound, columns_of, fitting, levels
from vidray.extractors.protocol import Extractor
from vidray.extractors.registry import giving
from vidray.extractors.spec import bound_in, column_names, current, restore
from vidray.extractors.with_steps import itself
from vidray.media import Columns
from vidray.store import Store, check_columns
from vidray.store.json_files import json_bytes
from vidray.store.layout import features_of
from vidray.store.tables import named


@dataclass(frozen=True)
class Bindings:
    """The tables of a run, and what each is made from.

    Attributes:
        extractors: By table: those that were asked for, and those that these need and nobody has.
        bound: Of each of them the tables that its inputs are.
        borrowed: Tables that are inputs and stand in the store, made by who is not asked for.
    """

    extractors: dict[str, Extractor]
    bound: dict[str, Bound]
    borrowed: tuple[str, ...]

    def levels(self) -> list[list[str]]:
        """The tables in the order in which they are filled."""
        return levels(self.bound)


def bind(
    store: Store, extractors: Mapping[str, Extractor], say: Callable[[str], None], *, restored: Collection[str] = ()
) -> Bindings:
    """Find the table of every input that is a table, and add the extractors that are lacking.

    Args:
        store: Where the tables are.
        extractors: By table.
        say: Is told what is added.
        restored: Tables whose extractors are as the store says: what such a one names is never imported nor fetched.

    Raises:
        UsageError: No table has the columns of an input, or several have; or a table would have a column that every
            table has.
    """
    held = {**extractors, **_brought(store, extractors, say)}
    bound: dict[str, Bound] = {}
    borrowed: dict[str, None] = {}
    waiting = list(held)
    while waiting:
        table = waiting.pop(0)
        check_columns(table, held[table].schema, getattr(held[table], "video_schema", None))
        found: dict[str, str] = {}
        for name, wanted in columns_of(held[table]).items():
            source = _table(store, held, table, name, wanted)
            if source is None:
                if table in restored:
                    _check_named(store, table, wanted)
                source, extractor = _added(held[table], wanted)
                # the options of a command are of what it names
                say(f"{table} needs {source}, which is extracted too, by its defaults: name it with -x for others")
                held[source] = extractor
                waiting.append(source)
            _check_fits(store, held, table, source, wanted)
            if source not in held:
                borrowed[source] = None
            found[name] = source
        bound[table] = found
    return Bindings(held, bound, tuple(borrowed))


def _brought(store: Store, extractors: Mapping[str, Extractor], say: Callable[[str], None]) -> dict[str, Extractor]:
    """What some extractors bring with them: by its plain name where one of them alone brings it, else `NAME-TABLE`."""
    found: dict[str, Extractor] = {}
    brought = [(name, table) for table, e in extractors.items() for name in getattr(e, "brings", ())]
    for name, table in brought:
        plain = resolve(name)
        if any(type(itself(extractor)) is type(plain) for extractor in extractors.values()):
            continue
        spec = store.spec(slug(plain.name))
        is_alone = spec is None and [other for other, _ in brought].count(name) == 1
        is_its = spec is not None and table in bound_in(current(spec)).values()
        extractor = plain if is_alone or is_its else resolve(f"{name}?of={quote(table, safe='')}")
        found[slug(extractor.name)] = extractor
        if store.spec(slug(extractor.name)) is None:
            say(f"{table} brings {slug(extractor.name)}, which is extracted too")
    return found


def with_missing(store: Store, bindings: Bindings, say: Callable[[str], None]) -> Bindings:
    """The same with the extractors of borrowed tables that lack parts of the plan.

    Raises UsageError where such a table was made by an extractor that has to be named.
    """
    planned = set(store.parts("clips"))
    lacking = [table for table in bindings.borrowed if planned - set(store.parts(features_of(table)))]
    if not lacking:
        return bindings
    added = {table: restore(store.spec(table) or {}) for table in lacking}
    say(f"new clips need {', '.join(lacking)} first, which are extracted too")
    return bind(store, {**added, **bindings.extractors}, say, restored=added.keys() - bindings.extractors.keys())


def describe_all(store: Store, bindings: Bindings) -> dict[str, dict[str, Any]]:
    """What makes each table, with what made its inputs; in the order of levels."""
    hashes = {table: store.spec_sha256(table) for table in bindings.borrowed}
    specs: dict[str, dict[str, Any]] = {}
    for table in (table for level in bindings.levels() for table in level):
        spec = describe(bindings.extractors[table], bindings.bound[table], hashes)
        is_as_it_was = store.spec(table) is not None and store.spec_differences(table, spec) is None
        made = store.spec_sha256(table) if is_as_it_was else hashlib.sha256(json_bytes(spec)).hexdigest()
        specs[table], hashes[table] = spec, made
    return specs


def _table(store: Store, held: Mapping[str, Extractor], table: str, name: str, wanted: Columns) -> str | None:
    """The table that an input is; None where an extractor has to be added for it."""
    there = store.tables("features")
    if wanted.table is not None:
        by_name = next((key for key, e in held.items() if wanted.table in (key, e.name, slug(e.name))), None)
        return by_name or named(store, there, wanted.table)
    known = bound_in(current(store.spec(table) or {})).get(name)
    if known is not None and (known in held or known in there):
        return known
    choices = _fitting(store, held, table, wanted)
    choices = [one for one in choices if not _stands_back(store, held, one, choices)]
    if len(choices) > 1:
        raise UsageError(
            f"{table} takes {', '.join(wanted.columns)} of one table, and {', '.join(choices)} have it; "
            f"say which, as in -x '{held[table].name}?of={choices[0]}'"
        )
    return choices[0] if choices else None


def _fitting(store: Store, held: Mapping[str, Extractor], table: str, wanted: Columns) -> list[str]:
    """The tables, other than its own, that have the columns of an input."""
    columns = {other: column_names(store.spec(other) or {}) for other in store.tables("features")}
    columns |= {other: set(extractor.schema.names) for other, extractor in held.items()}
    return sorted(fitting({other: names for other, names in columns.items() if other != table}, wanted))


def _check_fits(store: Store, held: Mapping[str, Extractor], table: str, source: str, wanted: Columns) -> None:
    """Refuse a table that is named and has not what is taken of it, before anything is extracted."""
    there = set(held[source].schema.names) if source in held else column_names(store.spec(source) or {})
    lacking = [column for column in wanted.columns if column not in there]
    # of a table that somebody else wrote nothing is known
    if there and lacking:
        choices = _fitting(store, held, table, wanted)
        remedy = f"name another: of={' or of='.join(choices)}" if choices else f"extract another first{_givers(wanted)}"
        raise UsageError(f"{table} takes {', '.join(lacking)} of a table, which {source} has not; {remedy}")


def _givers(wanted: Columns) -> str:
    givers = giving(wanted.columns) if wanted.default is None else [wanted.default]
    able = " or ".join(f"-x {shlex.quote(giver)}" for giver in givers)
    return f", such as {able}" if able else ""


def _stands_back(store: Store, held: Mapping[str, Extractor], table: str, choices: Sequence[str]) -> bool:
    """Whether a table brought another of some tables, which is made to be taken in its stead: a transcript, say."""
    origin = str((store.spec(table) or {}).get("extractor")).partition("@")[0]
    # a store does not decide what is imported: only what comes with vidray is asked
    maker = held.get(table) or (resolve(origin) if inventory.find(origin) is not None else None)
    brought = {slug(name) for name in getattr(maker, "brings", ())}
    return any(one in brought or one in {f"{name}-{table}" for name in brought} for one in choices)


def _check_named(store: Store, table: str, wanted: Columns) -> None:
    """Refuse to extract what a store alone names; what an extractor takes by default is a plain name of its code's."""
    if wanted.table is not None or any(mark in (wanted.default or "") for mark in ":@?"):
        name = wanted.table or wanted.default
        raise UsageError(
            f"{store.url}/{features_of(table)} was made from '{name}', which is no table there, and a store does not "
            f"decide what is imported or fetched: name it yourself, with -x {name}"
        )


def _added(extractor: Extractor, wanted: Columns) -> tuple[str, Extractor]:
    name = wanted.table or wanted.default
    if name is None:
        raise UsageError(
            f"{extractor.name} takes {', '.join(wanted.columns)} of another table, and none has it; extract one first"
            + _givers(wanted)
        )
    try:
        added = resolve(name)
    except UsageError as e:
        raise UsageError(f"{extractor.name} needs a table of '{name}': {e}") from e
    return slug(added.name), added

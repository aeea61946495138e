"""What failed or warned in a store, row by row and by kind, and how it is tried again."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from typing import Any
from urllib.parse import quote

import pyarrow.compute as pc

from vidray.errors import SpecMismatchError, UsageError, VidrayError
from vidray.extractors.protocol import Extractor
from vidray.extractors.registry import resolve, slug
from vidray.extractors.spec import current
from vidray.extractors.with_steps import itself
from vidray.plugins import TABLE_OPTION
from vidray.steps import step_from, text_of
from vidray.store.layout import PROBE_TABLE, WARNING, errors_of, features_of
from vidray.store.store import Store

COLUMNS = ("table", "stage", "kind", "uri", "start_s", "end_s", "message")
WARNED = "warning"
SAFE = "/:,=@"
"""What stands in the value of an option as it is: it ends none."""
UNTYPED = object()
"""What no option has."""


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A video that cannot be read, a clip without features, or one with a warning.

    Attributes:
        table: The feature table, None for a video that cannot be read.
        stage: "probe", "decode", "extract", "input"; "warning" for a clip that has features all the same.
        kind: A short word to group by.
        start_s: Of the clip, as end_s is; None for a video.
    """

    table: str | None
    stage: str
    kind: str
    uri: str
    start_s: float | None
    end_s: float | None
    message: str


@dataclass(frozen=True, kw_only=True)
class FailureKind:
    """All failures of one kind in one table.

    Attributes:
        first: One of them.
        count: How many there are.
    """

    table: str | None
    stage: str
    kind: str
    count: int
    first: Failure


def failures(store: str | PathLike[str]) -> Iterator[Failure]:
    """Everything that failed or warned in a store: first the videos, then table by table in the order of the plan.

    Raises UsageError where there is no store.
    """
    held = Store(store)
    held.check_planned()
    for part in held.parts(PROBE_TABLE):
        for row in held.read(PROBE_TABLE, part, ["uri", "stage", "kind", "message"]).to_pylist():
            yield Failure(table=None, start_s=None, end_s=None, **row)
    for table in held.tables("features"):
        for part in held.parts(errors_of(table)):
            columns = ["uri", "start_s", "end_s", "stage", "kind", "message"]
            for row in held.read(errors_of(table), part, columns).to_pylist():
                yield Failure(table=table, **row)
        yield from _warnings(held, table)


def _warnings(store: Store, table: str) -> Iterator[Failure]:
    name = WARNING.name
    for part in store.parts(features_of(table)):
        if name not in store.columns(features_of(table), part):
            continue
        rows = store.read(features_of(table), part, ["uri", "start_s", "end_s", name])
        for row in rows.filter(pc.is_valid(rows[name])).to_pylist():
            yield Failure(table=table, stage=WARNED, kind=WARNED, message=row.pop(name), **row)


def by_kind(found: Sequence[Failure]) -> list[FailureKind]:
    """The failures grouped by table, stage and kind, the most frequent first."""
    groups: dict[tuple[str | None, str, str], list[Failure]] = {}
    for failure in found:
        groups.setdefault((failure.table, failure.stage, failure.kind), []).append(failure)
    kinds = [
        FailureKind(table=table, stage=stage, kind=kind, count=len(some), first=some[0])
        for (table, stage, kind), some in groups.items()
    ]
    return sorted(kinds, key=lambda kind: -kind.count)


def retried(store: str | PathLike[str], kinds: Sequence[FailureKind]) -> list[str]:
    """The tables to name so that all of these are tried again: a video that can be read by then is new to every one."""
    failed = {kind.table for kind in kinds if kind.stage != WARNED}
    if None in failed:
        return Store(store).tables("features")
    return sorted(table for table in failed if table is not None)


def retry_command(store: str | PathLike[str], tables: Sequence[str]) -> str | None:
    """The command that tries again what failed in some tables, as a shell takes it.

    An extractor stands in it with all that made its table and can be typed, NAME where there is no table yet. None
    where nothing is known of a corpus.
    """
    held = Store(store)
    corpora = corpora_of(held)
    if not corpora:
        return None
    # a video that cannot be read lacks in all tables
    named = tables or held.tables("features")
    asked = [word for table in named for word in ("-x", _typed(held, table))] or ["-x", "NAME"]
    return shlex.join(["vidray", "extract", corpora[0], str(store), *asked, "--retry-failed"])


def _typed(store: Store, table: str) -> str:
    """What `-x` takes for the extractor of a table: its name, with the settings and steps that are not the usual."""
    spec = current(store.spec(table) or {})
    origin = str(spec.get("extractor") or table)
    head = origin.partition("@")[0]
    options = _unusual(origin, spec.get("settings") or {}) | _steps(spec)
    is_usual = False
    with contextlib.suppress(UsageError):
        is_usual = slug(str(spec.get("name") or head)) == table
    options |= {} if is_usual else {TABLE_OPTION: table}
    typed = "&".join(f"{name}={quote(text, safe=SAFE)}" for name, text in options.items())
    return f"{origin}?{typed}" if typed else origin


def _unusual(origin: str, settings: Mapping[str, Any]) -> dict[str, str]:
    """The settings that a name alone does not stand for, of those that can be typed; all of a class that would have to
    be imported, which no store decides."""
    usual: Extractor | None = None
    if ":" not in origin.partition("@")[0]:
        with contextlib.suppress(VidrayError):
            usual = itself(resolve(origin))
    typed = {name: _text(value) for name, value in settings.items() if name != TABLE_OPTION}
    return {
        name: text
        for name, text in typed.items()
        if text is not None and not (usual is not None and text == _text(getattr(usual, name, UNTYPED)))
    }


def _text(value: Any) -> str | None:
    """A setting as it is typed, None where it cannot be."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return ",".join(_text(item) or "" for item in value)
    return str(value) if isinstance(value, str | int | float) else None


def _steps(spec: Mapping[str, Any]) -> dict[str, str]:
    """What the inputs go through, by modality."""
    found: dict[str, str] = {}
    for record in (spec.get("inputs") or {}).values():
        modality = record["modality"]
        with contextlib.suppress(SpecMismatchError):
            steps = tuple(step_from(modality, step) for step in record.get("steps") or ())
            found |= {modality: text_of(steps)} if steps else {}
    return found


def corpora_of(store: Store) -> list[str]:
    """What was planned into a store."""
    found: dict[str, None] = {}
    for part in store.parts("clips"):
        found |= dict.fromkeys(store.read("videos", part, ["corpus"])["corpus"].unique().to_pylist())
    return [corpus for corpus in found if corpus]


def empty_tables(store: str | PathLike[str], tables: Sequence[str]) -> list[tuple[str, int, str]]:
    """The tables in which every clip failed: their names, how many clips that are, and why the first did."""
    held = Store(store)
    found = []
    for table in tables:
        done = held.count(features_of(table))
        errors = {part: rows for part, rows in held.counts(errors_of(table)).items() if rows}
        parts = list(errors)
        if not done and parts:
            failed = sum(errors.values())
            first = held.read(errors_of(table), parts[0], ["message"])["message"][0].as_py()
            found.append((table, failed, first))
    return found

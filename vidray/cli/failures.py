"""What a command says of the files and clips that could not be used."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vidray.cli.arguments import say
from vidray.wording import counted, typed

FAILURES_NAMED = 10


def say_failures(store: str, tables: Sequence[str]) -> None:
    """Name the first files and clips that have rows in `errors/`."""
    from vidray.pipeline import failures

    lines, count = failures(store, tables, most=FAILURES_NAMED)
    for line in lines:
        say(f"  cannot use {line}")
    if count > len(lines):
        say(f"  and {count - len(lines):,} more; all of them, by kind: {typed('errors', store)}")


def say_nothing_done(store: str, tables: Sequence[str]) -> int:
    """The exit status: 1, and why, where no video could be read, or every clip failed in a table; else 0."""
    from vidray.store import Store
    from vidray.store.accounts import empty_tables

    held = Store(store)
    parts = held.parts("clips")
    if parts and not held.count("clips", parts):
        say(f"vidray: nothing could be done: none of {counted(_rows(held, 'videos'), 'video')} can be read")
        return 1
    empty = empty_tables(store, tables)
    for table, failed, first in empty:
        say(f"vidray: nothing could be done for {table}: all of its {counted(failed, 'clip')} failed: {first}")
    return 1 if empty else 0


def _rows(store: Any, table: str) -> int:
    return int(store.count(table))

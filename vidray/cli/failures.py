"""What a command says of the files and clips that could not be used."""

from __future__ import annotations

from collections.abc import Sequence

from vidray.cli.arguments import say

FAILURES_NAMED = 10


def say_failures(store: str, tables: Sequence[str]) -> None:
    """Name the first files and clips that have rows in `errors/`."""
    from vidray.pipeline import failures

    lines, count = failures(store, tables, most=FAILURES_NAMED)
    for line in lines:
        say(f"  cannot use {line}")
    if count > len(lines):
        say(f"  and {count - len(lines):,} more, all in {store}/errors/")

"""`vidray drop`: remove a table, labels or an index from a store."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from typing import Any

from vidray.cli.arguments import add_json, command, print_json, say, tell
from vidray.errors import UsageError
from vidray.wording import counted


def add(commands: Any) -> None:
    parser = command(commands, "drop", run_drop, "remove a table, labels, duplicates, an index or a head")
    parser.add_argument("store", metavar="STORE")
    parser.add_argument(
        "table", metavar="TABLE", help="features/NAME, or NAME alone; labels/, duplicates/, index/ or heads/NAME"
    )
    parser.add_argument("--yes", action="store_true", help="do not ask")
    add_json(parser)


def run_drop(arguments: argparse.Namespace) -> int:
    from vidray.store.removal import drop, find_removal

    found = find_removal(arguments.store, arguments.table)
    say(f"removes {', '.join(found.folders)} of {arguments.store} ({counted(found.rows, 'row')})")
    if found.derived:
        say(f"made from it, and kept: {', '.join(found.derived)}")
    if not arguments.yes and not _agreed():
        return 1
    removal = drop(arguments.store, found.table, say=say)
    if arguments.json:
        print_json(dataclasses.asdict(removal))
    else:
        tell(f"removed {removal.table}")
    return 0


def _agreed() -> bool:
    if not sys.stdin.isatty():
        raise UsageError("nobody is there to be asked: say --yes")
    say("remove it? [y/N]")
    return sys.stdin.readline().strip().lower() in ("y", "yes")

"""`vidray errors`: everything that failed or warned, by kind, and how to try again."""

from __future__ import annotations

import argparse
import csv
import dataclasses
import sys
from typing import Any

from vidray.cli.arguments import add_json, command, print_json, say, tell
from vidray.wording import counted, typed


def add(commands: Any) -> None:
    parser = command(commands, "errors", run_errors, "what failed or warned, by kind, and how to try again")
    parser.add_argument("store", metavar="STORE")
    parser.add_argument("--to", choices=["csv"], help="every row instead, on standard output")
    add_json(parser)


def run_errors(arguments: argparse.Namespace) -> int:
    from vidray.store.accounts import COLUMNS, WARNED, by_kind, failures, retried
    from vidray.store.remedies import retry_command

    found = list(failures(arguments.store))
    if arguments.to == "csv":
        writer = csv.DictWriter(sys.stdout, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(dataclasses.asdict(failure) for failure in found)
        return 0
    kinds = by_kind(found)
    if arguments.json:
        print_json([dataclasses.asdict(kind) for kind in kinds])
        return 0
    if not kinds:
        tell("nothing failed, and nothing warned")
    for kind in kinds:
        what = counted(kind.count, "video" if kind.table is None else "clip")
        first = kind.first
        place = "" if first.start_s is None else f" at {first.start_s:g}-{first.end_s:g} s"
        stage = kind.kind if kind.stage == WARNED else f"{kind.stage} {kind.kind}"
        tell(f"{kind.table or 'videos'}: {what}: {stage}, as {first.uri}{place}: {first.message}")
    again = retry_command(arguments.store, retried(arguments.store, kinds))
    if again is not None and any(kind.stage != WARNED for kind in kinds):
        say(f"try again: {again}")
    if kinds:
        say(f"all rows: {typed('errors', arguments.store, '--to', 'csv')}")
    return 0

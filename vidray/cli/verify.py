"""`vidray verify`: account for every planned clip."""

from __future__ import annotations

import argparse
import dataclasses
from typing import Any

from vidray.cli.arguments import add_json, command, print_json, say


def add(commands: Any) -> None:
    parser = command(
        commands, "verify", run_verify, "account for every planned clip, and for every byte that was published"
    )
    parser.add_argument("store", metavar="STORE")
    parser.add_argument("--full", action="store_true", help="read every byte, also of large parts and indexes")
    add_json(parser)


def run_verify(arguments: argparse.Namespace) -> int:
    from vidray.retrieval.verification import verify

    found = verify(arguments.store, full=arguments.full)
    for note in found.notes:
        say(note)
    counts = dataclasses.asdict(found)
    del counts["notes"]
    if arguments.json:
        print_json(counts)
    else:
        print("  ".join(f"{name} {value:,}" for name, value in counts.items()))
    return 0 if found.is_whole else 1

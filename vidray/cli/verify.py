"""`vidray verify`: account for every planned clip."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Iterator
from typing import Any

from vidray.cli.arguments import add_json, command, print_json, say, tell
from vidray.errors import StoreError
from vidray.wording import counted, typed


def add(commands: Any) -> None:
    parser = command(commands, "verify", run_verify, "account for every planned clip, and what was published")
    parser.add_argument("store", metavar="STORE")
    parser.add_argument("--full", action="store_true", help="read every byte, also of large parts and indexes")
    parser.add_argument(
        "--media",
        type=int,
        nargs="?",
        const=100,
        metavar="CLIPS",
        help="decode so many clips once more, their files from start to end, and say what was not seen or heard (100)",
    )
    add_json(parser)


def run_verify(arguments: argparse.Namespace) -> int:
    from vidray.retrieval.media_check import media_check
    from vidray.retrieval.verification import verify

    beside = () if arguments.media is None else (media_check(arguments.media),)
    found = verify(arguments.store, full=arguments.full, beside=beside)
    for note in (*found.notes, *_noted(arguments.store)):
        say(note)
    counts = dataclasses.asdict(found)
    del counts["notes"]
    if arguments.json:
        print_json(counts)
    else:
        tell("  ".join(f"{name} {value:,}" for name, value in counts.items()))
    return 0 if found.is_whole else 1


def _noted(store: str) -> Iterator[str]:
    """What is no fault of the accounts, and worth knowing: unreadable videos and warnings."""
    from vidray.store.accounts import WARNED, failures

    try:
        found = list(failures(store))
    except (StoreError, OSError):
        # a damaged part is found and told by the verification itself
        return
    unreadable = sum(failure.table is None for failure in found)
    # a clip warns in every table that was extracted of it
    warned = len({(one.uri, one.start_s, one.end_s) for one in found if one.stage == WARNED})
    if unreadable or warned:
        told = [f"{counted(unreadable, 'video')} cannot be read"] if unreadable else []
        told += [f"{counted(warned, 'clip')} with a decode warning"] if warned else []
        yield f"{', '.join(told)}: {typed('errors', store)}"

"""`vidray move`: the same files under another prefix."""

from __future__ import annotations

import argparse
import dataclasses
from typing import Any

from vidray.cli.arguments import add_json, command, print_json, say, tell
from vidray.wording import counted, typed


def add(commands: Any) -> None:
    parser = command(commands, "move", run_move, "have a store know its videos at another place")
    parser.add_argument("store", metavar="STORE")
    parser.add_argument("old", metavar="OLD", help="the folder or prefix under which the videos were")
    parser.add_argument("new", metavar="NEW", help="where they are now, at the same places below")
    parser.add_argument("--unseen", action="store_true", help="although none of the files can be seen there from here")
    add_json(parser)


def run_move(arguments: argparse.Namespace) -> int:
    from vidray.moving import move

    summary = move(arguments.store, arguments.old, arguments.new, unseen=arguments.unseen, say=say)
    if summary.missing:
        say(f"{summary.missing:,} of {counted(summary.videos, 'video')}: no such file at the new place")
    if summary.changed:
        other = f"{summary.changed:,} of {counted(summary.videos, 'video')}: another size at the new place"
        say(f"{other}; extract --refresh takes what is there in anew")
    for name in summary.indexes:
        say(f"index/{name} named the old place and is removed: run {typed('index', arguments.store, '-x', name)}")
    if arguments.json:
        print_json(dataclasses.asdict(summary))
    else:
        tell(f"{counted(summary.videos, 'video')} moved from {arguments.old} to {arguments.new}")
    return 0

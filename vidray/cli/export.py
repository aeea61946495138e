"""`vidray export`: write a table as other tools want it."""

from __future__ import annotations

import argparse
import dataclasses
from typing import Any

from vidray.cli.arguments import add_json, command, print_json, say, tell


def add(commands: Any) -> None:
    parser = command(commands, "export", run_export, "write a table as CSV, or boxes and masks as COCO")
    parser.add_argument("store", metavar="STORE")
    parser.add_argument("table", metavar="TABLE", help="such as labels/NAME, video_labels/NAME, features/NAME")
    parser.add_argument("--to", choices=["csv", "coco"], required=True)
    parser.add_argument("-o", "--output", metavar="PATH", required=True, help="a path or URL")
    add_json(parser)


def run_export(arguments: argparse.Namespace) -> int:
    from vidray.exports.export import export

    summary = export(arguments.store, arguments.table, arguments.output, to=arguments.to)
    if summary.left_out:
        say(f"left out, as CSV has no lists: {', '.join(summary.left_out)}")
    if arguments.json:
        print_json(dataclasses.asdict(summary))
    else:
        tell(f"{summary.rows:,} {'rows' if arguments.to == 'csv' else 'annotations'} in {summary.path}")
    return 0

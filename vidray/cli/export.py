"""`vidray export`: write a table as other tools want it."""

from __future__ import annotations

import argparse
import dataclasses
from typing import Any

from vidray.cli.arguments import add_json, command, print_json, say, tell
from vidray.errors import UsageError


def add(commands: Any) -> None:
    parser = command(
        commands,
        "export",
        run_export,
        "write a table as CSV, COCO, subtitles, RTTM or tasks to label, an index as Lance",
    )
    parser.add_argument("store", metavar="STORE")
    parser.add_argument("table", metavar="TABLE", help="such as labels/NAME, features/NAME, index/NAME")
    parser.add_argument(
        "--to",
        choices=["csv", "coco", "segments", "vtt", "srt", "json", "rttm", "label-studio", "lance"],
        required=True,
    )
    parser.add_argument(
        "-o", "--output", metavar="PATH", required=True, help="a path or URL; a folder for subtitles and RTTM"
    )
    add_json(parser)


def run_export(arguments: argparse.Namespace) -> int:
    if arguments.to == "lance":
        return _export_index(arguments)
    from vidray.exports.export import export

    summary = export(arguments.store, arguments.table, arguments.output, to=arguments.to)
    if summary.left_out:
        say(f"left out, as CSV has no lists: {', '.join(summary.left_out)}")
    if arguments.json:
        print_json(dataclasses.asdict(summary))
    else:
        units = {"csv": "rows", "coco": "annotations", "json": "segments", "segments": "segments", "rttm": "turns",
                 "label-studio": "tasks"}  # fmt: skip
        what = units.get(arguments.to, "cues")
        tell(f"{summary.rows:,} {what} in {summary.path}")
    return 0


def _export_index(arguments: argparse.Namespace) -> int:
    from vidray.pipeline.lance import export_to_lance
    from vidray.store.layout import split_table

    kind, name = split_table(arguments.table)
    if kind != "index" or not name:
        raise UsageError(f"--to lance is for indexes, index/NAME, got {arguments.table!r}")
    summary = export_to_lance(arguments.store, name, arguments.output)
    if arguments.json:
        print_json(dataclasses.asdict(summary))
    else:
        tell(f"{summary.rows:,} clips in {summary.path}, {summary.index or 'without an index: they are few'}")
    return 0

"""`vidray import`: take people's labels in."""

from __future__ import annotations

import argparse
import dataclasses
from typing import Any

from vidray.cli.arguments import LABEL_COLUMNS, add_any_source, add_json, command, print_json, say, tell
from vidray.errors import UsageError
from vidray.wording import counted


def add(commands: Any) -> None:
    parser = command(commands, "import", run_import, "take people's labels in; they stand above a model's")
    parser.add_argument("store", metavar="STORE")
    parser.add_argument("labels", nargs="?", metavar="LABELS.csv", help=LABEL_COLUMNS)
    parser.add_argument("--name", required=True, help="of the labels")
    add_any_source(parser)
    parser.add_argument("--undo", action="store_true", help="take the last import back")
    add_json(parser)


def run_import(arguments: argparse.Namespace) -> int:
    from vidray.labels.imports import import_labels, undo_import
    from vidray.store import Store

    if arguments.undo == (arguments.labels is not None):
        raise UsageError("give a file of labels, or --undo to take the last one back")
    if arguments.undo:
        summary = undo_import(arguments.store, name=arguments.name, say=say)
    else:
        options = {"name": arguments.name, "any_source": arguments.any_source}
        summary = import_labels(arguments.store, arguments.labels, say=say, **options)
    if arguments.json:
        print_json(dataclasses.asdict(summary))
    else:
        place = f"{arguments.store}/labels/{summary.name}"
        if arguments.undo and summary.name not in Store(arguments.store).tables("labels"):
            tell(f"undone: as before the import, there is no {place}")
        elif arguments.undo:
            has = f"{counted(summary.clips, 'clip')} of {place}: {counted(summary.labels, 'label')}"
            tell(f"undone: as before the import, {has}")
        else:
            tell(f"{counted(summary.labels, 'label')} of {counted(summary.clips, 'clip')} in {place}")
    return 0

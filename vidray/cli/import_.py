"""`vidray import`: take people's labels in."""

from __future__ import annotations

import argparse
import dataclasses
from typing import Any

from vidray.cli.arguments import LABEL_COLUMNS, add_json, command, print_json, say


def add(commands: Any) -> None:
    parser = command(commands, "import", run_import, "take people's labels in; they stand above a model's")
    parser.add_argument("store", metavar="STORE")
    parser.add_argument("labels", metavar="LABELS.csv", help=LABEL_COLUMNS)
    parser.add_argument("--name", required=True, help="of the labels")
    add_json(parser)


def run_import(arguments: argparse.Namespace) -> int:
    from vidray.labels.annotations import import_labels

    summary = import_labels(arguments.store, arguments.labels, name=arguments.name, say=say)
    if arguments.json:
        print_json(dataclasses.asdict(summary))
    else:
        print(f"{summary.labels:,} labels of {summary.clips:,} clips in {arguments.store}/labels/{summary.name}")
    return 0

"""`vidray index`: build the search index of a feature table."""

from __future__ import annotations

import argparse
from typing import Any

from vidray.cli.arguments import command


def add(commands: Any) -> None:
    parser = command(commands, "index", run_index, "build the search index of a feature table")
    parser.add_argument("store", metavar="STORE")
    parser.add_argument("-x", "--extractor", required=True, metavar="NAME")


def run_index(arguments: argparse.Namespace) -> int:
    from vidray.retrieval.search import build_index

    info = build_index(arguments.store, extractor=arguments.extractor)
    print(f"indexed {info.rows:,} clips of {arguments.extractor} ({info.factory}, {info.dim} dimensions)")
    return 0

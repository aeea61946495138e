"""`vidray browse`: look at a store, search and label it in a browser."""

from __future__ import annotations

import argparse
from typing import Any

from vidray.cli.arguments import command, say, tell


def add(commands: Any) -> None:
    parser = command(commands, "browse", run_browse, "serve a store's page: look, search and label in a browser")
    parser.add_argument("store", metavar="STORE")
    parser.add_argument("--port", type=int, default=8000, help="0 for any that is free (8000)")
    parser.add_argument(
        "--host", default="127.0.0.1", help="the address to listen on; others than loopback take a token"
    )


def run_browse(arguments: argparse.Namespace) -> int:
    import sys

    from vidray.browse import browse

    def listening(url: str) -> None:
        tell(url)
        sys.stdout.flush()
        say("Ctrl-C ends it")

    browse(arguments.store, host=arguments.host, port=arguments.port, say=listening)
    return 0

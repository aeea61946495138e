"""What all commands share: their parsers, types of arguments, and the two streams that they write to."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from typing import Any

from vidray.terminal import shown

LABEL_COLUMNS = "a CSV file: clip_id,label or uri,label or uri,start_s,end_s,label; or Label Studio's JSON"
"""What people's labels come in."""


def command(
    commands: Any, name: str, run: Callable[[argparse.Namespace], int], summary: str
) -> argparse.ArgumentParser:
    description = f"{summary[:1].upper()}{summary[1:]}."
    parser: argparse.ArgumentParser = commands.add_parser(name, help=summary, description=description)
    parser.set_defaults(run=run)
    parser.add_argument("--debug", action="store_true", help="show where an error comes from")
    return parser


def add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="one JSON object as the last line of standard output")


def add_any_source(parser: argparse.ArgumentParser) -> None:
    help = "take labels that a model gave (column source) for a person's, too"
    parser.add_argument("--any-source", action="store_true", help=help)


def say(line: str) -> None:
    """One line for a person, on standard error."""
    print(shown(line), file=sys.stderr)


def tell(line: str) -> None:
    """One line of a result, on standard output."""
    print(shown(line))


def print_json(value: object) -> None:
    print(json.dumps(value))


def positive(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"must be > 0, got {text}")
    return value


def count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {text}")
    return value


def span(text: str) -> tuple[float, float]:
    start, dash, end = text.partition("-")
    try:
        span = float(start), float(end)
    except ValueError:
        dash = ""
    if not dash or not 0 <= span[0] < span[1]:
        raise argparse.ArgumentTypeError(f"must be START-END in seconds, such as 12.5-20, got {text}")
    return span

"""The command line: arguments, progress and results. Holds no logic of how anything is done."""

from __future__ import annotations

import argparse
import atexit
import contextlib
import os
import sys
from collections.abc import Sequence

from vidray.cli import (
    browse,
    demo,
    drop,
    duplicates,
    errors,
    export,
    extract,
    import_,
    index,
    interrupts,
    label,
    models,
    move,
    plan,
    report,
    search,
    status,
    train,
    verify,
)
from vidray.cli.arguments import say
from vidray.errors import UsageError, VidrayError, one_line

COMMANDS = (
    plan, extract, label, train, import_, export, index, search, duplicates, report, browse, status, errors, verify,
    drop, move, models, demo,
)  # fmt: skip
"""A module a command, in the order in which they are listed: `add(commands)` adds its parser, which names what runs."""


_RUNS_VIDRAY_ALONE = (extract.run_extract, plan.run_plan, search.run_search)
"""Others run networks that are not vidray's in their own process."""


def main(argv: Sequence[str] | None = None, *, is_process: bool = False) -> int:
    """Run one command and return its exit status: 0 done, 1 failed, 2 wrong usage.

    `is_process`: whether the command is all that this process is for.
    """
    arguments = build_parser().parse_args(argv)
    try:
        if is_process and arguments.run in _RUNS_VIDRAY_ALONE:
            from vidray.arrow import without_pandas

            without_pandas()
        status: int = arguments.run(arguments)
        sys.stdout.flush()
        return status
    except KeyboardInterrupt:
        if not interrupts.is_interrupted():
            say("vidray: interrupted")
        return interrupts.INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (VidrayError, OSError) as e:
        if arguments.debug:
            raise
        say(f"vidray: {one_line(e)}")
        return 2 if isinstance(e, UsageError) else 1


def run() -> None:
    """`main` as a process of its own, with its exit status.

    Leaves by `os._exit` once all exit functions are done: native libraries abort now and then as they are taken down,
    Ray's on a busy machine, and a run that is done must not end with SIGABRT.
    """
    status = 1

    def leave() -> None:
        if interrupts.is_interrupted():
            interrupts.end()
        with contextlib.suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)

    interrupts.watch()
    # the first to be registered is the last to be called
    atexit.register(leave)
    try:
        status = main(is_process=True)
        if interrupts.is_interrupted():
            leave()
    except SystemExit as e:
        status = e.code if isinstance(e.code, int) else 2
        raise


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="vidray", description="Videos to Parquet feature tables and a search index.")
    parser.add_argument("--version", action="version", version=f"%(prog)s {_version()}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for module in COMMANDS:
        module.add(commands)
    return parser


def _version() -> str:
    import vidray

    return str(vidray.__version__)

"""`vidray export`: write a table as other tools want it, or frames of clips."""

from __future__ import annotations

import argparse
import dataclasses
from typing import Any

from vidray.cli.arguments import add_json, command, print_json, say, tell
from vidray.cli.failures import FAILURES_NAMED
from vidray.errors import UsageError
from vidray.wording import counted, typed

FRAMES = "frames"
NO_FILE = "no such file"
"""What a decoder says of a file that is gone."""
IMAGES = ("png", "jpeg")


def add(commands: Any) -> None:
    parser = command(
        commands,
        "export",
        run_export,
        "write a table as CSV, COCO, subtitles, speech, RTTM or tasks to label, an index as Lance, frames of clips",
    )
    parser.add_argument("store", metavar="STORE")
    parser.add_argument("table", metavar="TABLE", help="such as labels/NAME, features/NAME, index/NAME; or frames")
    parser.add_argument(
        "--to",
        metavar="FORMAT",
        help="csv, coco, segments, vtt, srt, json, rttm, description, label-studio; an index: lance; frames: png, jpeg",
    )
    parser.add_argument(
        "-o",
        "--output",
        metavar="PATH",
        required=True,
        help="a path or URL; a folder for what is a file a video, or for frames",
    )
    frames = parser.add_argument_group("of frames")
    frames.add_argument("--clip", metavar="ID", help="a clip of the store")
    frames.add_argument("--where", metavar="EXPR", help='those of an SQL condition, such as "brightness < 0.2"')
    frames.add_argument("--at", type=float, metavar="S", help="seconds from the clip's start (its middle)")
    frames.add_argument("--steps", default="", metavar="STEPS", help='before and after steps, such as "denoise,light"')
    add_json(parser)


def run_export(arguments: argparse.Namespace) -> int:
    if arguments.table == FRAMES:
        return _export_frames(arguments)
    if arguments.to is None:
        raise UsageError("say what a table is to become with --to, such as --to csv; vidray export --help lists them")
    if arguments.clip or arguments.where or arguments.at is not None or arguments.steps:
        raise UsageError(
            "--clip, --where, --at and --steps go with frames: "
            + typed("export", arguments.store, FRAMES, "--where", "true", "-o", "FOLDER")
        )
    if arguments.to == "lance":
        return _export_index(arguments)
    from vidray.exports.export import export

    summary = export(arguments.store, arguments.table, arguments.output, to=arguments.to)
    if summary.left_out:
        say(f"left out, as CSV has no lists: {', '.join(summary.left_out)}")
    if summary.passed_over:
        say(f"{summary.passed_over:,} passed over: the one before was still being said when their span was over")
    if arguments.json:
        print_json(dataclasses.asdict(summary))
    else:
        tell(f"{summary.rows:,} {summary.unit} in {summary.path}")
    return 0


def _export_frames(arguments: argparse.Namespace) -> int:
    from vidray.exports.frames import export_frames

    if arguments.to not in (None, *IMAGES):
        raise UsageError(f"frames are exported --to {' or '.join(IMAGES)}, got {arguments.to!r}")
    to: Any = arguments.to or IMAGES[0]
    summary = export_frames(
        arguments.store, arguments.output, clip=arguments.clip, where=arguments.where, at_s=arguments.at,
        steps=arguments.steps, to=to,
    )  # fmt: skip
    for line in summary.failed[:FAILURES_NAMED]:
        say(f"  cannot use {line}")
    if len(summary.failed) > FAILURES_NAMED:
        say(f"  and {len(summary.failed) - FAILURES_NAMED:,} more; --json has all of them")
    if any(line.endswith(NO_FILE) for line in summary.failed):
        say(f"where files have moved: {typed('move', arguments.store, 'OLD', 'NEW')}")
    if arguments.json:
        print_json(dataclasses.asdict(summary))
    else:
        tell(f"{counted(summary.images, 'image')} of {counted(summary.clips, 'clip')} in {summary.path}")
    return 0 if summary.images or not summary.clips else 1


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
        tell(f"{counted(summary.rows, 'clip')} in {summary.path}, {summary.index or 'without an index: they are few'}")
    return 0

"""`vidray report`: a store as a page to look at."""

from __future__ import annotations

import argparse
import dataclasses
from typing import Any

from vidray.cli.arguments import add_json, command, print_json, say, tell
from vidray.wording import counted, typed


def add(commands: Any) -> None:
    parser = command(commands, "report", run_report, "write a page that shows what is in a store, for any browser")
    parser.add_argument("store", metavar="STORE")
    parser.add_argument("-o", "--output", metavar="DIR", required=True, help="a new folder, or one of a report")
    add_json(parser)


def run_report(arguments: argparse.Namespace) -> int:
    from vidray.report import write_report
    from vidray.store import Store
    from vidray.store.remedies import to_extract

    summary = write_report(arguments.store, arguments.output)
    if summary.clips < summary.clips_total:
        say(f"a sample of {summary.clips:,} of {counted(summary.clips_total, 'clip')}, each video by its share")
    if not summary.image_bytes:
        fill = to_extract(Store(arguments.store), "-x", "thumbnails")
        again = typed("report", arguments.store, "-o", arguments.output)
        say(f"no clip has an image; run {fill} && {again}")
    if arguments.json:
        print_json(dataclasses.asdict(summary))
    else:
        tell(f"{counted(summary.clips, 'clip')} in {summary.path}")
    return 0

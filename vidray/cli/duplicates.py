"""`vidray duplicates`: find clips and videos that are copies of others."""

from __future__ import annotations

import argparse
import dataclasses
from typing import Any

from vidray.cli.arguments import add_json, command, print_json, say, tell
from vidray.wording import counted


def add(commands: Any) -> None:
    parser = command(commands, "duplicates", run_duplicates, "find clips and videos that are copies of others")
    parser.add_argument("store", metavar="STORE")
    parser.add_argument("-x", "--extractor", metavar="NAME", help="whose embeddings, where several tables have some")
    parser.add_argument("--name", help="of the table (copies)")
    parser.add_argument("--threshold", type=float, metavar="T", help="the least score of a copy, in (0, 1] (0.6)")
    parser.add_argument("--keep", metavar="FILE.csv", help="write a manifest of all clips but the copies")
    add_json(parser)


def run_duplicates(arguments: argparse.Namespace) -> int:
    from vidray.duplicates.finding import NAME, THRESHOLD, find_duplicates

    found = find_duplicates(
        arguments.store,
        extractor=arguments.extractor,
        name=NAME if arguments.name is None else arguments.name,
        threshold=THRESHOLD if arguments.threshold is None else arguments.threshold,
        keep=arguments.keep,
        say=say,
    )
    copies = sum(len(group.members) for group in found.groups)
    in_groups = f"{counted(copies, 'copy', 'copies')} in {counted(len(found.groups), 'group')}"
    say(f"{in_groups} among {counted(found.videos, 'video')}; in {arguments.store}/duplicates/{found.name}")
    if arguments.json:
        print_json({"groups": [_told(group) for group in found.groups]})
        return 0
    for group in found.groups:
        tell(f"keep {group.keep.uri} {group.keep.start_s:g} to {group.keep.end_s:g} s ({group.why})")
        for one in group.members:
            of = f"{one.of[0]:g} to {one.of[1]:g} s"
            tell(f"  {one.uri} {one.start_s:g} to {one.end_s:g} s is its {of} ({one.score:.2f})")
    return 0


def _told(group: Any) -> dict[str, Any]:
    members = [{**dataclasses.asdict(one), "of": list(one.of)} for one in group.members]
    return {"keep": dataclasses.asdict(group.keep), "members": members}

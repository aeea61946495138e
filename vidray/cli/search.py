"""`vidray search`: from a query to the clips that are most like it."""

from __future__ import annotations

import argparse
import dataclasses
from typing import Any

from vidray.cli.arguments import add_json, command, count, print_json, say, span


def add(commands: Any) -> None:
    parser = command(commands, "search", run_search, "find clips by an example, or by words")
    parser.add_argument("store", metavar="STORE")
    query = parser.add_mutually_exclusive_group(required=True)
    query.add_argument("--clip", metavar="ID", help="a clip of the store")
    query.add_argument("--video", metavar="FILE", help="any video")
    query.add_argument("--image", metavar="FILE", help="any frame")
    query.add_argument("--audio", metavar="FILE", help="any audio")
    query.add_argument("--text", help='words, such as "a dog"')
    parser.add_argument("--at", type=span, metavar="START-END", help="seconds of --video")
    parser.add_argument("-x", "--extractor", metavar="NAME", help="whose index, where there are several")
    parser.add_argument("-k", type=count, default=10, help="how many hits (10)")
    parser.add_argument("--where", metavar="EXPR", help='an SQL condition on the clips, such as "duration_s > 60"')
    add_json(parser)


def run_search(arguments: argparse.Namespace) -> int:
    from vidray.retrieval.search import search

    result = search(
        arguments.store,
        clip=arguments.clip,
        video=arguments.video,
        at=arguments.at,
        image=arguments.image,
        audio=arguments.audio,
        text=arguments.text,
        extractor=arguments.extractor,
        k=arguments.k,
        where=arguments.where,
    )
    for note in result.notes:
        say(note)
    if arguments.json:
        answer = dataclasses.asdict(result)
        del answer["notes"]
        print_json(answer)
        return 0
    for rank, hit in enumerate(result.hits, start=1):
        where = "" if hit.start_s is None else f"{hit.uri}  {hit.start_s:g}-{hit.end_s:g} s  "
        print(f"{rank:3d}  {hit.score:.4f}  {where}{hit.clip_id}")
    return 0

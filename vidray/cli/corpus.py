"""What the commands that read a corpus share: where it is, where the tables go, and how videos become clips."""

from __future__ import annotations

import argparse
from typing import Any

from vidray.cli.arguments import add_json, count
from vidray.errors import UsageError


def add_corpus(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("corpus", metavar="CORPUS", help="a file, folder, glob or manifest; a path or URL")
    parser.add_argument("store", metavar="STORE", help="a folder for the tables; a path or URL")
    parser.add_argument("--clip-length", type=float, metavar="S", help="seconds (as in the store; 10)")
    parser.add_argument("--shots", action="store_true", help="one clip a shot, of the clip length at most")
    parser.add_argument(
        "--planner", metavar="NAME", help="a planner of your own, module:Class?option=value, or an installed package's"
    )
    parser.add_argument("--stride", type=float, metavar="S", help="seconds from clip to clip (the clip length)")
    parser.add_argument("--limit", type=count, metavar="N", help="only the first N videos of the listing")
    parser.add_argument("--refresh", action="store_true", help="look at every file again, take changed ones in anew")
    parser.add_argument("--prune", action="store_true", help="remove the rows of videos that the corpus no longer has")
    text = "this column of the manifest is text, whatever it looks like; may be repeated"
    parser.add_argument("--text-column", action="append", default=[], metavar="NAME", help=text)
    parser.add_argument("--ray-address", metavar="ADDR", help="a running Ray cluster (else RAY_ADDRESS, else local)")
    add_json(parser)


def planner_of(arguments: argparse.Namespace) -> Any:
    """The planner that was asked for; None where nothing was, which is the store's own."""
    from vidray.planning import FixedStride, Shots, resolve_planner

    if arguments.planner is not None:
        if arguments.shots or arguments.stride is not None:
            raise UsageError("--planner cuts in its own way: leave --shots and --stride out")
        return resolve_planner(arguments.planner)
    if arguments.shots:
        if arguments.stride is not None:
            raise UsageError("--stride is for clips of one length; --shots cuts where the video does")
        return Shots() if arguments.clip_length is None else Shots(arguments.clip_length)
    if arguments.clip_length is None and arguments.stride is None:
        return None
    length_s = FixedStride.length_s if arguments.clip_length is None else arguments.clip_length
    return FixedStride(length_s, stride_s=arguments.stride)

"""`vidray extract`: fill feature tables."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from typing import Any

from vidray.cli.arguments import command, positive, print_json, say
from vidray.cli.corpus import add_corpus, planner_of
from vidray.cli.failures import say_failures, say_nothing_done
from vidray.errors import UsageError
from vidray.wording import counted


def add(commands: Any) -> None:
    parser = command(
        commands, "extract", run_extract, "fill feature tables; run again to resume or to add an extractor"
    )
    add_corpus(parser)
    parser.add_argument("-x", "--extractor", action="append", required=True, metavar="NAME", help="see `vidray models`")
    parser.add_argument("--fps", type=positive, default=2.0, help="frames a second for frame extractors (2)")
    parser.add_argument(
        "--keyframes", action="store_true", help="decode keyframes alone for them, at most --fps a second"
    )
    parser.add_argument("--precision", choices=["float32", "bfloat16"], default="float32", help="of the networks")
    parser.add_argument("--per-frame", action="store_true", help="keep each frame's embedding too")
    parser.add_argument("--min-score", type=float, metavar="S", help="what boxes must have more of (0.5; faces 0.9)")
    parser.add_argument("--masks", action="store_true", help="keep the masks of segmentation networks too")
    parser.add_argument("--retry-failed", action="store_true", help="do what failed in earlier runs again")
    parser.add_argument("--as", dest="table", metavar="NAME", help="the table's name, where not the extractor's")
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto", help="where the networks run")


def run_extract(arguments: argparse.Namespace) -> int:
    from vidray.pipeline import Progress, extract, name_tables

    names = ("fps", "keyframes", "precision", "per_frame", "min_score", "masks")
    options = {name: getattr(arguments, name) for name in names}
    if arguments.table is not None and len(arguments.extractor) > 1:
        raise UsageError("--as names one table: give one -x with it")
    named = arguments.extractor if arguments.table is None else {arguments.table: arguments.extractor[0]}
    tables = name_tables(named, **options)
    defaults = {"keyframes": False, "precision": "float32", "per_frame": False, "min_score": None, "masks": False}
    _say_unused(list(tables.values()), [name for name, default in defaults.items() if options[name] != default])
    summary = extract(
        arguments.corpus,
        arguments.store,
        extractors=tables,
        planner=planner_of(arguments),
        limit=arguments.limit,
        retry_failed=arguments.retry_failed,
        refresh=arguments.refresh,
        prune=arguments.prune,
        text_columns=arguments.text_column,
        device=arguments.device,
        ray_address=arguments.ray_address,
        progress=Progress(),
    )
    say_failures(arguments.store, list(tables))
    _say_summary(summary, arguments.store, summary.planned // max(1, summary.clips))
    _say_lagging(arguments.store)
    if arguments.json:
        print_json(dataclasses.asdict(summary))
    return say_nothing_done(arguments.store, list(tables))


def _say_summary(summary: Any, store: str, extractors: int) -> None:
    clips = counted(summary.clips, "clip")
    clips += f" x {extractors} extractors = {summary.planned:,}" if extractors > 1 else ""
    speed = f", {summary.x_realtime:.1f}x real time" if summary.done else ""
    say(
        f"{counted(summary.videos, 'video')} ({summary.videos_failed:,} unreadable), {clips}: "
        f"{summary.done:,} done, {summary.failed:,} failed, {summary.skipped:,} skipped as done before; "
        f"{summary.wall_s:.1f} s{speed}; tables in {store}",
    )


def _say_lagging(store: str) -> None:
    """Name the indexes that lag behind their tables, of other extractors too: videos come and go for all."""
    from vidray.retrieval.verification import lagging
    from vidray.store import Store

    held = Store(store)
    for finding in lagging(held, held.tables("index")):
        say(finding.line)


def _say_unused(extractors: Sequence[Any], options: Sequence[str]) -> None:
    """Name the extractors that do not have an option that was asked for."""
    for option in options:
        without = [extractor.name for extractor in extractors if not hasattr(extractor, option)]
        if without:
            say(f"vidray: --{option.replace('_', '-')} changes nothing for {', '.join(without)}")

"""`vidray plan`: list and probe a corpus, and cut it into clips."""

from __future__ import annotations

import argparse
import dataclasses
from typing import Any

from vidray.cli.arguments import command, print_json, tell
from vidray.cli.corpus import add_corpus, planner_of
from vidray.cli.failures import say_failures, say_nothing_done
from vidray.errors import UsageError
from vidray.wording import counted, lasting, typed

PIXELS_A_CPU_SECOND = 150e6
"""A rough speed of decoding H.264 on one core, for the estimate of `plan --dry-run`."""


def add(commands: Any) -> None:
    parser = command(commands, "plan", run_plan, "list and probe a corpus; cut it into clips")
    add_corpus(parser)
    parser.add_argument("--dry-run", action="store_true", help="print what would be planned; write nothing")


def run_plan(arguments: argparse.Namespace) -> int:
    from vidray.pipeline import Progress, estimate, plan

    options: dict[str, Any] = {
        "planner": planner_of(arguments),
        "limit": arguments.limit,
        "text_columns": arguments.text_column,
        "ray_address": arguments.ray_address,
        "progress": Progress(),
    }
    if arguments.dry_run and (arguments.refresh or arguments.prune):
        raise UsageError("--dry-run writes nothing: leave --refresh and --prune out")
    if not arguments.dry_run:
        found = plan(arguments.corpus, arguments.store, refresh=arguments.refresh, prune=arguments.prune, **options)
        say_failures(arguments.store, ())
        if arguments.json:
            print_json({"store": arguments.store, **dataclasses.asdict(found)})
        else:
            unreadable = f" ({found.videos_failed:,} unreadable)" if found.videos_failed else ""
            tell(
                f"planned: {counted(found.videos, 'video')}{unreadable}, {counted(found.clips, 'clip')} in "
                f"{arguments.store}; fill it with: {typed('extract', arguments.corpus, arguments.store, '-x', 'NAME')}"
            )
        return say_nothing_done(arguments.store, ())
    estimated = estimate(arguments.corpus, **options)
    cpu_s = estimated.decode_pixels / PIXELS_A_CPU_SECOND
    if arguments.json:
        counts = {"videos": estimated.videos, "videos_failed": len(estimated.failures), "clips": estimated.clips}
        print_json({**counts, "video_s": estimated.video_s, "decode_cpu_s": cpu_s})
        return 0
    tell(f"videos        {estimated.videos:,}")
    tell(f"length        {lasting(estimated.video_s)}")
    tell(f"clips         {estimated.clips:,}")
    tell(f"decode work   about {lasting(cpu_s)} of a CPU at most ({estimated.decode_pixels / 1e9:,.1f} gigapixels)")
    tell(f"unreadable    {len(estimated.failures):,}")
    for uri, message in estimated.failures:
        tell(f"  {uri}: {message}")
    return 0

"""Where decoding and networks should run on CPUs: in one worker a core, or in stages with frames passed between them.

The same job through both graphs that vidray has: the pool of plain actors, each of which decodes and extracts, and the
Ray Data graph of two stages that GPUs use, here with all of its workers on CPUs and half of the cores for each stage.
Sides take turns. Steady is from the first clip being decoded to the end, as in end_to_end.py.

Usage: python benchmarks/placement.py FOLDER [-x efficientnet_lite0] [--videos N] [--rounds 1]
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from ceiling import videos_in
from processes import Cost, run

SIDES = ("pool", "stages")


def drive(side: str, folder: str, store: str, extractor: str, limit: int) -> None:
    """One run, with its placement as told; prints the run's counts."""
    from vidray import extract
    from vidray.extractors import resolve
    from vidray.pipeline import cluster

    if side == "stages":
        half = max(1, len(os.sched_getaffinity(0)) // 2)
        placement = cluster.Placement(decoders=half, extractors=half, gpus=0.0, memory_bytes=1 << 30)
        cluster.Cluster.placement = lambda self, **options: placement  # type: ignore[method-assign]
    summary = extract(folder, store, extractors=[resolve(extractor, precision="bfloat16")], limit=limit)
    print(json.dumps(dataclasses.asdict(summary)))


def measure(side: str, options: argparse.Namespace) -> Cost:
    with tempfile.TemporaryDirectory() as folder:
        arguments = ["--side", side, "--store", f"{folder}/store", "-x", options.extractor]
        cost = run([sys.executable, __file__, str(options.folder), *arguments, "--videos", str(options.videos)])
    print(f"{side:7} {cost.wall_s:6.1f} s, {cost.cpu_s:6.1f} CPU-s  {json.dumps(cost.answer)}", flush=True)
    return cost


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("-x", "--extractor", default="efficientnet_lite0")
    parser.add_argument("--videos", type=int)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--store", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side is not None:
        drive(options.side, str(options.folder), options.store, options.extractor, options.videos)
        return
    options.videos = options.videos or len(videos_in(options.folder))
    found: dict[str, list[Cost]] = {side: [] for side in SIDES}
    for _ in range(options.rounds):
        for side in SIDES:
            found[side].append(measure(side, options))
    result: dict[str, Any] = {}
    for side, costs in found.items():
        values = {
            "startup_s": [cost.answer["startup_s"] for cost in costs],
            "steady_s": [cost.answer["wall_s"] - cost.answer["startup_s"] for cost in costs],
            "cpu_s": [cost.cpu_s for cost in costs],
        }
        result[side] = {name: round(statistics.median(taken), 2) for name, taken in values.items()}
    print(json.dumps({"videos": options.videos, **result}))


if __name__ == "__main__":
    main()

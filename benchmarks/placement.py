"""Where decoding and networks should run on CPUs: in one worker a core, or in stages with frames passed between them.

The same job through both graphs that vidray has: the pool of plain actors, each of which decodes and extracts, and the
Ray Data graph of two stages that GPUs use, here with all of its workers on CPUs and half of the cores for each stage.
Sides take turns, on few and on all videos; the difference takes start-up out, and start-up is shown by itself.

Usage: python benchmarks/placement.py FOLDER [-x efficientnet_lite0] [--few 4] [--videos N] [--rounds 1]
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


def measure(side: str, options: argparse.Namespace, limit: int) -> Cost:
    with tempfile.TemporaryDirectory() as folder:
        arguments = ["--side", side, "--store", f"{folder}/store", "-x", options.extractor, "--videos", str(limit)]
        cost = run([sys.executable, __file__, str(options.folder), *arguments])
    print(f"{side:7} {limit:4} videos: {cost.wall_s:6.1f} s, {cost.cpu_s:6.1f} CPU-s")
    return cost


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("-x", "--extractor", default="efficientnet_lite0")
    parser.add_argument("--few", type=int, default=4)
    parser.add_argument("--videos", type=int)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--store", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side is not None:
        drive(options.side, str(options.folder), options.store, options.extractor, options.videos)
        return
    count = options.videos or len(videos_in(options.folder))
    found: dict[str, list[tuple[Cost, Cost]]] = {side: [] for side in SIDES}
    for _ in range(options.rounds):
        for side in SIDES:
            found[side].append((measure(side, options, options.few), measure(side, options, count)))
    result: dict[str, Any] = {}
    for side, pairs in found.items():
        result[side] = {
            "startup_s": statistics.median(few.answer["startup_s"] for few, _ in pairs),
            "added_wall_s": round(statistics.median(many.wall_s - few.wall_s for few, many in pairs), 2),
            "added_cpu_s": round(statistics.median(many.cpu_s - few.cpu_s for few, many in pairs), 2),
            "few_cpu_s": round(statistics.median(few.cpu_s for few, _ in pairs), 2),
        }
    print(json.dumps({"videos": count, "few": options.few, **result}))


if __name__ == "__main__":
    main()

"""vidray against the limit of this machine and against other tools, on the same videos.

The limit is ceiling.py's: processor seconds of decoding and of the network, over the cores. Each side runs in processes
of its own, on the first videos of the corpus and on all of them; the difference of the two takes start-up out. Sides
take turns, round after round, so that a machine that slows down slows all; medians count. By the clock a ratio means
something on a quiet machine only; processor seconds of all processes of a side are reported beside it.

Usage: python benchmarks/end_to_end.py FOLDER [--model mobilenet_v3_large] [--precision bfloat16] [--rounds 3]
       [--sides plain,own,vidray,loop,ray-data,daft] [--small 10] [--daft-python FILE]
FOLDER is as made by corpus.py. Daft asks for an older pyarrow than vidray, so it needs an environment of its own, with
daft, torch, torchvision and av, and the path of its Python.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ceiling import videos_in, weights_file
from processes import Cost, run

HERE = Path(__file__).resolve().parent
SIDES = ("plain", "own", "vidray", "loop", "ray-data", "daft")


def command(side: str, options: argparse.Namespace, limit: int, output: Path) -> list[str]:
    folder, model, precision = options.folder, options.model, options.precision
    python = options.daft_python if side == "daft" else sys.executable
    if side in ("plain", "own"):
        arguments = [str(HERE / "ceiling.py"), str(folder), "--side", side, "--precision", precision]
    elif side == "vidray":
        extractor = f"torchvision/{model}@{weights_file(model)}"
        arguments = ["-m", "vidray.cli", "extract", str(folder), str(output), "-x", extractor]
        return [sys.executable, *arguments, "--precision", precision, "--limit", str(limit), "--json"]
    else:
        arguments = [str(HERE / "peers.py"), side, str(folder), str(output)]
    return [python, *arguments, "--model", model, "--limit", str(limit)]


def measure(side: str, options: argparse.Namespace, limit: int) -> Cost:
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder, "output")
        cost = run(command(side, options, limit, output))
        shutil.rmtree(output, ignore_errors=True)
    print(f"{side:9} {limit:4} videos: {cost.wall_s:6.1f} s, {cost.cpu_s:6.1f} CPU-s  {json.dumps(cost.answer)}")
    return cost


def figures(side: str, small: Sequence[Cost], whole: Sequence[Cost]) -> dict[str, Any]:
    if side in ("plain", "own"):
        found = [cost.answer[side] for cost in whole]
        return {name: statistics.median(answer[name] for answer in found) for name in found[0]}
    result = {
        "wall_s": round(statistics.median(cost.wall_s for cost in whole), 2),
        "cpu_s": round(statistics.median(cost.cpu_s for cost in whole), 2),
        "added_wall_s": round(statistics.median(b.wall_s - a.wall_s for a, b in zip(small, whole, strict=True)), 2),
        "added_cpu_s": round(statistics.median(b.cpu_s - a.cpu_s for a, b in zip(small, whole, strict=True)), 2),
    }
    if side == "vidray":
        result["startup_s"] = statistics.median(cost.answer["startup_s"] for cost in [*small, *whole])
        result["steady_s"] = round(
            statistics.median(cost.answer["wall_s"] - cost.answer["startup_s"] for cost in whole), 2
        )
    return result


def compare(result: dict[str, Any], share: float) -> dict[str, float]:
    """Ratios to vidray; `share` is the part of the frames that the difference of both sizes holds."""
    if "vidray" not in result:
        return {}
    cores = len(os.sched_getaffinity(0))
    mine, ratios = result["vidray"], {"share": round(share, 4)}
    for side in ("plain", "own"):
        if side in result:
            limit_s = result[side]["ceiling_s"] * share
            ratios[f"wall_over_{side}_ceiling"] = round(mine["added_wall_s"] / limit_s, 3)
            ratios[f"cpu_over_{side}_ceiling"] = round(mine["added_cpu_s"] / cores / limit_s, 3)
    for side in ("loop", "ray-data", "daft"):
        if side in result:
            ratios[f"{side}_wall_over_vidray"] = round(result[side]["added_wall_s"] / mine["added_wall_s"], 3)
            ratios[f"{side}_cpu_over_vidray"] = round(result[side]["added_cpu_s"] / mine["added_cpu_s"], 3)
    return ratios


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", default="mobilenet_v3_large")
    parser.add_argument("--precision", choices=["float32", "bfloat16"], default="bfloat16", help="of vidray")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--small", type=int, default=10, metavar="N", help="videos of the smaller size (10)")
    parser.add_argument("--videos", type=int, metavar="N", help="the first so many (all)")
    parser.add_argument("--sides", default="plain,own,vidray,ray-data")
    parser.add_argument("--daft-python", default=sys.executable, metavar="FILE", help="of daft's environment")
    options = parser.parse_args()
    sides = [side for side in SIDES if side in options.sides.split(",")]
    count = len(videos_in(options.folder)[: options.videos])
    weights_file(options.model)
    small: dict[str, list[Cost]] = {side: [] for side in sides}
    whole: dict[str, list[Cost]] = {side: [] for side in sides}
    for _ in range(options.rounds):
        for side in sides:
            if side != "plain":
                small[side].append(measure(side, options, options.small))
            whole[side].append(measure(side, options, count))
    result: dict[str, Any] = {side: figures(side, small[side], whole[side]) for side in sides}
    if "own" in sides:
        first, all_of_them = (side["own"][0].answer["own"] for side in (small, whole))
        result["ratios"] = compare(result, 1 - first["ceiling_s"] / all_of_them["ceiling_s"])
    print(json.dumps({"model": options.model, "precision": options.precision, "videos": count, **result}))


if __name__ == "__main__":
    main()

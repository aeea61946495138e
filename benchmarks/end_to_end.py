"""vidray against the limit of this machine and against other tools, on the same videos.

The limit is ceiling.py's: processor seconds of decoding and of the network, over the cores. Each side runs in processes
of its own. Sides take turns, round after round, so that a machine that slows down slows all. Of each side that is a
whole job there are:

- wall: seconds by the clock, start-up and all;
- steady: those from when the first video is being decoded to the end;
- loaded: those from when, besides, its first network stands. vidray decodes only then; ray-data and daft decode before,
  and what they have decoded by then counts for them;
- cpu: processor seconds of all its processes.

Times are medians of the rounds, ratios the medians of each round's ratio, so they do not divide into each other. By the
clock a ratio means something on a quiet machine only.

Usage: python benchmarks/end_to_end.py FOLDER [--model mobilenet_v3_large] [--precision bfloat16] [--rounds 3]
       [--videos N] [--sides plain,own,shared,vidray,loop,ray-data,daft] [--daft-python FILE]
FOLDER is as made by corpus.py. Daft asks for an older pyarrow than vidray, so it needs an environment of its own, with
daft, torch, torchvision and av, and the path of its Python.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from ceiling import SIDES as CEILINGS
from ceiling import videos_in, weights_file
from processes import Cost, medians, run

HERE = Path(__file__).resolve().parent
SIDES = (*CEILINGS, "vidray", "loop", "ray-data", "daft")
COMPARED = ("wall", "steady", "loaded", "cpu")


def command(side: str, options: argparse.Namespace, output: Path) -> list[str]:
    folder, model, precision = options.folder, options.model, options.precision
    limit = ["--limit", str(options.videos)]
    python = options.daft_python if side == "daft" else sys.executable
    if side in CEILINGS:
        arguments = [str(HERE / "ceiling.py"), str(folder), "--side", side, "--precision", precision]
    elif side == "vidray":
        extractor = f"torchvision/{model}@{weights_file(model)}"
        arguments = ["-m", "vidray.cli", "extract", str(folder), str(output), "-x", extractor]
        return [sys.executable, *arguments, "--precision", precision, "--json", *limit]
    else:
        arguments = [str(HERE / "peers.py"), side, str(folder), str(output)]
    return [python, *arguments, "--model", model, *limit]


def measure(side: str, options: argparse.Namespace) -> Cost:
    with tempfile.TemporaryDirectory() as folder:
        # Daft's processes import what a function uses, but not from where the script lies
        path = os.pathsep.join(filter(None, [str(HERE), os.environ.get("PYTHONPATH")]))
        cost = run(command(side, options, Path(folder, "output")), PYTHONPATH=path)
    print(f"{side:9} {cost.wall_s:6.1f} s, {cost.cpu_s:6.1f} CPU-s  {json.dumps(cost.answer)}", flush=True)
    return cost


def figures(side: str, cost: Cost) -> dict[str, float]:
    if side in CEILINGS:
        answer: dict[str, float] = cost.answer[side]
        return answer
    done_s, decoding_s = cost.answer["wall_s"], cost.answer["startup_s"]
    loaded_s = done_s - max(decoding_s, cost.answer.get("network_s", 0.0))
    return {"wall_s": cost.wall_s, "steady_s": done_s - decoding_s, "loaded_s": loaded_s, "cpu_s": cost.cpu_s}


def compare(found: dict[str, dict[str, float]]) -> dict[str, float]:
    """vidray's steady time over the ceilings, and what the others take over what vidray does, in one round."""
    mine = found["vidray"]
    over = {f"steady_over_{side}": mine["steady_s"] / found[side]["ceiling_s"] for side in CEILINGS if side in found}
    others = [side for side in found if side not in (*CEILINGS, "vidray")]
    slower = {f"{side}_{name}": found[side][f"{name}_s"] / mine[f"{name}_s"] for side in others for name in COMPARED}
    return over | slower


def summary(rounds: Sequence[dict[str, dict[str, float]]]) -> dict[str, dict[str, float]]:
    times = {side: medians([found[side] for found in rounds], 2) for side in rounds[0]}
    return {**times, "ratios": medians([compare(found) for found in rounds], 3) if "vidray" in rounds[0] else {}}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", default="mobilenet_v3_large")
    parser.add_argument("--precision", choices=["float32", "bfloat16"], default="bfloat16", help="of vidray")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--videos", type=int, metavar="N", help="the first so many (all)")
    parser.add_argument("--sides", default="plain,own,shared,vidray,ray-data")
    parser.add_argument("--daft-python", default=sys.executable, metavar="FILE", help="of daft's environment")
    options = parser.parse_args()
    sides = [side for side in SIDES if side in options.sides.split(",")]
    options.videos = len(videos_in(options.folder)[: options.videos])
    weights_file(options.model)
    rounds = [{side: figures(side, measure(side, options)) for side in sides} for _ in range(options.rounds)]
    settings = {"model": options.model, "precision": options.precision, "videos": options.videos}
    print(json.dumps({**settings, **summary(rounds)}))


if __name__ == "__main__":
    main()

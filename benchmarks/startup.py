"""How long a local run takes to its first clip, and where the time goes: a corpus of one short video.

`startup_s` of the run's own summary ends when the first clip is being decoded; all of Ray's processes, two workers'
imports and the plan lie before that. Processor seconds over the cores are what no scheduling can go below.

Usage: python benchmarks/startup.py [-x efficientnet_lite0] [--rounds 3]
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path

from corpus import make
from processes import run


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("-x", "--extractor", default="efficientnet_lite0")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    costs = []
    with tempfile.TemporaryDirectory() as folder:
        make(Path(folder, "corpus"), lengths_s=[4.0], heights=[240], codecs=["h264"])
        for turn in range(options.rounds):
            store = str(Path(folder, f"store-{turn}"))
            command = [sys.executable, "-m", "vidray.cli", "extract", str(Path(folder, "corpus")), store, "--json"]
            costs.append(run([*command, "-x", options.extractor]))
            print(costs[-1])
    result = {
        "startup_s": [cost.answer["startup_s"] for cost in costs],
        "median_startup_s": statistics.median(cost.answer["startup_s"] for cost in costs),
        "whole_wall_s": round(statistics.median(cost.wall_s for cost in costs), 2),
        "whole_cpu_s": round(statistics.median(cost.cpu_s for cost in costs), 2),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()

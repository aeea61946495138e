"""How long a local run takes to its first clip, and where the time goes: a corpus of one short video.

It counts from the command's start to when the first clip is being decoded; all of Ray's processes, the imports and
networks of a worker and the plan lie in between. `startup_s` of the run's own summary begins once the extractors are
known. Processor seconds over the cores are what no scheduling can go below.

Usage: python benchmarks/startup.py [-x efficientnet_lite0] [--rounds 3]
"""

from __future__ import annotations

import argparse
import datetime
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

from corpus import make
from processes import run


def first_decode(store: Path) -> float:
    """When the run that a store records began to decode, in seconds since the epoch."""
    (record,) = (json.loads(path.read_text()) for path in (store / "runs").iterdir())
    return datetime.datetime.fromisoformat(record["started_at"]).timestamp() + float(record["counts"]["startup_s"])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("-x", "--extractor", default="efficientnet_lite0")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    costs, to_first_clip_s = [], []
    with tempfile.TemporaryDirectory() as folder:
        make(Path(folder, "corpus"), lengths_s=[4.0], heights=[240], codecs=["h264"])
        for turn in range(options.rounds):
            store = Path(folder, f"store-{turn}")
            command = [sys.executable, "-m", "vidray.cli", "extract", str(Path(folder, "corpus")), str(store), "--json"]
            began = time.time()
            costs.append(run([*command, "-x", options.extractor]))
            to_first_clip_s.append(round(first_decode(store) - began, 2))
            print(costs[-1])
    result = {
        "to_first_clip_s": to_first_clip_s,
        "median_to_first_clip_s": statistics.median(to_first_clip_s),
        "median_startup_s": statistics.median(cost.answer["startup_s"] for cost in costs),
        "whole_wall_s": round(statistics.median(cost.wall_s for cost in costs), 2),
        "whole_cpu_s": round(statistics.median(cost.cpu_s for cost in costs), 2),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()

"""How many pictures a network should see at once, and on how many threads: processor time a picture of each choice.

A worker is a core, so what counts is processor time, not the clock's. With a second thread a picture is there sooner,
but costs more in all; two workers of one thread use two cores without that loss. The choices take turns, round after
round. Random weights, vidray's own network.

Usage: python benchmarks/batching.py [--models mobilenet_v3_large,resnet50] [--precision bfloat16] [--rounds 5]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from typing import Any

import numpy as np
import torch
from ceiling import SIZE, weights_file

from vidray.extractors import networks, resolve
from vidray.media import Frames

BATCHES = (4, 8, 16, 32, 64, 128)
PICTURES = 128


def milliseconds(extract: Any, clip: Frames, batch: int, threads: int) -> float:
    """Processor time a picture."""
    networks.BATCH_PIXELS["cpu"] = batch * SIZE * SIZE
    torch.set_num_threads(threads)
    extract([clip])  # what is set up for a shape and a number of threads is done by then
    began_s = time.process_time()
    extract([clip])
    return (time.process_time() - began_s) / PICTURES * 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--models", default="mobilenet_v3_large,resnet50")
    parser.add_argument("--precision", choices=["float32", "bfloat16"], default="bfloat16")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    networks.claim_core()
    pixels = np.random.default_rng(0).integers(0, 256, (PICTURES, SIZE, SIZE, 3), dtype=np.uint8)
    clip = Frames(times_s=np.arange(PICTURES) / 2, frames=pixels)
    result = {}
    for model in options.models.split(","):
        extract = resolve(f"torchvision/{model}@{weights_file(model)}", precision=options.precision).load("cpu")
        choices = [(batch, 1) for batch in BATCHES] + [(16, len(os.sched_getaffinity(0)))]
        taken = [[milliseconds(extract, clip, *choice) for choice in choices] for _ in range(options.rounds)]
        medians = [statistics.median(found) for found in zip(*taken, strict=True)]
        result[model] = {
            f"{batch} pictures, {threads} thread{'s' * (threads > 1)}": round(value, 2)
            for (batch, threads), value in zip(choices, medians, strict=True)
        }
        print(model, result[model])
    print(json.dumps({"precision": options.precision, "cpu_ms_a_picture": result}))


if __name__ == "__main__":
    main()

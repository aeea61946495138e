"""How many frames a network should see at once, and on how many threads: processor time a frame, and memory.

A worker is a core, so what counts is processor time, not the clock's. With a second thread a frame is there sooner,
but costs more in all; two workers of one thread use two cores without that loss. The choices take turns, round after
round. Memory is what a new process grows by, beyond what loading its network has left free, until it has seen every
size of a last batch, as a worker has after some minutes. Random weights, vidray's own network.

Usage: python benchmarks/batching.py [--models mobilenet_v3_large,resnet50] [--precision bfloat16] [--rounds 5]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ceiling import SIZE, weights_file
from items import item_of

from vidray.extractors import resolve
from vidray.media import Frames
from vidray.models import batching as networks

BATCHES = (4, 8, 12, 16, 32, 64)
FRAMES = 192


def loaded(model: str, precision: str) -> Any:
    networks.claim_core()
    return resolve(f"torchvision/{model}@{weights_file(model)}", precision=precision).load("cpu")  # type: ignore[arg-type]


def clip_of(count: int) -> Frames:
    pixels = np.random.default_rng(0).integers(0, 256, (count, SIZE, SIZE, 3), dtype=np.uint8)
    return Frames(times_s=np.arange(count) / 2, frames=pixels)


def megabytes(model: str, precision: str, batch: int) -> float:
    """What this process grows by, which must be a new one."""
    extract = loaded(model, precision)
    networks.BATCH_PIXELS["cpu"] = batch * SIZE * SIZE
    clips = [clip_of(count) for count in (*[batch] * 4, *range(1, batch))]
    before_bytes = resident_bytes()
    for clip in clips:
        extract([item_of(clip)])
    return (resident_bytes() - before_bytes) / 1e6


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def milliseconds(extract: Any, clip: Frames, batch: int, threads: int) -> float:
    """Processor time a frame."""
    networks.BATCH_PIXELS["cpu"] = batch * SIZE * SIZE
    torch.set_num_threads(threads)
    extract([item_of(clip)])  # what is set up for a shape and a number of threads is done by then
    began_s = time.process_time()
    extract([item_of(clip)])
    return (time.process_time() - began_s) / FRAMES * 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--models", default="mobilenet_v3_large,resnet50")
    parser.add_argument("--precision", choices=["float32", "bfloat16"], default="bfloat16")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    chosen = networks.BATCH_PIXELS["cpu"] // (SIZE * SIZE)
    choices = [*((batch, 1) for batch in BATCHES), (chosen, 2)]
    clip = clip_of(FRAMES)
    times, memory = {}, {}
    for model in options.models.split(","):
        weights_file(model)  # made here, where it does not count
        with ProcessPoolExecutor(1, get_context("spawn"), max_tasks_per_child=1) as new:
            grown = [new.submit(megabytes, model, options.precision, batch) for batch in BATCHES]
            memory[model] = {batch: round(found.result()) for batch, found in zip(BATCHES, grown, strict=True)}
        extract = loaded(model, options.precision)
        taken = [[milliseconds(extract, clip, *choice) for choice in choices] for _ in range(options.rounds)]
        medians = [statistics.median(found) for found in zip(*taken, strict=True)]
        times[model] = {
            f"{batch} frames, {threads} thread{'s' * (threads > 1)}": round(value, 2)
            for (batch, threads), value in zip(choices, medians, strict=True)
        }
        print(model, times[model], memory[model])
    print(json.dumps({"precision": options.precision, "cpu_ms_a_frame": times, "grown_mb": memory}))


if __name__ == "__main__":
    main()

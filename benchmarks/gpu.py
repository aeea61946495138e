"""How near a machine with a GPU comes to its limit: the network alone, decoding alone, and vidray end to end.

The GPU can be no faster than the network on frames that are there already, the CPUs no faster than decoding on all
cores; the lower of the two is the ceiling of any pipeline. Both are measured with vidray's own network and reader,
then the whole job on the same videos, while `nvidia-smi` is asked how busy the GPU is. Needs no network: `--prepare`
makes the folder with videos and weights on any machine, to be copied. Without a GPU the same is done on CPUs.

Usage: python benchmarks/gpu.py FOLDER --prepare [--videos 64]      then   python benchmarks/gpu.py FOLDER
       [--model resnet50] [--precision bfloat16] [--device auto]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from ceiling import CLIP_S, FPS, videos_in, weights_file
from corpus import drawn_lengths, make
from items import item_of

from vidray.decode import VideoReader, probe
from vidray.extractors import resolve
from vidray.media import FrameRate, Frames, RawFrames, Resize

RESIZE = Resize(size=232, crop=(224, 224))
LOOK_EVERY_S = 0.5


def prepare(folder: Path, model: str, videos: int, length_s: float) -> None:
    make(folder / "videos", lengths_s=drawn_lengths(videos, length_s / 4, length_s))
    (folder / f"{model}.pth").write_bytes(weights_file(model).read_bytes())


def decode(path: Path) -> int:
    """How many frames a video gives."""
    sampling = FrameRate(fps=FPS, resize=RESIZE)
    with path.open("rb") as file:
        duration_s = probe(file, str(path)).duration_s
        file.seek(0)
        with VideoReader(file, str(path), audio=False) as reader:
            spans = [(s, min(s + CLIP_S, duration_s)) for s in np.arange(0.0, duration_s, CLIP_S)]
            requests = [sampling.request(*span) for span in spans]
            found = [reader.read([r], *span).samples[r] for r, span in zip(requests, spans, strict=True)]
    return sum(len(raw.places) for raw in found if isinstance(raw, RawFrames))


def decode_rate(videos: list[Path]) -> float:
    """Frames a second of decoding alone, on all cores."""
    with ProcessPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        list(pool.map(decode, videos[:1]))
        began = time.perf_counter()
        frames = sum(pool.map(decode, videos))
        return frames / (time.perf_counter() - began)


def network_rate(extractor: str, device: str, precision: Any, seconds: float) -> float:
    """Frames a second of the network alone, on frames in memory."""
    extract = resolve(extractor, precision=precision).load(device)
    count = 1024 if device == "cuda" else 32
    frames = np.random.default_rng(0).integers(0, 256, (count, 224, 224, 3), np.uint8)
    shown = [Frames(times_s=np.arange(16) / FPS, frames=frames[i : i + 16]) for i in range(0, count, 16)]
    clips = [item_of(one) for one in shown]
    extract(clips)
    began, done = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        extract(clips)
        done += count
    return done / (time.perf_counter() - began)


class Busy(threading.Thread):
    """How busy the GPU is while this runs, by nvidia-smi: percent of the time that a kernel was running."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.percents: list[float] = []
        self._over = threading.Event()

    def run(self) -> None:
        command = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits"]
        while not self._over.wait(LOOK_EVERY_S):
            told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            self.percents.append(float(told.splitlines()[0]))

    def end(self) -> float | None:
        self._over.set()
        self.join()
        working = [percent for percent in self.percents if percent > 0]
        return round(sum(working) / len(working), 1) if working else None


def end_to_end(folder: Path, extractor: str, device: str, precision: str) -> dict[str, Any]:
    busy = Busy() if device == "cuda" else None
    if busy is not None:
        busy.start()
    with tempfile.TemporaryDirectory() as store:
        command = [sys.executable, "-m", "vidray.cli", "extract", str(folder / "videos"), f"{store}/store", "--json"]
        command += ["-x", extractor, "--precision", precision, "--device", device]
        told = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    summary: dict[str, Any] = json.loads(told.splitlines()[-1])
    steady_s = summary["wall_s"] - summary["startup_s"]
    rate = summary["video_s"] * FPS / steady_s
    return {**summary, "frames_per_s": rate, "gpu_busy_percent": None if busy is None else busy.end()}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--prepare", action="store_true", help="make the folder, and no more")
    parser.add_argument("--videos", type=int, default=64)
    parser.add_argument("--longest", type=float, default=60.0, metavar="S")
    parser.add_argument("--model", default="resnet50")
    parser.add_argument("--precision", choices=["float32", "bfloat16"], default="bfloat16")
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    parser.add_argument("--seconds", type=float, default=10.0, help="of the network alone")
    options = parser.parse_args()
    if options.prepare:
        prepare(options.folder, options.model, options.videos, options.longest)
        return
    import torch

    device = options.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    extractor = f"torchvision/{options.model}@{options.folder / options.model}.pth"
    videos = videos_in(options.folder / "videos")
    decoding, network = decode_rate(videos), network_rate(extractor, device, options.precision, options.seconds)
    whole = end_to_end(options.folder, extractor, device, options.precision)
    # on CPUs the two share the cores: a frame costs the sum of both
    shared = 1 / (1 / decoding + 1 / (network * len(os.sched_getaffinity(0)) / torch.get_num_threads()))
    ceiling = min(decoding, network) if device == "cuda" else shared
    result = {
        "device": torch.cuda.get_device_name() if device == "cuda" else "cpu",
        "cores": len(os.sched_getaffinity(0)),
        "network_frames_per_s": round(network, 1),
        "decode_frames_per_s": round(decoding, 1),
        "end_to_end_frames_per_s": round(whole["frames_per_s"], 1),
        "over_ceiling": round(whole["frames_per_s"] / ceiling, 3),
        "gpu_busy_percent": whole["gpu_busy_percent"],
        "startup_s": whole["startup_s"],
    }
    print(json.dumps({"model": options.model, "precision": options.precision, **result}))


if __name__ == "__main__":
    main()

"""The limit on CPUs: processor seconds that decoding and the network need by themselves, over the number of cores.

No framework can be faster with the same decoder and the same network, whatever it adds; what it does add shows as the
ratio of its time to this one. Three ceilings are taken, in processes of one thread:

- plain: PyAV decodes every frame, those at the wanted times are scaled, and torchvision's own float32 network sees them
  32 at a time. What a script does that follows the libraries' documentation.
- own: vidray's reader and vidray's network, without Ray, without the sandbox and without writing tables.
- shared: own in as many processes at once as there are cores, the videos dealt out to them. Each process fills its own
  memory, and a core is slower beside a busy one, which no framework changes.

Usage: python benchmarks/ceiling.py FOLDER [--side plain|own|shared] [--model NAME] [--precision bfloat16]
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import repeat
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt

FPS = 2.0
CLIP_S = 10.0
BATCH = 32
SIZE = 224
SIDES = ("plain", "own", "shared")

Frames = npt.NDArray[np.uint8]


def videos_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_file() and path.suffix in (".mp4", ".mkv", ".webm"))


def weights_file(model: str) -> Path:
    """Random weights of a torchvision network, in a file: speed does not depend on them, and no download is needed."""
    import torch
    from torchvision import models

    path = Path(os.environ.get("TMPDIR", "/tmp"), f"vidray-benchmark-{model}.pth")
    if not path.exists():
        torch.manual_seed(0)
        partial = path.with_suffix(f".{os.getpid()}")
        torch.save(models.get_model(model, weights=None).state_dict(), partial)
        partial.replace(path)
    return path


def plain_frames(path: Path) -> Frames:
    """All frames of a video at `FPS`, each wanted time's last frame, 224x224."""
    found = []
    wanted = 0
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        for frame in container.decode(stream):
            if frame.time is not None and frame.time + 1e-6 >= wanted / FPS:
                found.append(frame.reformat(width=SIZE, height=SIZE, format="rgb24").to_ndarray())
                wanted += 1
    return np.stack(found)


class PlainNetwork:
    """torchvision's network as its documentation uses it, without its last layer."""

    def __init__(self, model: str) -> None:
        import torch
        from torch import nn
        from torchvision import models

        torch.set_num_threads(1)
        network = models.get_model(model, weights=None)
        network.load_state_dict(torch.load(weights_file(model), weights_only=True))
        last = [name for name, layer in network.named_modules() if isinstance(layer, nn.Linear | nn.Conv2d)][-1]
        network.set_submodule(last, nn.Identity())
        self._network = network.eval()
        self._mean = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
        self._std = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)

    def __call__(self, frames: Frames) -> npt.NDArray[np.float32]:
        import torch

        with torch.inference_mode():
            batch = torch.from_numpy(frames).permute(0, 3, 1, 2).contiguous().float() / 255
            features: npt.NDArray[np.float32] = self._network((batch - self._mean) / self._std).numpy()
            return features


def batches(frames: Frames) -> Iterator[Frames]:
    for first in range(0, len(frames), BATCH):
        yield frames[first : first + BATCH]


def plain(videos: Sequence[Path], model: str) -> dict[str, Any]:
    network = PlainNetwork(model)
    network(np.zeros((BATCH, SIZE, SIZE, 3), np.uint8))
    decode_s = network_s = 0.0
    held: list[Frames] = []
    began = time.perf_counter()
    for index, path in enumerate(videos):
        mark_s = time.process_time()
        held.append(plain_frames(path))
        decode_s += time.process_time() - mark_s
        mark_s = time.process_time()
        whole = np.concatenate(held)
        last = len(whole) if index == len(videos) - 1 else len(whole) // BATCH * BATCH
        for batch in batches(whole[:last]):
            network(batch)
        held = [whole[last:]]
        network_s += time.process_time() - mark_s
    return answer(decode_s, network_s, time.perf_counter() - began)


def own(videos: Sequence[Path], model: str, precision: str) -> dict[str, Any]:
    from items import item_of

    from vidray.arrow import without_pandas
    from vidray.decode import VideoReader, probe
    from vidray.extractors import resolve
    from vidray.models.batching import claim_core

    # as workers do; else pyarrow imports pandas in the measured seconds
    without_pandas()
    claim_core()
    extractor = resolve(f"torchvision/{model}@{weights_file(model)}", fps=FPS, precision=precision)  # type: ignore[arg-type]
    extract, (sampling,) = extractor.load("cpu"), extractor.inputs.values()
    decode_s = network_s = 0.0
    held: list[Any] = []
    began = time.perf_counter()
    for index, path in enumerate(videos):
        mark_s = time.process_time()
        with path.open("rb") as file:
            duration_s = probe(file, str(path)).duration_s
            file.seek(0)
            with VideoReader(file, str(path), audio=False) as reader:
                for start_s in np.arange(0.0, duration_s, CLIP_S):
                    span = start_s, min(start_s + CLIP_S, duration_s)
                    request = sampling.request(*span)
                    found = reader.read([request], *span).samples[request]
                    if found is not None:
                        held.append(item_of(sampling.collect(found, *span)))
        decode_s += time.process_time() - mark_s
        mark_s = time.process_time()
        if len(held) >= 16 or index == len(videos) - 1:
            extract(held)
            held = []
        network_s += time.process_time() - mark_s
    return answer(decode_s, network_s, time.perf_counter() - began)


def shared(videos: Sequence[Path], model: str, precision: str) -> dict[str, Any]:
    cores = len(os.sched_getaffinity(0))
    by_size = sorted(videos, key=lambda path: path.stat().st_size, reverse=True)
    with ProcessPoolExecutor(cores, get_context("spawn")) as processes:
        shares = [by_size[first::cores] for first in range(cores)]
        found = list(processes.map(own, shares, repeat(model), repeat(precision)))
    decode_s, network_s = (sum(each[name] for each in found) for name in ("decode_cpu_s", "network_cpu_s"))
    return answer(decode_s, network_s, max(each["wall_s"] for each in found))


def answer(decode_s: float, network_s: float, wall_s: float) -> dict[str, Any]:
    cores = len(os.sched_getaffinity(0))
    return {
        "decode_cpu_s": round(decode_s, 2),
        "network_cpu_s": round(network_s, 2),
        "ceiling_s": round((decode_s + network_s) / cores, 2),
        "wall_s": round(wall_s, 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", default="mobilenet_v3_large")
    parser.add_argument("--precision", choices=["float32", "bfloat16"], default="bfloat16", help="of vidray's own side")
    parser.add_argument("--side", choices=SIDES, default="own")
    parser.add_argument("--limit", type=int, help="the first so many videos")
    options = parser.parse_args()
    videos = videos_in(options.folder)[: options.limit]
    sides: dict[str, Callable[[], dict[str, Any]]] = {
        "plain": lambda: plain(videos, options.model),
        "own": lambda: own(videos, options.model, options.precision),
        "shared": lambda: shared(videos, options.model, options.precision),
    }
    print(json.dumps({options.side: sides[options.side]()}))


if __name__ == "__main__":
    main()

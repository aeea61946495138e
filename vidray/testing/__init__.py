"""For tests: synthetic videos whose frames and audio say when they are, and the check of extractors.

Every frame carries its own number in large black and white blocks, which survive lossy codecs, scaling and rotation.
The audio is a sweep, whose value at each time is known, so that a shift by one sample shows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import av
import numpy as np
import numpy.typing as npt
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from vidray.testing.check import check_extractor

__all__ = [
    "Sweep",
    "SyntheticVideo",
    "check_extractor",
    "numbered_frame",
    "read_frame_number",
    "sweep",
    "write_video",
]

_GRID = 4
_NUMBER_BITS = 12
_CHECK_BITS = _GRID * _GRID - _NUMBER_BITS


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """The audio of a synthetic video: the function `sweep`, from `start_s` on.

    Attributes:
        codec: FFmpeg's name of an encoder.
        sample_rate: In hertz.
        layout: FFmpeg's name; all channels are alike.
        start_s: When it begins, on the container's clock, as its value does: at `start_s` it is sweep(start_s).
        length_s: How long it lasts; None for as long as the frames, or two seconds where there are none.
        options: For the encoder.
    """

    codec: str = "aac"
    sample_rate: int = 48_000
    layout: str = "stereo"
    start_s: float = 0.0
    length_s: float | None = None
    options: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class SyntheticVideo:
    """What `write_video` writes.

    Attributes:
        frames: How many frames; 0 for audio alone.
        fps: Frames a second.
        width: Coded, in pixels; at least 32.
        height: Likewise.
        codec: FFmpeg's name of an encoder.
        pix_fmt: FFmpeg's name of a pixel format that the encoder takes.
        gop: Frames from keyframe to keyframe, at most.
        b_frames: How many frames in a row may be predicted from both sides.
        start_s: When the first frame is shown, on the container's clock.
        times_s: When each frame is shown, in milliseconds' steps, for a variable rate; empty for a constant one.
        rotation: Degrees clockwise to turn the coded frame for display: 0, 90, 180 or 270.
        pixel_aspect: Width / height of one pixel.
        full_range: Whether luma runs from 0 to 255.
        audio: None for silence of the file.
        options: For the frame's encoder, e.g. {"x264-params": "open-gop=1"}.
        container_options: For the muxer.
    """

    frames: int = 50
    fps: Fraction | int = 25
    width: int = 160
    height: int = 96
    codec: str = "libx264"
    pix_fmt: str = "yuv420p"
    gop: int = 12
    b_frames: int = 2
    start_s: float = 0.0
    times_s: tuple[float, ...] = ()
    rotation: int = 0
    pixel_aspect: Fraction | None = None
    full_range: bool = False
    audio: Sweep | None = None
    options: Mapping[str, str] = field(default_factory=dict)
    container_options: Mapping[str, str] = field(default_factory=dict)


def write_video(path: str | Path, video: SyntheticVideo | None = None) -> None:
    """Encode a synthetic video; the container is told by the file's name."""
    # SVT-AV1 gives the thread that opens it, where it may, real-time priority; all processes started there inherit it
    with ThreadPoolExecutor(1) as thread:
        thread.submit(_write, path, video or SyntheticVideo()).result()


def _write(path: str | Path, video: SyntheticVideo) -> None:
    with av.open(str(path), "w", options=dict(video.container_options)) as container:
        shown = _video_stream(container, video) if video.frames else None
        audio = None if video.audio is None else _audio_stream(container, video.audio)
        frames: list[tuple[float, Any, VideoFrame | AudioFrame]] = []
        if shown is not None:
            frames += [(_time_s(f), shown, f) for f in _frames(video)]
        if audio is not None and video.audio is not None:
            frames += [(_time_s(f), audio, f) for f in _audio_frames(video, video.audio)]
        for _, stream, frame in sorted(frames, key=lambda entry: entry[0]):
            container.mux(stream.encode(frame))
        for last in (shown, audio):
            if last is not None:
                container.mux(last.encode(None))


def numbered_frame(number: int, height: int, width: int) -> npt.NDArray[np.uint8]:
    """uint8 (height, width, 3): 4 x 4 blocks, 12 bits of the number from the top left, then 4 bits of a checksum."""
    if not 0 <= number < 1 << _NUMBER_BITS:
        raise ValueError(f"number must be in [0, {1 << _NUMBER_BITS}), got {number}")
    word = number << _CHECK_BITS | _checksum(number)
    bits = [word >> (_GRID * _GRID - 1 - place) & 1 for place in range(_GRID * _GRID)]
    blocks = np.array(bits, dtype=np.uint8).reshape(_GRID, _GRID) * 255
    rows = np.arange(height) * _GRID // height
    columns = np.arange(width) * _GRID // width
    return np.repeat(blocks[rows][:, columns, None], 3, axis=2)


def read_frame_number(frame: npt.NDArray[np.uint8]) -> int:
    """The number in a frame (H, W, 3) of any size; raises ValueError if it is broken."""
    height, width = frame.shape[:2]
    word = 0
    for row in range(_GRID):
        for column in range(_GRID):
            top, left = (row * 3 + 1) * height // (_GRID * 3), (column * 3 + 1) * width // (_GRID * 3)
            bottom, right = (row * 3 + 2) * height // (_GRID * 3), (column * 3 + 2) * width // (_GRID * 3)
            word = word << 1 | int(frame[top : max(bottom, top + 1), left : max(right, left + 1)].mean() > 127)
    number = word >> _CHECK_BITS
    if word & (1 << _CHECK_BITS) - 1 != _checksum(number):
        raise ValueError(f"the frame's number is broken: {word:016b}")
    return number


def sweep(times_s: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    """The value of the audio at any time: 200 Hz at zero, 120 Hz more each second, at half of full scale."""
    return (0.5 * np.sin(2 * np.pi * (200.0 + 60.0 * times_s) * times_s)).astype(np.float32)


def _checksum(number: int) -> int:
    return (number * 5 + (number >> 4) * 3 + (number >> 8) * 7 + 9) & (1 << _CHECK_BITS) - 1


def _time_s(frame: VideoFrame | AudioFrame) -> float:
    assert frame.time is not None
    return frame.time


def _video_stream(container: OutputContainer, video: SyntheticVideo) -> VideoStream:
    stream = cast(VideoStream, container.add_stream(cast(Any, video.codec), rate=Fraction(video.fps)))
    context = stream.codec_context
    context.width, context.height, context.pix_fmt = video.width, video.height, video.pix_fmt
    context.time_base = Fraction(1, 1000) if video.times_s else 1 / Fraction(video.fps)
    context.gop_size, context.max_b_frames = video.gop, video.b_frames
    context.thread_count = 1
    context.options = dict(video.options)
    if video.full_range:
        context.color_range = 2
    if video.pixel_aspect is not None:
        context.sample_aspect_ratio = video.pixel_aspect
    if video.rotation:
        stream.set_display_rotation(-video.rotation)
    return stream


def _audio_stream(container: OutputContainer, audio: Sweep) -> AudioStream:
    stream = container.add_stream(cast(Any, audio.codec), rate=audio.sample_rate, layout=audio.layout)
    assert isinstance(stream, AudioStream)
    stream.codec_context.options = dict(audio.options)
    return stream


def _frames(video: SyntheticVideo) -> Iterator[VideoFrame]:
    base = Fraction(1, 1000) if video.times_s else 1 / Fraction(video.fps)
    for number in range(video.frames):
        rgb = VideoFrame.from_ndarray(numbered_frame(number, video.height, video.width), format="rgb24")
        frame = rgb.reformat(format=video.pix_fmt, dst_color_range="JPEG" if video.full_range else None)
        frame.time_base = base
        frame.pts = round((video.start_s + video.times_s[number]) / base if video.times_s else video.start_s / base) + (
            0 if video.times_s else number
        )
        yield frame


def _audio_frames(video: SyntheticVideo, audio: Sweep) -> Iterator[AudioFrame]:
    length_s = audio.length_s
    if length_s is None:
        length_s = float(video.frames / Fraction(video.fps)) if video.frames else 2.0
    first, count, step = round(audio.start_s * audio.sample_rate), round(length_s * audio.sample_rate), 1024
    for begin in range(first, first + count, step):
        times = np.arange(begin, min(begin + step, first + count)) / audio.sample_rate
        interleaved = np.repeat(sweep(times), av.AudioLayout(audio.layout).nb_channels)
        frame = AudioFrame.from_ndarray(interleaved[None], format="flt", layout=audio.layout)
        frame.sample_rate, frame.time_base, frame.pts = audio.sample_rate, Fraction(1, audio.sample_rate), begin
        yield frame

"""For tests: synthetic videos whose pictures and sound say when they are, and the check of extractors.

Every picture carries its own number in large black and white blocks, which survive lossy codecs, scaling and rotation.
The sound is a sweep, whose value at each time is known, so that a shift by one sample shows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
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
    "numbered_picture",
    "read_frame_number",
    "sweep",
    "write_video",
]

_GRID = 4
_NUMBER_BITS = 12
_CHECK_BITS = _GRID * _GRID - _NUMBER_BITS


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """The sound of a synthetic video: the function `sweep`, from `start_s` on.

    Attributes:
        codec: FFmpeg's name of an encoder.
        sample_rate: In hertz.
        layout: FFmpeg's name; all channels are alike.
        start_s: When it begins, on the container's clock, as its value does: at `start_s` it is sweep(start_s).
        length_s: How long it lasts; None for as long as the pictures, or two seconds where there are none.
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
        frames: How many pictures; 0 for sound alone.
        fps: Pictures a second.
        width: Coded, in pixels; at least 32.
        height: Likewise.
        codec: FFmpeg's name of an encoder.
        pix_fmt: FFmpeg's name of a pixel format that the encoder takes.
        gop: Pictures from keyframe to keyframe, at most.
        b_frames: How many pictures in a row may be predicted from both sides.
        start_s: When the first picture is shown, on the container's clock.
        times_s: When each picture is shown, in milliseconds' steps, for a variable rate; empty for a constant one.
        rotation: Degrees clockwise to turn the coded picture for display: 0, 90, 180 or 270.
        pixel_aspect: Width / height of one pixel.
        full_range: Whether luma runs from 0 to 255.
        sound: None for silence of the file.
        options: For the picture's encoder, e.g. {"x264-params": "open-gop=1"}.
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
    sound: Sweep | None = None
    options: Mapping[str, str] = field(default_factory=dict)
    container_options: Mapping[str, str] = field(default_factory=dict)


def write_video(path: str | Path, video: SyntheticVideo | None = None) -> None:
    """Encode a synthetic video; the container is told by the file's name."""
    video = video or SyntheticVideo()
    with av.open(str(path), "w", options=dict(video.container_options)) as container:
        pictures = _video_stream(container, video) if video.frames else None
        sound = None if video.sound is None else _audio_stream(container, video.sound)
        frames: list[tuple[float, Any, VideoFrame | AudioFrame]] = []
        if pictures is not None:
            frames += [(_time_s(f), pictures, f) for f in _pictures(video)]
        if sound is not None and video.sound is not None:
            frames += [(_time_s(f), sound, f) for f in _sound_frames(video, video.sound)]
        for _, stream, frame in sorted(frames, key=lambda entry: entry[0]):
            container.mux(stream.encode(frame))
        for last in (pictures, sound):
            if last is not None:
                container.mux(last.encode(None))


def numbered_picture(number: int, height: int, width: int) -> npt.NDArray[np.uint8]:
    """uint8 (height, width, 3): 4 x 4 blocks, 12 bits of the number from the top left, then 4 bits of a checksum."""
    if not 0 <= number < 1 << _NUMBER_BITS:
        raise ValueError(f"number must be in [0, {1 << _NUMBER_BITS}), got {number}")
    word = number << _CHECK_BITS | _checksum(number)
    bits = [word >> (_GRID * _GRID - 1 - place) & 1 for place in range(_GRID * _GRID)]
    blocks = np.array(bits, dtype=np.uint8).reshape(_GRID, _GRID) * 255
    rows = np.arange(height) * _GRID // height
    columns = np.arange(width) * _GRID // width
    return np.repeat(blocks[rows][:, columns, None], 3, axis=2)


def read_frame_number(picture: npt.NDArray[np.uint8]) -> int:
    """The number in a picture (H, W, 3) of any size; raises ValueError if it is broken."""
    height, width = picture.shape[:2]
    word = 0
    for row in range(_GRID):
        for column in range(_GRID):
            top, left = (row * 3 + 1) * height // (_GRID * 3), (column * 3 + 1) * width // (_GRID * 3)
            bottom, right = (row * 3 + 2) * height // (_GRID * 3), (column * 3 + 2) * width // (_GRID * 3)
            word = word << 1 | int(picture[top : max(bottom, top + 1), left : max(right, left + 1)].mean() > 127)
    number = word >> _CHECK_BITS
    if word & (1 << _CHECK_BITS) - 1 != _checksum(number):
        raise ValueError(f"the picture's number is broken: {word:016b}")
    return number


def sweep(times_s: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    """The value of the sound at any time: 200 Hz at zero, 120 Hz more each second, at half of full scale."""
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


def _audio_stream(container: OutputContainer, sound: Sweep) -> AudioStream:
    stream = container.add_stream(cast(Any, sound.codec), rate=sound.sample_rate, layout=sound.layout)
    assert isinstance(stream, AudioStream)
    stream.codec_context.options = dict(sound.options)
    return stream


def _pictures(video: SyntheticVideo) -> Iterator[VideoFrame]:
    base = Fraction(1, 1000) if video.times_s else 1 / Fraction(video.fps)
    for number in range(video.frames):
        rgb = VideoFrame.from_ndarray(numbered_picture(number, video.height, video.width), format="rgb24")
        frame = rgb.reformat(format=video.pix_fmt, dst_color_range="JPEG" if video.full_range else None)
        frame.time_base = base
        frame.pts = round((video.start_s + video.times_s[number]) / base if video.times_s else video.start_s / base) + (
            0 if video.times_s else number
        )
        yield frame


def _sound_frames(video: SyntheticVideo, sound: Sweep) -> Iterator[AudioFrame]:
    length_s = sound.length_s
    if length_s is None:
        length_s = float(video.frames / Fraction(video.fps)) if video.frames else 2.0
    first, count, step = round(sound.start_s * sound.sample_rate), round(length_s * sound.sample_rate), 1024
    for begin in range(first, first + count, step):
        times = np.arange(begin, min(begin + step, first + count)) / sound.sample_rate
        interleaved = np.repeat(sweep(times), av.AudioLayout(sound.layout).nb_channels)
        frame = AudioFrame.from_ndarray(interleaved[None], format="flt", layout=sound.layout)
        frame.sample_rate, frame.time_base, frame.pts = sound.sample_rate, Fraction(1, sound.sample_rate), begin
        yield frame

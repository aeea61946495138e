"""The values that pass between the rooms: videos, clips, samplings and samples.

All are frozen. This module knows no codec, no file and no Ray.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

from vidray.errors import DecodeError

Span = tuple[float, float]
"""A half-open span [start_s, end_s) in seconds on a video's presentation clock."""

FrameSize = tuple[int, int]
"""(height, width) of a video as displayed; (0, 0) without a frame."""

UNSEEN = "unseen"
"""The fingerprint of a file that the storage was not asked about, or did not show."""

TIME_SLACK_S = 1e-6
"""Two times nearer than a microsecond are one: decimal seconds have no exact float64."""

_SIDE_SLACK = 1e-6
"""Of a pixel: a side that is scaled to a whole number may come out a hair below it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Video:
    """One listed file, not yet opened.

    Attributes:
        video_id: 32 hexadecimal digits from the URI and the fingerprint; a changed file is another video.
        uri: An absolute path, or a URL that fsspec opens.
        size_bytes: The size by the listing, None where the storage does not say.
        fingerprint: What tells one content from another without reading it: an etag, else size and mtime.
        spans: The clips that a manifest asks for; empty where the planner decides.
        metadata: A manifest's other columns, for each span, or one entry for the video as a whole.
    """

    video_id: str
    uri: str
    size_bytes: int | None
    fingerprint: str
    spans: tuple[Span, ...] = ()
    metadata: tuple[Mapping[str, object], ...] = field(default=(), compare=False)

    @property
    def is_seen(self) -> bool:
        """Whether the fingerprint is the storage's or the manifest's word; the storage was not asked, or had none."""
        return self.fingerprint != UNSEEN


@dataclass(frozen=True, kw_only=True)
class VideoInfo:
    """What the headers of one file say.

    Attributes:
        duration_s: From the first frame (first audio, where there is no frame) to the end of the last stream.
        fps: Average frames a second; None without a frame.
        width: Of the frame as displayed: rotated, with square pixels; None without a frame.
        height: Likewise.
        rotation: Degrees clockwise by which the coded frame is turned for display: 0, 90, 180 or 270.
        video_codec: FFmpeg's name of the codec, None without a frame.
        audio_codec: FFmpeg's name of the codec, None without audio.
        sample_rate: Of the audio in hertz, None without audio.
    """

    duration_s: float
    fps: float | None
    width: int | None
    height: int | None
    rotation: int
    video_codec: str | None
    audio_codec: str | None
    sample_rate: int | None


@dataclass(frozen=True, kw_only=True)
class Clip:
    """A span [start_s, end_s) of one video.

    Attributes:
        clip_id: 32 hexadecimal digits from the video's id and the span.
        clip_index: Place among the clips of its video, from 0.
    """

    clip_id: str
    video_id: str
    uri: str
    clip_index: int
    start_s: float
    end_s: float


@dataclass(frozen=True, kw_only=True)
class Resize:
    """How a network wants its frames: scaled, then cut out around the centre. torchvision's rules for both.

    Attributes:
        size: The shorter side in pixels, keeping the aspect ratio, or (height, width).
        crop: (height, width) around the centre, None for all of the frame.
        interpolation: Of the scaling.
        antialias: Whether shrinking averages over all source pixels, as PIL and torchvision's image presets do;
            torchvision's video presets and detection models do not.
        longest: Frames are only ever shrunk, until the shorter side is `size` at most and the longer one this many
            pixels at most, as torchvision's detection models do before they enlarge; None without such a limit.
    """

    size: int | tuple[int, int]
    crop: tuple[int, int] | None = None
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"
    antialias: bool = True
    longest: int | None = None

    def scaled(self, height: int, width: int) -> FrameSize:
        """(height, width) after scaling, before the crop; by torchvision's rule, sides are cut to integers."""
        if not isinstance(self.size, int):
            return self.size
        short, long = min(height, width), max(height, width)
        if not short:
            return self.size, self.size
        if self.longest is None:
            longer = max(1, int(self.size * long / short))
            return (self.size, longer) if height <= width else (longer, self.size)
        factor = min(1.0, self.size / short, self.longest / long)
        return max(1, int(height * factor + _SIDE_SLACK)), max(1, int(width * factor + _SIDE_SLACK))


@dataclass(frozen=True, kw_only=True)
class FrameRate:
    """Frames at start_s, start_s + 1/fps, ... of a clip: ragged, one `Frames` a clip.

    With `keyframes`, the first keyframe in each of the spans between these times instead, at its own time, or the last
    one before the clip where it holds none: a small part of the decoding, and whichever frames the encoder chose.

    Attributes:
        fps: Frames a second, at most so many with `keyframes`.
        resize: None for frames as displayed.
        keyframes: Whether keyframes alone are decoded.
    """

    fps: float
    resize: Resize | None = None
    keyframes: bool = False


@dataclass(frozen=True, kw_only=True)
class FrameWindows:
    """Evenly spaced windows of a fixed number of frames: static, one `Windows` a clip.

    A clip of one window's length or less has one window, which repeats its last frame where the clip is shorter.

    Attributes:
        frames: Frames in a window.
        fps: Frames a second inside a window.
        resize: As in `FrameRate`.
        max_windows: How many windows a long clip has at most.
    """

    frames: int
    fps: float
    resize: Resize | None = None
    max_windows: int = 4


@dataclass(frozen=True, kw_only=True)
class Audio:
    """All of a clip's audio, mixed down to one channel.

    Attributes:
        sample_rate: In hertz; the audio is resampled to it.
    """

    sample_rate: int


Sampling = FrameRate | FrameWindows | Audio
"""What the decoder knows."""


@dataclass(frozen=True, kw_only=True)
class AudioVisual:
    """The frames and the audio of a clip together: one `FramesAndAudio` a clip."""

    frames: FrameRate
    audio: Audio


AnySampling = Sampling | AudioVisual
"""What an extractor may want."""


def single(sampling: AnySampling) -> tuple[Sampling, ...]:
    """The samplings that the decoder is asked for."""
    return (sampling.frames, sampling.audio) if isinstance(sampling, AudioVisual) else (sampling,)


_LONGEST_S = 31 * 86_400.0
_ALWAYS_BELIEVED_S = 3_600.0
_FEWEST_BYTES_PER_S = 10


@dataclass(frozen=True, kw_only=True)
class Frames:
    """The frames of one clip by a `FrameRate`.

    Attributes:
        times_s: float64 (T,), the wanted times on the video's presentation clock; of keyframes their own times.
        frames: uint8 (T, H, W, 3), RGB; the frame on display at each of these times.
    """

    times_s: npt.NDArray[np.float64]
    frames: npt.NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class Windows:
    """The frames of one clip by a `FrameWindows`.

    Attributes:
        times_s: float64 (W, T).
        frames: uint8 (W, T, H, W, 3), RGB.
    """

    times_s: npt.NDArray[np.float64]
    frames: npt.NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class AudioSamples:
    """The audio of one clip by an `Audio`.

    Attributes:
        samples: float32 (N,), mono, in [-1, 1]; N = round((end_s - start_s) * sample_rate). Silence where the clip
            has a frame but no audio yet, or no longer.
        sample_rate: In hertz.
    """

    samples: npt.NDArray[np.float32]
    sample_rate: int


Samples = Frames | Windows | AudioSamples


@dataclass(frozen=True, kw_only=True)
class FramesAndAudio:
    """The samples of one clip by an `AudioVisual`: None where the clip has no frame, or no audio, but not both."""

    frames: Frames | None
    audio: AudioSamples | None


AnySamples = Samples | FramesAndAudio


def sample_times(sampling: FrameRate | FrameWindows, start_s: float, end_s: float) -> npt.NDArray[np.float64]:
    """The wanted times of a clip: float64 (T,) for a `FrameRate`, (W, T) for `FrameWindows`.

    Times of a `FrameRate` lie in [start_s, end_s), at least one. A window's times may run past end_s, where the clip
    is shorter than the window.
    """
    length_s = end_s - start_s
    if isinstance(sampling, FrameRate):
        count = max(1, math.ceil((length_s - TIME_SLACK_S) * sampling.fps))
        return start_s + np.arange(count, dtype=np.float64) / sampling.fps
    window_s = sampling.frames / sampling.fps
    windows = min(sampling.max_windows, max(1, math.floor((length_s + TIME_SLACK_S) / window_s)))
    firsts = start_s + (np.arange(windows) + 0.5) * (length_s / windows) - window_s / 2
    firsts = np.maximum(firsts, start_s)
    within = np.arange(sampling.frames, dtype=np.float64) / sampling.fps
    return np.asarray(firsts[:, None] + within[None, :], dtype=np.float64)


def sample_count(sampling: Audio, start_s: float, end_s: float) -> int:
    """How many samples of audio a clip has."""
    return max(1, round((end_s - start_s) * sampling.sample_rate))


def longest_s(size_bytes: int) -> float:
    """The longest duration that is believed of a file: an hour, or ten bytes a second up to a month.

    Headers and damaged timestamps claim what they like, and each claimed second costs rows. A codec's packets of
    silence or of a frame that stands still, and the container's bytes around them, come to more than that.
    """
    return min(_LONGEST_S, max(_ALWAYS_BELIEVED_S, size_bytes / _FEWEST_BYTES_PER_S))


@dataclass(frozen=True)
class Decoded:
    """What one clip gave.

    Attributes:
        samples: For each sampling its samples; None where the clip has nothing of the kind (no audio, or no frame in
            this span); a DecodeError where it should have had something.
        warning: One line on what was damaged, None if nothing was.
    """

    samples: Mapping[Sampling, Samples | DecodeError | None]
    warning: str | None

    def of(self, sampling: AnySampling) -> AnySamples | DecodeError | None:
        """The same for what an extractor wants; of frames and audio together, an error of either is one of both."""
        if not isinstance(sampling, AudioVisual):
            return self.samples[sampling]
        frames, audio = self.samples[sampling.frames], self.samples[sampling.audio]
        for part in (frames, audio):
            if isinstance(part, DecodeError):
                return part
        if frames is None and audio is None:
            return None
        assert not isinstance(frames, DecodeError | Windows | AudioSamples)
        assert audio is None or isinstance(audio, AudioSamples)
        return FramesAndAudio(frames=frames, audio=audio)

"""Videos, clips and how frames are resized: frozen values that know no codec, no file and no Ray."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

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

_LONGEST_S = 31 * 86_400.0
_ALWAYS_BELIEVED_S = 3_600.0
_FEWEST_BYTES_PER_S = 10


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
        audio_tracks: Which tracks are heard of several, counted from 1: "1 + 2 of 2", "2 (eng) of 3"; None without a
            choice.
        holes: Stretches of more than a minute in which nothing is recorded, though the clock goes on; no clip is
            planned inside them.
    """

    duration_s: float
    fps: float | None
    width: int | None
    height: int | None
    rotation: int
    video_codec: str | None
    audio_codec: str | None
    sample_rate: int | None
    audio_tracks: str | None = None
    holes: tuple[Span, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Clip:
    """A span [start_s, end_s) of one video.

    Attributes:
        clip_id: 32 hexadecimal digits from the video's id and the span.
        clip_index: Place among the clips of its video, from 0.
        starts_shot: Whether a shot begins where it begins; None where nobody looked for shots.
    """

    clip_id: str
    video_id: str
    uri: str
    clip_index: int
    start_s: float
    end_s: float
    starts_shot: bool | None = None


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

    def __post_init__(self) -> None:
        if self.interpolation == "bicubic" and not self.antialias:
            # no model of torchvision uses it, and it could only be approximated
            raise ValueError("Resize(interpolation='bicubic') needs antialias=True, got antialias=False")

    def size_of(self, size: FrameSize) -> FrameSize:
        """(height, width) of what becomes of a frame of this size: scaled and cut out."""
        return self.crop or self.scaled(*size)

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


def longest_s(size_bytes: int) -> float:
    """The longest duration that is believed of a file: an hour, or ten bytes a second up to a month.

    Headers and damaged timestamps claim what they like, and each claimed second costs rows. A codec's packets of
    silence or of a frame that stands still, and the container's bytes around them, come to more than that.
    """
    return min(_LONGEST_S, max(_ALWAYS_BELIEVED_S, size_bytes / _FEWEST_BYTES_PER_S))

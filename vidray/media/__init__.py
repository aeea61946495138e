"""The values that pass between the rooms: videos, clips, samplings and samples. All are frozen; no codec, no Ray."""

from vidray.media.inputs import ClipInput, Columns
from vidray.media.requests import AudioRequest, FrameRequest, Request
from vidray.media.samples import AudioSamples, Decoded, Frames, Holding, RawFrames, RawSamples, Windows
from vidray.media.sampling import (
    Audio,
    FrameRate,
    FrameSpread,
    FrameWindows,
    Modality,
    Sampling,
    context_of,
    record_of,
    span_read,
    with_context,
)
from vidray.media.values import TIME_SLACK_S, UNSEEN, Clip, FrameSize, Resize, Span, Video, VideoInfo, longest_s

__all__ = [
    "TIME_SLACK_S",
    "UNSEEN",
    "Audio",
    "AudioRequest",
    "AudioSamples",
    "Clip",
    "ClipInput",
    "Columns",
    "Decoded",
    "FrameRate",
    "FrameRequest",
    "FrameSize",
    "FrameSpread",
    "FrameWindows",
    "Frames",
    "Holding",
    "Modality",
    "RawFrames",
    "RawSamples",
    "Request",
    "Resize",
    "Sampling",
    "Span",
    "Video",
    "VideoInfo",
    "Windows",
    "context_of",
    "longest_s",
    "record_of",
    "span_read",
    "with_context",
]

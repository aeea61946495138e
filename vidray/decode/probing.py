"""What the headers of one file say."""

from __future__ import annotations

import contextlib
import itertools
import math
import statistics
from typing import BinaryIO

from av.stream import Stream
from av.video.stream import VideoStream

from vidray.decode.choice import spoken_of
from vidray.decode.formats import RAW_FORMATS
from vidray.decode.holes import holes_of
from vidray.decode.scaling import geometry_of
from vidray.decode.source import Source
from vidray.decode.tracks import Tracks
from vidray.errors import DecodeError, ProbeError
from vidray.media import VideoInfo, longest_s

_FAR_START_S = 1.0
"""Beyond this, a container's duration may be counted from its own zero or from the first frame: look."""

_LOOSE_FORMATS = RAW_FORMATS | {"mpegts", "mpeg"}
"""Streams without any header that says how long they are."""

_TAIL_S = 3.0

_USUAL_FPS = 240.0
"""What says more is looked at: a camera for slow motion, or a container without a rate."""

_STRAY_S = 3_600.0
"""A packet so much later than all before it has a damaged timestamp, where timestamps are in doubt at all."""

_WHATEVER_END_US = 10**13
"""Later than any video ends: seeks to the last keyframe."""


def probe(file: BinaryIO, uri: str) -> VideoInfo:
    """Read the headers and the first frame. Raises ProbeError where the file has nothing to decode.

    The packets near the end are read, not decoded, where the headers say nothing about the duration or contradict
    themselves.
    """
    try:
        tracks = Tracks(file, uri)
        try:
            return _info(tracks)
        finally:
            tracks.close()
    except DecodeError as e:
        raise ProbeError(e.kind, e.message, uri, e.at_s) from e


def _info(tracks: Tracks) -> VideoInfo:
    geometry = None if tracks.first is None else geometry_of(tracks.first.raw, tracks.aspect())
    holes, duration_s = holes_of(tracks.source, _duration_s(tracks))
    video = None if tracks.frames is None else tracks.source.video
    audio = None if tracks.audio is None else tracks.source.audio
    rate = None if video is None else _rate(tracks.source, video)
    return VideoInfo(
        duration_s=duration_s,
        fps=None if rate is None else float(rate),
        width=None if geometry is None else geometry.width,
        height=None if geometry is None else geometry.height,
        rotation=0 if geometry is None else geometry.rotation,
        video_codec=None if video is None else video.codec.canonical_name,
        audio_codec=None if audio is None else audio.codec.canonical_name,
        sample_rate=None if audio is None else audio.sample_rate or None,
        audio_tracks=None if audio is None else spoken_of(tracks.source.container, tracks.source.audios),
        holes=holes,
    )


def _rate(source: Source, video: VideoStream) -> float | None:
    """The rate that a person would name; where FFmpeg takes ticks of the clock for frames, by the first packets."""
    claimed = video.average_rate or video.guessed_rate
    if claimed is not None and claimed <= _USUAL_FPS:
        return float(claimed)
    with contextlib.closing(source.twin("video")) as twin:
        times_s = sorted(twin.seconds_of(p, p.pts) for p in itertools.islice(twin.rest(), 64) if p.pts is not None)
    steps_s = [later - sooner for sooner, later in itertools.pairwise(times_s) if later > sooner]
    measured = 1 / statistics.median(steps_s) if steps_s else None
    if measured is not None and video.guessed_rate and math.isclose(measured, video.guessed_rate, rel_tol=0.02):
        return float(video.guessed_rate)
    return measured or (float(claimed) if claimed else None)


def _duration_s(tracks: Tracks) -> float:
    """The end of the last of the chosen streams.

    By the headers; where these claim more than the file can hold, by the last packets; and where these do as well, by
    all packets but strays.
    """
    source = tracks.source
    most_s = longest_s(source.size_bytes)
    claimed_s = _claimed_s(tracks)
    if claimed_s <= most_s:
        return claimed_s
    tail_s = _tail_end_s(source)
    if 0 < tail_s <= most_s:
        return tail_s
    return source.unbroken_end_s(_STRAY_S) or claimed_s


def _claimed_s(tracks: Tracks) -> float:
    """By the streams' headers, by the container's, or by the last packets where they say nothing."""
    source = tracks.source
    if source.is_joined and (end_s := source.container_end_s) is not None:
        return end_s
    streams: list[Stream] = []
    if tracks.frames is not None and source.video is not None:
        streams.append(source.video)
    if tracks.audio is not None and source.audio is not None:
        streams.append(source.audio)
    if source.is_guessed:
        return source.scan_end_s(0.0)
    if source.format in _LOOSE_FORMATS:
        return _tail_end_s(source)
    ends = [source.declared_end_s(s) for s in streams]
    known = [end for end in ends if end is not None and end > 0]
    if len(known) == len(streams):
        return max(known)
    if source.container.duration and abs(source.zero) < _FAR_START_S:
        whole = source.container.duration / 1_000_000 - float(source.zero)
        return max([whole, *known])
    return max([_tail_end_s(source), *known])


def _tail_end_s(source: Source) -> float:
    """The end of the last packet. A container that cannot seek is read through, without decoding."""
    if source.format in RAW_FORMATS:
        source.reopen()
        rate = source.video and (source.video.average_rate or source.video.guessed_rate)
        return sum(1 for _ in source.rest()) / float(rate or 25)
    length_s = (source.container.duration or _WHATEVER_END_US) / 1_000_000
    tail_s = (source.container.start_time or 0) / 1_000_000 + length_s - float(source.zero) - _TAIL_S
    return source.scan_end_s(tail_s)

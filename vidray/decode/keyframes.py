"""Keyframes alone: frames that need no other one, each at its own time."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from typing import Any

import av
from av.packet import Packet
from av.video.frame import PictureType

from vidray.decode.frames import Frame
from vidray.decode.tracks import Tracks
from vidray.errors import DecodeError
from vidray.media import TIME_SLACK_S, FrameRequest

UNSTAMPED_FORMATS = frozenset({"mpeg"})
"""Program streams have a timestamp for some packets only; what a seek finds first may have a neighbour's."""

STAND_ALONE = frozenset({PictureType.I, PictureType.NONE})
"""Frames that need no other one; codecs without any other kind name none."""


def read_keyframes(
    tracks: Tracks, requests: Sequence[FrameRequest], start_s: float, end_s: float
) -> dict[FrameRequest, list[Frame]]:
    """Of each request, the first keyframe from each of its times to the next, the last time's within the span.

    Where the span holds none at all, the one before it, which the frames shown at its start were made from. All
    packets of the span are read, none but these are decoded; the tracks stand elsewhere afterwards. Raises DecodeError
    where the container does not say when its frames are shown, or what it calls keyframes need other frames.
    """
    if tracks.frames is None or not tracks.frames.seekable or tracks.source.format in UNSTAMPED_FORMATS:
        message = (
            f"a {tracks.source.format} file does not say when its keyframes are shown: sample it without --keyframes"
        )
        raise DecodeError("unsupported", message, tracks.source.uri, start_s)
    stream = tracks.frames.stream
    declared_end_s = tracks.source.declared_end_s(stream)
    if declared_end_s is not None and start_s >= declared_end_s - TIME_SLACK_S:
        return {request: [] for request in requests}
    tracks.stand_before(start_s)
    before: Packet[Any] | None = None
    chosen: dict[FrameRequest, dict[int, Packet[Any]]] = {request: {} for request in requests}
    for at_s, packet in _keyframes(tracks, end_s):
        if at_s < start_s - TIME_SLACK_S:
            before = packet
        elif at_s < end_s:
            for request, packets in chosen.items():
                packets.setdefault(bisect_right(request.times_s, at_s + TIME_SLACK_S), packet)
    wanted = {
        request: list(packets.values()) or ([] if before is None else [before]) for request, packets in chosen.items()
    }
    decoded: dict[int, Frame | None] = {}
    for packet in (packet for packets in wanted.values() for packet in packets):
        if id(packet) not in decoded:
            decoded[id(packet)] = _decoded(tracks, packet)
    tracks.stand_before(start_s)
    if decoded and not any(decoded.values()) and not tracks.source.damage.within("frames", start_s, end_s):
        message = "its keyframes are no frames by themselves: sample it without --keyframes"
        raise DecodeError("unsupported", message, tracks.source.uri, start_s)
    return {
        request: [frame for packet in packets if (frame := decoded[id(packet)]) is not None]
        for request, packets in wanted.items()
    }


def _keyframes(tracks: Tracks, end_s: float) -> Iterator[tuple[float, Packet[Any]]]:
    source, stream = tracks.source, tracks.source.video
    assert stream is not None
    while (packet := source.packet(stream, end_s)) is not None and source.time_s(packet) < end_s:
        if packet.is_keyframe and packet.pts is not None and not packet.is_discard:
            yield source.seconds(stream, packet.pts), packet


def _decoded(tracks: Tracks, packet: Packet[Any]) -> Frame | None:
    source, stream = tracks.source, tracks.source.video
    assert stream is not None
    assert packet.pts is not None
    context, at_s = stream.codec_context, source.seconds(stream, packet.pts)
    context.flush_buffers()
    try:
        raw = next(iter([*context.decode(packet), *context.decode(None)]), None)
    except av.FFmpegError:
        raw = None
        source.damage.add(at_s, "frames")
    context.flush_buffers()
    # where a recovery goes over several frames, the one that it begins with is marked as a keyframe too
    if raw is None or raw.pict_type not in STAND_ALONE:
        return None
    if raw.is_corrupt:
        source.damage.add(at_s, "frames")
    return Frame(raw, at_s if raw.pts is None else source.seconds(stream, raw.pts))

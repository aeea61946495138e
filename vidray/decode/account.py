"""What a file holds in a span, by all of its packets from start to end: no seeking, no index, nothing planned."""

from __future__ import annotations

from contextlib import closing
from typing import Any, BinaryIO

import av
import numpy as np
from av.packet import Packet

from vidray.decode.planes import planes_of
from vidray.decode.source import Source
from vidray.decode.tracks import Tracks
from vidray.media import Holding

_SETTLING_S = 1.0
"""Decoded before the span, as decoders need it."""


def account(file: BinaryIO, uri: str, start_s: float, end_s: float) -> Holding:
    """Counts a span's frames by their packets and decodes its audio. Raises DecodeError where nothing can be opened."""
    with closing(Tracks(file, uri)) as tracks:
        source = tracks.source
        source.want(None)
        source.reopen()
        frames, audio_s, peak = 0, 0.0, 0.0
        for packet in source.rest():
            at_s = source.time_s(packet) if packet.pts is None else source.seconds_of(packet, packet.pts)
            if packet.is_discard or not start_s - _SETTLING_S <= at_s < end_s:
                continue
            if packet.stream.type == "video":
                frames += at_s >= start_s
                continue
            for planes, rate in _decoded(source, packet):
                if at_s >= start_s:
                    audio_s += planes.shape[1] / rate
                    peak = max(peak, float(np.abs(planes).max(initial=0.0)))
    return Holding(frames=frames, audio_s=audio_s, peak=min(1.0, peak))


def _decoded(source: Source, packet: Packet[Any]) -> list[tuple[Any, int]]:
    stream = next((s for s in source.audios if s.index == source.index), None)
    try:
        found = [] if stream is None else stream.codec_context.decode(packet)
        return [(planes_of(frame), frame.sample_rate) for frame in found if frame.samples]
    except (av.FFmpegError, ValueError):
        return []

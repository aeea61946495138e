"""The frame track: which frame is on display at a time, decoded with as little work as that takes."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import deque
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from vidray.decode.source import Source
from vidray.media import TIME_SLACK_S

_SKIP_PACKETS = 8
"""Fewer packets than this are decoded rather than skipped: flushing a decoder costs about as much."""

HOLE_S = 60.0
"""For so long a frame may stand, as of slides; who recorded nothing for longer did not record."""

_NEAR_S = 1.0
"""A keyframe nearer than this is reached by reading on, not by seeking."""


@dataclass(frozen=True)
class Frame:
    """A decoded raw and the time from which on it is on display."""

    raw: VideoFrame
    start_s: float


class FrameTrack:
    """Answers `at(time)` for ascending times; after a seek of the source, `reset` comes first.

    `decoded` counts the frames that the decoder has given.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self._counted = source.counted
        # AVI has times of decoding alone; what FFmpeg makes of them is wrong before a gap.
        self._by_dts = source.format == "avi" and source.reorder_depth == 0
        self._longest_gop_s = 0.0
        self._skipping = not self._counted
        self._dropping = not self._counted and source.tells_references
        self.end_s: float | None = None
        self.decoded = 0
        self.reset(at_start=True)

    @property
    def stream(self) -> VideoStream:
        stream = self._source.video
        assert stream is not None
        return stream

    @property
    def seekable(self) -> bool:
        return not self._counted

    def reset(self, *, at_start: bool) -> None:
        """Forget what was decoded: the source stands elsewhere."""
        self._pending: deque[Packet[Any]] = deque()
        self._ready: deque[Frame] = deque()
        self._current: Frame | None = None
        self._awaits_key = True
        # Program streams stamp some frames only: after a seek, those before the second keyframe may have a neighbour's.
        self._awaits_another = not at_start and self._source.format == "mpeg"
        # Frames that precede the first keyframe on display depend on what was before it. At the very start they
        # are whole in all codecs but H.264, whose decoder delivers them broken.
        self._clean_from_s: float | None = None
        self._at_start = at_start
        self._flushed = False
        self._count = 0
        self._slots: list[float] = []
        self._key_s: float | None = None
        self._shown_s = -math.inf
        self.missed = False

    def first(self) -> Frame | None:
        """The first frame of all, which defines the clock's zero."""
        while not self._ready and self._decode_next(30.0):
            pass
        return self._ready[0] if self._ready else None

    def stamp(self, frame: Frame) -> Fraction:
        """When a frame begins, in the container's own seconds."""
        raw = frame.raw
        stamp = self._stamp_of(raw)
        if self._counted or stamp is None or not self.stream.time_base:
            return Fraction(0)
        return stamp * self.stream.time_base

    def shift(self, seconds: float) -> None:
        """The clock's zero has moved by this much since the frames at hand were decoded."""
        self._ready = deque(Frame(p.raw, p.start_s - seconds) for p in self._ready)
        if self._clean_from_s is not None:
            self._clean_from_s -= seconds
        self._key_s = None

    def at(self, wanted_s: float) -> Frame | None:
        """The frame on display at a time: the last one where the track is over, None before the first.

        `missed` says whether a frame that was counted on could not be decoded: with others left out, the answer may
        not be the one that decoding everything gives.
        """
        if self._skipping:
            self._skip_to(wanted_s)
        if self._dropping:
            self._shown_s = self._pending_s(wanted_s)
        while True:
            while self._ready and self._ready[0].start_s <= wanted_s + TIME_SLACK_S:
                self._current = self._ready.popleft()
            if self._ready or not self._decode_next(wanted_s):
                break
        if self._current is not None and self._current.start_s < self._shown_s - TIME_SLACK_S:
            self.missed = True
        self._shown_s = -math.inf
        return self._current

    def stands_until_s(self) -> float | None:
        """When the next frame is shown, where the current one stands for long; None where it is not known to."""
        if self._current is None or not self._ready or self._ready[0].start_s - self._current.start_s <= HOLE_S:
            return None
        return self._ready[0].start_s

    def ends_before(self, wanted_s: float) -> bool:
        """Whether the track is known to be over at a time."""
        return self.end_s is not None and wanted_s >= self.end_s - TIME_SLACK_S

    def reaches(self, wanted_s: float) -> bool:
        """Whether reading on is the best way to a time; else the source is to seek."""
        if self._current is None and not self._ready:
            return False
        head_s = self._current.start_s if self._current else self._ready[0].start_s
        if wanted_s + TIME_SLACK_S < head_s:
            return False
        read_s = self._source.read_s
        if wanted_s - read_s <= _NEAR_S or self._counted or self.ends_before(wanted_s):
            return True
        index = self.stream.index_entries
        found = index.search_timestamp(self._source.ticks(self.stream, wanted_s))
        if found >= 0:
            key_s = self._source.seconds(self.stream, index[found].timestamp)
            if key_s > read_s:
                return key_s - read_s <= _NEAR_S
            if self._source.seconds(self.stream, index[-1].timestamp) > wanted_s:
                return True
        return wanted_s - read_s <= max(3 * _NEAR_S, 2 * self._longest_gop_s)

    def distrust(self) -> None:
        """Decode everything from now on: a keyframe did not lead to a whole frame, or one was missed."""
        self._skipping = self._dropping = False

    def _pending_s(self, wanted_s: float) -> float:
        """When the latest frame begins that waits to be decoded and is not after a time.

        Nothing before it is wanted any more: what no other frame refers to need not be decoded.
        """
        starts = (self._packet_s(packet) for packet in self._pending)
        return max((start_s for start_s in starts if start_s <= wanted_s + TIME_SLACK_S), default=-math.inf)

    def _skip_to(self, wanted_s: float) -> None:
        """Drop the packets before the last keyframe at or before a time, when there are enough of them."""
        skipped = 0
        while not self._pending or self._source.time_s(self._pending[-1]) <= wanted_s + TIME_SLACK_S:
            packet = self._next_packet(wanted_s)
            if packet is None:
                break
            enough = skipped + len(self._pending) >= _SKIP_PACKETS
            if enough and packet.is_keyframe and self._packet_s(packet) <= wanted_s + TIME_SLACK_S:
                skipped += len(self._pending)
                self._pending.clear()
            self._pending.append(packet)
        if skipped:
            self.stream.codec_context.flush_buffers()
            self._ready.clear()
            self._current = None
            self._awaits_key = True
            self._at_start = False

    def _next_packet(self, until_s: float) -> Packet[Any] | None:
        packet = self._source.packet(self.stream, until_s)
        if packet is not None and packet.is_keyframe:
            at_s = self._packet_s(packet)
            if self._key_s is not None:
                self._longest_gop_s = max(self._longest_gop_s, at_s - self._key_s)
            self._key_s = at_s
        if packet is not None and self._counted and packet.dts is not None:
            self._slots.append(self._source.seconds(self.stream, packet.dts))
        return packet

    def _slot_s(self, number: int) -> float:
        """When the n-th frame on display begins, where only the times of decoding are known: AVI.

        A decoder that keeps k frames back shows the first one as it takes the packet k further on, and so on: gaps in
        which packets are missing come out right. The last k follow each other evenly.
        """
        kept = self.stream.codec_context.reorder_depth
        while len(self._slots) <= number + kept and (packet := self._next_packet(math.inf)) is not None:
            self._pending.append(packet)
        first_s = self._slots[min(kept, len(self._slots) - 1)] if self._slots else 0.0
        beyond = max(0, number + kept + 1 - len(self._slots))
        last_s = self._slots[number + kept - beyond] if self._slots else 0.0
        return last_s - first_s + beyond * float(1 / (self.stream.average_rate or 25))

    def _stamp_of(self, raw: VideoFrame) -> int | None:
        return raw.dts if raw.pts is None or (self._by_dts and raw.dts is not None) else raw.pts

    def _packet_s(self, packet: Packet[Any]) -> float:
        if packet.pts is None or self._by_dts:
            return self._source.time_s(packet)
        return self._source.seconds(self.stream, packet.pts)

    def _decode_next(self, until_s: float) -> bool:
        """Decode one packet; False where there is none, for now or at all."""
        packet = self._pending.popleft() if self._pending else self._next_packet(until_s)
        if packet is None:
            if not self._source.ended or self._flushed:
                return False
            self._flushed = True
            self._decode(None)
            self._finish()
            return bool(self._ready)
        if self._awaits_key:
            if not packet.is_keyframe and not self._counted:
                return True
            if self._awaits_another:
                self._awaits_another = False
                return True
            self._awaits_key = False
            if not self._at_start or self.stream.codec_context.name == "h264":
                self._clean_from_s = None if packet.pts is None else self._packet_s(packet)
        self._decode(packet)
        return True

    def _decode(self, packet: Packet[Any] | None) -> None:
        if self._dropping:
            is_over = packet is not None and self._packet_s(packet) < self._shown_s - TIME_SLACK_S
            self.stream.codec_context.skip_frame = "NONREF" if is_over else "DEFAULT"
        try:
            frames = self.stream.codec_context.decode(packet)
        except av.FFmpegError:
            self._source.damage.add(self._packet_s(packet) if packet else self._source.read_s, "frames")
            return
        for raw in frames:
            self.decoded += 1
            self._accept(raw)

    def _accept(self, raw: VideoFrame) -> None:
        start_s = self._start_s(raw)
        self._count += 1
        if self._clean_from_s is not None and start_s < self._clean_from_s - TIME_SLACK_S and not self._counted:
            return
        if raw.is_corrupt:
            self._source.damage.add(start_s, "frames")
        if self._current is not None and start_s <= self._current.start_s:
            return
        place = bisect_right([p.start_s for p in self._ready], start_s)
        self._ready.insert(place, Frame(raw, start_s))

    def _start_s(self, raw: VideoFrame) -> float:
        if self._counted and self._source.format == "avi":
            return self._slot_s(self._count)
        if self._counted:
            return self._count * self._frame_s(raw)
        stamp = self._stamp_of(raw)
        if stamp is not None:
            return self._source.seconds(self.stream, stamp)
        before = self._ready[-1] if self._ready else self._current
        return 0.0 if before is None else before.start_s + self._frame_s(before.raw)

    def _frame_s(self, raw: VideoFrame) -> float:
        stream = self.stream
        rate = stream.average_rate or stream.guessed_rate
        if self._counted:
            return float(1 / (rate or 25))
        if raw.duration and stream.time_base:
            return float(raw.duration * stream.time_base)
        return float(1 / (rate or 25))

    def _finish(self) -> None:
        last = self._ready[-1] if self._ready else self._current
        if last is not None:
            self.end_s = last.start_s + self._frame_s(last.raw)

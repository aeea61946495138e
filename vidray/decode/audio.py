"""The audio track: mono samples of a span, at exact places on the presentation clock.

A clip's audio is a slice of the audio of the whole: sample i of a clip that starts at `start_s` is sample
round(start_s * rate) + i of the video. Each clip is decoded by a decoder that begins anew at the same packet, so that
its samples are the same to the last bit, whichever clips were read before: decoders carry state, and some add noise
from a generator that runs on.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import groupby
from typing import Any, cast

import av
import numpy as np
from av.audio.codeccontext import AudioCodecContext
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.codec.context import Flags2
from av.packet import Packet

from vidray.decode.planes import Levels, Planes, mixed, planes_of, resampled, with_channels
from vidray.decode.source import Source

MONO = "mono"

Wanted = tuple[int, int, str]
"""Of a span: the rate in hertz, how many samples, and "mono" for the mix or "all" for each channel."""

_SETTLING_S = 0.3
"""Decoded before a clip and thrown away, once for the decoder and once for a margin: overlapping windows and bit
reservoirs have settled by then, for all codecs in use."""

_TORN_S = 0.25
"""Ignored after a seek: containers without packets of their own (MPEG streams) go on in the middle of a frame, and give
the first pieces wrong times."""

_EDGE_S = 0.1
"""Resampled on each side of a clip beyond what is kept: longer than the resampler's filter for rates from 2 kHz."""

_JITTER_S = 0.0015
"""Timestamps this near to where the samples before end are rounded (Matroska counts in milliseconds), not a gap."""

_NEAR_S = 3.0
"""A clip that begins this near is reached by reading on, not by seeking."""

_FIXED_FRAMES = frozenset({"aac", "mp1", "mp2", "mp3", "ac3", "eac3", "opus"})
"""Codecs whose frames all hold the same number of samples, so that a rounded timestamp can be put right."""

_REBUILT = frozenset({"aac", "mp1", "mp2", "mp3", "ac3", "eac3"})
"""Codecs whose state outlives a flush; all that their decoder needs is in the headers or the packets."""


@dataclass(frozen=True)
class _Chunk:
    at: int  # in samples of the clip's own rate, on the clock
    planes: Planes  # of all channels, or the mix alone
    rate: int

    @property
    def samples(self) -> int:
        return int(self.planes.shape[1])

    @property
    def end(self) -> int:
        return self.at + self.samples


@dataclass(frozen=True)
class _Packet:
    packet: Packet[Any]
    start_s: float
    extradata: bytes | None  # in force, None for that of the headers


class AudioTrack:
    """Answers `read(span, rates)` for one track; after a seek of the source, `reset` comes first.

    `lost_db` says by how much the mix of the clip that was read last is quieter than its loudest channel, where that
    is much.
    """

    def __init__(self, source: Source, place: int = 0) -> None:
        self._source = source
        self._place_of = place
        self._rate = 0
        self.end_s: float | None = None
        self.lost_db: float | None = None
        self.reset(at_start=True)

    @property
    def stream(self) -> AudioStream:
        return self._source.audios[self._place_of]

    def reset(self, *, at_start: bool) -> None:
        """Forget what was read: the source stands elsewhere."""
        self._packets: deque[_Packet] = deque()
        self._extradata: bytes | None = None
        self._at_start = at_start
        self._torn_until_s = -math.inf if at_start else None
        self._over = False

    def first_start(self) -> Fraction | None:
        """When the first sample is heard, in the container's own seconds; None if no packet can be decoded."""
        decoder = self._decoder()
        while self._advance(math.inf):
            packet = self._packets[-1].packet
            for frame, _ in self._decoded(decoder, packet, count_damage=True):
                skip, _ = (frame.samples, 0) if packet.is_discard else _trim(frame)
                if frame.pts is not None and frame.time_base and frame.samples > skip:
                    return frame.pts * frame.time_base + Fraction(skip, frame.sample_rate)
        return None

    def reaches(self, start_s: float) -> bool:
        """Whether what was read, or reading on, holds a clip that starts here; else the source is to seek."""
        if self.end_s is not None and start_s >= self.end_s:
            return True
        if not self._packets:
            return self._at_start and start_s - self._source.read_s < _NEAR_S
        whole = self._at_start or self._packets[0].start_s < self.from_s(start_s)
        return whole and (self._over or start_s - self._packets[-1].start_s < _NEAR_S)

    def find(self, start_s: float) -> bool:
        """After a seek: read the first packet, and say whether it comes early enough for a clip."""
        while not self._packets and self._advance(start_s):
            pass
        return self.reaches(start_s)

    @staticmethod
    def seek_s(start_s: float) -> float:
        """Where the source is to seek for a clip's audio."""
        return start_s - 2 * _SETTLING_S - 2 * _TORN_S

    @staticmethod
    def from_s(start_s: float) -> float:
        """From where on a clip's audio is to be decoded."""
        return start_s - 2 * _SETTLING_S

    def read(self, start_s: float, end_s: float, wanted: Iterable[Wanted]) -> dict[Wanted, Planes | None]:
        """The samples of a span for each rate and channels; None where the track has no sample in the span."""
        until_s = end_s + 2 * _EDGE_S
        while (not self._packets or self._packets[-1].start_s < until_s) and self._advance(until_s):
            pass
        self._forget(self.from_s(start_s))
        self._rate = 0
        wanted = tuple(wanted)
        placed = self._placed(start_s, end_s, mix=all(channels == MONO for _, _, channels in wanted))
        first, last = math.floor(start_s * self._rate), math.ceil(end_s * self._rate)
        if not any(chunk.at < last and chunk.end > first for chunk in placed):
            return dict.fromkeys(wanted)
        return {each: self._resample(placed, start_s, each) for each in wanted}

    def _start_s(self, packet: Packet[Any]) -> float:
        return self._source.time_s(packet) if packet.pts is None else self._source.seconds(self.stream, packet.pts)

    def _advance(self, until_s: float) -> bool:
        packet = self._source.packet(self.stream, until_s)
        if packet is not None:
            at_s = self._start_s(packet)
            if packet.has_sidedata("new_extradata"):
                self._extradata = bytes(packet.get_sidedata("new_extradata"))
            if self._torn_until_s is None:
                if packet.is_discard:
                    return True  # of a stretch whose beginning an edit list cut out; what it follows lies before it
                self._torn_until_s = at_s + _TORN_S
            if at_s >= self._torn_until_s:
                self._packets.append(_Packet(packet, at_s, self._extradata))
            return True
        if self._source.ended:
            self._over = True
            if self._packets:
                last = self._packets[-1]
                self.end_s = last.start_s + float((last.packet.duration or 0) * last.packet.time_base)
        return False

    def _forget(self, before_s: float) -> None:
        while len(self._packets) > 1 and self._packets[1].start_s < before_s:
            self._packets.popleft()
            self._at_start = False

    def _decoder(self, extradata: bytes | None = None) -> AudioCodecContext:
        """A decoder that knows nothing of the clips before, and leaves trimming to us, so that frames stay whole."""
        decoder = self.stream.codec_context
        name = decoder.codec.canonical_name
        if name in _REBUILT:
            fresh = cast(AudioCodecContext, av.CodecContext.create(decoder.codec))
            fresh.extradata = decoder.extradata if extradata is None else extradata
            fresh.thread_count = 1
            decoder = fresh
        elif decoder.is_open:
            decoder.flush_buffers()
        decoder.flags2 |= Flags2.skip_manual
        return decoder

    def _decoded(
        self, decoder: AudioCodecContext, packet: Packet[Any] | None, *, count_damage: bool
    ) -> list[tuple[AudioFrame, Planes]]:
        try:
            return [(frame, planes_of(frame)) for frame in decoder.decode(packet) if frame.samples]
        except (av.FFmpegError, ValueError):
            if count_damage:
                at_s = self._source.read_s if packet is None else self._start_s(packet)
                self._source.damage.add(at_s, "audio")
            return []

    def _placed(self, start_s: float, end_s: float, *, mix: bool) -> list[_Chunk]:
        """What a clip needs, end to end; gaps stay where they are real."""
        placed: list[_Chunk] = []
        for chunk in self._in_one_rate(self._chunks(start_s, end_s, mix=mix)):
            follows = bool(placed) and abs(chunk.at - placed[-1].end) <= _JITTER_S * self._rate
            placed.append(replace(chunk, at=placed[-1].end) if follows else chunk)
        return placed

    def _in_one_rate(self, chunks: Iterator[_Chunk]) -> Iterator[_Chunk]:
        """A run of chunks of another rate than the clip's first is resampled as a whole, without seams."""
        for rate, run in groupby(chunks, key=lambda chunk: chunk.rate):
            if rate == self._rate:
                yield from run
                continue
            joined: list[_Chunk] = []
            for chunk in run:
                end = joined[0].at + sum(c.samples for c in joined) * self._rate / rate if joined else chunk.at
                if abs(chunk.at - end) > _JITTER_S * self._rate:
                    yield self._resampled_run(joined)
                    joined = []
                joined.append(chunk)
            yield self._resampled_run(joined)

    def _resampled_run(self, run: Sequence[_Chunk]) -> _Chunk:
        channels = len(run[0].planes)
        planes = np.concatenate([with_channels(chunk.planes, channels) for chunk in run], axis=1)
        return _Chunk(run[0].at, resampled(planes, run[0].rate, self._rate), self._rate)

    def _chunks(self, start_s: float, end_s: float, *, mix: bool) -> Iterator[_Chunk]:
        from_s, until_s = self.from_s(start_s), end_s + 2 * _EDGE_S
        needed = [held for held in self._packets if from_s <= held.start_s < until_s]
        decoder = self._decoder(needed[0].extradata if needed else None)
        levels = Levels()
        skip = 0
        end: int | None = None
        for held in [*needed, None]:
            packet = None if held is None else held.packet
            # The first packets after a seek may be torn: what fails there is not the file's fault.
            inside = held is not None and start_s - _SETTLING_S <= held.start_s < end_s
            for frame, planes in self._decoded(decoder, packet, count_damage=inside):
                more, discard = _trim(frame)
                skip += more
                rate = frame.sample_rate
                self._rate = self._rate or rate
                at, mono = self._at(frame, end), mixed(planes)
                end = at + round(len(mono) * self._rate / rate)
                dropped = min(skip, len(mono))
                skip -= dropped
                begin = at + round(dropped * self._rate / rate)
                # What an edit list cuts out is decoded for what follows it.
                is_cut = packet is not None and packet.is_discard
                if is_cut or begin < (start_s - _SETTLING_S) * self._rate:
                    continue
                if inside and start_s * self._rate <= at:
                    levels.add(planes, mono)
                kept = mono[None] if mix else planes
                yield _Chunk(begin, kept[:, dropped : max(dropped, len(mono) - discard)], rate)
        self.lost_db = levels.lost_db

    def _at(self, frame: AudioFrame, after: int | None) -> int:
        """Where a whole frame begins, in samples. A timestamp too coarse for that is put right by the frame length."""
        if frame.pts is None or not frame.time_base:
            return after or 0
        index = round((frame.pts * frame.time_base - self._source.zero) * self._rate)
        first = self._source.first_pts.get(self.stream.index)
        fixed = self.stream.codec.canonical_name in _FIXED_FRAMES and frame.sample_rate == self._rate
        if not fixed or first is None or frame.time_base * self._rate <= 1:
            return index
        origin = round((first * frame.time_base - self._source.zero) * self._rate)
        whole = origin + round((index - origin) / frame.samples) * frame.samples
        return whole if abs(whole - index) <= _JITTER_S * self._rate else index

    def _resample(self, placed: Sequence[_Chunk], start_s: float, wanted: Wanted) -> Planes:
        """Cut out and resampled on a grid that is the same for all clips: multiples of 1 / gcd of both rates."""
        rate, count, channels = wanted
        common = math.gcd(rate, self._rate)
        first = round(start_s * rate)
        origin = math.floor((first / rate - _EDGE_S) * common)
        into = first - origin * (rate // common)
        begin = origin * (self._rate // common)
        length = math.ceil((into + count) / rate * self._rate + _EDGE_S * self._rate)
        planes = 1 if channels == MONO else max(len(chunk.planes) for chunk in placed)
        track = np.zeros((planes, length), dtype=np.float32)
        for chunk in placed:
            low, high = max(chunk.at, begin), min(chunk.end, begin + length)
            if low < high:
                cut = chunk.planes[:, low - chunk.at : high - chunk.at]
                track[:, low - begin : high - begin] = with_channels(cut, planes)
        return np.clip(resampled(track, self._rate, rate)[:, into : into + count], -1.0, 1.0)


def _trim(frame: AudioFrame) -> tuple[int, int]:
    """How many samples the container says are padding, at the frame's start and at its end."""
    side_data: Any = frame.side_data
    entry = side_data.get("SKIP_SAMPLES")
    if entry is None:
        return 0, 0
    skip, discard = (int(n) for n in np.frombuffer(bytes(entry)[:8], dtype="<u4"))
    return skip, discard

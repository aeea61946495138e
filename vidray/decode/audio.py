"""The audio track: mono samples of a span, at exact places on the presentation clock.

A clip's audio is a slice of the audio of the whole: sample i of a clip that starts at `start_s` is sample
round(start_s * rate) + i of the video. Each clip is decoded by a decoder that begins anew at the same packet, so that
its samples are the same to the last bit, whichever clips were read before: decoders carry state, and some add noise
from a generator that runs on.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, cast

import av
import numpy as np
import numpy.typing as npt
from av.audio.codeccontext import AudioCodecContext
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.codec.context import Flags2
from av.packet import Packet

from vidray.decode.source import Source

Mono = npt.NDArray[np.float32]

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

_FULL_SCALE = {"u8": 128.0, "s16": 32768.0, "s32": 2147483648.0, "flt": 1.0, "dbl": 1.0}

_RATES = (1_000, 768_000)

_PLANES_MAX = 7
"""With more planes than this, PyAV reads past the end of FFmpeg's list of them."""

_FIXED_FRAMES = frozenset({"aac", "mp1", "mp2", "mp3", "ac3", "eac3", "opus"})
"""Codecs whose frames all hold the same number of samples, so that a rounded timestamp can be put right."""

_REBUILT = frozenset({"aac", "mp1", "mp2", "mp3", "ac3", "eac3"})
"""Codecs whose state outlives a flush; all that their decoder needs is in the headers or the packets."""


@dataclass(frozen=True)
class _Chunk:
    at: int  # in samples of the track's own rate, on the clock
    mono: Mono

    @property
    def end(self) -> int:
        return self.at + len(self.mono)


class AudioTrack:
    """Answers `read(span, rates)`; after a seek of the source, `reset` comes first."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._rate = 0
        self.end_s: float | None = None
        self.reset(at_start=True)

    @property
    def stream(self) -> AudioStream:
        stream = self._source.audio
        assert stream is not None
        return stream

    def reset(self, *, at_start: bool) -> None:
        """Forget what was read: the source stands elsewhere."""
        self._packets: deque[Packet[Any]] = deque()
        self._at_start = at_start
        self._torn_until_s = -math.inf if at_start else None
        self._over = False

    def first_start(self) -> Fraction | None:
        """When the first sample is heard, in the container's own seconds; None if no packet can be decoded."""
        decoder = self._decoder()
        while self._advance(math.inf):
            for frame, _ in self._decoded(decoder, self._packets[-1], count_damage=True):
                skip, _ = _trim(frame)
                if frame.pts is not None and frame.time_base and frame.samples > skip:
                    return frame.pts * frame.time_base + Fraction(skip, frame.sample_rate)
        return None

    def reaches(self, start_s: float) -> bool:
        """Whether what was read, or reading on, holds a clip that starts here; else the source is to seek."""
        if self.end_s is not None and start_s >= self.end_s:
            return True
        if not self._packets:
            return self._at_start and start_s - self._source.read_s < _NEAR_S
        whole = self._at_start or self._start_s(self._packets[0]) < self.from_s(start_s)
        return whole and (self._over or start_s - self._start_s(self._packets[-1]) < _NEAR_S)

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

    def read(self, start_s: float, end_s: float, counts: dict[int, int]) -> dict[int, Mono | None]:
        """`counts` samples of a span for each wanted rate; None where the track has no sample in the span."""
        until_s = end_s + 2 * _EDGE_S
        while (not self._packets or self._start_s(self._packets[-1]) < until_s) and self._advance(until_s):
            pass
        self._forget(self.from_s(start_s))
        placed = self._place(start_s, end_s)
        first, last = math.floor(start_s * self._rate), math.ceil(end_s * self._rate)
        if not any(chunk.at < last and chunk.end > first for chunk in placed):
            return dict.fromkeys(counts)
        return {rate: self._resample(placed, start_s, rate, count) for rate, count in counts.items()}

    def _start_s(self, packet: Packet[Any]) -> float:
        return self._source.time_s(packet) if packet.pts is None else self._source.seconds(self.stream, packet.pts)

    def _advance(self, until_s: float) -> bool:
        packet = self._source.packet(self.stream, until_s)
        if packet is not None:
            at_s = self._start_s(packet)
            if self._torn_until_s is None:
                self._torn_until_s = at_s + _TORN_S
            if at_s >= self._torn_until_s:
                self._packets.append(packet)
            return True
        if self._source.ended:
            self._over = True
            if self._packets:
                last = self._packets[-1]
                self.end_s = self._start_s(last) + float((last.duration or 0) * last.time_base)
        return False

    def _forget(self, before_s: float) -> None:
        while len(self._packets) > 1 and self._start_s(self._packets[1]) < before_s:
            self._packets.popleft()
            self._at_start = False

    def _decoder(self) -> AudioCodecContext:
        """A decoder that knows nothing of the clips before, and leaves trimming to us, so that frames stay whole."""
        decoder = self.stream.codec_context
        name = decoder.codec.canonical_name
        if name in _REBUILT:
            fresh = cast(AudioCodecContext, av.CodecContext.create(decoder.codec))
            fresh.extradata = decoder.extradata
            fresh.thread_count = 1
            decoder = fresh
        elif decoder.is_open:
            decoder.flush_buffers()
        decoder.flags2 |= Flags2.skip_manual
        return decoder

    def _decoded(
        self, decoder: AudioCodecContext, packet: Packet[Any] | None, *, count_damage: bool
    ) -> list[tuple[AudioFrame, Mono]]:
        try:
            return [(frame, _mono(frame)) for frame in decoder.decode(packet) if frame.samples]
        except (av.FFmpegError, ValueError):
            if count_damage:
                self._source.damage.add(self._source.read_s if packet is None else self._start_s(packet))
            return []

    def _place(self, start_s: float, end_s: float) -> list[_Chunk]:
        """What a clip needs, end to end; gaps stay where they are real."""
        placed: list[_Chunk] = []
        for chunk in self._chunks(start_s, end_s):
            if chunk.at < (start_s - _SETTLING_S) * self._rate:
                continue
            follows = bool(placed) and abs(chunk.at - placed[-1].end) <= _JITTER_S * self._rate
            placed.append(_Chunk(placed[-1].end, chunk.mono) if follows else chunk)
        return placed

    def _chunks(self, start_s: float, end_s: float) -> Iterator[_Chunk]:
        from_s, until_s = self.from_s(start_s), end_s + 2 * _EDGE_S
        needed: list[Packet[Any] | None] = [p for p in self._packets if from_s <= self._start_s(p) < until_s]
        decoder = self._decoder()
        skip = 0
        end: int | None = None
        for packet in [*needed, None]:
            # The first packets after a seek may be torn: what fails there is not the file's fault.
            inside = packet is not None and start_s - _SETTLING_S <= self._start_s(packet) < end_s
            for frame, mono in self._decoded(decoder, packet, count_damage=inside):
                more, discard = _trim(frame)
                skip += more
                self._rate = self._rate or frame.sample_rate
                at = self._at(frame, end)
                if frame.sample_rate != self._rate:
                    mono = _resampled(mono, frame.sample_rate, self._rate)
                end = at + len(mono)
                dropped = min(skip, len(mono))
                skip -= dropped
                yield _Chunk(at + dropped, mono[dropped : max(dropped, len(mono) - discard)])

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

    def _resample(self, placed: list[_Chunk], start_s: float, rate: int, count: int) -> Mono:
        """Cut out and resampled on a grid that is the same for all clips: multiples of 1 / gcd of both rates."""
        common = math.gcd(rate, self._rate)
        first = round(start_s * rate)
        origin = math.floor((first / rate - _EDGE_S) * common)
        into = first - origin * (rate // common)
        begin = origin * (self._rate // common)
        length = math.ceil((into + count) / rate * self._rate + _EDGE_S * self._rate)
        track = np.zeros(length, dtype=np.float32)
        for chunk in placed:
            low, high = max(chunk.at, begin), min(chunk.end, begin + length)
            if low < high:
                track[low - begin : high - begin] = chunk.mono[low - chunk.at : high - chunk.at]
        return np.clip(_resampled(track, self._rate, rate)[into : into + count], -1.0, 1.0)


def _trim(frame: AudioFrame) -> tuple[int, int]:
    """How many samples the container says are padding, at the frame's start and at its end."""
    side_data: Any = frame.side_data
    entry = side_data.get("SKIP_SAMPLES")
    if entry is None:
        return 0, 0
    skip, discard = (int(n) for n in np.frombuffer(bytes(entry)[:8], dtype="<u4"))
    return skip, discard


def _mono(frame: AudioFrame) -> Mono:
    """The plain mean of all channels, as float32. Raises ValueError for rates that only damage explains."""
    if not _RATES[0] <= frame.sample_rate <= _RATES[1]:
        raise ValueError(f"sample rate must be in {_RATES}, got {frame.sample_rate}")
    channels = frame.layout.nb_channels
    name = frame.format.name.removesuffix("p")
    if (frame.format.is_planar and channels > _PLANES_MAX) or name not in _FULL_SCALE:
        name, frame = "flt", _packed(frame)
    samples = frame.to_ndarray()
    if not frame.format.is_planar:
        samples = samples.reshape(-1, channels).T
    as_float = samples.astype(np.float32)
    if name == "u8":
        as_float -= 128.0
    return np.asarray(as_float.mean(axis=0) / _FULL_SCALE[name], dtype=np.float32)


def _packed(frame: AudioFrame) -> AudioFrame:
    to_packed = av.AudioResampler(format="flt", layout=frame.layout, rate=frame.sample_rate)
    (packed,) = to_packed.resample(frame)
    return packed


def _resampled(mono: Mono, rate_from: int, rate_to: int) -> Mono:
    if rate_from == rate_to:
        return mono
    frame = AudioFrame.from_ndarray(np.ascontiguousarray(mono[None]), format="fltp", layout="mono")
    frame.sample_rate, frame.pts, frame.time_base = rate_from, 0, Fraction(1, rate_from)
    resampler = av.AudioResampler(format="fltp", layout="mono", rate=rate_to)
    out = [*resampler.resample(frame), *resampler.resample(None)]
    return np.concatenate([piece.to_ndarray()[0] for piece in out]).astype(np.float32, copy=False)

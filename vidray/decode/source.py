"""One media file, opened once: its container, the streams that count, and their packets.

FFmpeg opens nothing by itself: it reads the given file object, and every other file or connection is refused.
"""

from __future__ import annotations

import contextlib
import copy
import math
from collections import deque
from collections.abc import Iterator, Sequence
from fractions import Fraction
from functools import cached_property
from typing import Any, BinaryIO, cast

import av
from av.audio.stream import AudioStream
from av.codec.context import ThreadType
from av.packet import Packet
from av.stream import Discard, Stream

from vidray.decode.chain import Chain, chained
from vidray.decode.choice import AUTO, best_video, chosen_audio, is_attached
from vidray.decode.damage import Damage
from vidray.decode.formats import GUESSED_FORMATS, ONE_DURATION, RAW_FORMATS, VIDEO_FORMATS
from vidray.decode.head import HEAD_BYTES, counts_frames, unopened
from vidray.decode.joins import Piece, begins_of
from vidray.errors import DecodeError

_MAX_FAULTS = 64
_INTERLEAVING_S = 10.0
_MODALITY: dict[str | None, str] = {"video": "frames", "audio": "audio"}


class ApartError(Exception):
    """Packets of one stream lie far behind those of the other: each is to be read by itself (`Tracks.part`)."""


class Source:
    """The container, its best frame and best audio, and a packet queue for each.

    Raises DecodeError when the file cannot be opened. `zero` is the clock's zero in the container's own seconds; the
    reader sets it once the first frame is known. Of recordings joined in one file, `container` and the streams are the
    first one's; the packets of all come in order, on its clock.
    """

    def __init__(self, file: BinaryIO, uri: str, *, formats: str = VIDEO_FORMATS, track: int | str = AUTO) -> None:
        self.uri = uri
        self.zero = Fraction(0)
        self.damage = Damage()
        self.notes: Sequence[tuple[Fraction, str]] = ()
        self._file = file
        self._formats = formats
        self.track = track
        self._only: str | None = None
        self._heard: tuple[int, ...] | None = None
        self.first_pts: dict[int, int] = {}  # kept when the file is opened again: what is placed by them stays there
        self.read_s = 0.0
        self._chain = Chain(file, formats, (Piece(0, None),))
        self.size_bytes = self._chain.input.seek(0, 2)
        self._chain.input.seek(0)
        self.head = self._chain.input.read(HEAD_BYTES)
        self.check_storage()
        if not self.head:
            raise DecodeError("empty", "the file has no content", uri)
        self._open()
        self._follow_joins()
        self.zero = Fraction(self.container.start_time or 0, 1_000_000)

    def twin(self, only: str, *, track: int | str | None = None) -> Source:
        """The same file opened once more, for one kind of stream; clock and damage are shared.

        Raises DecodeError where another track is wanted that is not there.
        """
        twin = copy.copy(self)
        if track is not None:
            twin.track, twin._heard = track, None
        twin._queues = {index: deque() for index in self._queues}
        twin.first_pts = dict(self.first_pts)
        twin._only = only
        twin._chain = Chain(self._file, self._formats, self._chain.pieces)
        twin._open()
        return twin

    def _follow_joins(self) -> None:
        begins = begins_of(self._file, self.size_bytes, self.format)
        self.check_storage()
        if len(begins) == 1:
            return
        with contextlib.suppress(av.FFmpegError, OSError):
            self.close()
        pieces, self.notes = chained(self._file, self._formats, begins)
        self._chain = Chain(self._file, self._formats, pieces)
        self._open()

    def _open(self) -> None:
        self._from_start = True
        try:
            self.container = self._chain.open()
        except (av.FFmpegError, OSError) as e:
            self.check_storage()
            raise unopened(self.head, e, self.uri) from e
        self.format = self.container.format.name.split(",")[0]
        self.video = best_video(self.container)
        self.audios = self._chosen_audio()
        self.audio = self.audios[0] if self.audios else None
        self._check_streams()
        self.read_s = float(Fraction(self.container.start_time or 0, 1_000_000) - self.zero)
        self._queues: dict[int, deque[Packet[Any]]] = {s.index: deque() for s in self.container.streams}
        self.want(self._only)
        for stream in filter(None, (self.video, *self.audios)):
            stream.codec_context.thread_count = 1
            stream.codec_context.thread_type = ThreadType.NONE

    def _chosen_audio(self) -> tuple[AudioStream, ...]:
        if self._heard is None:
            return chosen_audio(self.container, self.track, self.uri)
        return tuple(cast(AudioStream, self.container.streams[index]) for index in self._heard)

    def hear(self, tracks: Sequence[AudioStream]) -> None:
        """Take these tracks for the audio, from the first packet on."""
        self._heard = tuple(stream.index for stream in tracks)
        self.reopen()

    def close(self) -> None:
        self._packets.close()  # type: ignore[attr-defined]
        self._chain.close()

    def reopen(self) -> None:
        """Start again at the first packet, whatever the container can or cannot seek."""
        with contextlib.suppress(av.FFmpegError, OSError):
            self.close()
        self._open()

    def want(self, only: str | None) -> None:
        """Read both streams (None), only the "video" or only the "audio"; the demuxer skips what is not wanted."""
        self._only = only
        streams = [s for s in (self.video, *self.audios) if s is not None and only in (None, s.type)]
        for stream in self.container.streams:
            stream.discard = Discard.default if stream in streams else Discard.all
            if stream not in streams:
                self._queues[stream.index].clear()
        self._wanted: list[Stream] = list(streams)
        self._restart()

    def _restart(self) -> None:
        self._packets: Iterator[Packet[Any]] = self._chain.demux(self._wanted)
        self._faults = 0
        self.ended = False

    def packet(self, stream: Stream, until_s: float) -> Packet[Any] | None:
        """The stream's next packet, None at the end of the file.

        Raises ApartError where the others have passed `until_s` by far: what is not found near them may lie anywhere.
        """
        queue = self._queues[stream.index]
        if queue:
            return queue.popleft()
        while (packet := self._read()) is not None:
            if self.index == stream.index:
                return packet
            self._queues[self.index].append(packet)
            if packet.stream.type != stream.type and self.time_s(packet) > until_s + _INTERLEAVING_S:
                raise ApartError
        return None

    def rest(self) -> Iterator[Packet[Any]]:
        """All packets of the wanted streams from here to the end of the file."""
        for queue in self._queues.values():
            while queue:
                yield queue.popleft()
        while (packet := self._read()) is not None:
            yield packet

    def scan_end_s(self, from_s: float) -> float:
        """When the last packet of frame or audio ends: read through from a time on, without decoding."""
        only, self._only = self._only, None
        self.reopen()
        lead = self.video or self.audio
        if lead is not None and from_s > 0:
            self.seek(lead, from_s)
        end_s = self._last_end_s()
        if end_s is None:
            self.reopen()
            end_s = self._last_end_s()
        self._only = only
        return end_s or 0.0

    def unbroken_end_s(self, stray_s: float) -> float:
        """When the last packet ends, read through from the start; those that come so much later do not count."""
        self.reopen()
        end_s = 0.0
        for packet in self.rest():
            if packet.pts is not None and self.seconds_of(packet, packet.pts) <= end_s + stray_s:
                end_s = max(end_s, self.seconds_of(packet, packet.pts + (packet.duration or 0)))
        return end_s

    def _last_end_s(self) -> float | None:
        stamped = ((p.pts, p) for p in self.rest() if p.pts is not None)
        return max((self.seconds_of(p, pts + (p.duration or 0)) for pts, p in stamped), default=None)

    def prime(self, stream: Stream) -> None:
        """Read on to the stream's first packet, and keep it for `packet`. Raises ApartError."""
        if stream.index not in self.first_pts and (packet := self.packet(stream, self.read_s)) is not None:
            self._queues[stream.index].appendleft(packet)

    def _read(self) -> Packet[Any] | None:
        while not self.ended:
            try:
                packet = next(self._packets)
            except (StopIteration, IndexError):
                # PyAV stumbles at the end of a file in which streams turned up on the way.
                self.ended = not self._chain.advance()
                self._packets = self._chain.demux(self._wanted)
            except (av.FFmpegError, OSError):
                self._faults += 1
                self.damage.add(self.read_s, _MODALITY.get(self._only))
                self._packets = self._chain.demux(self._wanted)
                self.ended = self._faults > _MAX_FAULTS
            else:
                if packet.size == 0 and packet.dts is None and packet.pts is None:
                    continue
                self._faults = 0
                self.index = self._chain.place(packet)
                if self._from_start and packet.pts is not None and self.index not in self.first_pts:
                    self._meet(packet, packet.pts)
                self.read_s = self.time_s(packet)
                self.check_storage()
                return packet
            self.check_storage()
        return None

    def _meet(self, packet: Packet[Any], pts: int) -> None:
        """See a stream's first packet."""
        self.first_pts[self.index] = pts
        if packet.has_sidedata("encryption_info") or packet.has_sidedata("encryption_init_info"):
            what = f"the {packet.stream.type} ({packet.stream.codec_context.name}) is encrypted"
            raise DecodeError("unsupported", what, self.uri)

    def seek(self, stream: Stream, at_s: float) -> bool:
        """Go to a keyframe of the stream at or before a time, as far as the container knows; False if it cannot."""
        for queue in self._queues.values():
            queue.clear()
        self._from_start = False
        try:
            if self._chain.is_joined:
                self._chain.seek(stream, self.zero + Fraction(at_s))
                for decoded in filter(None, (self.video, *self.audios)):
                    # which seeking does in the container itself, whose decoders these are
                    if decoded.codec_context.is_open:
                        decoded.codec_context.flush_buffers()
            else:
                self.container.seek(self.ticks(stream, at_s), stream=stream)
        except (av.FFmpegError, OSError):
            self.check_storage()
            return False
        self.check_storage()
        self._restart()
        return True

    def ticks(self, stream: Stream, at_s: float) -> int:
        """A time on the clock as the stream's own timestamp, rounded down."""
        assert stream.time_base
        return math.floor((self.zero + Fraction(at_s)) / stream.time_base)

    def seconds(self, stream: Stream, pts: int) -> float:
        """A stream's timestamp on the clock."""
        assert stream.time_base
        return float(pts * stream.time_base - self.zero)

    def seconds_of(self, packet: Packet[Any], pts: int) -> float:
        """A packet's timestamp on the clock."""
        return float(pts * packet.time_base - self.zero)

    def time_s(self, packet: Packet[Any]) -> float:
        """When a packet is to be decoded, on the clock; where nothing says, the time of the last packet read."""
        stamp = packet.dts if packet.dts is not None else packet.pts
        return self.read_s if stamp is None else float(stamp * packet.time_base - self.zero)

    @property
    def is_joined(self) -> bool:
        """Whether several recordings were found in the file, all of them read or not."""
        return self._chain.pieces[-1].ends_s is not None

    @cached_property
    def is_guessed(self) -> bool:
        """Whether no header says how long the file is, so that its packets are to be counted."""
        is_counted = self.format == "mp3" and counts_frames(self.head, self._file, self.size_bytes)
        return self.format in GUESSED_FORMATS and not is_counted

    @property
    def reorder_depth(self) -> int:
        """How many frames a decoder keeps back, to show them in another order than they come."""
        return 0 if self.video is None else self.video.codec_context.reorder_depth

    @property
    def counted(self) -> bool:
        """Whether frames are told apart by their number alone, as nothing says when each is shown."""
        if self.video is None:
            return False
        # AVI has times of decoding, from which no one can tell the order on display of H.264 or HEVC.
        reordered = self.reorder_depth > 0 and self.video.codec_context.name in ("h264", "hevc")
        return self.format in RAW_FORMATS or (self.format == "avi" and reordered)

    @property
    def tells_references(self) -> bool:
        """Whether a frame that no other refers to can be told by itself, one frame a packet.

        By H.264's nal_ref_idc. HEVC's like holds within one temporal layer only, of which MP4 and Matroska tell the
        number (ISO/IEC 14496-15, 8.3.3.1.2: byte 21 of the configuration, bits 3 to 5).
        """
        if self.video is None or self.format not in ("mov", "matroska"):
            return False
        context = self.video.codec_context
        if context.name == "hevc":
            configuration = context.extradata or b""
            return len(configuration) > 22 and configuration[0] == 1 and (configuration[21] >> 3) & 7 == 1
        return context.name == "h264"

    def set_zero(self, zero: Fraction) -> None:
        """Move the clock's zero to the first frame or audio, in the container's own seconds."""
        self.read_s -= float(zero - self.zero)
        self.zero = zero

    def declared_end_s(self, stream: Stream) -> float | None:
        """Where the headers say that a stream ends, on the clock; None where they say nothing about it."""
        if self.is_joined or self.is_guessed:
            return None
        if self.format == "avi" and stream is self.video and stream.duration is not None and stream.time_base:
            return float(stream.duration * stream.time_base)  # its start is a time of decoding
        if self.format in ONE_DURATION:
            tag_s = _tagged_duration_s(stream.metadata)
            return None if tag_s is None else tag_s - float(self.zero)
        if stream.duration is not None and stream.start_time is not None:
            return self.seconds(stream, stream.start_time + stream.duration)
        return None

    @property
    def container_end_s(self) -> float | None:
        """Where the container says that all of it ends, on the clock; None where nothing says so."""
        if (joined_end_s := self._chain.pieces[-1].ends_s) is not None:
            return float(joined_end_s - self.zero)
        if self.is_guessed or not self.container.duration:
            return None
        return self.container.duration / 1_000_000 - float(self.zero)

    def notes_within(self, start_s: float, end_s: float) -> list[str]:
        """What is to be said of a span, besides damage."""
        return [text for at_s, text in self.notes if start_s <= float(at_s - self.zero) < end_s]

    def check_storage(self) -> None:
        """Raise DecodeError(kind unreadable) if the file object itself has failed."""
        if (error := self._chain.input.error) is not None:
            self._chain.input.error = None
            what = str(error) or type(error).__name__
            raise DecodeError("unreadable", f"the storage failed while reading: {what}", self.uri) from error

    def _check_streams(self) -> None:
        frames = [s for s in self.container.streams.video if not is_attached(s)]
        if self.video is None and frames:
            names = ", ".join(sorted({_codec_name(s) for s in frames}))
            raise DecodeError("unsupported", f"the frame's codec cannot be decoded: {names}", self.uri)
        if self.video is None and self.audio is None:
            sounds = ", ".join(sorted({_codec_name(s) for s in self.container.streams.audio}))
            if sounds:
                raise DecodeError("unsupported", f"the audio's codec cannot be decoded: {sounds}", self.uri)
            if not any(s.type in ("subtitle", "data", "attachment", "video") for s in self.container.streams):
                raise unopened(self.head, None, self.uri)
            raise DecodeError("no_stream", "the file holds neither frame nor audio", self.uri)


def _tagged_duration_s(metadata: dict[str, str]) -> float | None:
    """Matroska's DURATION tag, 00:00:10.005000000, counted from the container's zero."""
    for name, value in metadata.items():
        if name.upper().startswith("DURATION"):
            parts = value.strip("\0 ").split(":")
            with contextlib.suppress(ValueError):
                return math.fsum(float(part) * 60.0**power for power, part in enumerate(reversed(parts)))
    return None


def _codec_name(stream: Stream) -> str:
    context: Any = stream.codec_context  # None where there is no decoder
    return "unknown" if context is None else str(context.name)

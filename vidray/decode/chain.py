"""The containers of recordings that are joined in one file, laid end to end on the clock of the first."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import pairwise
from typing import Any, BinaryIO

import av
from av.container import InputContainer
from av.packet import Packet
from av.stream import Stream

from vidray.decode.choice import audio_tracks, best_video
from vidray.decode.input import Input
from vidray.decode.joins import Piece

_BUFFER_SIZE_BYTES = 64 * 1024

_IN_BAND = frozenset({"mpegts", "mpeg"})
"""Containers whose streams carry all that their decoders need; elsewhere the headers have to agree."""


_MOMENT_S = Fraction(1, 100)


class Chain:
    """Opens the pieces of a file as they are needed; nearly every file is one piece.

    The first piece stays open: its streams' decoders decode what all pieces hold.
    """

    def __init__(self, file: BinaryIO, formats: str, pieces: Sequence[Piece]) -> None:
        self.pieces = tuple(pieces)
        self._file = file
        self.input = Input(file)
        self._formats = formats
        self._first: InputContainer | None = None
        self._current: InputContainer | None = None
        self._index = 0

    @property
    def is_joined(self) -> bool:
        return len(self.pieces) > 1

    def open(self) -> InputContainer:
        """The first piece, opened anew."""
        self._first = self._current = self._opened(0)
        self._index = 0
        return self._first

    def close(self) -> None:
        for container in {id(c): c for c in (self._current, self._first) if c is not None}.values():
            container.close()
        self._first = self._current = None

    def advance(self) -> bool:
        """Go on to the beginning of the next piece; False at the end of the last."""
        if self._index + 1 >= len(self.pieces):
            return False
        self._stand_in(self._index + 1)
        return True

    def demux(self, streams: Sequence[Stream]) -> Iterator[Packet[Any]]:
        """Packets of the current piece, of what corresponds to these streams of the first."""
        assert self._current is not None
        if self._index == 0:
            return self._current.demux(list(streams))
        wanted = [counterpart(self._current, self._first, stream) for stream in streams]
        for stream in self._current.streams:
            stream.discard = av.stream.Discard.default if stream in wanted else av.stream.Discard.all
        return self._current.demux([stream for stream in wanted if stream is not None])

    def place(self, packet: Packet[Any]) -> int:
        """Put a packet on the clock of the first piece; returns the index of its stream there."""
        if self._index == 0:
            return packet.stream_index
        assert self._first is not None
        own = counterpart(self._first, self._current, packet.stream)
        assert own is not None
        assert own.time_base
        shift_s = self.pieces[self._index].shift_s
        for name in ("pts", "dts"):
            stamp = getattr(packet, name)
            if stamp is not None:
                setattr(packet, name, round((stamp * packet.time_base + shift_s) / own.time_base))
        packet.time_base = own.time_base
        return own.index

    def seek(self, stream: Stream, at_s: Fraction) -> None:
        """To a time in the first container's own seconds. Raises what FFmpeg raises."""
        index = max((i for i, piece in enumerate(self.pieces) if i == 0 or piece.starts_s <= at_s), default=0)
        if index != self._index:
            self._stand_in(index)
        assert self._current is not None
        own = stream if index == 0 else counterpart(self._current, self._first, stream)
        if own is None or (index and at_s - self.pieces[index].starts_s <= 0):
            return
        assert own.time_base
        self._current.seek(int((at_s - self.pieces[index].shift_s) // own.time_base), stream=own)

    def _stand_in(self, index: int) -> None:
        if self._current is not None and self._current is not self._first:
            self._current.close()
        if index == 0:
            assert self._first is not None
            # whoever goes back seeks, or opens the file anew
            self._current = self._first
        else:
            self._current = self._opened(index)
        self._index = index

    def _opened(self, index: int) -> InputContainer:
        piece = self.pieces[index]
        self.input = Input(self._file, begin=piece.begin, end=piece.end)
        return _opened(self.input, self._formats)


def chained(file: BinaryIO, formats: str, begins: Sequence[int]) -> tuple[list[Piece], list[tuple[Fraction, str]]]:
    """The recordings that begin at these bytes, one behind the other, and what is to be said, at which time.

    What comes behind a recording that the first one's decoders do not know is left out, and said.
    """
    first = _opened(Input(file, end=begins[1]), formats)
    start_s = Fraction(first.start_time or 0, 1_000_000)
    end_s = start_s + _length_s(first)
    pieces, notes = [Piece(0, begins[1], start_s, end_s)], []
    for begin, end in pairwise([*begins[1:], None]):
        assert begin is not None
        length_s = Fraction(0)
        data = Input(file, begin=begin, end=end)
        with contextlib.suppress(av.FFmpegError, OSError), _opened(data, formats) as more:
            start_s = Fraction(more.start_time or 0, 1_000_000)
            length_s = _length_s(more) if _is_alike(first, more) else length_s
        if not length_s:
            # said in the last clip
            notes.append((end_s - _MOMENT_S, "the file goes on with a recording in another format, which is left out"))
            break
        pieces.append(Piece(begin, end, end_s, end_s + length_s, end_s - start_s))
        notes.append((end_s, "one recording ends here and another begins: the clock is counted on"))
        end_s += length_s
    first.close()
    return pieces, notes


def counterpart(container: InputContainer, other: InputContainer | None, stream: Stream) -> Stream | None:
    """The stream of a container that is what a stream is in another one."""
    if stream.type == "video":
        return best_video(container)
    assert other is not None
    place = [track.index for track in audio_tracks(other)].index(stream.index)
    tracks = audio_tracks(container)
    return tracks[place] if place < len(tracks) else None


def _opened(data: Input, formats: str) -> InputContainer:
    """A container by FFmpeg, which opens nothing by itself: every other file or connection is refused."""
    container = av.open(
        data,
        mode="r",
        options={"format_whitelist": formats, "protocol_whitelist": ""},
        metadata_errors="replace",
        buffer_size=_BUFFER_SIZE_BYTES,
        io_open=_refuse,  # a method would hold its object in a circle, and the decoder's memory with it
    )
    assert isinstance(container, InputContainer)
    return container


def _refuse(url: str, flags: int, options: dict[str, Any]) -> BinaryIO:
    raise PermissionError(f"the file asks for another one, {url!r}, which is not opened")


def _is_alike(first: InputContainer, more: InputContainer) -> bool:
    """Whether the decoders of the first recording decode the other."""
    if first.format.name != more.format.name:
        return False
    in_band = first.format.name in _IN_BAND
    for one in _counted(first):
        other = counterpart(more, first, one)
        if other is None or other.codec_context.name != one.codec_context.name:
            return False
        if not in_band and _head_of(other) != _head_of(one):
            return False
    return True


def _head_of(stream: Stream) -> bytes:
    """What a stream's decoder is set up with: of FLAC its rate, channels and bits alone, not how long it is."""
    head = stream.codec_context.extradata or b""
    return bytes([*head[10:13], head[13] >> 4]) if stream.codec_context.name == "flac" and len(head) >= 34 else head


def _counted(container: InputContainer) -> list[Stream]:
    video = best_video(container)
    return [*([] if video is None else [video]), *audio_tracks(container)]


def _length_s(container: InputContainer) -> Fraction:
    """From the container's start to the end of its last packet; by the headers where these say it."""
    start_s = Fraction(container.start_time or 0, 1_000_000)
    if container.format.name not in (*_IN_BAND, "aac") and container.duration:
        return Fraction(container.duration, 1_000_000)
    end_s = start_s
    with contextlib.suppress(av.FFmpegError, OSError, IndexError):
        for packet in container.demux(_counted(container)):
            if packet.pts is not None:
                end_s = max(end_s, (packet.pts + (packet.duration or 0)) * packet.time_base)
    return end_s - start_s

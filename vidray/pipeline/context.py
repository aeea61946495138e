"""Audio with context: what neighbouring clips want around them is decoded once a block, and handed out in views.

The audio that some clips of one video want is a run of samples. It is read in pieces that end where clips begin and
end, in ascending order, so that whatever is damaged or missing concerns the clips whose own span it is; for others it
is silence in their context. A clip is complete when all pieces of its context are read.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from vidray.errors import DecodeError
from vidray.media import AudioRequest, AudioSamples, Clip, Decoded, Request, Sampling, Span, span_read, with_context

Samples = tuple[int, int]
"""[first, stop) among the samples of a video."""


@dataclass
class _Piece:
    """One piece: its samples' numbers, and what reading it gave."""

    samples: Samples
    is_read: bool = False
    answer: AudioSamples | DecodeError | None = None
    warning: str | None = None


class ContextAudio:
    """The audio that neighbouring clips of one video want, each with context; one sampling.

    Attributes:
        clips: Those that want it, in plan order; what follows counts by their places here.
    """

    def __init__(self, sampling: Sampling, clips: Sequence[Clip], duration_s: float) -> None:
        self._sampling = sampling
        self.clips = list(clips)
        self._spans = [with_context(sampling, clip.start_s, clip.end_s, duration_s) for clip in clips]
        self._rate = self._request(clips[0].start_s, clips[0].end_s).sample_rate
        self._own = [self._samples((clip.start_s, clip.end_s)) for clip in clips]
        self._around = [self._samples(span_read(sampling, c.start_s, c.end_s, duration_s)) for c in clips]
        self._pieces = list(_pieces(self._own, self._around))
        self._first = min(first for first, _ in self._around)
        self._length = max(stop for _, stop in self._around) - self._first
        self._track: npt.NDArray[np.float32] | None = None
        self._given: dict[int, tuple[Any, str | None]] = {}

    def wanted(self, place: int) -> list[tuple[Request, Span]]:
        """What is to be read until the own span of a clip is, in order, and is not read yet; each with its span."""
        until = self._own[place][1]
        return [self._asked(piece) for piece in self._pieces if not piece.is_read and piece.samples[0] < until]

    def rest(self) -> list[tuple[Request, Span]]:
        """What is left to be read behind the last clip."""
        return [self._asked(piece) for piece in self._pieces if not piece.is_read]

    def received(self, request: Request, decoded: Decoded) -> None:
        """Take the answer to one of these."""
        piece = next(piece for piece in self._pieces if not piece.is_read and self._asked(piece)[0] == request)
        answer = decoded.samples[request]
        assert answer is None or isinstance(answer, AudioSamples | DecodeError)
        piece.is_read, piece.answer, piece.warning = True, answer, decoded.warning
        if isinstance(answer, AudioSamples):
            if self._track is None:
                self._track = np.zeros((*answer.samples.shape[:-1], self._length), np.float32)
            first = piece.samples[0] - self._first
            self._track[..., first : first + answer.samples.shape[-1]] = answer.samples

    def is_complete(self, place: int) -> bool:
        """Whether all of a clip's context is read."""
        return all(piece.is_read for piece in self._of(place))

    def samples(self, place: int) -> tuple[Any, str | None]:
        """What a clip's sampling gives: samples, None or a DecodeError; and what its context is to be warned of.

        Made once, for all tables with this sampling.
        """
        if place not in self._given:
            self._given[place] = self._collected(place)
        return self._given[place]

    def _collected(self, place: int) -> tuple[Any, str | None]:
        pieces = self._of(place)
        own = [piece for piece in pieces if _overlap(piece.samples, self._own[place])]
        error = next((piece.answer for piece in own if isinstance(piece.answer, DecodeError)), None)
        warnings = [self._warned(piece) for piece in pieces if piece not in own]
        warning = next((text for text in warnings if text is not None), None)
        if error is not None or all(piece.answer is None for piece in own) or self._track is None:
            return error, warning
        first, stop = self._around[place]
        view = self._track[..., first - self._first : stop - self._first]
        view.flags.writeable = False
        heard = AudioSamples(samples=view, sample_rate=self._rate, start_s=first / self._rate)
        return self._sampling.collect(heard, *self._spans[place]), warning

    def _of(self, place: int) -> list[_Piece]:
        return [piece for piece in self._pieces if _overlap(piece.samples, self._around[place])]

    def _warned(self, piece: _Piece) -> str | None:
        said = piece.answer.message if isinstance(piece.answer, DecodeError) else piece.warning
        return None if said is None else f"in its context from {piece.samples[0] / self._rate:.3f} s: {said}"

    def _asked(self, piece: _Piece) -> tuple[Request, Span]:
        first, stop = piece.samples
        span = first / self._rate, stop / self._rate
        return self._request(*span), span

    def _request(self, start_s: float, end_s: float) -> AudioRequest:
        request = self._sampling.request(start_s, end_s)
        assert isinstance(request, AudioRequest)
        return request

    def _samples(self, span: Span) -> Samples:
        """The samples of a span; spans that touch share none, and leave none out."""
        first = round(span[0] * self._rate)
        return first, max(first + 1, round(span[1] * self._rate))


def _pieces(own: Sequence[Samples], around: Sequence[Samples]) -> Iterator[_Piece]:
    """All that is wanted, cut where clips begin and end, ascending. What no clip's own span holds is cut nowhere else
    but where it is wanted by nobody."""
    edges = sorted({edge for span in own for edge in span})
    bounds = [min(first for first, _ in around), *edges, max(stop for _, stop in around)]
    for low, high in pairwise(sorted(bounds)):
        if low == high:
            continue
        if any(first <= low and high <= stop for first, stop in own):
            yield _Piece((low, high))
            continue
        for first, stop in _joined([(max(low, a), min(high, b)) for a, b in around if _overlap((a, b), (low, high))]):
            yield _Piece((first, stop))


def _joined(spans: Sequence[Samples]) -> list[Samples]:
    found: list[Samples] = []
    for first, stop in sorted(spans):
        if found and first <= found[-1][1]:
            found[-1] = found[-1][0], max(stop, found[-1][1])
        else:
            found.append((first, stop))
    return found


def _overlap(one: Samples, other: Samples) -> bool:
    return one[0] < other[1] and other[0] < one[1]

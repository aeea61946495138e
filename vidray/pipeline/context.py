"""Audio with context: what neighbouring clips want around them is decoded once a task, and handed out in views.

The audio that some clips of one video want is a run of samples. It is read in pieces that end where clips begin and
end, in ascending order, so that whatever is damaged or missing concerns the clips whose own span it is; for others it
is silence in their context. A clip is complete when all pieces of its context are read.

Pieces end where any clip of the video does, also one of another block: a piece is the same whichever block reads it, to
the last bit, so that blocks of one task share them, and a block's rows do not depend on its task.
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


WHOLE_S = 15.0
"""What neighbouring clips hold is read whole up to this length, though less of it is wanted: it can be shared then."""


class KeptAudio:
    """Pieces of one video, in one sampling, that were read whole and without a warning, for other blocks of a task."""

    def __init__(self) -> None:
        self._pieces: dict[Samples, npt.NDArray[np.float32]] = {}

    def add(self, samples: Samples, heard: npt.NDArray[np.float32], *, reach: int) -> None:
        """Keep a piece; what ends `reach` samples before it is forgotten."""
        self._pieces = {held: one for held, one in self._pieces.items() if held[1] > samples[0] - reach}
        self._pieces[samples] = heard

    def find(self, samples: Samples) -> npt.NDArray[np.float32] | None:
        return self._pieces.get(samples)


@dataclass
class _Piece:
    """One piece: its samples' numbers, whether a clip that wants it holds it, and what reading it gave."""

    samples: Samples
    is_own: bool
    is_read: bool = False
    answer: AudioSamples | DecodeError | None = None
    warning: str | None = None


class ContextAudio:
    """The audio that neighbouring clips of one video want, each with context; one sampling.

    Attributes:
        clips: Those that want it, in plan order; what follows counts by their places here.

    Args:
        near: The spans of the video's clips that are near, whether they want it or not.
        kept: What was read for other blocks of the task.
    """

    def __init__(
        self, sampling: Sampling, clips: Sequence[Clip], duration_s: float, near: Sequence[Span], kept: KeptAudio
    ) -> None:
        self._sampling = sampling
        self._kept = kept
        self.clips = list(clips)
        self._spans = [with_context(sampling, clip.start_s, clip.end_s, duration_s) for clip in clips]
        self._rate = self._request(clips[0].start_s, clips[0].end_s).sample_rate
        self._own = [self._samples((clip.start_s, clip.end_s)) for clip in clips]
        self._around = [self._samples(span_read(sampling, c.start_s, c.end_s, duration_s)) for c in clips]
        self._pieces = list(_pieces(self._own, self._around, [*map(self._samples, near)], round(WHOLE_S * self._rate)))
        self._first = min(first for first, _ in [*self._around, *(piece.samples for piece in self._pieces)])
        stop = max(stop for _, stop in [*self._around, *(piece.samples for piece in self._pieces)])
        self._length = stop - self._first
        self._track: npt.NDArray[np.float32] | None = None
        self._given: dict[int, tuple[Any, list[str]]] = {}

    def wanted(self, place: int) -> list[tuple[Request, Span]]:
        """What is to be read until the own span of a clip is, in order, and is not read yet; each with its span."""
        until = self._own[place][1]
        pieces = [piece for piece in self._pieces if piece.samples[0] < until]
        return [self._asked(piece) for piece in pieces if not self._is_there(piece)]

    def rest(self) -> list[tuple[Request, Span]]:
        """What is left to be read behind the last clip."""
        return [self._asked(piece) for piece in self._pieces if not self._is_there(piece)]

    def received(self, request: Request, decoded: Decoded) -> None:
        """Take the answer to one of these."""
        piece = next(piece for piece in self._pieces if not piece.is_read and self._asked(piece)[0] == request)
        answer = decoded.samples[request]
        assert answer is None or isinstance(answer, AudioSamples | DecodeError)
        piece.is_read, piece.answer, piece.warning = True, answer, decoded.warnings.get(request)
        if isinstance(answer, AudioSamples):
            self._hold(piece, answer.samples)
            first, stop = piece.samples
            if piece.warning is None and answer.samples.shape[-1] == stop - first:
                self._kept.add(piece.samples, answer.samples, reach=self._length)

    def _is_there(self, piece: _Piece) -> bool:
        """Whether a piece is read, or was for another block."""
        if not (piece.is_read or piece.is_own):
            heard = self._kept.find(piece.samples)
            if heard is not None:
                start_s = piece.samples[0] / self._rate
                piece.answer = AudioSamples(samples=heard, sample_rate=self._rate, start_s=start_s)
                piece.is_read = True
                self._hold(piece, heard)
        return piece.is_read

    def _hold(self, piece: _Piece, heard: npt.NDArray[np.float32]) -> None:
        if self._track is None:
            self._track = np.zeros((*heard.shape[:-1], self._length), np.float32)
        first = piece.samples[0] - self._first
        self._track[..., first : first + heard.shape[-1]] = heard

    def is_complete(self, place: int) -> bool:
        """Whether all of a clip's context is read."""
        return all(piece.is_read for piece in self._of(place))

    def samples(self, place: int) -> tuple[Any, list[str]]:
        """What a clip's sampling gives: samples, None or a DecodeError; and what is to be said of it and its context.

        Made once, for all tables with this sampling.
        """
        if place not in self._given:
            self._given[place] = self._collected(place)
        return self._given[place]

    def _collected(self, place: int) -> tuple[Any, list[str]]:
        pieces = self._of(place)
        own = [piece for piece in pieces if _overlap(piece.samples, self._own[place])]
        failed = [piece.answer for piece in own if isinstance(piece.answer, DecodeError)]
        warnings = [piece.warning for piece in own if piece.warning is not None]
        if any(isinstance(piece.answer, AudioSamples) for piece in own):
            # overlapping clips cut a clip into pieces: what one lacks is silence, as within a clip that is read whole
            lacking = [error.message for error in failed if error.kind == "corrupt"]
            failed = [error for error in failed if error.kind != "corrupt"]
            warnings = warnings or lacking[:1]
        error = next(iter(failed), None)
        # of the context the first thing is said
        around = (self._warned(piece) for piece in pieces if piece not in own)
        warnings += [text for text in around if text is not None][:1]
        if error is not None or all(piece.answer is None for piece in own) or self._track is None:
            return error, warnings
        first, stop = self._around[place]
        view = self._track[..., first - self._first : stop - self._first]
        view.flags.writeable = False
        heard = AudioSamples(samples=view, sample_rate=self._rate, start_s=first / self._rate)
        return self._sampling.collect(heard, *self._spans[place]), warnings

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


def _pieces(
    own: Sequence[Samples], around: Sequence[Samples], near: Sequence[Samples], longest: int
) -> Iterator[_Piece]:
    """All that is wanted, cut where clips begin and end, ascending; what neighbouring clips hold is whole where it is
    not too long. What no clip holds is cut nowhere else but where it is wanted by nobody."""
    edges = {edge for span in [*own, *near] for edge in span}
    first, last = min(first for first, _ in around), max(stop for _, stop in around)
    bounds = sorted({min(first, *edges), *edges, max(last, *edges)})
    for low, high in pairwise(bounds):
        wanted = [(max(low, a), min(high, b)) for a, b in around if _overlap((a, b), (low, high))]
        if any(a <= low and high <= b for a, b in own):
            yield _Piece((low, high), is_own=True)
        elif wanted and high - low <= longest and any(a <= low and high <= b for a, b in near):
            yield _Piece((low, high), is_own=False)
        else:
            for span in _joined(wanted):
                yield _Piece(span, is_own=False)


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

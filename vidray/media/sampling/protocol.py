"""What a kind of sampling is: from a clip's span to what the decoder is asked for, and from its answer to samples."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal, Protocol, runtime_checkable

from vidray.media.requests import Request
from vidray.media.values import FrameSize, Span

Modality = Literal["frames", "audio", "text"]
"""What is looked at: frames, audio, or words that another extractor found."""


@runtime_checkable
class Sampling(Protocol):
    """How an extractor wants a clip's frames or audio. A frozen dataclass that pickles; a new kind is one such class.

    Optional are `before_s` and `after_s`, seconds of context that it wants around a clip, cut at the video's ends.
    Audio of neighbouring clips' context is decoded once, and arrives in views of one array. Also, of audio,
    `around(start_s, end_s)`: the span that is read for the samples of a span, context included, where that is more;
    and `record`, what `record_of` says of it where that is not its fields.
    """

    @property
    def modality(self) -> Literal["frames", "audio"]:
        """Which track of a video it needs."""
        ...

    @property
    def unit_s(self) -> float:
        """Seconds of the shortest clip that fills it: of one frame, one window, or no matter how little audio."""
        ...

    def request(self, start_s: float, end_s: float) -> Request:
        """What is to be decoded for a span, context included."""
        ...

    def collect(self, raw: Any, start_s: float, end_s: float) -> Any:
        """The samples of a span, from the `RawFrames` or `AudioSamples` that its request was answered with."""
        ...

    def blank(self, start_s: float, end_s: float, size: FrameSize) -> Any:
        """Samples of the same shape, all zeros, of a video whose frames have this (height, width)."""
        ...

    def nbytes(self, start_s: float, end_s: float, size: FrameSize) -> int:
        """How many bytes the samples of a span take, at most."""
        ...


def context_of(sampling: Sampling) -> Span:
    """(before_s, after_s) of a sampling; (0, 0) where it asks for no context."""
    return float(getattr(sampling, "before_s", 0.0)), float(getattr(sampling, "after_s", 0.0))


def with_context(sampling: Sampling, start_s: float, end_s: float, duration_s: float) -> Span:
    """A clip's span with its context, cut at the video's ends; never less than the clip itself."""
    before_s, after_s = context_of(sampling)
    return max(0.0, start_s - before_s) if before_s else start_s, max(end_s, min(duration_s, end_s + after_s))


def span_read(sampling: Sampling, start_s: float, end_s: float, duration_s: float) -> Span:
    """The span that is read for a clip: with its context, and with what the sampling hears around that."""
    span = with_context(sampling, start_s, end_s, duration_s)
    around = getattr(sampling, "around", None)
    if around is None:
        return span
    first_s, last_s = around(*span)
    return max(0.0, first_s), max(span[1], min(duration_s, last_s))


def record_of(sampling: Sampling) -> dict[str, Any]:
    """A sampling as plain JSON values: its kind, and the fields that are not as they are by default."""
    own: dict[str, Any] | None = getattr(sampling, "record", None)
    if own is not None:
        return own
    fields = dataclasses.fields(sampling)  # type: ignore[arg-type]
    values = {field.name: getattr(sampling, field.name) for field in fields}
    changed = {f.name: _plain(values[f.name]) for f in fields if values[f.name] != f.default}
    return {"kind": type(sampling).__name__, "modality": sampling.modality, **changed}


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        changed = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
        return {f.name: _plain(changed[f.name]) for f in dataclasses.fields(value) if changed[f.name] != f.default}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value

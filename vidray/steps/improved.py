"""A sampling with steps: what is sampled goes through them before an extractor is given it.

Such a sampling is asked like any other, so that tables and queries take the same steps.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache, reduce
from itertools import accumulate
from typing import Any, Literal

import numpy as np

from vidray.errors import UsageError
from vidray.media import (
    AudioRequest,
    AudioSamples,
    FrameRequest,
    FrameSize,
    RawFrames,
    Sampling,
    Span,
    context_of,
    record_of,
)
from vidray.steps.protocol import AUDIO_RATE, Frame, Step
from vidray.steps.registry import record_of_step
from vidray.steps.resampling import REACH_S, cut, resampled

LOADED = 16
"""Steps that stay loaded in a process: as many as its extractors may name."""


def improved(sampling: Sampling, steps: tuple[Step, ...]) -> Sampling:
    """The sampling with these steps; the same object without any.

    Raises UsageError where a step changes the size of frames that the sampling itself sets.
    """
    if not steps:
        return sampling
    return ImprovedAudio(sampling, steps) if sampling.modality == "audio" else ImprovedFrames(sampling, steps)


@dataclass(frozen=True)
class ImprovedAudio:
    """Audio that goes through steps at 48 kHz, and is resampled to the sampling's rate then.

    Attributes:
        sampling: Of the audio.
        steps: In the order in which they are taken.
    """

    sampling: Sampling
    steps: tuple[Step, ...]

    @property
    def modality(self) -> Literal["audio"]:
        return "audio"

    @property
    def unit_s(self) -> float:
        return self.sampling.unit_s

    @property
    def before_s(self) -> float:
        return context_of(self.sampling)[0]

    @property
    def after_s(self) -> float:
        return context_of(self.sampling)[1]

    @property
    def record(self) -> dict[str, Any]:
        """As the sampling's own, with the steps."""
        return _record(self.sampling, self.steps)

    def around(self, start_s: float, end_s: float) -> Span:
        """The span that is to be read for the steps to answer right in a span."""
        return self._spans((start_s, end_s))[0]

    def request(self, start_s: float, end_s: float) -> AudioRequest:
        return replace(self._asked(start_s, end_s), sample_rate=AUDIO_RATE)

    def collect(self, raw: AudioSamples, start_s: float, end_s: float) -> Any:
        heard = raw
        for step, span in zip(self.steps, self._spans((start_s, end_s))[1:], strict=True):
            heard = cut(loaded(step)(heard), *span)
        return self.sampling.collect(resampled(heard, self._asked(start_s, end_s)), start_s, end_s)

    def blank(self, start_s: float, end_s: float, size: FrameSize) -> Any:
        return self.sampling.blank(start_s, end_s, size)

    def nbytes(self, start_s: float, end_s: float, size: FrameSize) -> int:
        return self.sampling.nbytes(start_s, end_s, size)

    def _asked(self, start_s: float, end_s: float) -> AudioRequest:
        asked = self.sampling.request(start_s, end_s)
        assert isinstance(asked, AudioRequest)
        return asked

    def _spans(self, span: Span) -> list[Span]:
        """What is read, and what each step answers: as much as those behind it have to hear."""
        if self._asked(*span).sample_rate != AUDIO_RATE:
            span = span[0] - REACH_S, span[1] + REACH_S
        return list(accumulate(reversed(self.steps), _around, initial=span))[::-1]


@dataclass(frozen=True)
class ImprovedFrames:
    """Frames that go through steps as they are sampled: after they are resized.

    Attributes:
        sampling: Of the frames.
        steps: In the order in which they are taken.
    """

    sampling: Sampling
    steps: tuple[Step, ...]

    def __post_init__(self) -> None:
        asked = self.sampling.request(0.0, self.sampling.unit_s)
        resizes = isinstance(asked, FrameRequest) and asked.resize is not None
        if self._scale != 1 and resizes:
            named = next(step.name for step in self.steps if getattr(step, "scale", 1) != 1)
            raise UsageError(
                f"frames={named} changes the size of frames, which the extractor itself sets; name it for extractors "
                "that take frames as displayed, or for `vidray export STORE frames`"
            )

    @property
    def modality(self) -> Literal["frames"]:
        return "frames"

    @property
    def unit_s(self) -> float:
        return self.sampling.unit_s

    @property
    def before_s(self) -> float:
        return context_of(self.sampling)[0]

    @property
    def after_s(self) -> float:
        return context_of(self.sampling)[1]

    @property
    def record(self) -> dict[str, Any]:
        """As the sampling's own, with the steps."""
        return _record(self.sampling, self.steps)

    def request(self, start_s: float, end_s: float) -> Any:
        return self.sampling.request(start_s, end_s)

    def collect(self, raw: RawFrames, start_s: float, end_s: float) -> Any:
        frames = [through(self.steps, frame) for frame in raw.frames]
        better = np.stack(frames) if frames else raw.frames
        return self.sampling.collect(replace(raw, frames=better), start_s, end_s)

    def blank(self, start_s: float, end_s: float, size: FrameSize) -> Any:
        return self.sampling.blank(start_s, end_s, self._scaled(size))

    def nbytes(self, start_s: float, end_s: float, size: FrameSize) -> int:
        return self.sampling.nbytes(start_s, end_s, self._scaled(size))

    @property
    def _scale(self) -> int:
        return reduce(lambda scale, step: scale * getattr(step, "scale", 1), self.steps, 1)

    def _scaled(self, size: FrameSize) -> FrameSize:
        return size[0] * self._scale, size[1] * self._scale


def _record(sampling: Sampling, steps: tuple[Step, ...]) -> dict[str, Any]:
    return {**record_of(sampling), "steps": [record_of_step(step) for step in steps]}


def _around(span: Span, step: Step) -> Span:
    around = getattr(step, "around", None)
    return span if around is None else around(*span)


def through(steps: tuple[Step, ...], frame: Frame) -> Frame:
    """A frame after some steps."""
    for step in steps:
        frame = loaded(step)(frame)
    return frame


@lru_cache(maxsize=LOADED)
def loaded(step: Step) -> Any:
    """The function of a step, loaded once in a process."""
    return step.load()

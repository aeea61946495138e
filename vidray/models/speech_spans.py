"""Where somebody speaks: from the probabilities of steps to segments, the same however a video is cut into clips.

All is reckoned on the video's own clock. Its steps are those of Silero's network, step i from sample 512 i on. They are
looked at in stretches of 15 s, each from a state of zeros with the same warm-up before it, so that nothing depends on
what lies further back. A segment is at most 30 s long, which is what speech to text takes at once.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from vidray.media import AudioSamples, ClipInput
from vidray.models.silero import CONTEXT, SAMPLE_RATE, STEP, SpeechFn

STEP_S = STEP / SAMPLE_RATE
STRETCH_S = 15
WARM_UP = 64  # steps, 2 s

SPEECH_AT = 0.5
"""Speech begins where the probability reaches this: `threshold` of Silero's `get_speech_timestamps`."""
SPEECH_UNTIL = 0.35
"""Speech goes on until the probability falls below this: its `neg_threshold`, 0.15 less."""
SURE_AT = 0.9
"""A step that reaches this is surely speech. Of music that is taken for speech few steps do (docs/speech.md)."""
SHORTEST_SPEECH = 8
"""Steps of the shortest speech, 0.256 s: its `min_speech_duration_ms` of 250."""
SHORTEST_PAUSE = 16
"""Steps of the shortest pause, 0.512 s. Silero's own are 0.1 s, at which sentences fall apart, and faster-whisper's
2 s, at which a segment is half silence; half a second is where speakers end a sentence."""
LONGEST_S = 30
"""What Whisper takes at once (`CHUNK_LENGTH` of its `audio.py`)."""
QUIET_STEPS = 5
"""Steps, 0.16 s, over which the quietest place of a stretch is sought: more than the closure of a consonant."""

MARGIN_S = 1.0
"""More than the shortest pause and speech together: what lies further off does not decide what a step is."""
BEFORE_S = LONGEST_S + STRETCH_S + (WARM_UP + 1) * STEP_S + MARGIN_S
"""Seconds of audio before a clip without which its segments could be others: whether speech is longer than 30 s is
decided 30 s back, in a stretch that began 15 s earlier."""
AFTER_S = LONGEST_S + STRETCH_S
"""Seconds behind a clip: its last segment is parted, if it is, in a stretch that ends 30 s later at most. So long after
its start, whether it is longer than 30 s is known too."""

Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Segment:
    """A span in which somebody speaks.

    Attributes:
        start_s: On the video's clock.
        end_s: At most 30 s later.
        goes_on: Whether it is longer speech that was parted here: the next segment begins where this one ends.
        went_on: Whether it was parted at its start.
        sure_share: How many of its steps reach `SURE_AT`, in [0, 1].
    """

    start_s: float
    end_s: float
    sure_share: float
    goes_on: bool = False
    went_on: bool = False


@dataclass(frozen=True, kw_only=True)
class Heard:
    """Where somebody speaks in a clip.

    Attributes:
        segments: Those that belong to the clip, in order; the last may run past its end.
        share: How much of the clip's own span is speech, in [0, 1].
    """

    segments: tuple[Segment, ...]
    share: float


def segments_of(items: Sequence[ClipInput], speech: SpeechFn, *, name: str = "audio") -> list[Heard]:
    """Where somebody speaks, in each of some clips that were given `BEFORE_S` and `AFTER_S` seconds of context.

    A stretch that several of them see is looked at once.
    """
    seen: Seen = {}
    found = []
    for item in items:
        audio: AudioSamples = item[name]
        if not audio.samples.any():
            found.append(Heard(segments=(), share=0.0))
            continue
        found.append(_heard(item, _stretches(item, audio, speech, seen)))
    return found


@dataclass(frozen=True, kw_only=True)
class Stretch:
    """The steps that begin in one stretch.

    Attributes:
        first: The number of its first step.
        is_speech: bool (N,).
        is_sure: bool (N,), whether they reach `SURE_AT`.
        quietest: The number of the step at which longer speech is parted.
    """

    first: int
    is_speech: Flags
    is_sure: Flags
    quietest: int


Seen = dict[tuple[str, int, int], Stretch]
"""Stretches by video, number, and how many of their samples there were."""


def _first_step(stretch: int) -> int:
    return math.ceil(stretch * STRETCH_S / STEP_S - 1e-9)


def _stretches(item: ClipInput, audio: AudioSamples, speech: SpeechFn, seen: Seen) -> list[Stretch]:
    """The stretches that decide on a clip's segments, ascending and without a gap."""
    first = math.floor(max(0.0, item.clip.start_s - LONGEST_S - MARGIN_S) / STRETCH_S)
    held = round(audio.start_s * SAMPLE_RATE) + len(audio.samples)
    found = []
    for number in range(first, max(first + 1, math.ceil(held / SAMPLE_RATE / STRETCH_S))):
        key = item.clip.video_id, number, min(held, _first_step(number + 1) * STEP)
        if key not in seen:
            seen[key] = _stretch(number, audio, speech)
        found.append(seen[key])
    return found


def _stretch(number: int, audio: AudioSamples, speech: SpeechFn) -> Stretch:
    first, stop = _first_step(number), _first_step(number + 1)
    warm = max(0, first - WARM_UP)
    samples, held = _cut(audio, warm * STEP - CONTEXT, stop * STEP)
    steps = min(stop, max(first, -(-held // STEP)))  # of what is cut short at the video's end, the begun step too
    probabilities = speech(samples[: CONTEXT + (steps - warm) * STEP])
    energies = np.square(samples[CONTEXT + (first - warm) * STEP :].reshape(-1, STEP), dtype=np.float64).mean(axis=1)
    around = np.convolve(energies, np.ones(QUIET_STEPS), "valid")
    return Stretch(
        first=first,
        is_speech=_with_hysteresis(probabilities)[first - warm :],
        is_sure=probabilities[first - warm :] >= SURE_AT,
        quietest=first + int(np.argmin(around)) + QUIET_STEPS // 2,
    )


def _cut(audio: AudioSamples, first: int, stop: int) -> tuple[npt.NDArray[np.float32], int]:
    """Samples [first, stop) of the video, zeros where there are none; and where what there is ends."""
    start = round(audio.start_s * SAMPLE_RATE)
    held = start + len(audio.samples)
    found = np.zeros(stop - first, np.float32)
    low, high = max(first, start), min(stop, held)
    if low < high:
        found[low - first : high - first] = audio.samples[low - start : high - start]
    return found, held


def _with_hysteresis(probabilities: npt.NDArray[np.float32]) -> Flags:
    """Which steps are speech: from one that reaches `SPEECH_AT` until one below `SPEECH_UNTIL`."""
    places = np.arange(len(probabilities))
    last_on = np.maximum.accumulate(np.where(probabilities >= SPEECH_AT, places, -1))
    last_off = np.maximum.accumulate(np.where(probabilities < SPEECH_UNTIL, places, -1))
    return np.asarray(last_on > last_off, np.bool_)


def _heard(item: ClipInput, stretches: Sequence[Stretch]) -> Heard:
    first = stretches[0].first
    is_speech = np.concatenate([stretch.is_speech for stretch in stretches])
    is_sure = np.concatenate([stretch.is_sure for stretch in stretches])
    spoken = [(first + low, first + high) for low, high in _joined(is_speech)]
    parts_at = [stretch.quietest for stretch in stretches]
    segments = [
        Segment(
            start_s=start * STEP_S,
            end_s=stop * STEP_S,
            sure_share=float(is_sure[start - first : stop - first].mean()),
            went_on=start > low,
            goes_on=stop < high,
        )
        for low, high in spoken
        for start, stop in pairwise(_edges(low, high, parts_at))
    ]
    start_s, end_s = item.clip.start_s, item.clip.end_s
    spans = ((max(start_s, low * STEP_S), min(end_s, high * STEP_S)) for low, high in spoken)
    share = sum(high - low for low, high in spans if high > low) / (end_s - start_s)
    return Heard(segments=tuple(one for one in segments if belongs(item, one)), share=min(1.0, share))


def belongs(item: ClipInput, segment: Segment) -> bool:
    """Whether a segment is this clip's: its first moment that any clip holds is this one's."""
    clip, earlier = item.clip, item.previous_end_s
    is_held = segment.start_s < clip.end_s and segment.end_s > clip.start_s
    return is_held and (earlier is None or segment.start_s >= earlier)


def _joined(is_speech: Flags) -> list[tuple[int, int]]:
    """[first, stop) of what is spoken: without what is too short, and across pauses that are."""
    found: list[tuple[int, int]] = []
    for low, high in _runs(is_speech):
        if found and low - found[-1][1] < SHORTEST_PAUSE:
            found[-1] = found[-1][0], high
        else:
            found.append((low, high))
    return [(low, high) for low, high in found if high - low >= SHORTEST_SPEECH]


def _runs(flags: Flags) -> list[tuple[int, int]]:
    edges = np.flatnonzero(np.diff(flags.astype(np.int8), prepend=0, append=0))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


def _edges(low: int, high: int, parts_at: Sequence[int]) -> list[int]:
    """Where what is spoken begins, is parted, and ends."""
    is_long = (high - low) * STEP_S > LONGEST_S
    return [low, *(place for place in parts_at if is_long and low < place < high), high]

"""What the extractors of speech to text share: segments in which somebody speaks become rows of text.

The same voice activity as the table's runs inside, so that one pass over a file gives both. Each segment is transcribed
once, by the clip that it belongs to, and knows nothing of the others: no text is carried on. What a network probably
invented is kept, and flagged.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from vidray.extractors.protocol import Answer, ExtractFn
from vidray.media import Audio, AudioSamples, ClipInput
from vidray.models.silero import SAMPLE_RATE, speech_network
from vidray.models.speech_spans import AFTER_S, BEFORE_S, LONGEST_S, Segment, segments_of

PAD_S = 0.2
"""Seconds of audio that a network hears around a segment: less than half of the shortest pause."""
SHORTEST_S = 1.0
"""Shorter audio is padded with silence: networks were trained on longer."""

LOOP_RATIO = 2.4
"""Text that zlib makes smaller than this is a loop: `compression_ratio_threshold` of Whisper's `transcribe.py`."""
LOOP_CHARACTERS = 40
"""Of shorter text the ratio says little."""
REPEATS = 4
"""A phrase of at most four words that stands so often in a row is a loop too."""
UNSURE_BELOW = -1.0
"""Mean log probability of a token: its `logprob_threshold`."""
SILENT_ABOVE = 0.6
"""Probability of no speech: its `no_speech_threshold`, with the one above."""
SURE_SHARE = 0.5
"""Where somebody speaks, voice activity is sure of at least this share of the steps: the largest tenth at which at
most 1% of what is said in noise is flagged, on half of the recordings of docs/speech.md."""
FASTEST_CHARACTERS = 30
"""Letters a second. Auctioneers come to 25; text that is denser was not said."""
SLOWEST_CHARACTERS = 0.8
"""Letters a second of a segment of `SLOW_S` seconds or more: who speaks says more than a word in that time."""
SLOW_S = 5.0
BOILERPLATE = frozenset(
    (
        "thanks for watching",
        "thank you for watching",
        "thank you so much for watching",
        "please subscribe",
        "subtitles by the amaraorg community",
        "subscribe to my channel",
        "see you in the next video",
        "sous titres réalisés par la communauté damaraorg",
        "untertitel der amaraorg community",
        "субтитры сделал dimatorzok",
        "продолжение следует",
        "transcription by castingwords",
    )
)
"""Whole segments that Whisper learnt from subtitles, and writes where there is noise: Koenecke et al. 2024, "Careless
Whisper", and the issues of its repository."""

Floats = npt.NDArray[np.float32]

SEGMENTS_TYPE = pa.list_(
    pa.struct(
        [
            pa.field("start_s", pa.float64()),
            pa.field("end_s", pa.float64()),
            pa.field("text", pa.string()),
            pa.field("avg_logprob", pa.float32()),
            pa.field("no_speech_prob", pa.float32()),
            pa.field("language", pa.string()),
            pa.field("invented", pa.string()),
        ]
    )
)
WORDS_TYPE = pa.list_(
    pa.struct(
        [
            pa.field("word", pa.string()),
            pa.field("start_s", pa.float64()),
            pa.field("end_s", pa.float64()),
            pa.field("score", pa.float32()),
        ]
    )
)
SCHEMA = pa.schema(
    [
        ("text", pa.string()),
        ("language", pa.string()),
        ("language_score", pa.float32()),
        ("segments", SEGMENTS_TYPE),
        ("words", WORDS_TYPE),
    ]
)
"""Columns of speech to text. `text`, `language` and `words` are of what is not flagged as invented; `words` is null
where the network gives no times of words."""

INPUTS = {"audio": Audio(SAMPLE_RATE, before_s=BEFORE_S, after_s=AFTER_S)}


@dataclass(frozen=True, kw_only=True)
class Word:
    """A word, in seconds of the audio that a network was given."""

    word: str
    start_s: float
    end_s: float
    score: float


@dataclass(frozen=True, kw_only=True)
class Written:
    """What a network makes of the audio of one segment.

    Attributes:
        text: What was said.
        language: Its code, as in "en".
        language_score: The probability of that language, 1 where it was given.
        avg_logprob: The mean log probability of a token; None where there is none.
        no_speech_prob: The network's own probability of no speech; None where it has none.
        words: With times; None where the network gives none.
        is_cut: Whether the network would have gone on writing.
    """

    text: str
    language: str | None
    language_score: float | None
    avg_logprob: float | None = None
    no_speech_prob: float | None = None
    words: tuple[Word, ...] | None = None
    is_cut: bool = False


WriteFn = Callable[[Sequence[Floats]], Sequence[Written]]
"""From the audio of segments at 16 kHz to what is said in each, whatever the others are."""


def transcriber(write: WriteFn) -> ExtractFn:
    """The function of an extractor of speech to text. Raises MissingExtraError or WeightsError."""
    speech = speech_network()

    def extract(items: Sequence[ClipInput]) -> Answer:
        heard = [clip.segments for clip in segments_of(items, speech)]
        sounds = [sound_of(item["audio"], one) for item, some in zip(items, heard, strict=True) for one in some]
        written = iter(write([samples for samples, _ in sounds]) if sounds else ())
        starts = iter([start_s for _, start_s in sounds])
        rows = [_row(some, [next(written) for _ in some], [next(starts) for _ in some]) for some in heard]
        return {name: [row[name] for row in rows] for name in SCHEMA.names}

    return extract


def sound_of(audio: AudioSamples, segment: Segment) -> tuple[Floats, float]:
    """What a network hears of a segment, and when it begins."""
    # no more than the longest segment may be: Whisper would leave the rest out
    pad_s = min(PAD_S, (LONGEST_S - (segment.end_s - segment.start_s)) / 2)
    start_s = segment.start_s - (0.0 if segment.went_on else pad_s)
    end_s = segment.end_s + (0.0 if segment.goes_on else pad_s)
    offset = round(audio.start_s * SAMPLE_RATE)
    first = max(0, round(start_s * SAMPLE_RATE) - offset)
    samples = audio.samples[first : max(first, round(end_s * SAMPLE_RATE) - offset)]
    short = round(SHORTEST_S * SAMPLE_RATE) - len(samples)
    return np.pad(samples, (0, max(0, short))), (first + offset) / SAMPLE_RATE


def _row(segments: Sequence[Segment], written: Sequence[Written], starts_s: Sequence[float]) -> dict[str, Any]:
    entries = [
        {
            "start_s": segment.start_s,
            "end_s": segment.end_s,
            "text": one.text,
            "avg_logprob": one.avg_logprob,
            "no_speech_prob": one.no_speech_prob,
            "language": one.language,
            "invented": why_invented(one, segment.end_s - segment.start_s, segment.sure_share),
        }
        for segment, one in zip(segments, written, strict=True)
    ]
    kept = [place for place, entry in enumerate(entries) if entry["invented"] is None and entry["text"]]
    language, score = _language([(segments[place], written[place]) for place in kept])
    has_times = all(one.words is not None for one in written)
    words = [word for place in kept for word in _words(written[place], segments[place], starts_s[place])]
    return {
        "text": " ".join(written[place].text for place in kept),
        "language": language,
        "language_score": score,
        "segments": entries,
        "words": words if has_times else None,
    }


def _words(written: Written, segment: Segment, start_s: float) -> Iterator[dict[str, Any]]:
    """Words on the video's clock, in their order. None starts before its segment or behind it."""
    earliest_s = segment.start_s
    for word in written.words or ():
        begins_s = min(max(earliest_s, start_s + word.start_s), segment.end_s)
        ends_s = max(begins_s, start_s + word.end_s)
        yield {"word": word.word, "start_s": begins_s, "end_s": ends_s, "score": word.score}
        earliest_s = begins_s


def _language(heard: Sequence[tuple[Segment, Written]]) -> tuple[str | None, float | None]:
    """The language in which most is said, by seconds, and its mean score."""
    seconds: dict[str, float] = {}
    scored: dict[str, float] = {}
    for segment, one in heard:
        if one.language is not None:
            length_s = segment.end_s - segment.start_s
            seconds[one.language] = seconds.get(one.language, 0.0) + length_s
            scored[one.language] = scored.get(one.language, 0.0) + length_s * (one.language_score or 0.0)
    if not seconds:
        return None, None
    most = max(seconds, key=lambda language: seconds[language])
    return most, scored[most] / seconds[most]


def why_invented(written: Written, length_s: float, sure_share: float) -> str | None:
    """Why a segment's text is held to be the network's own invention; None where nothing speaks for that.

    `sure_share` is the share of the segment of which voice activity is sure, in [0, 1].
    """
    text = written.text
    letters = sum(character.isalnum() for character in text)
    if not letters:
        return "no words" if text else None
    if _plain(text) in BOILERPLATE:
        return "boilerplate"
    if written.is_cut or _is_loop(text):
        return "loop"
    if letters / max(length_s, 1e-3) > FASTEST_CHARACTERS:
        return "too fast"
    if length_s >= SLOW_S and letters / length_s < SLOWEST_CHARACTERS:
        return "too slow"
    if sure_share < SURE_SHARE:
        return "no speech"
    if written.avg_logprob is not None and written.avg_logprob < UNSURE_BELOW:
        is_silent = written.no_speech_prob is not None and written.no_speech_prob > SILENT_ABOVE
        return "no speech" if is_silent else "unsure"
    return None


def _is_loop(text: str) -> bool:
    encoded = text.encode()
    if len(text) >= LOOP_CHARACTERS and len(encoded) / len(zlib.compress(encoded)) > LOOP_RATIO:
        return True
    words = _plain(text).split()
    return any(
        words[first : first + size] * REPEATS == words[first : first + size * REPEATS]
        for size in range(1, 5)
        for first in range(len(words) - size * REPEATS + 1)
    )


def _plain(text: str) -> str:
    """Lower case, without punctuation."""
    return " ".join(re.sub(r"[^\w\s]", "", text.replace("-", " ").lower()).split())


def record_of(voice: Mapping[str, str], own: Mapping[str, Any]) -> dict[str, Any]:
    """What a spec says of the weights: the transcriber's own, and the voice activity's with them."""
    return {"source": f"{own['source']}, {voice['source']}", "sha256": own["sha256"], "voice_sha256": voice["sha256"]}

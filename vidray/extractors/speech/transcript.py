"""What is said in each clip: the words of any speech to text, each in the clip in which it starts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import pyarrow as pa

from vidray.extractors.protocol import Answer, ExtractFn, ModelInfo
from vidray.extractors.speech.transcribing import WORDS_TYPE
from vidray.extractors.text.timed import spread
from vidray.media import Clip, ClipInput, Columns

NAME = "transcript"
DEFAULT = "moonshine"

Place = tuple[str, float, float, float | None, str | None]
"""A word, its start and end, its score, and its segment's language."""


@dataclass(frozen=True, kw_only=True)
class Transcript:
    """The text of a clip, cut from the segments of a table of speech to text, which go on past clips.

    What is flagged as invented is left out. Where a network gives no times of words, `words` is null, and a segment's
    words are taken to be spread evenly over it by their letters.

    Attributes:
        of: The table of speech to text; None for the only one.
    """

    family: ClassVar[str] = NAME
    version: ClassVar[str] = "1"
    schema: ClassVar[pa.Schema] = pa.schema([("text", pa.string()), ("words", WORDS_TYPE), ("language", pa.string())])

    of: str | None = None
    scope: ClassVar[Literal["video"]] = "video"

    @property
    def name(self) -> str:
        """The table's name."""
        return NAME if self.of is None else f"{NAME}-{self.of}"

    @property
    def inputs(self) -> Mapping[str, Columns]:
        """What speech to text gives."""
        return {"speech": Columns(self.of, ["segments", "words", "language"], default=DEFAULT)}

    def load(self, device: str) -> ExtractFn:
        """Nothing to load."""

        def extract(items: Sequence[ClipInput]) -> Answer:
            clips = [item.clip for item in items]
            held: list[list[Place]] = [[] for _ in items]
            heard = [item["speech"] for item in items if item["speech"] is not None]
            for one in heard:
                for word in _words(one["segments"] or (), one["words"]):
                    held[clip_at(clips, word[1])].append(word)
            has_times = all(one["words"] is not None for one in heard)
            return {
                "text": [" ".join(word[0] for word in words) for words in held],
                "words": [_entries(words) if has_times else None for words in held],
                "language": [_most([word[4] for word in words]) for words in held],
            }

        return extract


def clip_at(clips: Sequence[Clip], time_s: float) -> int:
    """The clip of a moment, among those of one video in order: the first that holds it, else the next one."""
    for place, clip in enumerate(clips):
        if time_s < clip.end_s:
            return place
    return len(clips) - 1


def _words(segments: Sequence[Mapping[str, Any]], words: Sequence[Mapping[str, Any]] | None) -> Iterator[Place]:
    kept = [segment for segment in segments if segment["invented"] is None]
    if words is None:
        for segment in kept:
            yield from _spread(segment)
        return
    for word in words:
        spoken = (one["language"] for one in kept if one["start_s"] <= word["start_s"] <= one["end_s"])
        yield word["word"], word["start_s"], word["end_s"], word["score"], next(spoken, None)


def _spread(segment: Mapping[str, Any]) -> Iterator[Place]:
    """A segment's words, evenly by their letters."""
    for word in spread(segment["text"], segment["start_s"], segment["end_s"]):
        yield *word, None, segment["language"]


def _entries(words: Sequence[Place]) -> list[dict[str, Any]]:
    return [
        {"word": word, "start_s": start_s, "end_s": end_s, "score": score} for word, start_s, end_s, score, _ in words
    ]


def _most(languages: Sequence[str | None]) -> str | None:
    counted = Counter(language for language in languages if language is not None)
    return counted.most_common(1)[0][0] if counted else None


EXTRACTOR = Transcript


def info() -> ModelInfo:
    """What `vidray models` says of this extractor."""
    return ModelInfo(
        name=NAME,
        kind="text",
        dim=None,
        inputs="a table of speech to text",
        weights="none",
        licence="none",
        available=True,
    )

"""Texts of any table with their times: segments of speech, lines on screen, or sentences of plain text.

The words of a video's clips are joined before sentences are sought, so that one over a clip's border stays whole.
Where a table gives no times of words, a text's words are taken to be spread evenly over its span by their letters.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from vidray.media import Clip, Columns

OPTIONAL = ("language", "segments", "lines", "words")
"""Columns that say more of a text, where a table has them."""

SENTENCE_END = re.compile(r"""[.!?…。？！]["'”’)\]]*$""")
"""How a word that ends a sentence ends."""
_NO_END = re.compile(r"^(?:[A-Z]|Mr|Mrs|Ms|Dr|Prof|St|vs|etc|e\.g|i\.e|No)\.$")
"""Abbreviations and initials, after which a sentence goes on."""
MOST_WORDS = 60
"""Speech to text may leave out all stops: a sentence is no longer than this."""


class Place(NamedTuple):
    """A word with its times."""

    word: str
    start_s: float
    end_s: float


@dataclass(frozen=True, kw_only=True)
class Part:
    """A text that stands or is said at a time.

    Attributes:
        start_s: On the video's clock.
        end_s: It may lie behind the end of the clip in which the text begins.
        text: What is said or written.
        language: A code such as "en"; None where the table does not say.
        letters: By the place of a clip among the video's, how many letters of the text are that clip's.
    """

    start_s: float
    end_s: float
    text: str
    language: str | None
    letters: Mapping[int, int]

    @property
    def clip(self) -> int:
        """The place of the clip in which it begins."""
        return min(self.letters)


def texts_of(table: str | None) -> Columns:
    """The input of an extractor that takes texts: of a named table, or of the only one that has some."""
    return Columns(table, ["text"], optional=OPTIONAL)


def parts_of(clips: Sequence[Clip], rows: Sequence[Mapping[str, Any] | None]) -> list[Part]:
    """The texts of one video's clips, in order: segments or lines where the table has them, else sentences."""
    found: list[Part] = []
    plain: list[tuple[int, str | None, Place]] = []
    for place, (clip, row) in enumerate(zip(clips, rows, strict=True)):
        if row is None:
            continue
        if row.get("segments") is not None:
            found += [_entry(place, one) for one in row["segments"] if one["invented"] is None and one["text"].strip()]
        elif row.get("lines") is not None:
            found += [_entry(place, one) for one in row["lines"] if one["text"].strip()]
        else:
            plain += [(place, row.get("language"), word) for word in _words(clip, row)]
    return found or list(_sentences(plain))


def in_sentences(part: Part) -> Iterator[Part]:
    """The sentences of a text, evenly over its span by their letters."""
    words = list(spread(part.text, part.start_s, part.end_s))
    first = 0
    for group in _groups([word.word for word in words]):
        held = words[first : first + len(group)]
        first += len(group)
        yield replace(part, start_s=held[0].start_s, end_s=held[-1].end_s, text=" ".join(group))


def words_of(clips: Sequence[Clip], rows: Sequence[Mapping[str, Any] | None]) -> Iterator[tuple[int, Place]]:
    """The words of one video's clips, in order, each with the place of its clip; none of what is invented."""
    for place, (clip, row) in enumerate(zip(clips, rows, strict=True)):
        if row is None:
            continue
        if row.get("words") is None and row.get("segments") is not None:
            parts = parts_of([clip], [row])
            yield from ((place, word) for part in parts for word in spread(part.text, part.start_s, part.end_s))
        else:
            yield from ((place, word) for word in _words(clip, row))


def spread(text: str, start_s: float, end_s: float) -> Iterator[Place]:
    """Words, evenly over a span by their letters."""
    words = text.split()
    a_letter_s = (end_s - start_s) / max(1, sum(len(word) + 1 for word in words))
    time_s = start_s
    for word in words:
        stop_s = time_s + a_letter_s * (len(word) + 1)
        yield Place(word, time_s, stop_s)
        time_s = stop_s


def sentences(text: str) -> list[str]:
    """A text in sentences."""
    return [" ".join(words) for words in _groups(text.split())]


def _entry(place: int, one: Mapping[str, Any]) -> Part:
    text = one["text"].strip()
    return Part(
        start_s=one["start_s"],
        end_s=one["end_s"],
        text=text,
        language=one.get("language"),
        letters={place: len(text)},
    )


def _words(clip: Clip, row: Mapping[str, Any]) -> Iterator[Place]:
    if row.get("words") is not None:
        return (Place(one["word"], one["start_s"], one["end_s"]) for one in row["words"])
    return spread(row["text"] or "", clip.start_s, clip.end_s)


def _sentences(words: Sequence[tuple[int, str | None, Place]]) -> Iterator[Part]:
    first = 0
    for group in _groups([word.word for _, _, word in words]):
        held = words[first : first + len(group)]
        first += len(group)
        letters: dict[int, int] = {}
        for place, _, word in held:
            letters[place] = letters.get(place, 0) + len(word.word)
        yield Part(
            start_s=held[0][2].start_s,
            end_s=held[-1][2].end_s,
            text=" ".join(group),
            language=held[0][1],
            letters=letters,
        )


def _groups(words: Sequence[str]) -> Iterator[list[str]]:
    group: list[str] = []
    for word in words:
        group.append(word)
        is_end = SENTENCE_END.search(word) is not None and _NO_END.match(word) is None
        if is_end or len(group) == MOST_WORDS:
            yield group
            group = []
    if group:
        yield group

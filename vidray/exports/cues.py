"""Subtitles of what is said, written or seen: WebVTT, SubRip, and JSON in the shape of WhisperX; one file a video.

A cue has at most two lines of 42 characters, the limit of most broadcasters (Netflix's "Timed Text Style Guide"), and
is broken at pauses, at the ends of sentences and between words. Where a table gives no times of words, a segment's
words are taken to be spread evenly over it by their letters.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from pathlib import PurePosixPath
from typing import Any

from vidray.errors import UsageError
from vidray.exports.protocol import ExportSummary, Format, in_file_name, write_into
from vidray.extractors.text import timed as texts
from vidray.index.spoken import Passage, modality_of, passages
from vidray.store import Store
from vidray.store.layout import features_of, split_table

LINE_CHARACTERS = 42
LINES = 2
PAUSE_S = 0.5
"""A pause so long ends a cue."""
LONGEST_S = 7.0
"""What a cue stands at most, by the same guide."""
SHORTEST_S = 0.8
"""A cue stands so long where the next one leaves room: its shortest is 5/6 of a second."""


@dataclass(frozen=True, kw_only=True)
class Word:
    """A word with its times; `score` is None where they are estimated."""

    word: str
    start_s: float
    end_s: float
    score: float | None = None


@dataclass(frozen=True, kw_only=True)
class Cue:
    """What a subtitle shows for a while: lines of text."""

    start_s: float
    end_s: float
    lines: tuple[str, ...]


def export_cues(store: Store, table: str, path: str, *, to: str) -> ExportSummary:
    """Write a file a video into a folder, and say how many cues or segments there are over all.

    Args:
        store: The store.
        table: Of speech to text, of lines on screen, or of captions.
        path: Path or URL of the folder. A file is called as the video is; where several are called alike, the id of the
            video follows.
        to: "vtt", "srt" or "json".

    Raises:
        UsageError: The table holds nothing that is said or written.
        StoreError: It cannot be read.
        OSError: A file cannot be written.
    """
    kind, name = split_table(table)
    modality = modality_of(store.spec(name) or {}) if kind == "features" else None
    if modality is None:
        lacking = "no segments of speech, no lines on screen and no captions"
        raise UsageError(f"{store.url}/{table} has {lacking} for --to {to}")
    names = video_names(store)
    count = 0
    groups = groupby(passages(store, name, modality), key=lambda one: one.video_id)
    ahead = next(groups, None)
    for video_id, timed in _videos(store, name, with_words=modality == "speech"):
        found: list[Passage] = []
        if ahead is not None and ahead[0] == video_id:
            found = sorted(ahead[1], key=lambda one: (one.start_s, one.end_s))
            ahead = next(groups, None)
        words = [_words(one, timed) for one in found]
        if to == "json":
            content = whisperx(found, words)
            count += len(found)
        else:
            cues = [_line(one) for one in found] if modality == "screen" else list(cues_of(words))
            content = vtt(cues) if to == "vtt" else srt(cues)
            count += len(cues)
        write_into(path, f"{names[video_id]}.{to}", content.encode())
    return ExportSummary(path=path, rows=count, unit="segments" if to == "json" else "cues")


def cues_of(words: Sequence[Sequence[Word]]) -> Iterator[Cue]:
    """The cues of segments, each by its words, in order; none overlaps the next."""
    groups = [group for one in words for group in _groups(one)]
    for place, group in enumerate(groups):
        starts_s = group[0].start_s
        ends_s = max(group[-1].end_s, starts_s + SHORTEST_S)
        if place + 1 < len(groups):
            ends_s = min(ends_s, groups[place + 1][0].start_s)
        ends_s = max(ends_s, min(group[-1].end_s, starts_s + 0.001))
        yield Cue(start_s=starts_s, end_s=ends_s, lines=_lines([word.word for word in group]))


def _groups(words: Sequence[Word]) -> Iterator[list[Word]]:
    """Words that are shown together."""
    group: list[Word] = []
    for word in words:
        if group and _ends(group, word):
            yield group
            group = []
        group.append(word)
    if group:
        yield group


def _ends(group: Sequence[Word], word: Word) -> bool:
    is_late = word.end_s - group[0].start_s > LONGEST_S or word.start_s - group[-1].end_s >= PAUSE_S
    return (
        is_late or bool(texts.SENTENCE_END.search(group[-1].word)) or _too_long([*(w.word for w in group), word.word])
    )


def _too_long(words: Sequence[str]) -> bool:
    return len(_filled(words)) > LINES


def _filled(words: Sequence[str]) -> list[str]:
    """Lines that are filled one after the other; a word that is longer than a line has one of its own."""
    lines: list[str] = []
    for word in words:
        if lines and len(lines[-1]) + 1 + len(word) <= LINE_CHARACTERS:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines


def _lines(words: Sequence[str]) -> tuple[str, ...]:
    """One line where it suffices, else two of like length."""
    filled = _filled(words)
    if len(filled) < LINES:
        return tuple(filled)
    halves = [(" ".join(words[:place]), " ".join(words[place:])) for place in range(1, len(words))]
    fitting = [pair for pair in halves if max(map(len, pair)) <= LINE_CHARACTERS]
    return min(fitting, key=lambda pair: abs(len(pair[0]) - len(pair[1]))) if fitting else tuple(filled)


def vtt(cues: Sequence[Cue]) -> str:
    """WebVTT: https://www.w3.org/TR/webvtt1/."""
    blocks = (f"{_clock(c.start_s, '.')} --> {_clock(c.end_s, '.')}\n{_escaped(c)}\n" for c in cues)
    return "\n".join(["WEBVTT\n", *blocks])


def srt(cues: Sequence[Cue]) -> str:
    """SubRip: a number, the times, the lines and an empty line each."""
    return "\n".join(
        f"{number}\n{_clock(cue.start_s, ',')} --> {_clock(cue.end_s, ',')}\n" + "\n".join(cue.lines) + "\n"
        for number, cue in enumerate(cues, start=1)
    )


def whisperx(found: Sequence[Passage], words: Sequence[Sequence[Word]]) -> str:
    """JSON as WhisperX writes it: segments with words, all words, the language of most segments."""
    languages = [one.language for one in found if one.language is not None]
    segments = [
        {
            "start": round(one.start_s, 3),
            "end": round(one.end_s, 3),
            "text": one.text,
            "words": [_entry(word) for word in some if word.score is not None],
        }
        for one, some in zip(found, words, strict=True)
    ]
    every = [word for segment in segments for word in segment["words"]]  # type: ignore[attr-defined]
    language = max(languages, key=languages.count) if languages else None
    return json.dumps(
        {"segments": segments, "word_segments": every, "language": language}, ensure_ascii=False, indent=1
    )


def _entry(word: Word) -> dict[str, Any]:
    times = {"start": round(word.start_s, 3), "end": round(word.end_s, 3)}
    return {"word": word.word, **times, "score": round(word.score or 0.0, 3)}


def _line(one: Passage) -> Cue:
    """A line on screen, for as long as it stands; it is not broken, since it was one line."""
    return Cue(start_s=one.start_s, end_s=one.end_s, lines=(one.text,))


def _clock(time_s: float, point: str) -> str:
    milliseconds = round(time_s * 1000)
    seconds, rest = divmod(milliseconds, 1000)
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}{point}{rest:03d}"


def _escaped(cue: Cue) -> str:
    plain = (line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;") for line in cue.lines)
    return "\n".join(plain)


def _videos(store: Store, table: str, *, with_words: bool) -> Iterator[tuple[str, list[Word]]]:
    """Each video of a table in the order of the plan, with its words where these have times."""
    columns = ["video_id", "words"] if with_words else ["video_id"]
    for part in store.parts(features_of(table)):
        rows = store.read(features_of(table), part, columns).to_pylist()
        for video_id, clips in groupby(rows, key=lambda row: row["video_id"]):
            yield video_id, [Word(**entry) for clip in clips for entry in clip.get("words") or ()]


def _words(one: Passage, timed: Sequence[Word]) -> list[Word]:
    """The words of a segment."""
    own = [word for word in timed if one.start_s <= word.start_s < one.end_s]
    return own or spread(one.text, one.start_s, one.end_s)


def spread(text: str, start_s: float, end_s: float) -> list[Word]:
    """Words, evenly over a span by their letters."""
    places = texts.spread(text, start_s, end_s)
    return [Word(word=one.word, start_s=one.start_s, end_s=one.end_s) for one in places]


def video_names(store: Store) -> Mapping[str, str]:
    """What each video's file is called, without an ending."""
    stems: dict[str, str] = {}
    for part in store.parts("videos"):
        for row in store.read("videos", part, ["video_id", "uri"]).to_pylist():
            stems[row["video_id"]] = PurePosixPath(row["uri"].partition("?")[0]).stem or "video"
    counted: dict[str, int] = {}
    for stem in stems.values():
        counted[stem] = counted.get(stem, 0) + 1
    return {key: stem if counted[stem] == 1 else f"{stem}.{in_file_name(key)[:12]}" for key, stem in stems.items()}


FORMATS = tuple(
    Format(name=name, holds=f"what is said or written, as {shape}", write=partial(export_cues, to=name))
    for name, shape in (("vtt", "WebVTT"), ("srt", "SubRip"), ("json", "WhisperX's JSON"))
)

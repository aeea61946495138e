"""Described soundtracks: what labels, captions, summaries or texts say, spoken at its time: WebVTT and Opus, a video.

Of each video there is a WebVTT file of descriptions (https://www.w3.org/TR/webvtt1/), a track for people who do not see
it, and an audio file as long as the video, in which each is spoken when its span begins. No two are spoken at once: one
that is late because of the one before begins PAUSE_S after that is over, and is passed over where its own span is over
by then. What is the same in spans that follow each other is said once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import groupby
from typing import Any

import numpy as np

from vidray.encode import opus
from vidray.errors import UsageError
from vidray.exports.cues import Cue, video_names, vtt
from vidray.exports.protocol import ExportSummary, Format, write_into
from vidray.extractors.spec import column_names
from vidray.extractors.text.timed import OPTIONAL, parts_of
from vidray.index.spoken import modality_of, passages
from vidray.media import Clip
from vidray.models.speaking import PROGRAM, RATE, Floats, cut, engine_of, is_english, speaker
from vidray.store import Store
from vidray.store.layout import split_table

PAUSE_S = 0.3
"""Between two descriptions: as long as people pause between sentences at least."""
ADJOINING_S = 0.05
"""Spans so near to each other follow each other."""
SILENCE_S = 10.0
"""Silence is coded in pieces of this, so that hours of it take no memory."""
TEXTS = ("text", "generated")
"""Columns with what can be read out."""

ClipRow = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Description:
    """What is said of a span; `language` is None where the table does not say."""

    start_s: float
    end_s: float
    text: str
    language: str | None = None


@dataclass(kw_only=True)
class Soundtrack:
    """The descriptions of one video as samples, spoken as they are asked for.

    Attributes:
        descriptions: In order.
        speak: From a text and its language to its speech at RATE.
        duration_s: Of the video.
        cues: What was said, when; filled while samples are taken.
        passed_over: For how many there was no time.
    """

    descriptions: Sequence[Description]
    speak: Callable[[str, str], Floats]
    duration_s: float
    cues: list[Cue] = field(default_factory=list)
    passed_over: int = 0

    def samples(self) -> Iterator[Floats]:
        """float32 (N,) in pieces, from the start of the video's clock to its end, or later where the last is late."""
        at, free_s = 0, 0.0
        for one in self.descriptions:
            begins_s = max(one.start_s, free_s)
            if begins_s > one.start_s and begins_s >= one.end_s:
                self.passed_over += 1
                continue
            begins = max(at, round(begins_s * RATE))
            yield from _silence(begins - at)
            yield (said := self.speak(one.text, one.language or "en"))
            at = begins + len(said)
            self.cues.append(Cue(start_s=begins / RATE, end_s=at / RATE, lines=(one.text,)))
            free_s = at / RATE + PAUSE_S
        yield from _silence(round(self.duration_s * RATE) - at)


def export_descriptions(store: Store, table: str, path: str) -> ExportSummary:
    """Write `<video>.vtt` and `<video>.opus` into a folder, and say how many descriptions are in them over all.

    A video of which nothing is said has a file without cues, and no audio.

    Args:
        store: The store.
        table: `labels/<name>`, or features with `text`, `generated` or `key_sentences`.
        path: Path or URL of the folder.

    Raises:
        UsageError: The table has nothing to read out, or there is no voice for its language.
        StoreError: It cannot be read.
        OSError: A file cannot be written.
    """
    videos = _of_labels(store, table) if table.startswith("labels/") else _of_features(store, table)
    names = video_names(store)
    count = passed_over = 0
    lengths = dict(_lengths(store))
    for video_id, found in videos:
        track = Soundtrack(descriptions=joined(found), speak=_speak, duration_s=lengths[video_id])
        if track.descriptions:
            write_into(path, f"{names[video_id]}.opus", opus(track.samples(), RATE))
        write_into(path, f"{names[video_id]}.vtt", vtt(track.cues).encode())
        count += len(track.cues)
        passed_over += track.passed_over
    return ExportSummary(path=path, rows=count, unit="descriptions", passed_over=passed_over)


def joined(found: Sequence[Description]) -> list[Description]:
    """The same in order of time, without empty ones; what follows itself is one."""
    whole: list[Description] = []
    for one in sorted(found, key=lambda one: (one.start_s, one.end_s)):
        text = cut(one.text)
        if whole and whole[-1].text == text and one.start_s - whole[-1].end_s < ADJOINING_S:
            whole[-1] = replace(whole[-1], end_s=max(whole[-1].end_s, one.end_s))
        elif any(map(str.isalnum, text)):
            whole.append(replace(one, text=text))
    return whole


def _speak(text: str, language: str) -> Floats:
    """By the first engine that is here for English, by espeak-ng for all other languages."""
    return _speaker(language)(text)


@lru_cache(maxsize=16)
def _speaker(language: str) -> Callable[[str], Floats]:
    return speaker(engine_of(None if is_english(language) else PROGRAM), language)


def _silence(count: int) -> Iterator[Floats]:
    most = round(SILENCE_S * RATE)
    for first in range(0, count, most):
        yield np.zeros(min(most, count - first), np.float32)


def _lengths(store: Store) -> Iterator[tuple[str, float]]:
    for part in store.parts("videos"):
        for row in store.read("videos", part, ["video_id", "duration_s"]).to_pylist():
            yield row["video_id"], row["duration_s"] or 0.0


def _of_labels(store: Store, table: str) -> Iterator[tuple[str, list[Description]]]:
    """The labels of a clip are one description, the likeliest first."""
    columns = ["clip_id", "video_id", "start_s", "end_s", "label", "score"]
    for part in store.parts(table):
        rows = sorted(store.read(table, part, columns).to_pylist(), key=lambda row: (row["video_id"], row["clip_id"]))
        for video_id, some in groupby(rows, key=lambda row: row["video_id"]):
            found = []
            for _, entries in groupby(some, key=lambda row: row["clip_id"]):
                best = sorted(entries, key=lambda row: -(row["score"] or 0.0))
                text = ", ".join(dict.fromkeys(row["label"] for row in best))
                found.append(Description(start_s=best[0]["start_s"], end_s=best[0]["end_s"], text=text))
            yield video_id, found


def _of_features(store: Store, table: str) -> Iterator[tuple[str, list[Description]]]:
    name = split_table(table)[1] if table.startswith("features/") else ""
    spec = (store.spec(name) or {}) if name else {}
    there = column_names(spec)
    column = next((one for one in ("key_sentences", *TEXTS) if one in there), None)
    if column is None:
        raise UsageError(
            f"{store.url}/{table} has nothing to read out for --to description; give labels/NAME, or a table with "
            f"{', '.join(TEXTS)} or key_sentences"
        )
    modality = modality_of(spec)
    if modality is not None:
        # a line on screen that stands in several clips is one
        said = groupby(passages(store, name, modality), key=lambda one: one.video_id)
        found = {video_id: [_description(vars(one)) for one in some] for video_id, some in said}
    identity = ["clip_id", "video_id", "uri", "start_s", "end_s"]
    wanted = [*identity, column, *(one for one in OPTIONAL if one in there and column == "text")]
    for part in store.parts(table):
        rows = store.read(table, part, identity if modality is not None else wanted).to_pylist()
        for video_id, some in groupby(rows, key=lambda row: row["video_id"]):
            yield video_id, found.get(video_id, []) if modality is not None else _of_clips(list(some), column)


def _of_clips(rows: Sequence[ClipRow], column: str) -> list[Description]:
    if column == "key_sentences":
        return [_description(one) for row in rows for one in row[column] or ()]
    names = ("clip_id", "video_id", "uri", "start_s", "end_s")
    clips = [Clip(clip_index=place, **{name: row[name] for name in names}) for place, row in enumerate(rows)]
    texts = [{**row, "text": row[column]} for row in rows]
    return [_description(vars(one)) for one in parts_of(clips, texts)]


def _description(one: Mapping[str, Any]) -> Description:
    return Description(start_s=one["start_s"], end_s=one["end_s"], text=one["text"], language=one.get("language"))


FORMATS = (Format(name="description", holds="what is to be read out, as WebVTT and audio", write=export_descriptions),)

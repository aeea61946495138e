"""What the index of words holds: segments of speech, lines on screen and sentences about frames, with their times."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

from vidray.extractors.spec import column_names, modalities
from vidray.extractors.text.ocr import Line, is_same
from vidray.store import Store
from vidray.store.layout import features_of

ADJOINING_S = 0.05
"""A line that stands in two clips ends in one where it begins in the next."""


@dataclass(frozen=True, kw_only=True)
class Passage:
    """A segment of speech, a line on screen, or a sentence about frames.

    Attributes:
        clip_id: The clip in which it starts.
        start_s: Its own times, on the video's clock.
        language: A code such as "en"; None where it is not known.
    """

    clip_id: str
    video_id: str
    uri: str
    start_s: float
    end_s: float
    text: str
    language: str | None = None


def modality_of(spec: Mapping[str, Any]) -> str | None:
    """`speech`, `screen` or `description`, by what a table holds and is made of; None where it is none of these."""
    columns = column_names(spec)
    if {"segments", "words", "text"} <= columns:
        return "speech"
    if {"segments", "text"} <= columns and "frames" in modalities(spec):
        return "description"
    return "screen" if {"lines", "text"} <= columns else None


def passages(store: Store, table: str, modality: str, *, with_invented: bool = False) -> Iterator[Passage]:
    """All passages of a table in the order of the plan; what is flagged as invented is left out, unless asked for."""
    column = "lines" if modality == "screen" else "segments"
    for part in store.parts(features_of(table)):
        rows = store.read(features_of(table), part, ["clip_id", "video_id", "uri", "start_s", column]).to_pylist()
        for _, clips in groupby(rows, key=lambda row: row["video_id"]):
            if modality == "screen":
                yield from _lines(list(clips))
                continue
            for clip in clips:
                for one in clip[column] or ():
                    if one["text"] and (with_invented or one["invented"] is None):
                        yield _passage(clip, one, one["language"])


def _lines(clips: list[dict[str, Any]]) -> Iterator[Passage]:
    """The lines of one video; one that stands over the borders of clips is one."""
    found: list[tuple[dict[str, Any], Line]] = []
    last: list[int] = []
    for clip in clips:
        held = []
        for entry in clip["lines"] or ():
            line = Line(**entry)
            place = next((one for one in last if one not in held and _goes_on(found[one][1], line)), None)
            if place is None:
                found.append((clip, line))
                held.append(len(found) - 1)
            else:
                owner, before = found[place]
                best = max(before, line, key=lambda one: one.score)
                found[place] = owner, replace(best, start_s=before.start_s, end_s=line.end_s)
                held.append(place)
        last = held
    for clip, line in found:
        yield _passage(clip, vars(line), None)


def _goes_on(before: Line, line: Line) -> bool:
    return abs(line.start_s - before.end_s) < ADJOINING_S and is_same(before, line)


def _passage(clip: Mapping[str, Any], entry: Mapping[str, Any], language: str | None) -> Passage:
    return Passage(
        clip_id=clip["clip_id"],
        video_id=clip["video_id"],
        uri=clip["uri"],
        start_s=entry["start_s"],
        end_s=entry["end_s"],
        text=entry["text"],
        language=language,
    )

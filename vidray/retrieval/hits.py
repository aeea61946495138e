"""What a search answers: clips, or videos with the spans that were found in them, best first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from html import escape
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from vidray.errors import UsageError

if TYPE_CHECKING:
    from vidray.index import Index, Matches

ADJOINING_S = 0.05
"""Spans of one video with no larger gap between them are one: a frame at 25 a second, and what rounding adds."""


@dataclass(frozen=True, kw_only=True)
class Hit:
    """One clip that was found, or one segment of speech or line on screen in it.

    Attributes:
        uri: None, as start_s and end_s are, where the table does not say; vidray's own tables do.
        score: Cosine, in [-1, 1], or the inner product where the index is one of that; for a text that is compared
            with classes, as `ClassNames` has it, in [0, 1].
        modality: What it was found by: `frames` or `audio`; of both, where one network sees and hears, `frames`;
            `speech` or `screen` where by words.
        extractor: Whose table it was found in.
        text: Of what is said or written: its words; start_s and end_s are its own times then, not the clip's.
        matches: Where in `text` the query's words stand: [first, stop) in characters.
    """

    clip_id: str
    uri: str | None
    start_s: float | None
    end_s: float | None
    score: float
    modality: str | None = None
    extractor: str | None = None
    text: str | None = None
    matches: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, kw_only=True)
class FoundSpan:
    """Clips of one video that were found and adjoin, as one span.

    Attributes:
        score: Of the best of them.
    """

    start_s: float
    end_s: float
    score: float


@dataclass(frozen=True, kw_only=True)
class VideoHit:
    """One video that was found.

    Attributes:
        clip_id: Its best clip.
        start_s, end_s: The span that this clip is in.
        score: Of its best clip.
        spans: Where it was found, in order of time. The clips that count are the 10 k nearest of all, or as many more
            as hold k videos; those of a video that adjoin or overlap are one span.
        modality, extractor: What its best clip was found by; see `Hit`.
    """

    clip_id: str
    uri: str
    start_s: float
    end_s: float
    score: float
    spans: tuple[FoundSpan, ...]
    modality: str | None = None
    extractor: str | None = None


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """How an answer came about.

    Attributes:
        table: The feature table that answered.
        index: Its index's type and version, None where all of the table was read.
        clips: How many there are to find.
        kept: How many of them the filter keeps, None without one.
        lists: Into how many inverted lists was looked for each vector of the query, of `of_lists`; 0 where clips were
            compared one by one.
        vectors: Of the query.
        compared: Clips that were compared, over all vectors of the query.
        exact: Whether everything that could be found was compared.
        recall_at_10: As it was measured when the index was built, without a filter.
    """

    table: str
    index: str | None
    clips: int
    kept: int | None
    lists: int
    of_lists: int
    vectors: int
    compared: int
    exact: bool
    recall_at_10: float


@dataclass(frozen=True, kw_only=True)
class SearchResult:
    """What was asked, by whose embeddings it was answered, and the clips found, best first.

    Attributes:
        hits: Clips, or videos where these were asked for.
        notes: One line each on what a person should know: clips that the index does not have yet, say.
        explanation: Where that was asked for.
    """

    query: dict[str, Any]
    extractor: str
    hits: list[Hit] | list[VideoHit]
    notes: tuple[str, ...] = ()
    explanation: Explanation | None = None

    def to_arrow(self) -> pa.Table:
        """The hits as an Arrow table, a row each."""
        return pa.Table.from_pylist([asdict(hit) for hit in self.hits])

    def to_pandas(self) -> Any:
        """The hits as a pandas DataFrame, a row each."""
        return self.to_arrow().to_pandas()

    def _repr_html_(self) -> str:
        """A table for a notebook. What stands in it is escaped: a file may be called anything."""
        names = ("score", "uri", "start_s", "end_s", "clip_id")
        rows = ([f"{hit.score:.4f}", *(getattr(hit, name) for name in names[1:])] for hit in self.hits)
        cells = "".join(f"<tr>{''.join(f'<td>{escape(str(value))}</td>' for value in row)}</tr>" for row in rows)
        notes = "".join(f"<p>{escape(note)}</p>" for note in self.notes)
        return f"<table><tr>{''.join(f'<th>{name}</th>' for name in names)}</tr>{cells}</table>{notes}"


def hits_of(index: Index, matches: Matches, k: int) -> list[Hit]:
    """The best k clips over all query vectors; a clip's score is its best."""
    rows, scores = matches.rows.ravel(), matches.scores.ravel()
    order = np.lexsort((rows, -scores))
    _, firsts = np.unique(rows[order], return_index=True)
    best = order[np.sort(firsts)[:k]]
    clips = index.clips(rows[best]).to_pylist()
    return [
        Hit(
            clip_id=clip["clip_id"],
            uri=clip.get("uri"),
            start_s=clip.get("start_s"),
            end_s=clip.get("end_s"),
            score=float(score),
        )
        for clip, score in zip(clips, scores[best], strict=True)
    ]


def video_hits(hits: Sequence[Hit], k: int) -> list[VideoHit]:
    """The k videos of the best clips, a video by its best; see `VideoHit`. Raises UsageError where none is named."""
    if any(hit.uri is None or hit.start_s is None or hit.end_s is None for hit in hits):
        raise UsageError("the table does not say which videos its clips are of; search it by clip")
    best = {hit.uri: hit for hit in reversed(hits)}
    by_video = groupby(sorted(hits, key=lambda hit: (str(hit.uri), hit.start_s)), key=lambda hit: hit.uri)
    found = [_video_hit(best[uri], list(of_video)) for uri, of_video in by_video]
    rank = {uri: number for number, uri in enumerate(dict.fromkeys(hit.uri for hit in hits))}
    return sorted(found, key=lambda hit: rank[hit.uri])[:k]


def _video_hit(best: Hit, hits: Sequence[Hit]) -> VideoHit:
    spans: list[FoundSpan] = []
    for hit in hits:
        start_s, end_s, score = float(hit.start_s or 0.0), float(hit.end_s or 0.0), hit.score
        if spans and start_s <= spans[-1].end_s + ADJOINING_S:
            before = spans.pop()
            start_s, end_s, score = before.start_s, max(before.end_s, end_s), max(before.score, score)
        spans.append(FoundSpan(start_s=start_s, end_s=end_s, score=score))
    start_s = float(best.start_s or 0.0)
    around = next(span for span in spans if span.start_s <= start_s <= span.end_s)
    return VideoHit(
        clip_id=best.clip_id, uri=str(best.uri), start_s=around.start_s, end_s=around.end_s, score=best.score,
        spans=tuple(spans), modality=best.modality, extractor=best.extractor,
    )  # fmt: skip

"""What answers a query: the vectors of an index, or the classes of a table; asked for as many clips as are wanted."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from vidray.extractors import Extractor
from vidray.labels.class_names import ClassNames
from vidray.media import Span
from vidray.retrieval.by_text import best_clips
from vidray.retrieval.hits import Explanation, Hit, VideoHit, hits_of, video_hits
from vidray.retrieval.indexed import staleness
from vidray.store import Store
from vidray.store.layout import features_of

if TYPE_CHECKING:
    from vidray.index import Index, Matches

CLIPS_A_VIDEO = 10
MORE = 4


@dataclass(frozen=True, kw_only=True)
class Ask:
    """A query as it was asked; see `Searcher.search`."""

    kind: str
    value: Any
    at: Span | None
    modality: str | None
    extractor: str | Extractor | None
    where: str | None
    explain: bool


class Answer(Protocol):
    """What can be asked for the n best clips."""

    @property
    def table(self) -> str:
        """The feature table that answers; of several, the one that found the best hit."""

    def hits(self, count: int) -> list[Hit]:
        """The best clips, best first; fewer where there are not so many."""

    def notes(self) -> tuple[str, ...]:
        """What a person should know, of the hits that were asked for last."""

    def explanation(self) -> Explanation:
        """How the hits came about that were asked for last."""


def videos(answer: Answer, k: int) -> list[VideoHit]:
    """The k best videos of an answer; see `VideoHit`."""
    count = CLIPS_A_VIDEO * k
    while True:
        hits = answer.hits(count)
        if len({hit.uri for hit in hits}) >= k or len(hits) < count:
            return video_hits(hits, k)
        count *= MORE


@dataclass
class ByVectors:
    """An answer by the vectors of an index.

    Attributes:
        vectors: Of the query, float32 (Q, dim).
    """

    store: str
    table: str
    index: Index
    vectors: npt.NDArray[np.float32]
    ask: Ask
    said: tuple[str, ...]
    _last: Matches | None = field(default=None, init=False)

    def hits(self, count: int) -> list[Hit]:
        is_clip = self.ask.kind == "clip"
        matches = self.index.search(self.vectors, count + is_clip, self.ask.where, explain=self.ask.explain)
        self._last = matches
        return hits_of(self.index, self._others(matches, count) if is_clip else matches, count)

    def _others(self, matches: Matches, count: int) -> Matches:
        """All but the clip that was asked by."""
        others = matches.ids[0] != self.ask.value
        kept = np.flatnonzero(others)[:count]
        return replace(matches, ids=matches.ids[:, kept], scores=matches.scores[:, kept], rows=matches.rows[:, kept])

    def notes(self) -> tuple[str, ...]:
        return (*self.said, *staleness(self.index, self.store, self.table))

    def explanation(self) -> Explanation:
        assert self._last is not None, "explained before it was asked"
        manifest, work = self.index.manifest, self._last.work
        return Explanation(
            table=self.table,
            index=f"{manifest.factory}, {manifest.metric.replace('_', ' ')}",
            clips=self.index.size,
            kept=work.kept,
            lists=work.lists,
            of_lists=manifest.nlist,
            vectors=len(self.vectors),
            compared=work.compared,
            exact=work.exact,
            recall_at_10=manifest.recall_at_10,
        )


@dataclass
class ByClasses:
    """An answer by the classes that a network found: all of its table is read."""

    store: Store
    table: str
    labeler: ClassNames
    ask: Ask

    @property
    def _is_free(self) -> bool:
        """Whether no table and no modality was named: else scores are those that labels have."""
        return self.ask.extractor is None and self.ask.modality is None

    def hits(self, count: int) -> list[Hit]:
        rows = best_clips(self.store, self.labeler, count, self.ask.where, together=self._is_free).to_pylist()
        return [Hit(**row) for row in rows]

    def notes(self) -> tuple[str, ...]:
        return ()

    def explanation(self) -> Explanation:
        table = features_of(self.table)
        clips = self.store.count(table)
        return Explanation(
            table=self.table, index=None, clips=clips, kept=None, lists=0, of_lists=0, vectors=1, compared=clips,
            exact=True, recall_at_10=1.0,
        )  # fmt: skip

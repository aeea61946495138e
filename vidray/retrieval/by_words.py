"""From a text to what is said and written: by words and by meaning, fused by rank; phrases in quotes are exact."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from itertools import accumulate

import numpy as np
import pyarrow as pa

from vidray.index.spoken import Passage
from vidray.index.where import rows_where
from vidray.index.words import EmbedFn, Words
from vidray.models import sentences
from vidray.models.weights import packaged_file
from vidray.retrieval.hits import Explanation, Hit
from vidray.store import Store
from vidray.store.layout import features_of
from vidray.store.remedies import index_command

RANK_OFFSET = 60
"""Cormack et al. 2009, "Reciprocal Rank Fusion": their k."""
FEWEST = 50
"""How many passages each way of asking is asked for at least, so that ranks mean something."""
LEAST_MEANING = 0.25
"""Below this cosine two texts are taken to be about different things, and no hit. Estimated."""

_PHRASE = re.compile(r'"([^"]*)"')
_WORD = re.compile(r"\w+", re.UNICODE)


@dataclass(frozen=True)
class Calibration:
    """From what speaks for a passage to the share of such passages that are about the query: a logistic regression.

    Attributes:
        constant, words, meaning: Of the log odds: at nothing, for all of a query's words, and for a cosine of 1.
    """

    constant: float
    words: float
    meaning: float = 0.0

    def score(self, share: float, cosine: float) -> float:
        return float(1 / (1 + np.exp(-self.constant - self.words * share - self.meaning * cosine)))


_OF_SENTENCES = Calibration(-2.9, 0.9, 8.0), Calibration(-0.4, 2.5)
BY_BOTH = {"speech": _OF_SENTENCES[0], "description": _OF_SENTENCES[0], "screen": Calibration(-4.3, 1.0, 8.5)}
BY_WORDS_ALONE = {"speech": _OF_SENTENCES[1], "description": _OF_SENTENCES[1], "screen": Calibration(-1.6, 4.1)}
"""Fitted by `tests/campaigns/word_queries.py --calibrate`, on speech and screen text; descriptions are sentences as
speech is, and no captioning network was there to fit theirs on. Without vectors, by words alone."""


def embedder() -> EmbedFn | None:
    """MiniLM on texts, None where the extra `text` is not installed."""
    is_there = packaged_file(sentences.PACKAGE, f"{sentences.FOLDER}/model.safetensors") is not None
    return sentences.embed_sentences if is_there and find_spec("tokenizers") is not None else None


@dataclass
class ByWords:
    """An answer by the index of the words of one table.

    Attributes:
        text: The query; what stands in quotes has to occur as it stands.
        where: An SQL condition on the clips in which passages start; `text` and `language` are the passage's own.
    """

    store: Store
    table: str
    words: Words
    text: str
    where: str | None
    _last: int = field(default=0, init=False)

    def hits(self, count: int) -> list[Hit]:
        phrases = [phrase for phrase in _PHRASE.findall(self.text) if phrase.strip()]
        rest = _PHRASE.sub(" ", self.text)
        wanted = len(self.words.rows) if self.where is not None else max(FEWEST, count)
        by_words = self.words.by_words(rest, phrases, wanted)
        allowed = {one.row for one in self.words.by_words("", phrases, len(self.words.rows))} if phrases else None
        cosines = self.cosines(rest if rest.strip() else " ".join(phrases))
        by_meaning = _best(cosines, wanted, allowed) if cosines is not None else []
        ranked = _fused([[one.row for one in by_words], by_meaning])
        kept = self._kept(ranked)
        found = [(row, self._score(row, phrases, rest, cosines)) for row in ranked if row in kept][:count]
        self._last = len(found)
        scores = accumulate((score for _, score in found), min)  # in the order of the ranks
        return [self._hit(row, score, phrases, rest) for (row, _), score in zip(found, scores, strict=True)]

    def notes(self) -> tuple[str, ...]:
        if not self.words.is_stale:
            return ()
        remedy = f"run {index_command(self.store.url, self.table)}"
        return (f"{self.table} has changed since its words were indexed; {remedy}",)

    def explanation(self) -> Explanation:
        size = self.words.info.rows
        ways = "BM25 and meaning" if self.words.info.has_meaning else "BM25"
        return Explanation(
            table=self.table, index=f"words, {ways}", clips=size, kept=None, lists=0, of_lists=0, vectors=1,
            compared=size, exact=True, recall_at_10=1.0,
        )  # fmt: skip

    def cosines(self, text: str) -> np.ndarray | None:
        """How alike in meaning each passage and a text are; None where that is not known."""
        embed = embedder()
        if self.words.vectors is None or embed is None or not text.strip():
            return None
        return np.asarray(self.words.vectors @ embed([text])[0])

    def _kept(self, rows: Sequence[int]) -> set[int]:
        if self.where is None or not rows:
            return set(rows)
        names = ("clip_id", "video_id", "uri", "text", "language")
        found = [self.words.rows[row] for row in rows]
        ids = pa.table({name: pa.array([getattr(one, name) for one in found], pa.string()) for name in names})
        return {rows[place] for place in rows_where(self.where, ids, self.store.folder_of(features_of(self.table)))}

    def share(self, row: int, phrases: Sequence[str], rest: str) -> float:
        """Which share of a query's words a passage has; all, where the query is phrases alone."""
        one = self.words.rows[row]
        asked = set(self.words.asked(rest, one.language))
        if not asked:
            return 1.0 if phrases else 0.0
        return len(asked & set(self.words.stems(one.text, one.language))) / len(asked)

    def _score(self, row: int, phrases: Sequence[str], rest: str, cosines: np.ndarray | None) -> float:
        """About the share of passages with such a score that are about the query."""
        share, modality = self.share(row, phrases, rest), self.words.info.modality
        if cosines is None:
            return BY_WORDS_ALONE[modality].score(share, 0.0)
        return BY_BOTH[modality].score(share, float(cosines[row]))

    def _hit(self, row: int, score: float, phrases: Sequence[str], rest: str) -> Hit:
        one = self.words.rows[row]
        return Hit(
            clip_id=one.clip_id,
            uri=one.uri,
            start_s=one.start_s,
            end_s=one.end_s,
            score=score,
            text=one.text,
            matches=tuple(self._matches(one, phrases, rest)),
        )

    def _matches(self, one: Passage, phrases: Sequence[str], rest: str) -> list[tuple[int, int]]:
        """Where the query's words stand in a passage's text, [first, stop) in characters."""
        asked = set(self.words.asked(rest, one.language))
        words = [(match[0], match.span()) for match in _WORD.finditer(one.text)]
        found = {span for word, span in words if asked.intersection(self.words.stems(word, one.language))}
        for phrase in phrases:
            wanted = [word.lower() for word in _WORD.findall(phrase)]
            for first in range(len(words) - len(wanted) + 1):
                if [word.lower() for word, _ in words[first : first + len(wanted)]] == wanted:
                    found |= {span for _, span in words[first : first + len(wanted)]}
        return sorted(found)


def _best(cosines: np.ndarray, count: int, allowed: set[int] | None) -> list[int]:
    order = np.argsort(-cosines, kind="stable").tolist()
    near = [row for row in order if cosines[row] >= LEAST_MEANING and (allowed is None or row in allowed)]
    return near[:count]


def _fused(rankings: Sequence[Sequence[int]]) -> list[int]:
    """Rows by the sum of their reciprocal ranks, ties in the order of the plan."""
    scores: dict[int, float] = {}
    for ranking in rankings:
        for rank, row in enumerate(ranking, start=1):
            scores[row] = scores.get(row, 0.0) + 1 / (RANK_OFFSET + rank)
    return sorted(scores, key=lambda row: (-scores[row], row))

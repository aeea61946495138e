"""What a corpus is about: groups of like texts as labels, each called by the words that tell it from the others.

Groups are k-means on the unit vectors of texts; their names are by class TF-IDF (Grootendorst 2022, "BERTopic",
https://arxiv.org/abs/2203.05794, equation 2). scikit-learn is imported where topics are sought.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from os import PathLike
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from vidray.errors import MissingExtraError, UsageError
from vidray.extractors.answers import matrix_of
from vidray.extractors.spec import bound_in, column_names
from vidray.labels.protocol import Ranked
from vidray.store import Store
from vidray.store.layout import features_of
from vidray.store.tables import suiting_table

MOST_TOPICS = 20
"""As many are tried where nobody says how many there are."""
CLIPS_A_TOPIC = 3
"""A topic that is found without a given number is of so many clips on average at least."""
SAMPLE = 5000
"""Clips, evenly over the corpus, among which topics are sought; all others are given the nearest one."""
NAME_WORDS = 3
COMMON = 0.5
"""A word in more clips than this share of them tells nothing."""

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Topics:
    """The topic that a clip's text is nearest to; the score is the cosine of its vector with the topic's centre.

    Attributes:
        features: The table of the texts' vectors.
        names: Of the topics: their telling words.
        centres: float32 (topics, D), unit vectors.
    """

    features: str
    names: tuple[str, ...]
    centres: Floats
    kind = "topics"
    columns = ("embedding",)

    def spec(self) -> dict[str, Any]:
        """The names of the topics."""
        return {"topics": list(self.names)}

    def label(self, rows: pa.Table) -> Iterator[Ranked]:
        """The nearest topic of each row."""
        vectors, is_known = matrix_of(rows["embedding"])
        scores = iter(_unit(vectors) @ self.centres.T if len(vectors) else ())
        for known in is_known:
            if not known:
                yield []
                continue
            row = next(scores)
            best = int(np.argmax(row))
            yield [(self.names[best], float(np.clip(row[best], 0.0, 1.0)))]


def topic_labeler(store: str | PathLike[str], *, extractor: str | None = None, count: int | None = None) -> Topics:
    """The topics of a store's texts, for `label`.

    Args:
        store: fsspec URL of a store with a table of `text_embedding`.
        extractor: Whose table, where several are of texts.
        count: How many topics; by default as many, of 2 to 20, as part best (the mean silhouette).

    Raises:
        UsageError: No table is of texts, several are, or there are too few clips with a text.
        MissingExtraError: scikit-learn is not installed.
    """
    if find_spec("sklearn") is None:
        raise MissingExtraError("topics", "train")
    held = Store(store)
    table = suiting_table(held, extractor, {"vectors of texts": _is_of_texts}, remedy="-x text_embedding")
    source = bound_in(held.spec(table) or {}).get("text")
    if source is None:
        raise UsageError(f"{held.url}/{features_of(table)} has no vectors of texts; extract -x text_embedding")
    texts: dict[str, str] = {}
    ids: list[str] = []
    vectors: list[Floats] = []
    for part in held.parts(features_of(table)):
        rows = held.read(features_of(table), part, ["clip_id", "embedding"])
        found, is_known = matrix_of(rows["embedding"])
        ids += rows["clip_id"].filter(pa.array(is_known)).to_pylist()
        vectors += [found] if len(found) else []
        for row in held.read(features_of(source), part, ["clip_id", "text"]).to_pylist():
            texts[row["clip_id"]] = row["text"] or ""
    least = 2 * CLIPS_A_TOPIC if count is None else count
    if len(ids) < max(2, least):
        raise UsageError(f"{held.url}/features/{table} has {len(ids)} clips with a text; topics need {max(2, least)}")
    unit = _unit(np.concatenate(vectors))
    chosen = np.arange(0, len(unit), -(-len(unit) // SAMPLE))
    groups, centres = group(unit[chosen], count)
    names = telling_words([texts.get(ids[place], "") for place in chosen], groups, len(centres))
    return Topics(features=table, names=tuple(names), centres=centres)


def group(vectors: Floats, count: int | None) -> tuple[npt.NDArray[np.int64], Floats]:
    """Which group each unit vector is in, and the groups' centres, unit vectors too; the same ones every time.

    Args:
        vectors: float32 (N, D).
        count: How many; None for as many as part best.
    """
    from sklearn.cluster import KMeans
    from sklearn.metrics import silhouette_score

    def parted(number: int) -> npt.NDArray[np.int64]:
        return np.asarray(KMeans(number, n_init=10, random_state=0).fit_predict(vectors), np.int64)

    if count is None:
        most = min(MOST_TOPICS, len(vectors) // CLIPS_A_TOPIC, len(np.unique(vectors, axis=0)))
        # texts that are all alike are one topic
        tried = [parted(number) for number in range(2, most + 1)] or [np.zeros(len(vectors), np.int64)]
        groups = (
            tried[0]
            if len(tried) == 1
            else max(tried, key=lambda some: float(silhouette_score(vectors, some, metric="cosine")))
        )
    else:
        groups = parted(count) if count > 1 else np.zeros(len(vectors), np.int64)
    centres = np.stack([vectors[groups == number].mean(axis=0) for number in range(int(groups.max()) + 1)])
    return groups, _unit(centres)


def telling_words(texts: Sequence[str], groups: npt.NDArray[np.int64], count: int) -> list[str]:
    """A name for each of `count` groups of texts: words that are more frequent in it than elsewhere; no two alike."""
    from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

    words = [re.findall(r"[^\W\d_]{3,}", text.lower()) for text in texts]
    in_texts = Counter(word for some in words for word in set(some))
    common = {word for word, seen in in_texts.items() if seen > COMMON * len(texts)} | ENGLISH_STOP_WORDS
    tallies = [Counter[str]() for _ in range(count)]
    for some, number in zip(words, groups.tolist(), strict=True):
        tallies[number].update(word for word in some if word not in common)
    everywhere = sum(tallies, Counter[str]())
    average = sum(everywhere.values()) / count
    names: list[str] = []
    for number, tally in enumerate(tallies):
        size = max(1, tally.total())
        worth = {word: seen / size * np.log(1 + average / everywhere[word]) for word, seen in tally.items()}
        best = sorted(worth, key=lambda word: (-worth[word], word))[:NAME_WORDS]
        name = ", ".join(best) or f"topic {number + 1}"
        names.append(name if name not in names else f"{name} ({number + 1})")
    return names


def _is_of_texts(spec: Mapping[str, Any]) -> bool:
    records = (spec.get("inputs") or {}).values()
    return "embedding" in column_names(spec) and any("text" in (record.get("columns") or ()) for record in records)


def _unit(vectors: npt.NDArray[Any]) -> Floats:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(lengths, 1e-12), np.float32)

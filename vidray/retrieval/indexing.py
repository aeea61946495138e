"""The index of words of a table, built with the network that a query's meaning is found with."""

from __future__ import annotations

from os import PathLike

from vidray.extractors import Extractor
from vidray.index.spoken import modality_of
from vidray.index.words import WordsInfo, build_words
from vidray.retrieval.by_words import embedder
from vidray.store import Store
from vidray.store.tables import features_table


def index_words(
    store: str | PathLike[str], extractor: str | Extractor, *, rebuild: bool = False
) -> tuple[WordsInfo, bool] | None:
    """Index what is said or written in a table, or bring its index up to date; None where it holds no such words.

    Returns what there is, and whether it was built. Raises UsageError where there is no such table.
    """
    held = Store(store)
    table = features_table(held, extractor)
    if modality_of(held.spec(table) or {}) is None:
        return None
    return build_words(held, table, embed=embedder(), rebuild=rebuild)

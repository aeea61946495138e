"""Forty queries in words over thirty videos whose every word is known: how often the right video comes first.

    python -m tests.campaigns.word_queries FOLDER [--calibrate]

Makes the videos of `tests/word_corpus.py` in FOLDER, extracts `moonshine` and `ocr`, indexes their words and asks,
without saying where to look: twenty queries whose words occur, twenty in other words, and phrases, whose answer has to
be exactly the videos in which they stand. With `--calibrate`, what scores are fitted to is printed too: by a logistic
regression over the passages that the tuning queries find. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tests.word_corpus import OCCURRING, OTHER_WORDS, PHRASES, TUNING, make_corpus

BEST = 5
"""Passages of a query and a modality that scores are calibrated on."""


def build(folder: Path) -> str:
    """The store of the corpus, with both indexes of words."""
    from vidray.pipeline import extract
    from vidray.planning import FixedStride
    from vidray.retrieval.indexing import index_words

    store = str(folder / "store")
    if not (folder / "videos").is_dir():
        make_corpus(folder / "videos")
    extract(str(folder / "videos"), store, extractors=["moonshine", "ocr"], planner=FixedStride(10.0))
    for table in ("moonshine", "ocr"):
        index_words(store, table)
    return store


def first_right(store: str, queries: Mapping[str, str]) -> list[str]:
    """The queries whose best hit is in the right video; says what each found."""
    from vidray.retrieval.search import open_search

    searcher = open_search(store)
    found = []
    for text, right in queries.items():
        hits: Any = searcher.search(text=text, k=3).hits
        said = [(Path(hit.uri).stem, hit.modality, round(hit.score, 2), hit.text) for hit in hits]
        if said and said[0][0] == right:
            found.append(text)
        else:
            print(f"{text}: {right} expected, {said}")
    return found


def exact(store: str) -> list[str]:
    """The phrases whose hits are in exactly the videos in which they stand."""
    from vidray.retrieval.search import open_search

    searcher = open_search(store)
    found = []
    for text, right in PHRASES.items():
        hits: Any = searcher.search(text=text, k=10).hits
        names = {Path(hit.uri).stem for hit in hits}
        if names == right:
            found.append(text)
        else:
            print(f"{text}: {right} expected, {names}")
    return found


def calibrate(store: str) -> None:
    """Print what scores are made of: fitted to the best passages of the tuning queries, a modality at a time."""
    from sklearn.linear_model import LogisticRegression

    from vidray.index.words import open_words
    from vidray.retrieval.by_words import ByWords
    from vidray.store import Store

    for table in ("moonshine", "ocr"):
        words = open_words(Store(store), table)
        places = {(one.uri, one.start_s, one.text): row for row, one in enumerate(words.rows)}
        seen, is_right = [], []
        for text, right in TUNING.items():
            answer = ByWords(Store(store), table, words, text, None)
            cosines = answer.cosines(text)
            assert cosines is not None, "the extra `text` is not installed"
            for hit in answer.hits(BEST):
                row = places[str(hit.uri), float(hit.start_s or 0.0), str(hit.text)]
                seen.append((answer.share(row, [], text), cosines[row]))
                is_right.append(Path(str(hit.uri)).stem == right)
        for columns in (2, 1):
            fit = LogisticRegression(C=10).fit(np.array(seen)[:, :columns], is_right)
            print(f"{words.info.modality}: constant {fit.intercept_[0]:.1f}, weights {fit.coef_[0].round(1)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--calibrate", action="store_true")
    arguments = parser.parse_args()
    store = build(arguments.folder)
    if arguments.calibrate:
        calibrate(store)
    occurring, other, phrases = first_right(store, OCCURRING), first_right(store, OTHER_WORDS), exact(store)
    tuning = first_right(store, {text: right for text, right in TUNING.items() if right is not None})
    print(json.dumps({
        "first": len(occurring) + len(other), "of": len(OCCURRING) + len(OTHER_WORDS), "occurring": len(occurring),
        "other_words": len(other), "phrases_exact": len(phrases), "of_phrases": len(PHRASES), "tuning": len(tuning),
    }))  # fmt: skip


if __name__ == "__main__":
    main()

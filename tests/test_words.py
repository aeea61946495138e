"""Search by words: what was said and written is found where it was, by words, phrases and meaning, on any store."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from filling import fill, filled
from speech import write_wav
from word_corpus import OCCURRING, OTHER_WORDS, PHRASES, make_corpus

from vidray.errors import IndexFileError, UsageError
from vidray.extractors.speech.moonshine import MoonshineText
from vidray.extractors.speech.transcribing import SCHEMA
from vidray.extractors.text.ocr import LINES_TYPE, Ocr
from vidray.index.spoken import passages
from vidray.index.words import Words, known_words
from vidray.media import Audio, ClipInput
from vidray.overview import index_state
from vidray.planning import FixedStride
from vidray.retrieval.indexing import index_words
from vidray.retrieval.search import search
from vidray.retrieval.verification import check_indexes, lagging
from vidray.store import Store

SAID = {
    "farm": [
        (0.5, 3.0, "The harvest was late this year.", "en"),
        (3.5, 6.5, "Farmers were running from field to field.", "en"),
    ],
    "kitchen": [(1.0, 4.0, "Add two spoons of sugar and stir.", "en"), (4.5, 5.0, "thanks thanks thanks", "en")],
    "sea": [(0.0, 4.0, "The late harvest of the sea is mostly herring.", "en")],
    "dorf": [(0.5, 2.5, "Die Bauern liefen über die Felder.", "de")],
    "port": [
        (0.2, 0.9, "The ferry leaves at noon.", "en"),
        (1.1, 1.8, "Another ferry leaves at night.", "en"),
    ],
    "quiet": [],
}
WRITTEN = {"farm": [(0.0, 7.0, "Chapter 3")], "sea": [(2.0, 3.0, "Chapter 13"), (3.0, 4.0, "Harbour")]}


def own(rows: Sequence[tuple[Any, ...]], item: ClipInput) -> list[tuple[Any, ...]]:
    return [row for row in rows if item.clip.start_s <= row[0] < item.clip.end_s]


@dataclass(frozen=True, kw_only=True)
class Said:
    """Speech to text that knows the script."""

    name: str = "said"
    script: dict[str, Any] = field(default_factory=lambda: SAID)

    @property
    def inputs(self) -> dict[str, Any]:
        return {"audio": Audio(8000)}

    @property
    def schema(self) -> pa.Schema:
        return SCHEMA

    def load(self, device: str) -> Any:
        def extract(items: Sequence[ClipInput]) -> dict[str, Any]:
            rows = [[_segment(*one) for one in own(self.script[Path(item.clip.uri).stem], item)] for item in items]
            empty = [None] * len(items)
            texts = [" ".join(one["text"] for one in some) for some in rows]
            return {"text": texts, "language": empty, "language_score": empty, "segments": rows, "words": empty}

        return extract


def _segment(start_s: float, end_s: float, text: str, language: str) -> dict[str, Any]:
    reason = "loop" if text.startswith("thanks") else None
    return {"start_s": start_s, "end_s": end_s, "text": text, "language": language, "invented": reason}


@dataclass(frozen=True, kw_only=True)
class Written:
    """Lines on screen by the script, cut to each clip."""

    name: str = "written"

    @property
    def inputs(self) -> dict[str, Any]:
        return {"audio": Audio(8000)}

    @property
    def schema(self) -> pa.Schema:
        return pa.schema([("text", pa.string()), ("lines", LINES_TYPE)])

    def load(self, device: str) -> Any:
        def extract(items: Sequence[ClipInput]) -> dict[str, Any]:
            rows = [self._lines(item) for item in items]
            return {"text": ["\n".join(one["text"] for one in some) for some in rows], "lines": rows}

        return extract

    def _lines(self, item: ClipInput) -> list[dict[str, Any]]:
        sides = {"x0": 0.1, "y0": 0.8, "x1": 0.5, "y1": 0.9, "score": 0.9}
        found = []
        for start_s, end_s, text in WRITTEN.get(Path(item.clip.uri).stem, []):
            low, high = max(start_s, item.clip.start_s), min(end_s, item.clip.end_s)
            if low < high:
                found.append({"start_s": low, "end_s": high, "text": text, **sides})
        return found


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    folder = tmp_path_factory.mktemp("words")
    (folder / "corpus").mkdir()
    for name in SAID:
        tone = 0.1 * np.sin(np.arange(8 * 8000) / 3).astype(np.float32)
        write_wav(folder / "corpus" / f"{name}.wav", tone, sample_rate=8000)
    held = filled(folder / "store", folder / "corpus", {"said": Said(), "written": Written()}, FixedStride(2.0))
    for table in ("said", "written"):
        assert index_words(held.url, table) is not None
    return held


def found(store: Store, text: str, **more: Any) -> list[tuple[str, float, str | None]]:
    hits: Any = search(store.url, text=text, **more).hits
    return [(Path(hit.uri).stem, hit.start_s, hit.text) for hit in hits]


def test_a_hit_is_the_segment_with_its_own_time_and_its_matches(store: Store):
    result = search(store.url, text="harvests this year", modality="speech")
    hit: Any = result.hits[0]
    assert (Path(hit.uri).stem, hit.start_s, hit.end_s, hit.modality) == ("farm", 0.5, 3.0, "speech")
    assert [hit.text[first:stop] for first, stop in hit.matches] == ["harvest", "year"]
    assert hit.extractor == "said"
    scores = [one.score for one in result.hits]
    assert scores == sorted(scores, reverse=True)
    assert all(0 <= score <= 1 for score in scores)


def test_each_segment_of_a_clip_is_a_hit_with_its_own_time(store: Store):
    for more in ({"modality": "speech"}, {}):
        hits: Any = search(store.url, text="a ferry that leaves", k=2, **more).hits
        assert {(hit.start_s, hit.end_s) for hit in hits} == {(0.2, 0.9), (1.1, 1.8)}
        assert len({hit.clip_id for hit in hits}) == 1
    videos: Any = search(store.url, text="a ferry that leaves", modality="speech", by="video", k=2).hits
    assert Path(videos[0].uri).stem == "port"
    assert [(span.start_s, span.end_s) for span in videos[0].spans] == [(0.2, 0.9), (1.1, 1.8)]


def test_words_are_found_in_every_form_of_their_own_language(store: Store):
    assert found(store, "farmer runs", modality="speech")[0][0] == "farm"
    assert found(store, "Bauer Feld", modality="speech")[0][0] == "dorf"


def test_words_with_which_one_asks_find_nothing_by_themselves(store: Store):
    words = Words(store, "said")
    assert words.asked("Who talks about the harvests of the year?", "en") == ["harvest", "year"]
    assert words.asked("Who is the one?", "en") == ["who", "is", "the", "one"]
    assert words.asked("Die Felder und der Bauer", "de") == ["feld", "bau"]
    rows = {words.rows[one.row].text for one in words.by_words("who talks about sugar", (), 10)}
    assert rows == {"Add two spoons of sugar and stir."}


def test_a_phrase_in_quotes_is_exact(store: Store):
    assert [name for name, _, _ in found(store, '"late harvest"', modality="speech")] == ["sea"]
    assert [name for name, _, _ in found(store, '"harvest was late"', modality="speech")] == ["farm"]
    assert found(store, '"harvests was"', modality="speech") == []
    assert [name for name, _, _ in found(store, '"Chapter 3"', modality="screen")] == ["farm"]
    assert [name for name, _, _ in found(store, '"late harvest" sugar', modality="speech")] == ["sea"]


def test_meaning_is_found_without_any_of_the_words(store: Store):
    assert found(store, "a recipe for a sweet dessert", modality="speech")[0][0] == "kitchen"


def test_what_was_invented_is_not_found(store: Store):
    assert all("thanks" not in text for _, _, text in found(store, "thanks", modality="speech"))
    everything = [one.text for one in passages(store, "said", "speech", with_invented=True)]
    assert "thanks thanks thanks" in everything


def test_a_line_over_clips_is_one_passage(store: Store):
    spans = [(one.start_s, one.end_s, one.text) for one in passages(store, "written", "screen")]
    assert sorted(spans) == [(0.0, 7.0, "Chapter 3"), (2.0, 3.0, "Chapter 13"), (3.0, 4.0, "Harbour")]


def test_every_modality_is_asked_and_each_hit_says_which(store: Store):
    hits: Any = search(store.url, text="harvest chapter").hits
    assert {hit.modality for hit in hits} == {"speech", "screen"}
    assert search(store.url, text="Chapter", extractor="written").extractor == "written"


def test_filters_and_videos(store: Store):
    only = found(store, "harvest", modality="speech", where="uri LIKE '%sea%'")
    assert {name for name, _, _ in only} == {"sea"}
    late = found(store, "harvest", modality="speech", where="text ILIKE '%year%'")
    assert late == [("farm", 0.5, "The harvest was late this year.")]
    assert {name for name, _, _ in found(store, "Felder", modality="speech", where="language = 'de'")} == {"dorf"}
    lines = [text for _, _, text in found(store, "Chapter Harbour", modality="screen", where="text LIKE '%13'")]
    assert lines == ["Chapter 13"]
    videos: Any = search(store.url, text="late harvest", modality="speech", by="video", k=2).hits
    assert {Path(hit.uri).stem for hit in videos} == {"farm", "sea"}


@pytest.mark.slow
def test_the_right_video_comes_first_in_a_corpus_that_is_spoken_and_written(tmp_path: Path):
    names = ("wheat", "moon", "lighthouse")
    extractors = {"moonshine": MoonshineText(), "ocr": Ocr()}
    held = filled(tmp_path / "store", make_corpus(tmp_path / "corpus", names), extractors, FixedStride(10.0))
    for table in extractors:
        index_words(held.url, table)
    asked = {text: name for text, name in {**OCCURRING, **OTHER_WORDS}.items() if name in names}
    assert len(asked) >= 5
    assert [text for text, name in asked.items() if found(held, text)[0][0] != name] == []
    for phrase, right in PHRASES.items():
        assert {name for name, _, _ in found(held, phrase)} == right & set(names)
    hits: Any = search(held.url, text='"Chapter 3"').hits
    assert [hit.modality for hit in hits] == ["screen"]


def test_it_is_built_again_only_when_the_table_has_changed(store: Store, tmp_path: Path):
    first = index_words(store.url, "said")
    assert first is not None
    assert first[1] is False
    again = index_words(store.url, "said", rebuild=True)
    assert again is not None
    assert (again[1], again[0].rows) == (True, first[0].rows)
    corpus = Path(next(iter(passages(store, "said", "speech"))).uri).parent
    other = filled(tmp_path / "other", corpus, {"said": Said(script={name: [] for name in SAID})}, FixedStride(2.0))
    assert index_words(other.url, "said")[0].rows == 0  # type: ignore[index]
    assert found(other, "harvest", modality="speech") == []
    fill(other, {"more": Said(name="more")})
    assert index_words(other.url, "more")[0].rows == 7  # type: ignore[index]


def test_what_is_damaged_is_not_opened(store: Store, tmp_path: Path):
    folder = store.folder_of("index/said")
    name = next(name for name in folder.sizes() if name.endswith(".zip"))
    whole = folder.read_bytes(name)
    folder.write_bytes(name, whole[:-3] + b"abc")
    with pytest.raises(IndexFileError, match="damaged"):
        Words(store, "said")
    assert [(one.where, one.counts) for one in check_indexes(store, False)] == [("index/said", {"damaged": 1})]
    folder.write_bytes(name, whole)
    assert list(check_indexes(store, False)) == []
    assert Words(store, "said").rows
    with pytest.raises(UsageError, match="no index of the words"):
        Words(store, "written2")


def test_an_extraction_names_an_index_of_words_that_lags_without_reading_it(store: Store, tmp_path: Path):
    changed = Store(str(shutil.copytree(store.url, tmp_path / "store")))
    assert not list(lagging(changed, changed.tables("index")))
    (Path(changed.url) / "index" / "said" / known_words(changed, "said")[0].file).unlink()
    assert not list(lagging(changed, ["said"]))
    rows = changed.read("features/said", 0)
    changed.write("features/said", 0, rows.slice(1), rows.schema)
    (one,) = lagging(changed, changed.tables("index"))
    assert one.where == "index/said"
    assert one.line.endswith(f"; run vidray index {changed.url} -x said")


def test_status_knows_an_index_of_words(store: Store, tmp_path: Path):
    changed = Store(str(shutil.copytree(store.url, tmp_path / "store")))
    assert index_state(changed, "said") == "current"
    rows = changed.read("features/said", 0)
    changed.write("features/said", 0, rows.slice(1), rows.schema)
    assert index_state(changed, "said") == "behind"
    (Path(changed.url) / "index" / "said" / "words.json").write_bytes(b"{")
    assert "words.json" in index_state(changed, "said")

"""Which table's texts a derived extractor takes, and what it is given of columns that not every table has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from filling import filled
from speech import write_wav
from spoken import silence

from vidray.errors import UsageError
from vidray.extractors import describe, resolve
from vidray.extractors.speech.moonshine import MoonshineText
from vidray.extractors.speech.transcript import Transcript
from vidray.extractors.text.ocr import Ocr
from vidray.extractors.text.sentiment import Sentiment
from vidray.media import Audio, ClipInput
from vidray.pipeline.levels import bind, with_missing
from vidray.planning import FixedStride
from vidray.store import Store
from vidray.store.verification import verify


@dataclass(frozen=True, kw_only=True)
class Written:
    """The same text in each clip, with its language or without such a column."""

    name: str = "written"
    language: str | None = None

    @property
    def inputs(self) -> dict[str, Audio]:
        return {"audio": Audio(8000)}

    @property
    def schema(self) -> pa.Schema:
        fields = [("text", pa.string()), ("language", pa.string())]
        return pa.schema(fields if self.language else fields[:1])

    def load(self, device: str) -> Any:
        def extract(items: Sequence[ClipInput]) -> dict[str, list[Any]]:
            row = {"text": "What a wonderful day.", "language": self.language}
            return {name: [row[name]] * len(items) for name in self.schema.names}

        return extract


def bound(store: Store, *extractors: Any) -> dict[str, str]:
    return dict(bind(store, {one.name: one for one in extractors}, lambda line: None).bound["sentiment"])


def test_a_transcript_stands_for_the_speech_to_text_that_brings_it(tmp_path: Path):
    store = Store(str(tmp_path / "store"))
    assert bound(store, MoonshineText(), Transcript(), Sentiment()) == {"text": "transcript"}
    assert bound(store, MoonshineText(), Sentiment()) == {"text": "transcript"}
    assert bound(store, Ocr(), Sentiment()) == {"text": "ocr"}
    with pytest.raises(UsageError, match=r"ocr, transcript have it; say which, as in -x 'sentiment\?of=ocr'"):
        bound(store, MoonshineText(), Ocr(), Sentiment())
    named = bind(store, {"ocr": Ocr(), "m": MoonshineText(), "s": resolve("sentiment?of=ocr")}, lambda line: None)
    assert named.bound["s"] == {"text": "ocr"}
    assert named.extractors["s"].name == "sentiment-ocr"


def test_a_column_that_a_table_lacks_is_passed_as_none(tmp_path: Path):
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    write_wav(corpus / "a.wav", silence(5.0), sample_rate=16_000)
    tables = {
        "plain": Written(name="plain"),
        "german": Written(name="german", language="de"),
        "sentiment-plain": Sentiment(of="plain"),
        "sentiment-german": Sentiment(of="german"),
    }
    store = filled(tmp_path / "store", corpus, tables, FixedStride(2.0))
    found = {name: store.read(f"features/{name}", 0).to_pylist() for name in tables if "-" in name}
    assert [row["sentiment"] for row in found["sentiment-plain"]] == ["positive"] * 3
    assert [row["sentiment"] for row in found["sentiment-german"]] == [None] * 3
    (video,) = store.read("video_features/sentiment-plain", 0).to_pylist()
    assert video["sentiment"] == "positive"
    assert [one["start_s"] for one in video["course"]] == [0.0]
    assert verify(store.url).is_whole
    assert describe(Sentiment())["inputs"]["text"]["optional"] == ["language", "segments", "lines", "words"]
    assert "optional" not in describe(Transcript())["inputs"]["speech"]


@pytest.mark.parametrize("of", ["vidray_evil:Thing", "ssd@http://127.0.0.1:9/w.pb", "ssd"])
def test_nothing_that_a_strangers_table_is_of_is_imported_or_fetched(of: str, tmp_path: Path, monkeypatch: Any):
    """New clips need the table of an extractor that the store names; what it is made from is not there."""
    (tmp_path / "vidray_evil.py").write_text("from pathlib import Path\nPath('proof').touch()\n")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "corpus").mkdir()
    write_wav(tmp_path / "corpus" / "a.wav", silence(1.0), sample_rate=16_000)
    store = filled(tmp_path / "store", tmp_path / "corpus", {}, FixedStride(2.0))
    store.write_spec("transcript-x", describe(Transcript(of=of)))
    bindings = bind(store, {"t": resolve("text_embedding?of=transcript-x")}, lambda line: None)
    assert bindings.borrowed == ("transcript-x",)
    with pytest.raises(UsageError, match=r"features/transcript-x was made from '.*', which is no table there"):
        with_missing(store, bindings, lambda line: None)
    assert not (tmp_path / "proof").exists()


def test_the_name_of_a_table_is_never_read_as_an_option(tmp_path: Path):
    """What a speech to text brings is made from its table, whatever that is called."""
    store = Store(str(tmp_path / "store"))
    store.write_spec("transcript", describe(Transcript(of="other")))
    found = bind(store, {"os%3Apath&start_s=1": MoonshineText()}, lambda line: None)
    assert [one.of for one in found.extractors.values() if isinstance(one, Transcript)] == ["os%3Apath&start_s=1"]

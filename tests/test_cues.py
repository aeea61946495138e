"""Subtitles hold every word once, in time, and in lines that fit; files are what their formats say."""

from __future__ import annotations

import json
import re
from itertools import pairwise
from pathlib import Path

import hypothesis.strategies as st
import pyarrow as pa
import pytest
from filling import filled
from hypothesis import given
from speech import write_wav
from test_words import SAID, Said, Written

from vidray.errors import UsageError
from vidray.exports.cues import LINE_CHARACTERS, LINES, LONGEST_S, Cue, Word, cues_of, spread, srt, video_names, vtt
from vidray.exports.export import export
from vidray.planning import FixedStride
from vidray.store import Store

VTT_TIMES = re.compile(r"(\d\d):(\d\d):(\d\d\.\d{3}) --> (\d\d):(\d\d):(\d\d\.\d{3})")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    import numpy as np

    folder = tmp_path_factory.mktemp("cues")
    (folder / "corpus").mkdir()
    for name in SAID:
        write_wav(folder / "corpus" / f"{name}.wav", np.full(8 * 8000, 0.1, np.float32), sample_rate=8000)
    return filled(folder / "store", folder / "corpus", {"said": Said(), "written": Written()}, FixedStride(2.0))


words = st.lists(
    st.tuples(st.text("abcde.,", min_size=1, max_size=14), st.floats(0.05, 0.6), st.floats(0, 0.8)), max_size=60
)


@given(st.lists(words, max_size=3))
def test_every_word_is_shown_once_in_order_in_lines_that_fit(drawn: list[list[tuple[str, float, float]]]):
    time_s, segments = 0.0, []
    for some in drawn:
        held = []
        for word, length_s, pause_s in some:
            held.append(Word(word=word, start_s=time_s, end_s=time_s + length_s))
            time_s += length_s + pause_s
        segments.append(held)
    cues = list(cues_of(segments))
    shown = " ".join(line for cue in cues for line in cue.lines).split()
    assert shown == [word.word for some in segments for word in some]
    assert all(len(cue.lines) <= LINES for cue in cues)
    assert all(len(line) <= LINE_CHARACTERS for cue in cues for line in cue.lines)
    assert all(0 < cue.end_s - cue.start_s <= LONGEST_S + 1e-6 for cue in cues)
    assert all(one.end_s <= two.start_s for one, two in pairwise(cues))


def test_cues_end_with_sentences_and_at_pauses():
    found = list(cues_of([spread("It was late. Nobody came, and", 0.0, 4.0) + spread("nobody minded", 5.0, 6.0)]))
    assert [cue.lines for cue in found] == [("It was late.",), ("Nobody came, and",), ("nobody minded",)]


def test_formats():
    cues = [Cue(start_s=0.5, end_s=2.0, lines=("a < b & c", "d")), Cue(start_s=3661.0015, end_s=3662.0, lines=("e",))]
    assert vtt(cues) == (
        "WEBVTT\n\n00:00:00.500 --> 00:00:02.000\na &lt; b &amp; c\nd\n\n01:01:01.002 --> 01:01:02.000\ne\n"
    )
    assert srt(cues) == ("1\n00:00:00,500 --> 00:00:02,000\na < b & c\nd\n\n2\n01:01:01,002 --> 01:01:02,000\ne\n")


def test_a_file_a_video(store: Store, tmp_path: Path):
    summary = export(store.url, "features/said", tmp_path / "vtt", to="vtt")
    files = {path.name: path.read_text() for path in (tmp_path / "vtt").iterdir()}
    assert set(files) == {f"{name}.vtt" for name in SAID}
    assert sum(len(VTT_TIMES.findall(text)) for text in files.values()) == summary.rows
    assert "harvest was late" in files["farm.vtt"].replace("\n", " ")
    assert "thanks" not in files["kitchen.vtt"]
    assert files["quiet.vtt"] == "WEBVTT\n"
    export(store.url, "features/written", tmp_path / "srt", to="srt")
    assert (tmp_path / "srt" / "farm.srt").read_text() == "1\n00:00:00,000 --> 00:00:07,000\nChapter 3\n"
    export(store.url, "features/said", tmp_path / "json", to="json")
    whole = json.loads((tmp_path / "json" / "dorf.json").read_text())
    assert whole["language"] == "de"
    assert [(one["start"], one["end"], one["text"]) for one in whole["segments"]] == [SAID["dorf"][0][:3]]


def test_what_holds_no_words_is_refused(store: Store, tmp_path: Path):
    with pytest.raises(UsageError, match="clips has no segments of speech, no lines on screen"):
        export(store.url, "clips", tmp_path / "x", to="vtt")


def test_the_name_of_a_file_is_no_path_whatever_a_store_calls_its_videos(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    rows = [{"video_id": f"/../../escaped{place}", "uri": f"/{place}/a.mp4"} for place in range(2)]
    monkeypatch.setattr(Store, "parts", lambda self, table: [0])
    monkeypatch.setattr(Store, "read", lambda self, table, part, columns: pa.Table.from_pylist(rows))
    with pytest.raises(UsageError, match="ids must be of letters and digits"):
        video_names(Store(str(tmp_path)))

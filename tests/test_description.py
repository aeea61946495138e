"""Descriptions are spoken at their times and never at once; read back, the soundtrack of a demo video has its words."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

import hypothesis.strategies as st
import jiwer
import numpy as np
import pyarrow as pa
import pytest
from filling import filled
from hypothesis import given, settings
from media_files import packaged
from speech import write_wav
from spoken import plain
from test_encode import heard
from test_words import SAID, Said, Written

from vidray.cli import main
from vidray.errors import UsageError
from vidray.exports.description import PAUSE_S, Description, Soundtrack, joined
from vidray.exports.export import export
from vidray.extractors.quality import Quality
from vidray.extractors.speech.moonshine import MoonshineText
from vidray.models.speaking import RATE
from vidray.planning import FixedStride
from vidray.store import Store
from vidray.store.layout import LABELS

CUE = re.compile(r"(\d\d):(\d\d):(\d\d\.\d{3}) --> (\d\d):(\d\d):(\d\d\.\d{3})\n(.*)\n")
LENGTH_S = 8.0


def cues(path: Path) -> list[tuple[float, float, str]]:
    found = CUE.findall(path.read_text())
    return [
        (int(h) * 3600 + int(m) * 60 + float(s), int(h2) * 3600 + int(m2) * 60 + float(s2), text)
        for h, m, s, h2, m2, s2, text in found
    ]


def described(*found: tuple[float, float, str]) -> list[Description]:
    return [Description(start_s=start_s, end_s=end_s, text=text) for start_s, end_s, text in found]


spans = st.lists(st.tuples(st.floats(0, 10), st.floats(0.1, 5), st.sampled_from("abcdefgh")), max_size=20)


@settings(max_examples=50, deadline=None)
@given(spans, st.floats(0.01, 5))
def test_none_is_spoken_over_another_nor_before_its_time_and_each_is_accounted_for(
    drawn: list[tuple[float, float, str]], length_s: float
):
    wanted = joined(described(*((start_s, start_s + span_s, text) for start_s, span_s, text in drawn)))
    track = Soundtrack(
        descriptions=wanted, speak=lambda text, _: np.full(round(length_s * RATE), ord(text), np.float32), duration_s=12
    )
    samples = np.concatenate([np.zeros(0, np.float32), *track.samples()])
    assert len(track.cues) + track.passed_over == len(wanted)
    assert len(samples) >= 12 * RATE
    assert all(one.end_s + PAUSE_S <= two.start_s + 1e-4 for one, two in pairwise(track.cues))
    first_free_s = 0.0
    for cue in track.cues:
        begin, end = round(cue.start_s * RATE), round(cue.end_s * RATE)
        assert set(samples[begin:end].tolist()) == {float(ord(cue.lines[0]))}
        first_free_s = cue.end_s
    assert not samples[round(first_free_s * RATE) :].any()
    starts = {(one.text, round(one.start_s * RATE)) for one in wanted}
    early = [cue for cue in track.cues if (cue.lines[0], round(cue.start_s * RATE)) not in starts]
    # who does not begin on time begins when the one before is over
    ends_s = [cue.end_s + PAUSE_S for cue in track.cues]
    assert all(min(abs(cue.start_s - end_s) for end_s in ends_s) < 1e-4 for cue in early)


def test_what_follows_itself_is_said_once_and_what_has_no_letters_never():
    found = joined(described((4, 6, "a dog"), (0, 2, "a  dog"), (2, 4, "a\ndog"), (7, 8, "a dog"), (8, 9, "–")))
    assert [(one.start_s, one.end_s, one.text) for one in found] == [(0, 6, "a dog"), (7, 8, "a dog")]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Speech and screen text of a script, and labels, of files of eight seconds in clips of two."""
    folder = tmp_path_factory.mktemp("described")
    (folder / "corpus").mkdir()
    for name in SAID:
        write_wav(folder / "corpus" / f"{name}.wav", np.full(int(LENGTH_S * 8000), 0.1, np.float32), sample_rate=8000)
    held = filled(folder / "store", folder / "corpus", {"said": Said(), "written": Written()}, FixedStride(2.0))
    for part in held.parts("clips"):
        clips = held.read("clips", part, ["clip_id", "video_id", "uri", "start_s", "end_s"]).to_pylist()
        rows = [
            {**clip, "label": label, "score": score, "source": "person"}
            for clip in clips
            if Path(clip["uri"]).stem == "sea"
            for label, score in ((("a boat", 0.5), ("open water", 0.9)) if clip["start_s"] < 4 else (("a beach", 1.0),))
        ]
        held.write("labels/scenes", part, pa.Table.from_pylist(rows, LABELS), LABELS)
    return held


def test_labels_are_spoken_the_likeliest_first_and_once_while_they_last(store: Store, tmp_path: Path):
    summary = export(store.url, "labels/scenes", tmp_path, to="description")
    assert (summary.rows, summary.unit, summary.passed_over) == (2, "descriptions", 0)
    found = cues(tmp_path / "sea.vtt")
    assert [(start_s, text) for start_s, _, text in found] == [(0.0, "open water, a boat"), (4.0, "a beach")]
    samples = heard((tmp_path / "sea.opus").read_bytes())
    assert len(samples) == LENGTH_S * RATE
    first, second = ((round(start_s * RATE), round(end_s * RATE)) for start_s, end_s, _ in found)
    assert np.abs(samples[slice(*first)]).max() > 0.05 < np.abs(samples[slice(*second)]).max()
    assert np.abs(samples[first[1] + 480 : second[0] - 480]).max() < 1e-3


def test_segments_lines_and_languages(store: Store, tmp_path: Path):
    export(store.url, "features/written", tmp_path / "written", to="description")
    assert [(start_s, text) for start_s, _, text in cues(tmp_path / "written" / "farm.vtt")] == [(0.0, "Chapter 3")]
    assert (tmp_path / "written" / "quiet.vtt").read_text().strip() == "WEBVTT"
    assert not (tmp_path / "written" / "quiet.opus").exists()
    export(store.url, "features/said", tmp_path / "said", to="description")
    # what is flagged as invented is not said; German is read by espeak-ng
    assert [text for _, _, text in cues(tmp_path / "said" / "kitchen.vtt")] == ["Add two spoons of sugar and stir."]
    (only,) = cues(tmp_path / "said" / "dorf.vtt")
    assert only[0] == 0.5
    assert len(heard((tmp_path / "said" / "dorf.opus").read_bytes())) == LENGTH_S * RATE


def test_the_command_says_what_is_passed_over_and_what_cannot_be_read_out(store: Store, tmp_path: Path, capsys):
    assert main(["export", store.url, "features/said", "--to", "description", "-o", str(tmp_path)]) == 0
    assert "descriptions in" in capsys.readouterr().out
    with pytest.raises(UsageError, match="videos has nothing to read out for --to description; give labels/NAME"):
        export(store.url, "videos", tmp_path, to="description")


@pytest.mark.slow
def test_the_described_soundtrack_of_a_demo_video_is_understood(tmp_path: Path):
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus" / "bikes.mp4").symlink_to(packaged("bikes.mp4"))
    said = ("Three people are riding their bicycles along a street.", "Behind them an old building is seen.")
    held = filled(tmp_path / "store", tmp_path / "corpus", {"quality": Quality(fps=0.2)}, FixedStride(5.0))
    (part,) = held.parts("clips")
    clips = held.read("clips", part, ["clip_id", "video_id", "uri", "start_s", "end_s"]).to_pylist()
    rows = [{**clip, "label": text, "score": 1.0, "source": "person"} for clip, text in zip(clips, said, strict=False)]
    held.write("labels/scenes", part, pa.Table.from_pylist(rows, LABELS), LABELS)
    export(held.url, "labels/scenes", tmp_path / "described", to="description")
    assert [text for _, _, text in cues(tmp_path / "described" / "bikes.vtt")] == list(said)
    read = filled(tmp_path / "read", tmp_path / "described", {"moonshine": MoonshineText()}, FixedStride(60.0))
    (row,) = read.read("features/moonshine", 0, ["text", "segments"]).to_pylist()
    assert jiwer.wer(plain(" ".join(said)), plain(row["text"])) <= 0.05, row["text"]
    for (start_s, _, _), segment in zip(cues(tmp_path / "described" / "bikes.vtt"), row["segments"], strict=True):
        assert segment["start_s"] == pytest.approx(start_s, abs=0.5)

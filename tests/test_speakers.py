"""Who speaks when: the right voices at the right times, whatever the clips; words and RTTM say the same."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conversations import conversation
from spoken import RATE, Floats, silence

from vidray.errors import UsageError
from vidray.extractors import resolve
from vidray.extractors.speech.speakers import Speakers
from vidray.extractors.speech.turns import Turn, Window, turns_of
from vidray.extractors.speech.voices import Voices
from vidray.media import AudioSamples, Clip, ClipInput, with_context
from vidray.models.speaker_network import DIM, voice_network, windows

MOST_ERROR = 0.15

Row = dict[str, Any]


def in_clips(samples: Floats, length_s: float) -> list[ClipInput]:
    """A recording in clips, each with the context that `voices` asks for."""
    duration_s = len(samples) / RATE
    found: list[ClipInput] = []
    for number in range(int(np.ceil(duration_s / length_s))):
        start_s, end_s = number * length_s, min(duration_s, (number + 1) * length_s)
        low, high = (round(at_s * RATE) for at_s in with_context(Voices().inputs["audio"], start_s, end_s, duration_s))
        clip = Clip(clip_id=str(number), video_id="v", uri="u", clip_index=number, start_s=start_s, end_s=end_s)
        audio = AudioSamples(samples=samples[low:high], sample_rate=RATE, start_s=low / RATE)
        earlier = found[-1].clip.end_s if found else None
        found.append(ClipInput(clip=clip, values={"audio": audio}, previous_end_s=earlier))
    return found


def speakers(clips: Sequence[ClipInput], voices: Sequence[Any], **values: Any) -> tuple[Row, Row]:
    """What `speakers` makes of the vectors of these clips."""
    texts = values.pop("texts", [None] * len(clips))
    items = [
        ClipInput(clip=one.clip, values={"voices": {"voices": some}, "text": text})
        for one, some, text in zip(clips, voices, texts, strict=True)
    ]
    answer: Any = Speakers(**values).load("cpu")(items)
    return answer


def spans_of(row: Row) -> list[tuple[float, float, str]]:
    return [(one["start_s"], one["end_s"], one["speaker"]) for some in row["turns"] for one in some]


def error_rate(truth: Sequence[tuple[float, float, str]], found: Sequence[tuple[float, float, str]]) -> float:
    """Diarisation error rate by pyannote.metrics, without a collar, overlaps counted."""
    from pyannote.core import Annotation, Segment, Timeline
    from pyannote.metrics.diarization import DiarizationErrorRate

    def annotation(spans: Sequence[tuple[float, float, str]]) -> Any:
        made = Annotation()
        for place, (start_s, end_s, who) in enumerate(spans):
            made[Segment(start_s, end_s), place] = who
        return made

    whole = Timeline([Segment(0, max(end_s for _, end_s, _ in [*truth, *found]))])
    return float(DiarizationErrorRate()(annotation(truth), annotation(found), uem=whole))


@pytest.fixture(scope="module")
def voices() -> Any:
    return Voices().load("cpu")


@pytest.mark.slow
@pytest.mark.parametrize("names", [("librivox", "fr"), ("librivox", "fr", "it")], ids=len)
def test_who_speaks_when_in_a_conversation(voices: Any, names: tuple[str, ...]):
    samples, truth = conversation(names)
    clips = in_clips(samples, 10.0)
    rows, video = speakers(clips, voices(clips)["voices"])
    assert video["speaker_count"] == len(names)
    assert error_rate(truth, spans_of(rows)) <= MOST_ERROR
    said_s = sum(end_s - start_s for start_s, end_s, _ in spans_of(rows))
    assert sum(one["seconds"] for one in video["speakers"]) == pytest.approx(said_s)
    for item, some in zip(clips, rows["turns"], strict=True):
        assert all(item.clip.start_s <= one["start_s"] < item.clip.end_s for one in some)


@pytest.mark.slow
def test_clips_decide_nothing(voices: Any):
    samples, _ = conversation(("librivox", "fr"), turns=4)
    found = []
    for length_s in (10.0, 3.7):
        clips = in_clips(samples, length_s)
        rows = [one for some in voices(clips)["voices"] for one in some]
        found.append([(one["start_s"], one["end_s"], one["voice"].tobytes()) for one in rows])
    assert found[0] == found[1]
    assert len(found[0]) > 20


def test_silence_has_no_voices(voices: Any):
    clips = in_clips(silence(4.0), 2.0)
    assert voices(clips) == {"voices": [[], []]}
    rows, video = speakers(clips, [[], []])
    assert rows == {"turns": [[], []], "words": [None, None]}
    assert video == {"speaker_count": 0, "speakers": []}


def test_a_voice_is_a_unit_vector_and_does_not_hang_on_what_else_is_said():
    generator = np.random.default_rng(3)
    short, long = (generator.standard_normal(size).astype(np.float32) * 0.05 for size in (9000, 80_000))
    network = voice_network()
    alone, together = network([short]), network([long, short])
    assert alone[0].tobytes() == together[1].tobytes()
    assert together[0].shape == (len(windows(80_000)), DIM)
    assert np.allclose(np.linalg.norm(together[0], axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("count", [1, 9000, 25_600, 25_601, 60_000, 480_000])
def test_windows_cover_a_segment(count: int):
    spans = windows(count)
    assert spans[0][0] == 0
    assert spans[-1][1] == count
    starts = [start for start, _ in spans]
    assert starts == sorted(set(starts))
    assert all(after - before <= 6400 for before, after in pairwise(starts))


def made(*heard: tuple[float, float, int], noise: float = 0.05) -> list[Window]:
    """Windows of segments, each of one of some voices whose vectors are known."""
    generator = np.random.default_rng(1)
    directions = np.eye(8, dtype=np.float32)
    found = []
    for start_s, end_s, who in heard:
        for start, stop in windows(round((end_s - start_s) * RATE)):
            vector = directions[who] + noise * generator.standard_normal(8).astype(np.float32)
            found.append(
                Window(
                    start_s=start_s + start / RATE,
                    end_s=start_s + stop / RATE,
                    segment_end_s=end_s,
                    voice=vector / np.linalg.norm(vector),
                )
            )
    return found


def test_turns_of_known_voices():
    heard = [(1.0, 6.0, 4), (6.5, 9.0, 4), (10.0, 15.0, 2), (16.0, 21.0, 4)]
    turns = turns_of(made(*heard))
    assert turns == [
        Turn(start_s=1.0, end_s=9.0, speaker=0),
        Turn(start_s=10.0, end_s=15.0, speaker=1),
        Turn(start_s=16.0, end_s=21.0, speaker=0),
    ]
    assert {turn.speaker for turn in turns_of(made(*heard), count=1)} == {0}
    assert {turn.speaker for turn in turns_of(made(*heard, (22, 23, 5)))} == {0, 1}, "too short for one of its own"
    assert {turn.speaker for turn in turns_of(made(*heard, (22, 23, 5)), count=3)} == {0, 1, 2}
    assert turns_of([]) == []


def test_long_videos_join_neighbouring_windows(monkeypatch: pytest.MonkeyPatch):
    heard = [(20.0 * number, 20.0 * number + 18, number % 3) for number in range(9)]
    whole = turns_of(made(*heard))
    monkeypatch.setattr("vidray.extractors.speech.turns.MOST_WINDOWS", 100)
    assert turns_of(made(*heard)) == whole
    assert len({turn.speaker for turn in whole}) == 3


def test_words_have_the_speaker_of_their_moment():
    heard = made((1.0, 5.0, 0), (6.0, 12.0, 1))
    rows = [{**vars(one)} for one in heard]
    clips = in_clips(silence(12.0), 6.0)
    vectors = [[row for row in rows if row["start_s"] < 6.0], [row for row in rows if row["start_s"] >= 6.0]]

    def word(text: str, start_s: float) -> Row:
        return {"word": text, "start_s": start_s, "end_s": start_s + 0.3, "score": 1.0}

    texts = [{"text": "a b", "words": [word("a", 1.5), word("b", 5.2)]}, {"text": "c", "words": [word("c", 7.0)]}]
    found, _ = speakers(clips, vectors, of="transcript", texts=texts)
    assert [(one["word"], one["speaker"]) for some in found["words"] for one in some] == [
        ("a", "speaker 1"),
        ("b", "speaker 1"),
        ("c", "speaker 2"),
    ]
    said = {"start_s": 6.5, "end_s": 8.5, "text": "three more words", "language": "en", "invented": None}
    spread = [{"text": "", "segments": []}, {"text": said["text"], "segments": [said], "words": None}]
    found, _ = speakers(clips, vectors, of="moonshine", texts=spread)
    assert [one["word"] for one in found["words"][1]] == ["three", "more", "words"]
    assert {one["speaker"] for one in found["words"][1]} == {"speaker 2"}


def test_options():
    assert resolve("speakers?of=transcript&count=2") == Speakers(of="transcript", count=2)
    assert Speakers(of="transcript").name == "speakers-transcript"
    with pytest.raises(UsageError, match="count must be at least 1, got 0"):
        resolve("speakers?count=0")


@pytest.mark.slow
def test_a_store_has_turns_and_gives_them_as_rttm(tmp_path: Path):
    from filling import filled
    from speech import write_wav

    from vidray.exports.export import export
    from vidray.planning import FixedStride

    corpus = tmp_path / "corpus"
    corpus.mkdir()
    samples, truth = conversation(("librivox", "fr"), turns=6)
    write_wav(corpus / "two people.wav", samples, sample_rate=RATE)
    store = filled(tmp_path / "store", corpus, {"speakers": Speakers(count=2)}, FixedStride(10.0))
    turns = [one for row in store.read("features/speakers", 0).to_pylist() for one in row["turns"]]
    summary = export(store.url, "features/speakers", tmp_path / "out", to="rttm")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["two people.rttm"]
    lines = [line.split() for line in (tmp_path / "out" / "two people.rttm").read_text().splitlines()]
    assert summary.rows == len(lines) == len(turns)
    for line, turn in zip(lines, turns, strict=True):
        assert len(line) == 10
        assert line[:3] == ["SPEAKER", "two_people", "1"]
        assert line[7] == turn["speaker"].replace(" ", "_")
        assert [float(line[3]), float(line[4])] == pytest.approx(
            [turn["start_s"], turn["end_s"] - turn["start_s"]], abs=2e-3
        )
    assert error_rate(truth, [(one["start_s"], one["end_s"], one["speaker"]) for one in turns]) <= MOST_ERROR
    with pytest.raises(UsageError, match="has no turns of speakers for --to rttm"):
        export(store.url, "features/voices", tmp_path / "out", to="rttm")

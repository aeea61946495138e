"""Extractive summaries hold the sentences that talks were made around, with their times."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from talks import OTHER_TALKS, TALKS, talk

from vidray.errors import UsageError
from vidray.extractors import describe, resolve, restore
from vidray.extractors.text.chapters import chapter_starts
from vidray.extractors.text.summary import Summary, condensed
from vidray.media import Clip, ClipInput
from vidray.models import sentences
from vidray.models.sentences import embed_sentences
from vidray.models.writing import Writer
from vidray.testing import check_extractor

CLIP_S = 10.0
SENTENCE_S = 4.0


def spoken(said: list[str]) -> tuple[list[ClipInput], dict[str, float]]:
    """A talk's words with times in clips of 10 s, as a transcript has them, and when each sentence starts."""
    words: list[dict[str, Any]] = []
    starts = {}
    for place, sentence in enumerate(said):
        starts[sentence] = place * SENTENCE_S
        some = sentence.split()
        words += [
            {
                "word": word,
                "start_s": place * SENTENCE_S + 0.2 * number,
                "end_s": place * SENTENCE_S + 0.2 * number + 0.1,
            }
            for number, word in enumerate(some)
        ]
    clips = []
    for number in range(int(len(said) * SENTENCE_S // CLIP_S) + 1):
        start_s, end_s = number * CLIP_S, (number + 1) * CLIP_S
        own = [word for word in words if start_s <= word["start_s"] < end_s]
        row = {"text": " ".join(word["word"] for word in own), "words": own, "language": "en"}
        clip = Clip(clip_id=str(number), video_id="v", uri="u", clip_index=number, start_s=start_s, end_s=end_s)
        clips.append(ClipInput(clip=clip, values={"text": row}))
    return clips, starts


@pytest.fixture(autouse=True)
def once(monkeypatch: pytest.MonkeyPatch):
    """Each sentence is embedded once for all tests."""
    monkeypatch.setattr(sentences, "embed_sentences", _embedded)


def _embedded(texts: Sequence[str]) -> np.ndarray:
    return np.stack([_vector(text) for text in texts])


@cache
def _vector(text: str) -> np.ndarray:
    return embed_sentences([text])[0]


@pytest.mark.parametrize("talks", [TALKS, OTHER_TALKS], ids=["chosen on", "others"])
def test_summaries_hold_the_key_sentences_at_their_times(talks: Any):
    extract: Any = Summary().load("cpu")
    held = 0
    for number, (key, _) in enumerate(talks):
        clips, starts = spoken(talk(number, talks))
        rows, video = extract(clips)
        chosen = video["key_sentences"]
        assert len(chosen) == 3
        assert all(one["start_s"] == pytest.approx(starts[one["text"]]) for one in chosen)
        assert video["summary"] == " ".join(one["text"] for one in chosen)
        assert [one for some in rows["key_sentences"] for one in some] == chosen
        for clip, some in zip(clips, rows["key_sentences"], strict=True):
            assert all(clip.clip.start_s <= one["start_s"] < clip.clip.end_s for one in some)
        held += key in starts and key in [one["text"] for one in chosen]
    assert held >= 8, f"{held} of {len(talks)}"


@pytest.mark.parametrize("kind", ["t5", "gpt2"])
def test_a_model_writes_the_summaries_of_a_video_and_of_its_chapters(tmp_path: Path, kind: str):
    from tiny_networks import t5_folder, writer_folder

    from vidray.models.writing import writer

    folder = (t5_folder if kind == "t5" else writer_folder)(tmp_path / "model", seed=1)
    said = [*talk(5), *talk(2)]
    clips, _ = spoken(said)
    summary = Summary(model=folder, prompt="Sum up: {text}", tokens=12)
    assert restore(describe(summary)) == summary
    assert summary.memory_bytes > Summary().memory_bytes
    extract: Any = summary.load("cpu")
    rows, video = extract(clips)
    plain_rows, plain_video = Summary().load("cpu")(clips)  # type: ignore[misc]
    assert rows == plain_rows
    assert video["key_sentences"] == plain_video["key_sentences"]
    model = writer(folder, "Sum up: {text}", 12, what="summary", device="cpu")
    spans = [(one["start_s"], one["end_s"]) for one in video["chapters"]]
    assert spans == [(one["start_s"], one["end_s"]) for one in plain_video["chapters"]]
    first = round(spans[0][1] / SENTENCE_S)
    assert [one["summary"] for one in video["chapters"]] == [
        condensed(said[:first], model),
        condensed(said[first:], model),
    ]
    assert video["summary"] == condensed(said, model) != ""
    assert extract(spoken([])[0])[1]["summary"] is None


def test_more_than_a_model_takes_is_summed_up_part_by_part():
    asked: list[str] = []

    def write(text: str) -> str:
        asked.append(text)
        return text[0]

    model = Writer(write=write, takes=lambda text: len(text.split()) <= 4)
    assert condensed(["a b", "c d", "e f g h i", "j", "k l"], model) == "a"
    assert asked == ["a b c d", "e f g h i", "j k l", "a e j"]
    assert condensed([], model) == ""
    # a model that makes nothing shorter is not asked for ever
    assert condensed(["a b c", "d e f"], Writer(write=lambda text: text, takes=model.takes)) == "a b c d e f"


@pytest.mark.parametrize(("texts", "room"), [(0, 5), (1, 5), (7, 1), (1000, 7), (1000, 64), (1000, 2000)])
def test_as_many_texts_as_a_model_takes_are_read_at_once_and_few_tries_find_out(texts: int, room: int):
    read: list[int] = []

    def takes(text: str) -> bool:
        read.append(len(text.split()))
        return read[-1] <= room

    asked: list[str] = []
    condensed(
        [str(number) for number in range(texts)], Writer(write=lambda text: asked.append(text) or "", takes=takes)
    )  # type: ignore[func-returns-value]
    assert [len(text.split()) for text in asked] == [min(room, texts - first) for first in range(0, texts, room)]
    assert sum(read) <= 15 * texts


def test_what_is_said_twice_is_in_it_once_and_silence_has_none():
    extract: Any = Summary(sentences=5).load("cpu")
    again = ["The bridge is closed for repairs.", "Cats sleep most of the day."] * 4
    _, video = extract(spoken(again)[0])
    assert sorted(one["text"] for one in video["key_sentences"]) == sorted(set(again))
    rows, video = extract(spoken([])[0])
    assert rows == {"key_sentences": [[]]}
    assert video == {"summary": None, "key_sentences": [], "chapters": []}


def test_sentences_within_a_segment_have_their_own_times():
    text = "The bridge is closed for repairs. Cats sleep most of the day."
    segment = {"start_s": 2.0, "end_s": 8.0, "text": text, "language": "en", "invented": None}
    clip = Clip(clip_id="c", video_id="v", uri="u", clip_index=0, start_s=0.0, end_s=CLIP_S)
    item = ClipInput(clip=clip, values={"text": {"text": text, "segments": [segment]}})
    _, video = Summary(sentences=2).load("cpu")([item])
    first, second = video["key_sentences"]
    assert (first["start_s"], second["end_s"]) == (2.0, pytest.approx(8.0))
    assert first["end_s"] == pytest.approx(second["start_s"])
    assert 4.5 < first["end_s"] < 5.5


@pytest.mark.parametrize(("talks", "least"), [(TALKS, 85), (OTHER_TALKS, 70)], ids=["chosen on", "others"])
def test_chapters_of_joined_talks_begin_where_the_talks_do(talks: Any, least: int):
    generator = np.random.default_rng(1)
    near = found = 0
    for _ in range(50):
        three = [talk(int(number), talks) for number in generator.choice(len(talks), 3, replace=False)]
        places = chapter_starts(_embedded([sentence for some in three for sentence in some]))
        begins = (len(three[0]), len(three[0]) + len(three[1]))
        near += sum(any(abs(begin - place) <= 2 for place in places[1:]) for begin in begins)
        found += len(places) - 1
    assert near >= least, f"{near} of 100 within two sentences"
    assert found <= 110, f"{found} for 100"


def test_chapters_have_times_and_leave_no_gap():
    extract: Any = Summary().load("cpu")
    said = [*talk(5), *talk(2)]
    clips, starts = spoken(said)
    first, *_, last = found = extract(clips)[1]["chapters"]
    assert len(found) == 2
    assert all(one["end_s"] == two["start_s"] for one, two in pairwise(found))
    assert first["start_s"] == 0.0
    assert last["end_s"] > starts[said[-1]]
    assert all(one["start_s"] <= starts[one["summary"]] < one["end_s"] for one in found)


def test_one_talk_is_one_chapter():
    extract: Any = Summary().load("cpu")
    assert [len(extract(spoken(talk(number))[0])[1]["chapters"]) for number in range(3)] == [1, 1, 1]


def test_it_is_an_extractor_with_options():
    assert resolve("summary?of=ocr&sentences=5") == Summary(of="ocr", sentences=5)
    with pytest.raises(UsageError, match="sentences must be at least 1, got 0"):
        resolve("summary?sentences=0")
    with pytest.raises(UsageError, match="prompt must say where the text goes"):
        resolve("summary?model=x&prompt=hello")
    rows = [{"text": text, "language": None, "segments": None, "lines": None, "words": None} for text in talk(0)[:4]]
    check_extractor(Summary(), columns={"text": rows})

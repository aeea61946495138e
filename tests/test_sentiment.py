"""Whether texts are positive or negative: on written sentences, on clips and their video, by VADER and by a model."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_networks import classifier_folder

from vidray.errors import UsageError, WeightsError
from vidray.extractors import describe, resolve, restore
from vidray.extractors.text.sentiment import Sentiment, sides_of
from vidray.extractors.text.timed import parts_of
from vidray.media import AudioSamples, Clip, ClipInput
from vidray.testing import check_extractor

POSITIVE = (
    "The harvest was wonderful this year, and everybody was happy.",
    "I love how quiet the village is in the morning.",
    "She gave us a warm welcome and a delicious meal.",
    "The new bridge is safe, beautiful and free for all.",
    "Thank you, that was the best lesson I ever had.",
    "The children laughed and enjoyed the music.",
    "He is a generous friend whom everyone trusts.",
    "We won the match, and the crowd was thrilled.",
    "What a great idea, it saved us a lot of time.",
    "The doctors were kind, and she recovered well.",
    "This camera is excellent value and easy to use.",
    "It is not bad at all, I quite like it.",
    "The garden looks lovely after the rain.",
    "They were proud of their honest work.",
    "I am glad that you came, it was a pleasure.",
)
NEGATIVE = (
    "The harvest was terrible, and the farmers lost their money.",
    "I hate the noise of these awful engines.",
    "He was rude, and the food was disgusting.",
    "The bridge collapsed, and several people were killed.",
    "That was the worst lesson I ever had.",
    "The children cried because they were afraid.",
    "He is a cruel liar whom nobody trusts.",
    "We lost the match, and the crowd was angry.",
    "What a stupid mistake, it ruined everything.",
    "The doctors failed, and she died in pain.",
    "This camera is broken, a useless waste of money.",
    "It is not good at all, I do not like it.",
    "The garden was destroyed by the horrible storm.",
    "They were ashamed of their dishonest work.",
    "I am sorry that you suffered, it was a disaster.",
)
"""Thirty sentences, written down before the first run."""

FRENCH = "La récolte était merveilleuse cette année, et tout le monde était très content du village."


def clips(*rows: dict[str, Any] | None, length_s: float = 10.0) -> list[ClipInput]:
    found = []
    for place, row in enumerate(rows):
        start_s = place * length_s
        span = Clip(
            clip_id=str(place), video_id="v", uri="u", clip_index=place, start_s=start_s, end_s=start_s + length_s
        )
        found.append(ClipInput(clip=span, values={"text": row}, failed=row is None))
    return found


def scored(*texts: str | None, **extractor: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    answer: Any = Sentiment(**extractor).load("cpu")(clips(*({"text": text} for text in texts)))
    return answer


def test_signs_of_written_sentences_are_right():
    for sentences, label in ((POSITIVE, "positive"), (NEGATIVE, "negative")):
        rows = [scored(text)[0]["sentiment"][0] for text in sentences]
        assert rows == [label] * len(sentences), [
            text for text, row in zip(sentences, rows, strict=True) if row != label
        ]


@pytest.mark.slow
def test_signs_of_spoken_sentences_are_right():
    from torch import from_numpy
    from torchaudio.functional import resample

    from vidray.extractors.speech.moonshine import MoonshineText
    from vidray.models.speaking import RATE, speaker

    hear, speak, pause = MoonshineText().load("cpu"), speaker("hibari"), np.zeros(8_000, np.float32)
    wrong = []
    for text, label in [*((one, "positive") for one in POSITIVE), *((one, "negative") for one in NEGATIVE)]:
        heard = np.concatenate([pause, resample(from_numpy(speak(text)), RATE, 16_000).numpy(), pause])
        span = Clip(clip_id="c", video_id="v", uri="u", clip_index=0, start_s=0.0, end_s=len(heard) / 16_000)
        audio = AudioSamples(samples=heard, sample_rate=16_000)
        said: Any = hear([ClipInput(clip=span, values={"audio": audio})])
        if scored(said["text"][0])[0]["sentiment"] != [label]:
            wrong.append((text, said["text"]))
    assert not wrong


def test_what_says_nothing_is_neutral_and_no_text_is_null():
    rows, video = scored("The train leaves at nine.", "", None)
    assert rows["sentiment"] == ["neutral", None, None]
    assert rows["sentiment_score"] == [0.0, None, None]
    assert rows["segments"][1:] == [[], []]
    assert video["sentiment"] == "neutral"
    assert scored("")[1] == {
        "sentiment": None,
        "sentiment_score": None,
        "sentiment_probability": None,
        "course": [],
    }


def test_another_language_is_null_said_by_the_table_or_told_from_the_text():
    rows, _ = Sentiment().load("cpu")(
        clips(
            {"text": "That was wonderful.", "language": "de"},
            {"text": "That was wonderful.", "language": "en"},
            {"text": FRENCH},
        )
    )
    assert rows["sentiment"] == [None, "positive", None]
    assert [one["label"] for one in rows["segments"][2]] == [None]


def test_a_sentence_over_the_border_of_clips_is_one_and_counts_in_both():
    first, second = [("What", 8.0), ("a", 8.5), ("wonderful", 9.0)], [("harvest.", 10.5), ("I", 12), ("hate", 12.5)]
    rows, video = Sentiment().load("cpu")(
        clips(
            *(
                {
                    "text": " ".join(word for word, _ in words),
                    "language": "en",
                    "words": [
                        {"word": word, "start_s": at_s, "end_s": at_s + 0.4, "score": 1.0} for word, at_s in words
                    ],
                }
                for words in (first, [*second, ("rain.", 13.0)])
            )
        )
    )
    spans = [[(one["start_s"], one["end_s"], one["text"]) for one in some] for some in rows["segments"]]
    assert spans == [[(8.0, 10.9, "What a wonderful harvest.")], [(12.0, 13.4, "I hate rain.")]]
    good, bad = (some[0]["score"] for some in rows["segments"])
    assert good > 0 > bad
    # letters of the words: 14 in the first clip; 8 and 10 in the second
    assert rows["sentiment_score"] == pytest.approx([good, (8 * good + 10 * bad) / 18])
    assert video["sentiment_score"] == pytest.approx((22 * good + 10 * bad) / 32)


def test_segments_and_lines_keep_their_own_times_and_what_is_invented_is_left_out():
    def segment(text: str, start_s: float, invented: str | None = None) -> dict[str, Any]:
        return {"start_s": start_s, "end_s": start_s + 2, "text": text, "language": "en", "invented": invented}

    heard = {"text": "", "segments": [segment("How lovely!", 1.0), segment("I hate it.", 4.0, "loop")]}
    rows, _ = Sentiment().load("cpu")(clips(heard))
    assert [(one["start_s"], one["end_s"], one["label"]) for one in rows["segments"][0]] == [(1.0, 3.0, "positive")]
    seen = {"text": "", "lines": [{"start_s": 2.0, "end_s": 9.0, "text": "DANGER", "score": 0.9}]}
    rows, _ = Sentiment().load("cpu")(clips(seen))
    assert [(one["start_s"], one["label"]) for one in rows["segments"][0]] == [(2.0, "negative")]


def test_the_course_is_by_the_minute_and_leaves_silence_out():
    texts = ["How lovely."] * 6 + [None] * 6 + ["How awful."] * 3
    _, video = scored(*texts)
    assert [(one["start_s"], one["end_s"]) for one in video["course"]] == [(0.0, 60.0), (120.0, 180.0)]
    assert [np.sign(one["score"]) for one in video["course"]] == [1, -1]


def test_abbreviations_end_no_sentence():
    rows = [{"text": "Mr. Smith came. He left at 3 p.m. and Dr. Brown stayed! Nobody knows why"}]
    texts = [part.text for part in parts_of([clips(None)[0].clip], rows)]
    assert texts[0] == "Mr. Smith came."
    assert texts[-1] == "Nobody knows why"
    assert any("Dr. Brown stayed!" in text for text in texts)


def test_a_model_says_what_the_librarys_own_pipeline_says(tmp_path: Path):
    transformers = pytest.importorskip("transformers")
    folder = classifier_folder(tmp_path / "model", ("negative", "neutral", "positive"))
    pipeline = transformers.pipeline("text-classification", model=folder, device="cpu")
    texts = [*POSITIVE, *NEGATIVE]
    rows, video = scored(*texts, model=folder)
    wanted = pipeline(texts)
    assert rows["sentiment"] == [one["label"] for one in wanted]
    assert rows["sentiment_probability"] == pytest.approx([one["score"] for one in wanted], abs=1e-6)
    every = pipeline(texts, top_k=None)
    signed = [sum(one["score"] * {"neg": -1, "neu": 0, "pos": 1}[one["label"][:3]] for one in some) for some in every]
    assert rows["sentiment_score"] == pytest.approx(signed, abs=1e-6)
    assert len({*rows["sentiment"]}) > 1
    assert video["sentiment"] in ("negative", "neutral", "positive")


def test_a_text_that_is_too_long_for_a_model_is_cut(tmp_path: Path):
    folder = classifier_folder(tmp_path / "model", ("a", "b"))
    rows, _ = scored("zyzzyva " * 59, model=folder)
    assert rows["sentiment"][0] in ("a", "b")
    assert rows["sentiment_score"] == [None]


def test_a_store_names_folders_of_models_alone(tmp_path: Path):
    folder = classifier_folder(tmp_path / "model", ("negative", "positive"))
    spec = describe(Sentiment(model=folder))
    assert restore(spec) == resolve(f"sentiment?model={folder}") == Sentiment(model=folder)
    with pytest.raises(UsageError, match="nothing is fetched because a store says so"):
        restore({**spec, "settings": {**spec["settings"], "model": "someone/else"}})
    (tmp_path / "model" / "config.json").write_text((tmp_path / "model" / "config.json").read_text() + "\n")
    with pytest.raises(WeightsError, match="are not those that made the table"):
        restore(spec)
    with pytest.raises(WeightsError, match="cannot be loaded"):
        Sentiment(model=str(tmp_path / "nothing")).load("cpu")


def test_no_code_of_a_model_is_run_and_nobody_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder = Path(classifier_folder(tmp_path / "model", ("negative", "positive")))
    config = json.loads((folder / "config.json").read_text())
    named = {"AutoConfig": "own.Own", "AutoModelForSequenceClassification": "own.Model"}
    (folder / "config.json").write_text(json.dumps({**config, "model_type": "own", "auto_map": named}))
    (folder / "own.py").write_text(f"from pathlib import Path\nPath({str(tmp_path / 'proof')!r}).touch()\n")
    monkeypatch.setattr("builtins.input", lambda *_: "y")
    with pytest.raises(WeightsError, match="cannot be loaded"):
        Sentiment(model=str(folder)).load("cpu")
    assert not (tmp_path / "proof").exists()


def test_a_hubs_model_is_known_by_its_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    for commit in ("a" * 40, "b" * 40):
        held = tmp_path / "models--someone--model"
        for name, content in ((f"snapshots/{commit}/config.json", "{}"), ("refs/main", commit)):
            (held / name).parent.mkdir(parents=True, exist_ok=True)
            (held / name).write_text(content)
        weights = describe(Sentiment(model="someone/model"))["weights"]
        assert weights == {"source": "someone/model", "sha256": None, "commit": commit}
    with pytest.raises(WeightsError, match="is no folder, and no hub gives it"):
        describe(Sentiment(model="someone/else"))


@pytest.mark.parametrize(
    ("labels", "sides"),
    [
        (["NEGATIVE", "POSITIVE"], [-1, 1]),
        ([f"{n} star{'s' * (n > 1)}" for n in range(1, 6)], [-1, -0.5, 0, 0.5, 1]),
        (["LABEL_0", "LABEL_1"], None),
    ],
)
def test_labels_of_models_have_sides(labels: Sequence[str], sides: list[float] | None):
    found = sides_of(labels)
    assert found is None if sides is None else found.tolist() == sides


def test_it_is_an_extractor():
    rows = [{"text": text, "language": None, "segments": None, "lines": None, "words": None} for text in POSITIVE[:4]]
    check_extractor(Sentiment(), columns={"text": rows})

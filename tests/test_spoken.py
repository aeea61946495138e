"""Texts as speech: by hibari's voice, by espeak-ng, and what is said where neither is installed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from test_encode import heard

from vidray.encode import RATE
from vidray.errors import UsageError
from vidray.extractors import describe, resolve
from vidray.extractors.text.spoken import Spoken
from vidray.media import Clip, ClipInput
from vidray.models import speaking
from vidray.models.speaking import ENGINES, MOST_LETTERS, cut, engine_of, speaker
from vidray.testing import check_extractor

TEXT = "A red car drives by."


def clips(*rows: dict[str, Any]) -> list[ClipInput]:
    spans = [
        Clip(clip_id=str(n), video_id="v", uri="u", clip_index=n, start_s=10.0 * n, end_s=10.0 * n + 10)
        for n in range(len(rows))
    ]
    return [ClipInput(clip=clip, values={"text": row}) for clip, row in zip(spans, rows, strict=True)]


@pytest.mark.parametrize("engine", ENGINES)
def test_a_text_is_an_opus_file_of_its_length_and_what_says_nothing_is_null(engine: str):
    rows = [{"text": TEXT}, {"text": f"{TEXT} {TEXT}"}, {"text": " "}, {"text": None}, {"text": "...\u200b"}]
    found: Any = Spoken(engine=engine).load("cpu")(clips(*rows))
    once, twice, *none = found["audio"]
    assert none == [None] * 3
    assert found["duration_s"][2:] == [None] * 3
    for file, duration_s in ((once, found["duration_s"][0]), (twice, found["duration_s"][1])):
        samples = heard(file)
        assert len(samples) / RATE == pytest.approx(duration_s, abs=1e-4)
        assert np.abs(samples).max() > 0.05
    assert 1 < found["duration_s"][0] < 3
    assert found["duration_s"][1] > 1.7 * found["duration_s"][0]


def test_what_is_known_to_be_of_another_language_is_null():
    rows = [{"text": TEXT, "language": code} for code in ("en", "en-GB", None, "de", "de_AT")]
    english: Any = Spoken(engine="espeak-ng").load("cpu")(clips(*rows))
    german: Any = Spoken(engine="espeak-ng", language="de").load("cpu")(clips(*rows))
    assert [one is not None for one in english["audio"]] == [True, True, True, False, False]
    assert [one is not None for one in german["audio"]] == [False, False, True, True, True]
    assert english["audio"][2] != german["audio"][2]


def test_a_text_is_no_option_and_no_markup():
    speak = speaker("espeak-ng")
    assert len(speak("--version")) > 8_000
    assert len(speak("<voice name='de'>car</voice>")) > len(speak("car"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("engine=festival", "engine must be hibari or espeak-ng, got 'festival'"),
        ("engine=hibari&language=de", "hibari speaks English alone, got language 'de'; engine=espeak-ng knows others"),
        ("engine=espeak-ng&language=tlh9", "espeak-ng does not speak 'tlh9': .*`espeak-ng --voices` lists"),
        ("engine=espeak-ng&language=../x", 'language must be a code such as "en" or "pt-br", got \'../x\''),
    ],
)
def test_what_cannot_be_meant_is_said_before_a_run(options: str, message: str):
    with pytest.raises(UsageError, match=message) as caught:
        resolve(f"spoken?{options}").settle()  # type: ignore[attr-defined]
    assert "\n" not in str(caught.value)


def test_the_engine_is_the_first_that_is_installed_and_its_lack_has_a_remedy(monkeypatch: pytest.MonkeyPatch):
    assert engine_of(None) == "hibari"
    assert describe(Spoken())["weights"]["source"].startswith("hibari-tts==")
    monkeypatch.setattr(speaking, "PACKAGE", "no-such-package")
    assert engine_of(None) == "espeak-ng"
    assert describe(Spoken())["weights"]["source"].startswith("espeak-ng 1.")
    with pytest.raises(UsageError, match=r"hibari is not installed: pip install 'vidray\[spoken\]'"):
        engine_of("hibari")
    monkeypatch.setattr(speaking, "PROGRAM", "no-such-program")
    with pytest.raises(UsageError, match="as no engine is installed: pip"):
        engine_of(None)


def test_of_a_long_text_whole_sentences_are_read():
    text = "One sentence is here.  " * 200
    assert MOST_LETTERS - 30 < len(cut(text)) <= MOST_LETTERS
    assert cut(text).endswith("here.")
    assert cut("a" * 3000) == "a" * MOST_LETTERS
    assert cut("word " * 1000).endswith("word")
    assert cut(" A\nline. ") == "A line."


def test_it_is_an_extractor():
    rows = [{"text": text, "language": None} for text in (TEXT, "Nobody was there.", "", "A dog barks.")]
    check_extractor(Spoken(engine="espeak-ng"), columns={"text": rows})
    assert resolve("spoken?of=ocr&engine=espeak-ng&language=fr").name == "spoken-ocr"

"""What is said: the same segments and words however a video is cut, each once, and nothing invented unflagged."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import jiwer
import numpy as np
import pytest
from filling import filled
from packaged_whisper import whisper_folder
from speech import write_wav
from spoken import ASTERISK, RATE, Floats, film_music, librivox, not_speech, pink_noise, plain, read_wav, silence

from vidray.extractors import resolve
from vidray.extractors.protocol import Extractor
from vidray.extractors.speech.moonshine import MoonshineText
from vidray.extractors.speech.transcribing import SURE_SHARE, Written, why_invented
from vidray.extractors.speech.transcript import Transcript
from vidray.extractors.speech.voice_activity import VoiceActivity
from vidray.extractors.speech.whisper import Whisper, _languages, _pipeline, _written
from vidray.media import AudioSamples, Clip, ClipInput, with_context
from vidray.models.moonshine import read_pieces
from vidray.models.silero import CONTEXT, STEP, SpeechFn, speech_network
from vidray.models.speech_spans import LONGEST_S, STRETCH_S, segments_of
from vidray.planning import FixedStride
from vidray.store.verification import verify

Spans = list[tuple[float, float]]


def cut(samples: Floats, spans: Sequence[tuple[float, float]], extractor: Extractor | None = None) -> list[ClipInput]:
    """A recording in clips, each with the context that an extractor asks for."""
    sampling: Any = (extractor or VoiceActivity()).inputs["audio"]
    duration_s = len(samples) / RATE
    found = []
    for number, (start_s, end_s) in enumerate(spans):
        low, high = (round(time_s * RATE) for time_s in with_context(sampling, start_s, end_s, duration_s))
        audio = AudioSamples(samples=samples[low:high], sample_rate=RATE, start_s=low / RATE)
        clip = Clip(clip_id=str(number), video_id="v", uri="u", clip_index=number, start_s=start_s, end_s=end_s)
        earlier = max((end for _, end in spans[:number]), default=None)
        found.append(ClipInput(clip=clip, values={"audio": audio}, previous_end_s=earlier))
    return found


def even(samples: Floats, length_s: float) -> list[tuple[float, float]]:
    return FixedStride(length_s).spans(len(samples) / RATE)


@cache
def network() -> SpeechFn:
    return speech_network()


def segments(items: Sequence[ClipInput], *, together: bool = True) -> Spans:
    heard = segments_of(items, network()) if together else [segments_of([item], network())[0] for item in items]
    return [(one.start_s, one.end_s) for clip in heard for one in clip.segments]


@cache
def recording() -> Floats:
    """Speech with pauses of every length, music between, and half a minute and more without a pause."""
    clips = [samples for samples, _ in librivox()]
    parts = []
    for number in range(14):
        parts += [clips[number % len(clips)], silence(0.07 * number)]
        if number % 5 == 4:
            parts += [not_speech("music", 6.0)]
    without_pause = np.concatenate([samples[2500:-2500] for samples in clips * 3])
    return np.concatenate([*parts, silence(3.3), without_pause, silence(2.0), clips[1]])


@cache
def whole_segments() -> Spans:
    return segments(cut(recording(), even(recording(), 1000.0)))


@pytest.mark.slow
@pytest.mark.parametrize("length_s", [5.0, 7.3, 30.0])
def test_segments_are_the_same_however_a_video_is_cut(length_s: float):
    whole = whole_segments()
    assert len(whole) > 15
    assert segments(cut(recording(), even(recording(), length_s))) == whole
    some = even(recording(), length_s)[2:4]
    alone = [pair for pair in whole if some[0][0] <= pair[0] < some[-1][1]]
    items = [replace(item, previous_end_s=item.clip.start_s) for item in cut(recording(), some)]
    assert segments(items, together=False) == alone


def test_speech_without_a_pause_is_parted_where_it_is_quietest():
    found = whole_segments()
    touching = [(one, two) for one, two in pairwise(found) if one[1] == two[0]]
    assert touching, "the recording has more than half a minute without a pause"
    assert all(end_s - start_s <= LONGEST_S for start_s, end_s in found)
    for (_, parted_s), _ in touching:
        first = math.ceil(math.floor(parted_s / STRETCH_S) * STRETCH_S * RATE / STEP)
        stretch = recording()[first * STEP :][: STRETCH_S * RATE // STEP * STEP].reshape(-1, STEP)
        loud = np.square(stretch, dtype=np.float64).mean(axis=1)
        place = round(parted_s * RATE / STEP) - first
        assert loud[place - 2 : place + 3].mean() <= np.percentile(loud, 30)


def test_what_lasts_belongs_to_the_first_clip_that_holds_it():
    samples = np.concatenate([silence(2.0), librivox()[0][0], silence(3.0)])
    ((start_s, end_s),) = segments(cut(samples, [(0.0, 12.0)]))
    middle_s = (start_s + end_s) / 2
    for spans, owner in [
        ([(0.0, 1.0), (middle_s, 12.0)], 1),  # it began in a gap
        ([(middle_s, 12.0)], 0),
        ([(0.0, middle_s), (start_s, 12.0)], 0),  # both hold its start
        ([(0.0, start_s), (end_s, 12.0)], None),  # nobody holds any of it
    ]:
        heard = segments_of(cut(samples, spans), network())
        assert [number for number, clip in enumerate(heard) for _ in clip.segments] == (
            [] if owner is None else [owner]
        )


def test_the_network_gives_what_its_own_graph_of_single_steps_gives():
    from onnxruntime import InferenceSession

    from vidray.models.weights import packaged_file

    samples = np.pad(librivox()[0][0], (CONTEXT, 0))
    reference = InferenceSession(str(packaged_file("silero-vad", "silero_vad/data/silero_vad.onnx")))
    state, expected = np.zeros((2, 1, 128), np.float32), []
    for first in range(0, len(samples) - CONTEXT - STEP, STEP):
        seen = samples[None, first : first + CONTEXT + STEP]
        probability, state = reference.run(None, {"input": seen, "state": state, "sr": np.array(RATE)})
        expected.append(probability[0, 0])
    found = speech_network()(samples)
    assert np.abs(found[: len(expected)] - expected).max() < 1e-4
    assert np.array_equal(speech_network()(samples[: CONTEXT + 40 * STEP]), found[:40])


@pytest.mark.parametrize("kind", ["silence", "wind", "engine", "music"])
def test_where_nobody_speaks_nothing_is_kept_as_said(kind: str):
    samples = not_speech(kind)
    extractor = MoonshineText()
    row = extractor.load("cpu")(cut(samples, [(0.0, 20.0)], extractor))
    assert row["text"] == [""]
    assert all(segment["invented"] for segment in row["segments"][0])


@pytest.mark.parametrize(
    ("text", "length_s", "likelihood", "reason"),
    [
        ("And then he went home.", 2.0, -0.2, None),
        ("no no no no no no no no no", 3.0, -0.2, "loop"),
        ("on and on it goes, " * 8, 9.0, -0.1, "loop"),
        ("Thanks for watching!", 2.0, -0.2, "boilerplate"),
        ("thanks for watching over the children", 2.0, -0.2, None),
        ("Sphinx of black quartz, judge my vow.", 0.9, -0.2, "too fast"),
        ("you", 12.0, -0.4, "too slow"),
        ("maybe so", 1.0, -1.4, "unsure"),
        ("♪♪", 1.0, -0.1, "no words"),
        ("", 1.0, -0.1, None),
    ],
)
def test_what_a_network_invented_is_flagged(text: str, length_s: float, likelihood: float, reason: str | None):
    written = Written(text=text, language="en", language_score=1.0, avg_logprob=likelihood)
    assert why_invented(written, length_s, sure_share=1.0) == reason


@pytest.mark.parametrize("sure_share", [0.0, 0.49, 0.5, 1.0])
def test_what_is_written_where_voice_activity_is_not_sure_is_flagged(sure_share: float):
    written = Written(text="And then he went home.", language="en", language_score=1.0, avg_logprob=-0.1)
    assert why_invented(written, 2.0, sure_share) == ("no speech" if sure_share < SURE_SHARE else None)


@pytest.mark.parametrize("gain", [1.0, 0.2])
def test_nothing_is_kept_as_said_of_film_music_that_is_taken_for_speech(gain: float):
    samples = np.float32(gain) * np.resize(film_music(), 20 * RATE)
    extractor = MoonshineText()
    row = extractor.load("cpu")(cut(samples, even(samples, 10.0), extractor))
    texts = [segment for clip in row["segments"] for segment in clip if segment["text"]]
    assert texts
    assert all(segment["invented"] for segment in texts)
    assert row["text"] == [""] * len(row["text"])


@pytest.mark.parametrize("noise_db", [None, 5.0])
def test_voice_activity_is_sure_of_what_is_said(noise_db: float | None):
    joined = np.concatenate([part for samples, _ in librivox() for part in (samples, silence(1.0))])
    if noise_db is not None:
        noise = pink_noise(len(joined))
        joined = joined + noise * np.std(joined) * np.float32(10 ** (-noise_db / 20))
    heard = [one for clip in segments_of(cut(joined, even(joined, 10.0)), network()) for one in clip.segments]
    assert heard
    assert all(one.sure_share >= SURE_SHARE for one in heard)
    whole = [one for clip in segments_of(cut(joined, even(joined, 1000.0)), network()) for one in clip.segments]
    assert heard == whole


def test_pieces_of_two_byte_lengths_are_read():
    assert read_pieces(b"\x02ab\x00" + bytes([128 + 5, 1]) + b"x" * 133) == [b"ab", b"", b"x" * 133]


def words_of(row: dict[str, Any]) -> str:
    return plain(" ".join(row["text"]))


def test_moonshine_understands_librivox():
    extractor = MoonshineText()
    samples, texts = zip(*librivox(), strict=True)
    joined = np.concatenate([part for one in samples for part in (one, silence(1.0))])
    row = extractor.load("cpu")(cut(joined, even(joined, 10.0), extractor))
    assert jiwer.wer(" ".join(texts), words_of(row)) <= 0.05
    assert not any(segment["invented"] for clip in row["segments"] for segment in clip)


@pytest.fixture(scope="module")
def whisper(tmp_path_factory: pytest.TempPathFactory) -> Whisper:
    return Whisper(size=whisper_folder(tmp_path_factory.mktemp("whisper") / "base"), compute_type="int8")


@pytest.mark.slow
def test_whisper_understands_librivox_at_the_same_times_however_it_is_cut(whisper: Whisper):
    samples, texts = zip(*librivox(), strict=True)
    joined = np.concatenate([part for one in samples for part in (one, silence(1.0))])
    extract = whisper.load("cpu")
    rows = [extract(cut(joined, even(joined, length_s), whisper)) for length_s in (5.0, 30.0)]
    assert jiwer.wer(" ".join(texts), words_of(rows[1])) <= 0.05
    one, two = ([word for clip in row["words"] for word in clip] for row in rows)
    assert [word["word"] for word in one] == [word["word"] for word in two]
    assert np.abs([a["start_s"] - b["start_s"] for a, b in zip(one, two, strict=True)]).max() <= 0.02
    assert all(a["start_s"] <= b["start_s"] for a, b in pairwise(one))
    assert rows[1]["language"] == ["en"]


@pytest.mark.slow
def test_whisper_tells_languages_apart(whisper: Whisper):
    pipeline = _pipeline(whisper, "cpu")
    spoken = [(language, samples) for language in ("fr", "es", "it", "ru") for samples in long_recordings(language)]
    assert len(spoken) == 40
    right = [language == _languages(pipeline, [samples], None)[0][0] for language, samples in spoken]
    assert sum(right) >= 36


@pytest.mark.slow
def test_whisper_encodes_a_segment_once_for_its_language_and_its_words(whisper: Whisper):
    pipeline = _pipeline(whisper, "cpu")
    encoded: list[Any] = []
    once = pipeline.model.encode
    encode = once._encode
    once._encode = lambda features: encoded.append(features) or encode(features)
    sounds = [samples for samples, _ in librivox()[:2]]
    for samples in sounds:
        heard = _languages(pipeline, [samples], None)
        assert _written(pipeline, [samples], [0], heard)[0].words
    assert len(encoded) == len(sounds)


def long_recordings(language: str) -> list[Floats]:
    """The ten longest prompts of a language, at 16 kHz, of which Whisper hears at most 30 s."""
    import torch
    import torchaudio

    folder = next(ASTERISK.glob(f"{language}_*_*"))
    files = sorted(folder.glob("*.wav"), key=lambda path: (-path.stat().st_size, path.name))
    found = []
    for path in files[:10]:
        samples, rate = read_wav(path)
        found.append(torchaudio.functional.resample(torch.from_numpy(samples), rate, RATE).numpy()[: 30 * RATE])
    return found


@pytest.mark.slow
def test_one_pass_gives_speech_its_transcript_and_the_same_voice_activity(tmp_path: Path):
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    samples, texts = zip(*librivox(), strict=True)
    joined = np.concatenate([part for one in samples for part in (one, silence(0.8))])
    write_wav(corpus / "book.wav", joined, sample_rate=RATE)
    said = {}
    for length_s in (5.0, 10.0):
        extractors = {"moonshine": MoonshineText(), "voice_activity": VoiceActivity()}
        store = filled(tmp_path / f"store{length_s}", corpus, extractors, FixedStride(length_s))
        rows = {name: store.read(f"features/{name}", 0).to_pylist() for name in (*extractors, "transcript")}
        spans = [[(s["start_s"], s["end_s"]) for r in rows[name] for s in r["segments"]] for name in extractors]
        assert spans[0] == spans[1]
        said[length_s] = [(s["start_s"], s["text"]) for r in rows["moonshine"] for s in r["segments"]]
        assert plain(" ".join(row["text"] for row in rows["transcript"])) == words_of(
            {"text": [row["text"] for row in rows["moonshine"]]}
        )
        assert verify(store.url).is_whole
    assert said[5.0] == said[10.0]
    assert jiwer.wer(" ".join(texts), plain(" ".join(text for _, text in said[5.0]))) <= 0.05


def test_a_word_is_in_the_clip_in_which_it_starts():
    segment = {"start_s": 0.5, "end_s": 6.0, "text": "", "language": "de", "invented": None}
    flagged = {**segment, "start_s": 7.0, "end_s": 8.0, "invented": "loop", "text": "la la la la"}
    words = [{"word": w, "start_s": s, "end_s": s + 0.4, "score": 0.9} for w, s in [("a", 0.5), ("b", 1.9), ("c", 3.5)]]
    spans = [(0.0, 2.0), (2.0, 3.0), (4.0, 6.0)]
    items = [
        ClipInput(
            clip=Clip(clip_id=str(n), video_id="v", uri="u", clip_index=n, start_s=a, end_s=b),
            values={"speech": {"segments": [segment, flagged], "words": words, "language": "de"} if n == 0 else None},
        )
        for n, (a, b) in enumerate(spans)
    ]
    row = Transcript().load("cpu")(items)
    assert row["text"] == ["a b", "", "c"]  # c starts where no clip is
    assert row["language"] == ["de", None, "de"]
    assert [[word["word"] for word in clip] for clip in row["words"]] == [["a", "b"], [], ["c"]]


def test_extractors_are_found_by_name():
    assert resolve("whisper?size=tiny&language=de") == Whisper(size="tiny", language="de")
    assert resolve("transcript?of=whisper").name == "transcript-whisper"

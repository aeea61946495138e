"""Speech to text by CTC bundles: what torchaudio's own model and alignment give, on seeded weights from a file."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from spoken import RATE, librivox
from test_extractors_audio import LARGE, TINY
from test_speech import cut, even
from torchaudio import pipelines
from torchaudio.functional import forced_align, merge_tokens
from torchaudio.models import wav2vec2_model

from vidray.errors import UsageError, WeightsError
from vidray.extractors import resolve
from vidray.extractors.speech import ctc
from vidray.extractors.speech.ctc import CtcText

LABELS = pipelines.WAV2VEC2_ASR_BASE_960H.get_labels()


def tiny(monkeypatch: pytest.MonkeyPatch, folder: Path, *, normalise: bool = False, **params: Any) -> Any:
    """A bundle TINY whose seeded weights are a file; returns torchaudio's own model of it."""
    bundle = pipelines.Wav2Vec2ASRBundle(
        _path="tiny.pth", _params=TINY | params | {"aux_num_out": len(LABELS)}, _sample_rate=RATE,
        _normalize_waveform=normalise, _model_type="Wav2Vec2", _labels=LABELS[1:],
    )  # fmt: skip
    torch.manual_seed(3)
    model = wav2vec2_model(**bundle._params)
    with torch.no_grad():
        model.aux.weight *= 60  # letters that change often
    save_file(model.state_dict(), folder / "tiny.safetensors")
    monkeypatch.setattr(bundle, "_get_state_dict", lambda dl_kwargs: model.state_dict())
    monkeypatch.setattr(pipelines, "TINY", bundle, raising=False)
    monkeypatch.setattr(pipelines, "__all__", [*pipelines.__all__, "TINY"])
    return bundle.get_model()


def greedy(likelihoods: torch.Tensor) -> list[int]:
    """Runs of the likeliest label, without blanks: Graves et al. 2006, equation 4."""
    return [label for label, _ in groupby(likelihoods[0].argmax(-1).tolist()) if label != 0]


@pytest.mark.parametrize("variant", [{}, {"normalise": True, **LARGE}])
def test_words_and_times_are_those_of_torchaudios_model_and_alignment(
    variant: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    model = tiny(monkeypatch, tmp_path, **variant)
    samples = librivox()[0][0]
    with torch.inference_mode():
        likelihoods = torch.log_softmax(model(torch.from_numpy(samples)[None])[0], -1)
    letters = greedy(likelihoods)
    assert len(letters) > 20
    text = "".join(LABELS[label] for label in letters).replace("|", " ").lower().split()
    spans = merge_tokens(*(one[0] for one in forced_align(likelihoods, torch.tensor([letters]), blank=0)))
    starts = [span.start for span, before in zip(spans, [None, *spans], strict=False)
              if LABELS[span.token] != "|" and (before is None or LABELS[before.token] == "|")]  # fmt: skip

    network = ctc.build_network("TINY")
    network.load_state_dict(torch.load(save(model, tmp_path), weights_only=True))
    own = ctc.log_probabilities(network.eval(), samples, normalise=variant.get("normalise", False))
    torch.testing.assert_close(own, likelihoods, atol=1e-4, rtol=0)
    found = ctc.written(own, LABELS, len(samples) / RATE, "en")
    assert found.text.split() == text == [word.word for word in found.words or ()]
    step_s = len(samples) / RATE / likelihoods.shape[1]
    np.testing.assert_allclose([word.start_s for word in found.words or ()], np.array(starts) * step_s, atol=1e-6)
    assert found.avg_logprob == pytest.approx(np.mean([span.score for span in spans]), abs=1e-3)


def save(model: Any, folder: Path) -> Path:
    inner = getattr(model, "model", model)  # torchaudio wraps models that normalise
    torch.save(inner.state_dict(), folder / "tiny.pt")
    return folder / "tiny.pt"


def test_a_file_gives_the_same_words_however_a_video_is_cut(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    tiny(monkeypatch, tmp_path)
    extractor = resolve(f"ctc/TINY@{tmp_path}/tiny.safetensors")
    assert extractor == CtcText(bundle="TINY", weights=str(tmp_path / "tiny.safetensors"))
    samples = np.concatenate([one for one, _ in librivox()[:3]])
    extract = extractor.load("cpu")
    heard = [extract(cut(samples, even(samples, length_s), extractor)) for length_s in (5.0, 30.0)]
    one, two = ([entry for clip in row["segments"] for entry in clip] for row in heard)
    assert one == two
    assert len(one) >= 1
    assert {entry["language"] for entry in one} == {"en"}


def test_silence_is_no_words() -> None:
    likelihoods = torch.log_softmax(torch.eye(3)[[0, 0, 0]][None] * 9, -1)
    assert ctc.written(likelihoods, ("-", "|", "A"), 1.0, "en").text == ""
    likelihoods = torch.log_softmax(torch.eye(4)[[2, 2, 0, 2, 1, 3, 0]][None] * 9, -1)
    found = ctc.written(likelihoods, ("-", "|", "A", "B"), 7.0, "en")
    assert [(word.word, word.start_s, word.end_s) for word in found.words or ()] == [("aa", 0.0, 4.0), ("b", 5.0, 6.0)]


def test_names_do_not_clash_with_embeddings_and_languages_are_known() -> None:
    assert resolve("ctc/HUBERT_ASR_LARGE").name == "ctc/HUBERT_ASR_LARGE"
    assert resolve("torchaudio/HUBERT_ASR_LARGE").name == "torchaudio/HUBERT_ASR_LARGE"
    assert ctc.language_of("VOXPOPULI_ASR_BASE_10K_DE") == "de"
    assert ctc.language_of("WAV2VEC2_ASR_LARGE_LV60K_10M") == "en"
    assert {info.name for info in ctc.infos()} == {f"ctc/{name}" for name in ctc.bundle_names()}
    with pytest.raises(UsageError, match="no CTC bundle 'WAV2VEC2_BASE'"):
        CtcText(bundle="WAV2VEC2_BASE")


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    save_file({"weight": torch.zeros(3)}, tmp_path / "other.safetensors")
    with pytest.raises(WeightsError):
        CtcText(weights=str(tmp_path / "other.safetensors")).load("cpu")

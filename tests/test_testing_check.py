"""`check_extractor` passes what keeps the contract, the guide's example too, and says what is wrong with the rest."""

from __future__ import annotations

import re
import sys
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from clip_inputs import items, sampling_of

from vidray.cli import main
from vidray.errors import UsageError
from vidray.extractors import describe, resolve, restore
from vidray.media import Audio, FrameRate, Frames, FrameWindows, Resize
from vidray.testing import check_extractor

GUIDE = Path(__file__).parents[1] / "docs" / "extractors.md"
EMBEDDING = pa.list_(pa.float32(), 2)
AUDIO = Audio(sample_rate=8_000)
calls = 0


def arrays(clips: Any) -> list[Any]:
    samples = [clip["in"] for clip in clips]
    return [one.samples if hasattr(one, "samples") else one.frames for one in samples]


def means(clips: Any) -> Any:
    return np.array([[a.mean(), a.max()] for a in arrays(clips)], dtype=np.float32)


def batch_normalised(clips: Any) -> Any:
    return {"embedding": means(clips) - means(clips).mean(0)}


def writing(clips: Any) -> Any:
    for a in arrays(clips):
        a -= 1
    return {"embedding": means(clips)}


def writing_by_force(clips: Any) -> Any:
    answer = means(clips)
    for a in arrays(clips):
        a.flags.writeable = True
        a[:1] = 1
    return {"embedding": answer}


def counting(clips: Any) -> Any:
    global calls
    calls += 1
    return {"embedding": means(clips) + calls}


def dividing(clips: Any) -> Any:
    with np.errstate(all="ignore"):
        return {"embedding": np.stack([m / np.abs(a).max() for m, a in zip(means(clips), arrays(clips), strict=True)])}


def good(clips: Any) -> Any:
    return {"embedding": means(clips)}


@dataclass(frozen=True, kw_only=True)
class Model:
    """Good unless told otherwise."""

    name: Any = "model"
    sampling: Any = AUDIO
    columns: Any = (("embedding", EMBEDDING),)
    function: Any = good
    ballast: Any = field(default=b"", repr=False)
    version: Any = "1"
    seeded: bool = True
    memory_bytes: Any = 1 << 30

    @property
    def inputs(self) -> Any:
        return {"in": self.sampling}

    @property
    def schema(self) -> Any:
        return pa.schema([column if isinstance(column, pa.Field) else pa.field(*column) for column in self.columns])

    def load(self, device: str) -> Any:
        if self.seeded:
            return self.function
        weight = np.float32(np.random.default_rng().normal())
        return lambda clips: {"embedding": weight * means(clips)}


@dataclass(frozen=True)
class Unloadable:
    name = "unloadable"
    inputs = MappingProxyType({"in": AUDIO})
    schema = pa.schema([pa.field("embedding", EMBEDDING)])


@pytest.mark.parametrize(
    "sampling",
    [
        AUDIO,
        FrameRate(fps=2.0),
        FrameRate(fps=2.0, resize=Resize(size=64)),
        FrameRate(fps=2.0, resize=Resize(size=64, crop=(48, 56))),
        FrameRate(fps=2.0, resize=Resize(size=(48, 56))),
        FrameWindows(frames=8, fps=4.0, resize=Resize(size=32, crop=(32, 32))),
    ],
)
def test_a_good_extractor_passes(sampling: Any) -> None:
    check_extractor(Model(sampling=sampling))


LABELS = pa.list_(pa.struct([pa.field("label", pa.string()), pa.field("score", pa.float32())]))


def lists(clips: Any) -> Any:
    return {"embedding": [list(map(float, mean)) for mean in means(clips)]}


def arrow(clips: Any) -> Any:
    return {"embedding": pa.array(list(means(clips)), EMBEDDING)}


def numbers(clips: Any) -> Any:
    return {"loudness": means(clips)[:, 1]}


def nulls(clips: Any) -> Any:
    return {"loudness": [None for _ in clips]}


def nans(clips: Any) -> Any:
    return {"loudness": [float("nan") for _ in clips]}


def labels(clips: Any) -> Any:
    return {"labels": [[{"label": "a", "score": 0.5}] for _ in clips]}


@pytest.mark.parametrize(
    ("columns", "function"),
    [
        ([("embedding", EMBEDDING)], lists),
        ([("embedding", EMBEDDING)], arrow),
        ([("loudness", pa.float64())], numbers),
        ([("loudness", pa.float64())], nulls),
        ([("loudness", pa.float32())], nans),
        ([("labels", LABELS)], labels),
    ],
)
def test_all_forms_of_columns_pass(columns: Any, function: Any) -> None:
    check_extractor(Model(columns=columns, function=function))


def renamed(clips: Any) -> Any:
    return {"vector": means(clips)}


def too_few(clips: Any) -> Any:
    return {"embedding": means(clips)[:1]}


def too_wide(clips: Any) -> Any:
    return {"embedding": np.hstack([means(clips), means(clips)])}


def missing(clips: Any) -> Any:
    return {"embedding": [None for _ in clips]}


def a_list(clips: Any) -> Any:
    return [means(clips)]


def stacking(clips: Any) -> Any:
    return {"embedding": means(clips) + 0 * np.stack(arrays(clips)).mean()}


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (Unloadable(), "'load'"),
        (Model(name=""), "name must"),
        (Model(name="my model"), "white space"),
        (Model(sampling=16_000), "input 'in' must be a sampling"),
        (Model(version=2), "version must be a text"),
        (Model(memory_bytes=0.5), "memory_bytes must be a whole number > 0, got 0.5"),
        (Model(columns=()), "has none"),
        (Model(columns=[("clip_id", pa.string())]), "'clip_id' is one of vidray's own"),
        (Model(columns=[("decode_warning", pa.string())]), "'decode_warning' is one of vidray's own"),
        (Model(columns=[("a", pa.int32()), ("a", pa.int32())]), "unique"),
        (Model(columns=[pa.field("a", pa.int32(), nullable=False)]), "nullable"),
        (Model(columns=[("embedding", pa.list_(pa.float32()))]), "fixed_size_list<float32>"),
        (Model(columns=[("embedding", pa.list_(pa.float64(), 2))]), "fixed_size_list<float32>"),
        (Model(ballast=b"0" * 100_000), "pickles to 100"),
        (Model(ballast=lambda: 0), "survive pickling"),
        (Model(function=renamed), "the schema says"),
        (Model(function=too_few), "1 values of embedding were extracted for 4 clips"),
        (Model(function=too_wide), "the answer is none of the schema"),
        (Model(function=missing), "a value for each clip"),
        (Model(function=a_list), "must answer a mapping of columns"),
        (Model(function=stacking), "failed on a batch of noise"),
        (Model(function=writing), "failed on a batch of noise: ValueError.*read-only"),
        (Model(function=writing_by_force), "changed its inputs: clip 0"),
        (Model(function=counting), "same to the bit when called again"),
        (Model(function=batch_normalised), "same to the bit when called with clip 1 of the batch replaced by zeros"),
        (Model(function=dividing), "finite.*zeros"),
        (Model(seeded=False), "same to the bit when loaded again"),
    ],
)
def test_a_bad_extractor_is_told_why(bad: Any, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check_extractor(bad)


def trembling(clips: Any) -> Any:
    global calls
    calls += 1
    return {"embedding": means(clips) * np.float32(1 + 1e-5 * (calls % 2))}


def test_other_devices_may_move_a_little() -> None:
    with pytest.raises(AssertionError, match=r"'embedding' of clip 0 moved by"):
        check_extractor(Model(function=counting), device="cuda")
    check_extractor(Model(function=trembling), device="cuda")


@pytest.fixture
def guide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The guide's Python, whose classes are modules of the working directory, `colours.py` and others."""
    blocks = re.findall(r"```python\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    for module, cls in (("colours", "Colours"), ("dim", "Dim"), ("dark_scenes", "DarkScenes")):
        (tmp_path / f"{module}.py").write_text(next(block for block in blocks if f"class {cls}" in block))
        monkeypatch.delitem(sys.modules, module, raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return blocks


def test_the_guides_extractors_pass(guide: list[str]) -> None:
    test: dict[str, Any] = {}
    exec(next(block for block in guide if "check_extractor" in block), test)
    for name in ("test_colours", "test_dim", "test_dark_scenes"):
        test[name]()


@pytest.mark.usefixtures("guide")
def test_the_guides_extractor_tells_colours_apart() -> None:
    extractor = resolve("colours:Colours", fps=4.0)
    assert sampling_of(extractor) == FrameRate(fps=4.0, resize=Resize(size=(90, 160)))
    assert describe(extractor)["extractor"] == "colours:Colours"
    frames = np.zeros((3, 4, 90, 160, 3), np.uint8)
    frames[0, ..., 0] = frames[1, :, 9:, :, 0] = frames[2, ..., 2] = 255
    clips = [Frames(times_s=np.arange(4) / 4, frames=shown) for shown in frames]
    red, mostly_red, blue = extractor.load("cpu")(items(clips))["embedding"]
    assert red @ mostly_red == pytest.approx(np.sqrt(0.9))
    assert red @ blue == 0


@pytest.fixture
def installed(guide: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The guide's package as an installer leaves it: its modules, and the entry points that its TOML names."""
    (toml,) = re.findall(r"```toml\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    groups = tomllib.loads(toml)["project"]["entry-points"]
    site = tmp_path / "site-packages"
    (site / "my_package").mkdir(parents=True)
    (site / "my_package" / "__init__.py").touch()
    for module in ("colours", "dim"):
        (tmp_path / f"{module}.py").rename(site / "my_package" / f"{module}.py")
    (site / "my_package-1.0.dist-info").mkdir()
    (site / "my_package-1.0.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: my-package\nVersion: 1.0\n"
    )
    lines = [line for name, one in groups.items() for line in (f"[{name}]", *(f"{k} = {v}" for k, v in one.items()))]
    (site / "my_package-1.0.dist-info" / "entry_points.txt").write_text("\n".join(lines))
    for module in ("my_package", "my_package.colours", "my_package.dim"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    monkeypatch.syspath_prepend(site)
    return site


@pytest.mark.usefixtures("installed")
def test_the_guides_package_is_found_by_the_names_of_its_entry_points(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models"]) == 0
    listed = {line.split()[0] for line in capsys.readouterr().out.splitlines() if line.strip()}
    assert {"colours", "dim"} <= listed
    assert "my_package.colours" not in sys.modules
    colours, dim = resolve("colours?fps=4"), resolve("dim?of=colours&below=0.5")
    assert (type(colours).__module__, type(dim).__module__) == ("my_package.colours", "my_package.dim")
    assert (colours.fps, dim.of, dim.below) == (4.0, "colours", 0.5)
    check_extractor(colours)


@pytest.mark.usefixtures("installed")
def test_a_store_may_name_what_an_installed_package_brings_but_no_module() -> None:
    """By the entry point's name, so that a search needs no `-x`; the same class by its path is asked for."""
    spec = describe(resolve("colours?fps=4"))
    assert spec["extractor"] == "colours"
    assert describe(restore(spec)) == spec
    with pytest.raises(UsageError, match="does not decide what is imported"):
        restore({**spec, "extractor": "my_package.colours:Colours"})

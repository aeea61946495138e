"""open_clip's joint image-text models: clips that can be compared with any text.

The models and their weights are https://github.com/mlfoundations/open_clip's. open_clip and torch are imported where a
network is described in full or built; names and dimensions are read from open_clip's own configuration files.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from vidray.errors import MissingExtraError, UsageError, WeightsError, one_line
from vidray.extractors.columns import embedding_schema, frame_columns, mean_of_parts
from vidray.extractors.protocol import Answer, ExtractFn, ModelInfo
from vidray.media import ClipInput, FrameRate, Frames, Resize
from vidray.models.batching import FrameFn, check_fps, check_precision, dtype_of, run_in_batches
from vidray.models.weights import file_record, fill, load_state_dict

if TYPE_CHECKING:
    from torch import Tensor, nn

PREFIX = "open_clip/"
BATCH_TEXTS = 64

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Tower:
    """The half of a joint model that reads, as `vidray.extractors.protocol.TextTower` says."""

    embed: Callable[[Sequence[str]], Floats]
    scale: float
    bias: float | None


@dataclass(frozen=True, kw_only=True)
class OpenClip:
    """What a clip shows, in a space that texts share: the mean of its frames' unit vectors.

    Attributes:
        model: A model of `open_clip.list_models()`, or `model/tag` with one of its pretrained tags. Without a tag, the
            first that open_clip lists for the model.
        fps: Frames a second.
        keyframes: Whether keyframes alone are looked at, at most `fps` a second.
        precision: "float32" or "bfloat16", of the network; averages are float32 always.
        per_frame: Whether each frame's time and vector are kept too.
        weights: Path or URL of a state dict, None for those of the tag, which are downloaded.
    """

    version: ClassVar[str] = "1"

    model: str
    fps: float = 2.0
    keyframes: bool = False
    precision: str = "float32"
    per_frame: bool = False
    weights: str | None = None

    def __post_init__(self) -> None:
        check_fps(self.fps)
        check_precision(self.precision)

    @property
    def name(self) -> str:
        """The table's name."""
        return PREFIX + self.model

    @property
    def inputs(self) -> Mapping[str, FrameRate]:
        """Frames as the network wants them."""
        preset = _preset(self.model)
        height, width = _frame_size(_config(self.model))
        squash = preset["resize_mode"] == "squash"
        return {
            "frames": FrameRate(
                fps=self.fps,
                resize=Resize(
                    size=(height, width) if squash else min(height, width),
                    crop=None if squash else (height, width),
                    interpolation=preset["interpolation"],
                ),
                keyframes=self.keyframes,
            )
        }

    @property
    def schema(self) -> pa.Schema:
        """The columns that it adds."""
        return embedding_schema(int(_config(self.model)["embed_dim"]), labels=False, per_frame=self.per_frame)

    @property
    def weights_record(self) -> Mapping[str, str | None]:
        """Where the weights come from, and their sha256 where they are a file."""
        if self.weights is not None:
            return file_record(self.weights)
        return {"source": f"open_clip {_architecture(self.model)}/{_tag(self.model)}", "sha256": None}

    def settle(self) -> None:
        """See that the weights are here, or download them. Raises WeightsError."""
        if self.weights is None:
            # open_clip alone knows whence, and where it keeps them
            self._build()

    def load(self, device: str) -> ExtractFn:
        """Read or download the weights and build the network. Raises WeightsError."""
        from vidray.models.classifiers import normalizer
        from vidray.models.fusion import can_fuse, fold_batch_norms, fuse_layers
        from vidray.models.precision import in_precision, noise

        preset = _preset(self.model)
        height, width = _frame_size(_config(self.model))

        def build(precision: str) -> FrameFn:
            dtype = dtype_of(precision)
            network: Any = self._build()
            network.visual = fold_batch_norms(network.visual)
            network.to(device=device, dtype=dtype)
            if device.startswith("cpu") and can_fuse(dtype):
                network.visual = fuse_layers(network.visual)
            normalize = normalizer(preset["mean"], preset["std"], device)

            def run(frames: Tensor) -> tuple[Tensor, Tensor]:
                shown = normalize(frames).to(dtype).movedim(-1, 1)
                vectors = network.encode_image(shown, normalize=True)
                return vectors, vectors[:, :0]

            return run

        run = in_precision(
            build,
            lambda run: run(noise(1, height, width, 3))[0].float(),
            precision=self.precision,
            device=device,
            what=self.name,
        )

        def extract(items: Sequence[ClipInput]) -> Answer:
            clips: list[Frames] = [item["frames"] for item in items]
            vectors, _ = run_in_batches(run, [clip.frames for clip in clips], device=device)
            columns: dict[str, Any] = {"embedding": mean_of_parts(vectors, [len(clip.frames) for clip in clips])}
            if self.per_frame:
                columns |= frame_columns([clip.times_s for clip in clips], vectors)
            return columns

        return extract

    def load_text(self) -> Tower:
        """The text tower of the same weights, on the CPU. Raises WeightsError."""
        import torch
        from open_clip import get_tokenizer

        network = self._build()
        del network.visual
        try:
            tokenizer: Any = get_tokenizer(_architecture(self.model))
        except Exception as e:
            # some models' tokenizers come from a hub, whose client raises what it likes
            reason = one_line(e)[:200]
            raise WeightsError(f"the tokenizer of {self.name} cannot be had: {reason}") from e

        def embed(texts: Sequence[str]) -> Floats:
            with torch.inference_mode():
                parts = [tokenizer(list(texts[at : at + BATCH_TEXTS])) for at in range(0, len(texts), BATCH_TEXTS)]
                vectors = [network.encode_text(part, normalize=True) for part in parts]  # type: ignore[operator]
                return np.asarray(torch.cat(vectors).float().numpy(), dtype=np.float32)

        bias: Any = getattr(network, "logit_bias", None)
        scale: Any = network.logit_scale
        return Tower(embed=embed, scale=float(scale.exp()), bias=None if bias is None else float(bias))

    def _build(self) -> nn.Module:
        import open_clip

        architecture = _architecture(self.model)
        try:
            if self.weights is None:
                network: nn.Module = open_clip.create_model(architecture, pretrained=_tag(self.model))
            else:
                network = open_clip.create_model(architecture, load_weights=False, pretrained_text=False)
        except Exception as e:
            # downloads fail in many ways, and open_clip wraps some of them
            reason = one_line(e)[:200]
            raise WeightsError(
                f"the weights of {self.name} cannot be had ({reason}); give a file: {self.name}@FILE"
            ) from e
        if self.weights is not None:
            fill(network, load_state_dict(self.weights), f"{self.name} from {self.weights}")
        return network.eval().requires_grad_(False)


def find(name: str) -> tuple[type[OpenClip], dict[str, str]] | None:
    """The class of `open_clip/<model>`. Raises UsageError for a model that open_clip does not know."""
    family, _, model = name.partition("/")
    return (OpenClip, {"model": check_model(model)}) if family == "open_clip" and model else None


def names() -> list[str]:
    """All names of models, without their tags."""
    return [f"open_clip/{model}" for model in model_names()]


def model_names() -> list[str]:
    """The models whose configurations the installed open_clip has; none where it is not installed."""
    return sorted(path.stem for path in _configurations())


def infos() -> list[ModelInfo]:
    """What `vidray models` says of these extractors."""
    paths = {path.stem: path for path in _configurations()}
    configs = {model: json.loads(paths[model].read_text()) for model in sorted(paths)}
    return [
        ModelInfo(
            name=PREFIX + model,
            kind="frame",
            dim=int(config["embed_dim"]),
            inputs="frames of {}x{}".format(*_frame_size(config)),
            weights="to be downloaded, or a file",
            licence="of the weights chosen; most are MIT or Apache-2.0",
            available=True,
        )
        for model, config in configs.items()
    ]


def check_model(model: str) -> str:
    """The same name, once open_clip is seen to have it. Raises UsageError or MissingExtraError."""
    _tag(model) if "/" in model else _config(model)
    return model


def _architecture(model: str) -> str:
    return model.partition("/")[0]


def _tag(model: str) -> str:
    """The pretrained tag that a model's name means. Raises UsageError where there is none."""
    import open_clip

    architecture, _, tag = model.partition("/")
    config = _config(model)
    tags = open_clip.list_pretrained_tags_by_model(architecture)
    if tag and tag not in tags:
        raise UsageError(f"open_clip has no weights '{tag}' of {architecture}; there are {', '.join(tags) or 'none'}")
    quick = bool(config.get("quick_gelu"))
    # OpenAI's weights want another activation than most configurations that they are listed for
    fitting = [
        name for name in tags if bool(open_clip.get_pretrained_cfg(architecture, name).get("quick_gelu")) == quick
    ]
    if not (tag or fitting):
        raise UsageError(f"open_clip has no weights of {architecture}; give a file: {PREFIX}{architecture}@FILE")
    return tag or str(fitting[0])


@cache
def _preset(model: str) -> dict[str, Any]:
    """How frames are scaled and normalised: as the tag says, or for a file as the model's tags have it."""
    import open_clip
    from open_clip.transform import PreprocessCfg, merge_preprocess_dict

    architecture, _, tag = model.partition("/")
    tags = [tag] if tag else open_clip.list_pretrained_tags_by_model(architecture)
    known = open_clip.get_pretrained_cfg(architecture, tags[0]) if tags else {}
    preset: dict[str, Any] = merge_preprocess_dict(PreprocessCfg(), known)
    if preset["resize_mode"] == "longest":
        raise UsageError(f"{PREFIX}{model} pads its frames, which vidray does not; take another model")
    interpolations: dict[str, Literal["bilinear", "bicubic"]] = {"bilinear": "bilinear"}
    return {**preset, "interpolation": interpolations.get(preset["interpolation"], "bicubic")}


def _frame_size(config: Mapping[str, Any]) -> tuple[int, int]:
    size = config["vision_cfg"].get("image_size", 224)
    return (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))


def _configurations() -> list[Path]:
    """open_clip's own configuration files, found without importing it."""
    found = find_spec("open_clip")
    return [] if found is None else list((Path(str(found.origin)).parent / "model_configs").glob("*.json"))


def _config(model: str) -> Mapping[str, Any]:
    """open_clip's configuration of a model, those added by `open_clip.add_model_config` too."""
    if find_spec("open_clip") is None:
        raise MissingExtraError(PREFIX + model, "openclip")
    import open_clip

    config: Mapping[str, Any] | None = open_clip.get_model_config(_architecture(model))
    if config is None:
        raise UsageError(f"open_clip has no model '{_architecture(model)}'; `vidray models` lists all")
    return config

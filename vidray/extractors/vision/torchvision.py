"""Every classification and video classification network of torchvision, as feature extractors.

Scaling, cutting, normalisation and class names are those of a network's DEFAULT weights, also with weights from a file:
https://docs.pytorch.org/vision/stable/models.html. torchvision is imported where a model is looked at, since that takes
seconds.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import pyarrow as pa

from vidray.errors import UsageError
from vidray.extractors.columns import classifier_columns, embedding_schema, frame_columns
from vidray.extractors.protocol import Answer, ExtractFn, ModelInfo
from vidray.extractors.vision.torchvision_import import torchvision_models
from vidray.extractors.vision.torchvision_layers import LAST_LAYERS
from vidray.extractors.vision.torchvision_recipe import PREFIX, Recipe, state_dict
from vidray.media import ClipInput, FrameRate, Frames, FrameWindows, Resize, Windows
from vidray.models.batching import FrameFn, check_fps, check_precision, reserved_bytes, run_in_batches

if TYPE_CHECKING:
    from torch import nn

WINDOWS = {
    "mc3": (16, 15.0),
    "mvit": (16, 7.5),
    "r2plus1d": (16, 15.0),
    "r3d": (16, 15.0),
    "s3d": (128, 15.0),
    "swin3d": (32, 15.0),
}
"""Frames in a window and frames a second, by family: `clip_len` and `frame_rate` in the weights' documentation."""

AUXILIARY = ("AuxLogits.", "aux1.", "aux2.")
"""Classifiers for training alone, in files of Inception v3 and GoogLeNet."""

DENSENET_OLD_KEY = re.compile(r"(denselayer\d+\.(?:norm|relu|conv))\.([12]\.)")
"""How torchvision's own DenseNet files name the layers that the network calls norm1, conv2 and so on."""


@dataclass(frozen=True, kw_only=True)
class TorchvisionFrames:
    """What a clip shows: the mean over its frames of what the network's last layer receives, and its top classes.

    Classes are ranked by their softmax probability, averaged over the clip's frames. Weights of other classes than
    the model's own give no `labels`.

    Attributes:
        model: A name of `model_names("frame")`.
        fps: Frames a second.
        keyframes: Whether keyframes alone are looked at, at most `fps` a second.
        precision: "float32" or "bfloat16", of the network; averages are float32 always.
        per_frame: Whether each frame's time and features are kept too.
        weights: Path or URL of a state dict, None for torchvision's DEFAULT ones.
    """

    version: ClassVar[str] = "2"

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
    def memory_bytes(self) -> int:
        """What a worker reserves for it."""
        return reserved_bytes(recipe(self.model, "frame").size_mb)

    @property
    def inputs(self) -> Mapping[str, FrameRate]:
        """Frames as the network wants them."""
        return {"frames": FrameRate(fps=self.fps, resize=recipe(self.model, "frame").resize, keyframes=self.keyframes)}

    @property
    def schema(self) -> pa.Schema:
        """The columns that it adds."""
        known = recipe(self.model, "frame")
        labels = known.class_names(self.weights) is not None
        return embedding_schema(_dim(known), labels=labels, per_frame=self.per_frame)

    @property
    def weights_record(self) -> Mapping[str, str | None]:
        """Where the weights come from, and their sha256 where they are a file."""
        return recipe(self.model, "frame").weights_record(self.weights)

    def settle(self) -> None:
        """See that the weights are here, or download them. Raises WeightsError."""
        recipe(self.model, "frame").settle(self.weights)

    def load(self, device: str) -> ExtractFn:
        """Read or download the weights and build the network. Raises WeightsError."""
        known = recipe(self.model, "frame")
        classes = known.class_names(self.weights)
        network = _network(known, self.weights, device=device, precision=self.precision)

        def extract(items: Sequence[ClipInput]) -> Answer:
            clips: list[Frames] = [item["frames"] for item in items]
            features, probabilities = run_in_batches(network, [clip.frames for clip in clips], device=device)
            columns = classifier_columns([len(clip.frames) for clip in clips], features, probabilities, classes)
            if self.per_frame:
                columns |= frame_columns([clip.times_s for clip in clips], features)
            return columns

        return extract


@dataclass(frozen=True, kw_only=True)
class TorchvisionVideo:
    """What happens in a clip: the mean over its windows of what the network's last layer receives, and its top classes.

    Windows have the length and the rate at which the network's accuracy was measured. Classes are ranked by their
    softmax probability, averaged over the windows.

    Attributes:
        model: A name of `model_names("video")`.
        precision: "float32" or "bfloat16", of the network; averages are float32 always.
        weights: Path or URL of a state dict, None for torchvision's DEFAULT ones.
    """

    version: ClassVar[str] = "2"

    model: str
    precision: str = "float32"
    weights: str | None = None

    def __post_init__(self) -> None:
        check_precision(self.precision)

    @property
    def name(self) -> str:
        """The table's name."""
        return PREFIX + self.model

    @property
    def memory_bytes(self) -> int:
        """What a worker reserves for it."""
        return reserved_bytes(recipe(self.model, "video").size_mb)

    @property
    def inputs(self) -> Mapping[str, FrameWindows]:
        """Windows as the network wants them."""
        frames, fps = window_of(self.model)
        return {"frames": FrameWindows(frames=frames, fps=fps, resize=recipe(self.model, "video").resize)}

    @property
    def schema(self) -> pa.Schema:
        """The columns that it adds."""
        known = recipe(self.model, "video")
        return embedding_schema(_dim(known), labels=known.class_names(self.weights) is not None)

    @property
    def weights_record(self) -> Mapping[str, str | None]:
        """Where the weights come from, and their sha256 where they are a file."""
        return recipe(self.model, "video").weights_record(self.weights)

    def settle(self) -> None:
        """See that the weights are here, or download them. Raises WeightsError."""
        recipe(self.model, "video").settle(self.weights)

    def load(self, device: str) -> ExtractFn:
        """Read or download the weights and build the network. Raises WeightsError."""
        known = recipe(self.model, "video")
        classes = known.class_names(self.weights)
        network = _network(known, self.weights, device=device, precision=self.precision)

        def extract(items: Sequence[ClipInput]) -> Answer:
            clips: list[Windows] = [item["frames"] for item in items]
            features, probabilities = run_in_batches(network, [clip.frames for clip in clips], device=device)
            return classifier_columns([len(clip.frames) for clip in clips], features, probabilities, classes)

        return extract


def find(name: str) -> tuple[type[TorchvisionFrames | TorchvisionVideo], dict[str, str]] | None:
    """The class of `torchvision/<model>`, for classification models of images and of video."""
    family, _, model = name.partition("/")
    if family != "torchvision":
        return None
    if model in model_names("frame"):
        return TorchvisionFrames, {"model": model}
    return (TorchvisionVideo, {"model": model}) if model in model_names("video") else None


def names() -> list[str]:
    """All names that `find` knows."""
    return [f"torchvision/{model}" for model in (*model_names("frame"), *model_names("video"))]


def model_names(kind: Literal["frame", "video"]) -> list[str]:
    """torchvision's own list of image, or video, classification models."""
    models = torchvision_models()
    module = models if kind == "frame" else models.video
    return [str(name) for name in models.list_models(module=module)]


def kind_of(model: str) -> Literal["frame", "video"]:
    """Whether a model looks at frames or at windows. Raises UsageError with near matches for an unknown one."""
    kinds: tuple[Literal["frame", "video"], ...] = ("frame", "video")
    for kind in kinds:
        if model in model_names(kind):
            return kind
    near = get_close_matches(model, [*model_names("frame"), *model_names("video")])
    hint = f"near: {', '.join(PREFIX + name for name in near)}" if near else "`vidray models` lists all"
    raise UsageError(f"torchvision has no classification model '{model}'; {hint}")


def window_of(model: str) -> tuple[int, float]:
    """How many frames a video model takes, and their rate."""
    kind_of(model)
    return WINDOWS[model.split("_")[0]]


@cache
def recipe(model: str, kind: Literal["frame", "video"]) -> Recipe:
    """Look a model up. Raises UsageError for an unknown one."""
    models = torchvision_models()
    if kind_of(model) != kind:
        raise UsageError(f"torchvision/{model} is a {kind_of(model)} model, not a {kind} model")
    weights = models.get_model_weights(model).DEFAULT
    preset, meta = weights.transforms(), weights.meta
    options: dict[str, Any] = {}
    if model in ("googlenet", "inception_v3"):
        options = {"transform_input": True, "aux_logits": False, "init_weights": False}
    elif model.startswith("vit_"):
        options = {"image_size": meta["min_size"][0]}
    last_layer, dim = LAST_LAYERS.get(model) or look_up_last_layer(model, options)
    size, crop = list(preset.resize_size), list(preset.crop_size)
    return Recipe(
        model=model,
        kind=kind,
        dim=dim,
        class_tensor=f"{last_layer}.weight",
        options=options,
        classes=tuple(meta["categories"]),
        resize=Resize(
            size=size[0] if len(size) == 1 else (size[0], size[1]),
            crop=(crop[0], crop[-1]),
            interpolation=preset.interpolation.value,
            antialias=kind == "frame",
        ),
        mean=tuple(preset.mean),
        std=tuple(preset.std),
        weights_name=str(weights),
        weights_url=weights.url,
        size_mb=meta["_file_size"],
        licence=f"see {meta['license']}" if "license" in meta else "BSD-3-Clause",
    )


def infos() -> list[ModelInfo]:
    """What `vidray models` says of these extractors."""
    return [_info(recipe(name, kind)) for kind in ("frame", "video") for name in model_names(kind)]


def _info(known: Recipe) -> ModelInfo:
    height, width = known.resize.crop or (0, 0)
    inputs = f"frames of {width}x{height}"
    if known.kind == "video":
        frames, fps = window_of(known.model)
        inputs = f"windows of {frames} frames of {width}x{height} at {fps:g} fps"
    return known.info(inputs)


def look_up_last_layer(model: str, options: Mapping[str, Any]) -> tuple[str, int]:
    """The name of a model's last layer and the channels that it takes, from the model itself, built without memory."""
    from vidray.models.classifiers import EmptyParameters, last_layer

    models = torchvision_models()
    with EmptyParameters():
        return last_layer(models.get_model(model, weights=None, **options))


def _dim(known: Recipe) -> int:
    assert known.dim is not None, "every classification network has an embedding"
    return known.dim


def _network(known: Recipe, weights: str | None, *, device: str, precision: str) -> FrameFn:
    from vidray.models.classifiers import feature_network

    model = known.download() if weights is None else _from_file(known, weights)
    height, width = known.resize.crop or (224, 224)
    shape = (height, width, 3) if known.kind == "frame" else (window_of(known.model)[0], height, width, 3)
    return feature_network(
        model,
        mean=known.mean,
        std=known.std,
        device=device,
        precision=precision,
        shape=shape,
        what=known.name,
    )


def _from_file(known: Recipe, weights: str) -> nn.Module:
    tensors = state_dict(weights, *AUXILIARY)
    if known.model.startswith("densenet"):
        for name in list(tensors):
            tensors[DENSENET_OLD_KEY.sub(r"\1\2", name)] = tensors.pop(name)
    return known.build(tensors, weights)

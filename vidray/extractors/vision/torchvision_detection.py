"""Every detection network of torchvision, Mask R-CNN's masks among them.

A network sees frames as torchvision's own pipeline would hand them to it. Those that are larger than it works with
are scaled down while they are decoded, by its own rule, which bounds memory; it enlarges smaller ones itself.
torchvision is imported where a model is looked at. `import torchvision` in here is the library.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from vidray.errors import UsageError
from vidray.extractors.columns import LABELS_TYPE
from vidray.extractors.protocol import Answer, ExtractFn, ModelInfo
from vidray.extractors.vision.regions import (
    AREAS_TYPE,
    COUNTS_TYPE,
    DETECTIONS_TYPE,
    MASKS_TYPE,
    MEAN_AREAS_TYPE,
    Area,
    Box,
    Mask,
    area_columns,
    detection_columns,
    mask_column,
    run_lengths,
)
from vidray.extractors.vision.torchvision_import import torchvision_models
from vidray.extractors.vision.torchvision_recipe import PREFIX, Recipe, state_dict
from vidray.media import ClipInput, FrameRate, Frames, Resize
from vidray.models.batching import check_fps
from vidray.models.weights import sha256_of

if TYPE_CHECKING:
    from torch import nn

FRAMES_AT_ONCE = {"cpu": 1, "cuda": 4}
"""Detection takes up to some 2 GB a frame."""

LARGEST = Resize(size=800, longest=1333, antialias=False)
RESIZES = {
    "fasterrcnn_mobilenet_v3_large_320_fpn": Resize(size=320, longest=640, antialias=False),
    "ssd300_vgg16": Resize(size=(300, 300), antialias=False),
    "ssdlite320_mobilenet_v3_large": Resize(size=(320, 320), antialias=False),
}
"""What networks scale their frames to, where it is not `LARGEST`: `transform.min_size`, `max_size`, `fixed_size`."""

CLASS_TENSORS = {
    "fcos": ("head.classification_head.cls_logits.weight", 1),
    "retinanet": ("head.classification_head.cls_logits.weight", 9),
    "ssd300": ("head.classification_head.module_list.0.weight", 4),
    "ssdlite320": ("head.classification_head.module_list.0.1.weight", 6),
}
"""The tensor whose length is the number of classes, and how often each counts (anchors), by family."""

BOX_PREDICTOR = ("roi_heads.box_predictor.cls_score.weight", 1)
"""The same for the R-CNNs."""

MASK_PROBABILITY = 0.5
"""From which on a pixel belongs to a thing: torchvision's own examples, and the paper's (He et al. 2017)."""

Outputs = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class TorchvisionDetector:
    """What is where in a clip's frames: boxes with labels and scores, and how many of each.

    Mask R-CNN adds the areas that things cover, by label. Weights of other classes than the model's own name them
    "class 1", "class 2" and so on. Runs in float32, batch norm as torchvision runs it.

    Attributes:
        model: A name of `model_names()`.
        fps: Frames a second.
        keyframes: Whether keyframes alone are looked at, at most `fps` a second.
        min_score: Boxes with a higher score are kept.
        masks: Whether Mask R-CNN's masks are kept too.
        weights: Path or URL of a state dict, None for torchvision's DEFAULT ones.
    """

    version: ClassVar[str] = "1"

    model: str
    fps: float = 2.0
    keyframes: bool = False
    min_score: float = 0.5
    masks: bool = False
    weights: str | None = None

    def __post_init__(self) -> None:
        check_fps(self.fps)
        if not 0 <= self.min_score < 1:
            raise UsageError(f"min_score must be in [0, 1), got {self.min_score}")
        if self.masks and not _has_masks(self.model):
            raise UsageError(f"{self.name} gives no masks; maskrcnn and the segmentation models do")

    @property
    def name(self) -> str:
        """The table's name."""
        return PREFIX + self.model

    @property
    def memory_bytes(self) -> int:
        """Of a worker; Mask R-CNN takes 1.9 GB for frames of 720p, the others up to 0.9."""
        return (2 if _has_masks(self.model) else 1) << 30

    @property
    def inputs(self) -> Mapping[str, FrameRate]:
        """Frames no larger than the network works with."""
        return {"frames": FrameRate(fps=self.fps, resize=recipe(self.model).resize, keyframes=self.keyframes)}

    @property
    def schema(self) -> pa.Schema:
        """The columns that it adds."""
        fields = [("detections", DETECTIONS_TYPE), ("labels", LABELS_TYPE), ("counts", COUNTS_TYPE)]
        if _has_masks(self.model):
            fields += [("areas", AREAS_TYPE), ("mean_areas", MEAN_AREAS_TYPE)]
        return pa.schema([*fields, ("masks", MASKS_TYPE)] if self.masks else fields)

    @property
    def weights_record(self) -> Mapping[str, str | None]:
        """Where the weights come from, and their sha256 where they are a file."""
        return recipe(self.model).weights_record(self.weights)

    def settle(self) -> None:
        """See that the weights are here, or download them. Raises WeightsError."""
        recipe(self.model).settle(self.weights)

    def load(self, device: str) -> ExtractFn:
        """Read or download the weights and build the network. Raises WeightsError."""
        known = recipe(self.model)
        classes = known.class_names_or_numbers(self.weights)
        model = known.download() if self.weights is None else _from_file(known, self.weights)
        # What is below does not reach the networks' own suppression, which goes from the best score down.
        getattr(model, "roi_heads", model).score_thresh = self.min_score
        detect = detector(model, device)

        def extract(items: Sequence[ClipInput]) -> Answer:
            clips: list[Frames] = [item["frames"] for item in items]
            found = [
                _found(zip(clip.times_s.tolist(), detect(clip.frames), strict=True), classes, keep_masks=self.masks)
                for clip in clips
            ]
            columns = detection_columns([things.boxes for things in found])
            if _has_masks(self.model):
                columns |= area_columns([things.areas for things in found], [len(clip.times_s) for clip in clips])
            if self.masks:
                columns["masks"] = mask_column([things.masks for things in found])
            return columns

        return extract


def find(name: str) -> tuple[type[TorchvisionDetector], dict[str, str]] | None:
    """The class of `torchvision/<model>`, for models of this family."""
    family, _, model = name.partition("/")
    return (TorchvisionDetector, {"model": model}) if family == "torchvision" and model in model_names() else None


def names() -> list[str]:
    """All names that `find` knows."""
    return [f"torchvision/{model}" for model in model_names()]


def model_names() -> list[str]:
    """torchvision's own list of detection models."""
    models = torchvision_models()
    return [str(name) for name in models.list_models(module=models.detection)]


def class_names() -> tuple[str, ...]:
    """COCO's classes by their numbers, the background first; numbers that no class has are "N/A"."""
    return recipe("fasterrcnn_resnet50_fpn").classes


@cache
def recipe(model: str) -> Recipe:
    """Look a model up. Raises UsageError for an unknown one."""
    models = torchvision_models()
    if model not in model_names():
        raise UsageError(f"torchvision has no detection model '{model}'; `vidray models` lists all")
    weights = models.get_model_weights(model).DEFAULT
    tensor, repeats = CLASS_TENSORS.get(model.split("_")[0], BOX_PREDICTOR)
    return Recipe(
        model=model,
        kind="detection",
        class_tensor=tensor,
        class_repeats=repeats,
        resize=RESIZES.get(model, LARGEST),
        options={"weights_backbone": None},
        # SSDs try their backbones as they are built, which takes values.
        builds_with_values=model.startswith("ssd"),
        classes=tuple(weights.meta["categories"]),
        weights_name=str(weights),
        weights_url=weights.url,
        size_mb=weights.meta["_file_size"],
    )


def infos() -> list[ModelInfo]:
    """What `vidray models` says of these extractors."""
    return [_info(recipe(name)) for name in model_names()]


def _info(known: Recipe) -> ModelInfo:
    size = known.resize.size
    inputs = f"frames whose shorter side is {size}" if isinstance(size, int) else f"frames of {size[1]}x{size[0]}"
    return known.info(inputs)


def _has_masks(model: str) -> bool:
    """Whether it answers with masks too."""
    return model.startswith("maskrcnn")


def detector(model: nn.Module, device: str) -> Callable[[npt.NDArray[np.uint8]], Iterator[Outputs]]:
    """A function from uint8 frames (T, H, W, 3) to what a detection network answers for each, on the CPU."""
    import torch

    model = model.eval().requires_grad_(False).to(device)
    at_once = FRAMES_AT_ONCE[device.partition(":")[0]]

    def detect(frames: npt.NDArray[np.uint8]) -> Iterator[Outputs]:
        for first in range(0, len(frames), at_once):
            batch = torch.from_numpy(frames[first : first + at_once].copy()).to(device)
            with torch.inference_mode():
                outputs = model(list(batch.permute(0, 3, 1, 2).float() / 255))
            for output in outputs:
                sides = output["boxes"].new_tensor([*frames.shape[2:0:-1], *frames.shape[2:0:-1]])
                kept = {name: output[name].cpu().numpy() for name in ("labels", "scores")}
                kept["boxes"] = (output["boxes"] / sides).clamp(0, 1).cpu().numpy()
                if "masks" in output:
                    kept["masks"] = (output["masks"][:, 0] >= MASK_PROBABILITY).cpu().numpy()
                yield kept

    return detect


@dataclass(frozen=True)
class _Things:
    """What the frames of one clip show."""

    boxes: list[Box] = field(default_factory=list)
    areas: list[Area] = field(default_factory=list)
    masks: list[Mask] = field(default_factory=list)


def _found(frames: Iterable[tuple[float, Outputs]], classes: Sequence[str], *, keep_masks: bool) -> _Things:
    """One frame at a time: the masks of all, as large as the frames, would take gigabytes."""
    things = _Things()
    for time_s, found in frames:
        things.boxes.extend(_boxes(time_s, found, classes))
        if "masks" in found:
            things.areas.extend(_areas(time_s, found, classes))
        if keep_masks:
            things.masks.extend(_masks(time_s, found, classes))
    return things


def _boxes(time_s: float, found: Outputs, classes: Sequence[str]) -> Iterator[Box]:
    places = found["boxes"].tolist()
    for label, score, (x0, y0, x1, y1) in zip(found["labels"], found["scores"], places, strict=True):
        yield Box(time_s=time_s, label=classes[label], score=float(score), x0=x0, y0=y0, x1=x1, y1=y1)


def _areas(time_s: float, found: Outputs, classes: Sequence[str]) -> Iterator[Area]:
    """What all things of a label cover together."""
    for label in dict.fromkeys(found["labels"].tolist()):
        share = float(found["masks"][found["labels"] == label].any(axis=0).mean())
        if share:
            yield Area(time_s=time_s, label=classes[label], area=share)


def _masks(time_s: float, found: Outputs, classes: Sequence[str]) -> Iterator[Mask]:
    for label, score, mask in zip(found["labels"], found["scores"], found["masks"], strict=True):
        height, width = mask.shape
        counts = run_lengths(mask)
        yield Mask(time_s=time_s, label=classes[label], score=float(score), height=height, width=width, counts=counts)


def _from_file(known: Recipe, weights: str) -> nn.Module:
    from torch.nn import BatchNorm2d

    model = known.build(state_dict(weights), weights)
    if known.model in _TRAINED_WITHOUT_EPS and known.weights_url.endswith(f"-{sha256_of(weights)[:8]}.pth"):
        for layer in model.modules():
            if isinstance(layer, BatchNorm2d):
                layer.eps = 0.0
    return model


_TRAINED_WITHOUT_EPS = (
    "fasterrcnn_resnet50_fpn",
    "keypointrcnn_resnet50_fpn",
    "maskrcnn_resnet50_fpn",
    "retinanet_resnet50_fpn",
)
"""Whose DEFAULT weights torchvision runs with a batch norm of eps 0 (`overwrite_eps`), also here when from a file."""

"""Every semantic segmentation network of torchvision: how much of a frame is of which class, and where.

Scaling, normalisation and class names are those of a network's DEFAULT weights, also with weights from a file.
torchvision is imported where a model is looked at. `import torchvision` in here is the library.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from vidray.errors import UsageError
from vidray.extractors.protocol import Answer, ExtractFn, ModelInfo
from vidray.extractors.vision.regions import (
    AREAS_TYPE,
    MASKS_TYPE,
    MEAN_AREAS_TYPE,
    Area,
    Mask,
    area_columns,
    mask_column,
    run_lengths,
)
from vidray.extractors.vision.torchvision_import import torchvision_models
from vidray.extractors.vision.torchvision_recipe import PREFIX, Recipe, state_dict
from vidray.media import ClipInput, FrameRate, Frames, Resize
from vidray.models.batching import check_fps

if TYPE_CHECKING:
    from torch import Tensor, nn

AUXILIARY = "aux_classifier."
"""A classifier for training alone."""

BACKGROUND = 0

ClassMap = tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]
"""The class of each pixel and its probability, both (H, W)."""


@dataclass(frozen=True, kw_only=True)
class TorchvisionSegmenter:
    """How much of each frame each class covers, background left out; with `masks` also where.

    A pixel is of its most probable class; a mask's score is the mean probability of its pixels. Weights of other
    classes than the model's own name them "class 1", "class 2" and so on, 0 being the background. Runs in float32,
    batch norm as torchvision runs it.

    Attributes:
        model: A name of `model_names()`.
        fps: Frames a second.
        keyframes: Whether keyframes alone are looked at, at most `fps` a second.
        masks: Whether the masks are kept too, in the size in which the network sees the frames.
        weights: Path or URL of a state dict, None for torchvision's DEFAULT ones.
    """

    version: ClassVar[str] = "1"
    memory_bytes: ClassVar[int] = 1 << 30
    """Of a worker: up to 0.6 GB for wide frames."""

    model: str
    fps: float = 2.0
    keyframes: bool = False
    masks: bool = False
    weights: str | None = None

    def __post_init__(self) -> None:
        check_fps(self.fps)

    @property
    def name(self) -> str:
        """The table's name."""
        return PREFIX + self.model

    @property
    def inputs(self) -> Mapping[str, FrameRate]:
        """Frames as the network wants them."""
        return {"frames": FrameRate(fps=self.fps, resize=recipe(self.model).resize, keyframes=self.keyframes)}

    @property
    def schema(self) -> pa.Schema:
        """The columns that it adds."""
        fields = [("areas", AREAS_TYPE), ("mean_areas", MEAN_AREAS_TYPE)]
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
        segment = segmenter(model, mean=known.mean, std=known.std, device=device)

        def extract(items: Sequence[ClipInput]) -> Answer:
            clips: list[Frames] = [item["frames"] for item in items]
            areas: list[list[Area]] = []
            masks: list[list[Mask]] = []
            for clip in clips:
                areas.append([])
                masks.append([])
                for time_s, class_map in zip(clip.times_s.tolist(), segment(clip.frames), strict=True):
                    areas[-1] += _areas(time_s, class_map, classes)
                    masks[-1] += _masks(time_s, class_map, classes) if self.masks else []
            columns = area_columns(areas, [len(clip.frames) for clip in clips])
            return columns | ({"masks": mask_column(masks)} if self.masks else {})

        return extract


def find(name: str) -> tuple[type[TorchvisionSegmenter], dict[str, str]] | None:
    """The class of `torchvision/<model>`, for models of this family."""
    family, _, model = name.partition("/")
    return (TorchvisionSegmenter, {"model": model}) if family == "torchvision" and model in model_names() else None


def names() -> list[str]:
    """All names that `find` knows."""
    return [f"torchvision/{model}" for model in model_names()]


def model_names() -> list[str]:
    """torchvision's own list of segmentation models."""
    models = torchvision_models()
    return [str(name) for name in models.list_models(module=models.segmentation)]


@cache
def recipe(model: str) -> Recipe:
    """Look a model up. Raises UsageError for an unknown one."""
    models = torchvision_models()
    if model not in model_names():
        raise UsageError(f"torchvision has no segmentation model '{model}'; `vidray models` lists all")
    weights = models.get_model_weights(model).DEFAULT
    preset = weights.transforms()
    return Recipe(
        model=model,
        classes=tuple(weights.meta["categories"]),
        kind="segmentation",
        class_tensor="classifier.low_classifier.weight" if model.startswith("lraspp") else "classifier.4.weight",
        resize=Resize(size=preset.resize_size[0]),
        # One of them knows no auxiliary classifier, the others have none unless asked.
        options={"weights_backbone": None},
        mean=tuple(preset.mean),
        std=tuple(preset.std),
        weights_name=str(weights),
        weights_url=weights.url,
        size_mb=weights.meta["_file_size"],
    )


def infos() -> list[ModelInfo]:
    """What `vidray models` says of these extractors."""
    return [known.info(f"frames whose shorter side is {known.resize.size}") for known in map(recipe, model_names())]


def segmenter(
    model: nn.Module, *, mean: Sequence[float], std: Sequence[float], device: str
) -> Callable[[npt.NDArray[np.uint8]], Iterator[ClassMap]]:
    """A function from uint8 frames (T, H, W, 3) to the class map of each, one frame at a time."""
    import torch

    model = model.eval().requires_grad_(False).to(device)
    middle, scale = (torch.tensor(values, device=device)[:, None, None] for values in (mean, std))

    def one(frame: Tensor) -> ClassMap:
        pixels = (frame.permute(2, 0, 1).float() / 255 - middle) / scale
        logits = model(pixels[None])["out"][0]
        classes = logits.argmax(dim=0)
        probabilities = logits.softmax(dim=0).gather(0, classes[None])[0]
        return classes.cpu().numpy(), probabilities.cpu().numpy()

    def segment(frames: npt.NDArray[np.uint8]) -> Iterator[ClassMap]:
        for frame in frames:
            with torch.inference_mode():
                found = one(torch.from_numpy(frame.copy()).to(device))
            yield found

    return segment


def _areas(time_s: float, class_map: ClassMap, classes: Sequence[str]) -> list[Area]:
    counts = np.bincount(class_map[0].ravel(), minlength=len(classes))
    return [
        Area(time_s=time_s, label=classes[number], area=count / class_map[0].size)
        for number, count in enumerate(counts.tolist())
        if count and number != BACKGROUND
    ]


def _masks(time_s: float, class_map: ClassMap, classes: Sequence[str]) -> list[Mask]:
    numbers, probabilities = class_map
    height, width = numbers.shape
    masks = []
    for number in np.unique(numbers).tolist():
        if number != BACKGROUND:
            mask = numbers == number
            score = float(probabilities[mask].mean(dtype=np.float64))
            size = {"height": height, "width": width}
            masks.append(Mask(time_s=time_s, label=classes[number], score=score, counts=run_lengths(mask), **size))
    return masks


def _from_file(known: Recipe, weights: str) -> nn.Module:
    return known.build(state_dict(weights, AUXILIARY), weights)

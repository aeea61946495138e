"""Networks in bfloat16, which a processor may compute wrongly: they are compared with float32 before they are used."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor

T = TypeVar("T")

LEAST_COSINE = 0.98
"""Rounding leaves 0.999 and more between a network's features in bfloat16 and in float32, noise included. oneDNN of
torch 2.11 on processors with AMX computes some grouped convolutions as something else entirely: 0.05."""


def in_precision(
    build: Callable[[str], T], answer: Callable[[T], Tensor], *, precision: str, device: str, what: str
) -> T:
    """What `build` makes of a precision; of float32 after all where this processor computes bfloat16 wrongly.

    That is seen on one seeded sample, as a network loads, and said on standard error.

    Args:
        build: From a precision to a network, or a function that runs one; called twice for bfloat16 on a CPU.
        answer: The features of a seeded sample by what was built.
        precision: "float32" or "bfloat16".
        device: "cpu" or "cuda".
        what: The network's name, for the message.
    """
    built = build(precision)
    if precision == "float32" or not device.startswith("cpu"):
        return built
    exact = build("float32")
    with torch.inference_mode():
        likeness = cosine(answer(built), answer(exact))
    if likeness >= LEAST_COSINE:
        return built
    sys.stderr.write(
        f"vidray: this processor computes {what} wrongly in bfloat16 (cosine {likeness:.2f} to float32); "
        "it runs in float32\n"
    )
    return exact


def cosine(one: Tensor, other: Tensor) -> float:
    """Of all numbers of two tensors; 1 where both are zero, 0 where one holds something that is no number."""
    a, b = one.double().flatten(), other.double().flatten()
    if not (a.isfinite().all() and b.isfinite().all()):
        return 0.0
    length = a.norm() * b.norm()
    return 1.0 if not length else float(a @ b / length)


def noise(*shape: int) -> Tensor:
    """Seeded bytes of a frame's kind, uint8."""
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))

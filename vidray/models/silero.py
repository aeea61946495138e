"""Silero's voice activity network, version 6, at 16 kHz: by the file that the wheel `silero-vad` carries.

The reference is https://github.com/snakers4/silero-vad, whose own code is not imported. A step is 512 samples (32 ms);
the network sees the 64 samples before it too, and carries a state from step to step.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import numpy.typing as npt

from vidray.models.onnx import pinned_file, session
from vidray.models.weights import packaged_file

PACKAGE = "silero-vad"
PACKAGE_VERSION = "6.2.3"
FILE = "silero_vad/data/silero_vad_16k_sequence.onnx"
FILE_SHA256 = "9ccdacc4719d8aa7e45a77536bfabec45a03ba1f2fad5e241ab4060b24238a85"
WHAT = "voice activity"
EXTRA = "speech"

SAMPLE_RATE = 16_000
STEP = 512  # samples, 32 ms
CONTEXT = 64  # samples before a step that the network sees too
STATE_SHAPE = (1, 1, 128)
CHUNK = 32
"""Steps that go through the network at once, never more and never fewer: the result is the same to the last bit
however much audio there is behind them."""

Floats = npt.NDArray[np.float32]
SpeechFn = Callable[[Floats], Floats]
"""From `CONTEXT` + N * `STEP` samples to the probability of speech in each of the N steps, from a state of zeros."""


def speech_network() -> SpeechFn:
    """The network, on one core: it is hundreds of times faster than real time there.

    Raises:
        MissingExtraError: The extra `speech` is not installed.
        WeightsError: The file in the wheel is not the pinned one.
    """
    network = session(_file(), what=WHAT, extra=EXTRA)

    def probabilities(samples: Floats) -> Floats:
        steps = (len(samples) - CONTEXT) // STEP
        padded = np.zeros(CONTEXT + -(-steps // CHUNK) * CHUNK * STEP, np.float32)
        padded[: CONTEXT + steps * STEP] = samples[: CONTEXT + steps * STEP]
        seen = np.lib.stride_tricks.sliding_window_view(padded, CONTEXT + STEP)[::STEP]
        found = np.empty(len(seen), np.float32)
        hidden = cell = np.zeros(STATE_SHAPE, np.float32)
        for first in range(0, len(seen), CHUNK):
            inputs = {"input": seen[first : first + CHUNK], "h": hidden, "c": cell}
            found[first : first + CHUNK], hidden, cell = network.run(None, inputs)
        return found[:steps]

    return probabilities


def weights_record() -> Mapping[str, str]:
    """Where the weights come from, and their sha256. Raises MissingExtraError or WeightsError."""
    _file()
    return {"source": f"{PACKAGE}=={PACKAGE_VERSION}", "sha256": FILE_SHA256}


def is_installed() -> bool:
    """Whether the network can be run here."""
    return packaged_file(PACKAGE, FILE) is not None and find_spec("onnxruntime") is not None


def _file() -> Path:
    return pinned_file(PACKAGE, PACKAGE_VERSION, FILE, FILE_SHA256, what=WHAT, extra=EXTRA)

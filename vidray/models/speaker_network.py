"""Voices as vectors: the LSTM of Resemblyzer, with the weights that its wheel carries; its own code is not imported.

Wan et al. 2018, "Generalized End-to-End Loss for Speaker Verification", https://arxiv.org/abs/1710.10467, as
https://github.com/resemble-ai/Resemblyzer (Apache-2.0) trained it. torch is imported where the network is loaded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from vidray.errors import MissingExtraError, WeightsError
from vidray.models.weights import fill, load_state_dict, packaged_file, sha256_of

PACKAGE = "resemblyzer"
PACKAGE_VERSION = "0.1.4"
EXTRA = "speakers"
FILE = "resemblyzer/pretrained.pt"
FILE_SHA256 = "39373b86598fa3da9fcddee6142382efe09777e8d37dc9c0561f41f0070f134e"
UNUSED = ("similarity_weight", "similarity_bias")
"""Of the loss that it was trained with."""

SAMPLE_RATE = 16_000
DIM = 256
LAYERS = 3
MELS = 40
FFT = 400  # samples, 25 ms
HOP = 160  # samples, 10 ms
WINDOW = 160
"""Frames of mel bands, 1.6 s, that the network was trained on: `partials_n_frames` of its `hparams.py`."""
STEP = 40
"""Frames, 0.4 s, between windows: a change of voice is found to about half of it."""
LEAST_RMS = 10 ** (-30 / 20)
"""Quieter speech is amplified to it: `audio_norm_target_dBFS`. The bands are no logarithms, so that levels count."""
BATCH = 16
"""Windows that go through the network at once, never more and never fewer: the result is the same to the last bit
whatever else is said."""

Floats = npt.NDArray[np.float32]
VoiceFn = Callable[[Sequence[Floats]], list[Floats]]
"""From samples of segments at 16 kHz to unit vectors (windows, 256) of each."""


def windows(count: int) -> list[tuple[int, int]]:
    """The spans, in samples, of the windows of a segment of so many samples.

    One every 0.4 s, the last one at its end; one alone, of all of it, where it is shorter than a window.
    """
    length, step = WINDOW * HOP, STEP * HOP
    if count <= length:
        return [(0, count)]
    starts = [*range(0, count - length, step), count - length]
    return [(start, start + length) for start in starts]


def voice_network() -> VoiceFn:
    """The network, on the CPU. Raises MissingExtraError or WeightsError."""
    path = weights_file()
    import torch
    from torch import nn
    from torchaudio.functional import melscale_fbanks

    tensors = load_state_dict(str(path))
    lstm, linear = nn.LSTM(MELS, DIM, LAYERS, batch_first=True), nn.Linear(DIM, DIM)
    network = nn.ModuleDict({"lstm": lstm, "linear": linear}).eval()
    fill(network, {name: t for name, t in tensors.items() if name not in UNUSED}, PACKAGE)
    network.requires_grad_(False)
    lstm.flatten_parameters()
    # librosa's own bands, by which the network was trained
    bands = melscale_fbanks(FFT // 2 + 1, 0.0, SAMPLE_RATE / 2, MELS, SAMPLE_RATE, norm="slaney", mel_scale="slaney")
    window = torch.hann_window(FFT)

    def mels(samples: Floats) -> torch.Tensor:
        """(frames, 40) of a segment: powers."""
        rms = float(np.sqrt(np.mean(np.square(samples, dtype=np.float64))))
        louder = torch.from_numpy(samples * np.float32(max(1.0, LEAST_RMS / max(rms, 1e-6))))
        spectrum = torch.stft(louder, FFT, HOP, window=window, center=True, pad_mode="constant", return_complex=True)
        powers: torch.Tensor = spectrum.abs().square().T @ bands
        return powers

    def voices(segments: Sequence[Floats]) -> list[Floats]:
        found = []
        with torch.inference_mode():
            for samples in segments:
                spans = windows(len(samples))
                seen = torch.zeros(-(-len(spans) // BATCH) * BATCH, WINDOW, MELS)
                spectrum = mels(samples)
                for place, (start, _) in enumerate(spans):
                    # rounded down: the last window need not start at a frame
                    part = spectrum[start // HOP : start // HOP + WINDOW]
                    seen[place, : len(part)] = part
                vectors = [linear(lstm(some)[1][0][-1]).relu() for some in torch.split(seen, BATCH)]
                whole = torch.cat(vectors)[: len(spans)]
                found.append((whole / whole.norm(dim=1, keepdim=True).clamp_min(1e-9)).numpy())
        return found

    return voices


def weights_file() -> Path:
    """The file of the wheel, once it is seen to be the right one. Raises MissingExtraError or WeightsError."""
    path = packaged_file(PACKAGE, FILE)
    if path is None:
        # it asks for librosa and a compiler
        raise MissingExtraError("telling voices apart", EXTRA, f"{PACKAGE}=={PACKAGE_VERSION}")
    if sha256_of(str(path)) != FILE_SHA256:
        raise WeightsError(f"{path} is not what voices were checked with: install {PACKAGE}=={PACKAGE_VERSION}")
    return path


def weights_record() -> Mapping[str, str]:
    """Where the weights come from, and their sha256. Raises MissingExtraError or WeightsError."""
    weights_file()
    return {"source": f"{PACKAGE}=={PACKAGE_VERSION}", "sha256": FILE_SHA256}

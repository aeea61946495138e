"""Moonshine, a small network from English speech to text, by the files that the wheel `moonshine-voice` carries.

Jeffries et al. 2024, "Moonshine: Speech Recognition for Live Transcription and Voice Commands". The wheel's code is not
imported. Decoding is greedy: each token is the likeliest one, and nothing is drawn by chance.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vidray.errors import WeightsError
from vidray.models.onnx import pinned_file, session

PACKAGE = "moonshine-voice"
PACKAGE_VERSION = "0.0.48"
FOLDER = "moonshine_voice/assets/tiny-en"
FILES = {
    "encoder_model.ort": "94e90a4654fc45cdfedb77c4c08e1739f48862998e58fada384b25118134f221",
    "decoder_model_merged.ort": "cf524c4862d36e9e5ab032eddc73637efd822d70e868ac575cf1a46e1e4708a0",
    "tokenizer.bin": "6884b35fd6377d4c4d32336a0bc152f36b64d1e45b6503683cdc238250a8472d",
}
WHAT = "moonshine"
EXTRA = "speech"

SAMPLE_RATE = 16_000
START, END = 1, 2
MARK = "▁"  # of SentencePiece: a space
TOKENS_PER_S = 10
"""More than anybody says; the authors stop at 6.5, which cuts fast speakers short."""
FEWEST_TOKENS = 16

Floats = npt.NDArray[np.float32]


class Moonshine:
    """The network, on one core.

    Args:
        folder: A folder with the three files; None for those of the wheel.

    Raises:
        MissingExtraError: The extra `speech` is not installed.
        WeightsError: A file is not there, or not the pinned one.
    """

    def __init__(self, folder: str | None = None) -> None:
        files = files_of(folder)
        self._encoder = session(files["encoder_model.ort"], what=WHAT, extra=EXTRA)
        self._decoder = session(files["decoder_model_merged.ort"], what=WHAT, extra=EXTRA)
        self._pieces = read_pieces(files["tokenizer.bin"].read_bytes())
        self._caches = {i.name: i.shape for i in self._decoder.get_inputs() if i.name.startswith("past_key_values")}
        self._outputs = [output.name for output in self._decoder.get_outputs()]

    def write(self, samples: Floats) -> tuple[str, float, bool]:
        """The text of some seconds of speech at 16 kHz, a token's mean log probability, and whether it was cut off."""
        hidden = self._encoder.run(
            None, {"input_values": samples[None], "attention_mask": np.ones((1, len(samples)), np.int64)}
        )[0]
        # the decoder's mask counts samples too
        fixed = {
            "encoder_hidden_states": hidden,
            "encoder_attention_mask": np.ones((1, len(samples)), np.int64),
        }
        caches = {name: np.zeros((1, shape[1], 0, shape[3]), np.float32) for name, shape in self._caches.items()}
        most = max(FEWEST_TOKENS, math.ceil(len(samples) / SAMPLE_RATE * TOKENS_PER_S))
        tokens, likelihood = [START], 0.0
        while len(tokens) <= most:
            is_first = len(tokens) == 1
            given = {"input_ids": np.array([tokens[-1:]], np.int64), "use_cache_branch": np.array([not is_first])}
            answers = dict(zip(self._outputs, self._decoder.run(None, {**given, **fixed, **caches}), strict=True))
            token, log_probability = _likeliest(answers["logits"][0, -1])
            likelihood += log_probability
            if token == END:
                return self._text(tokens[1:]), likelihood / len(tokens), False
            tokens.append(token)
            caches = _carried(caches, answers, with_encoder=is_first)
        return self._text(tokens[1:]), likelihood / (len(tokens) - 1), True

    def _text(self, tokens: list[int]) -> str:
        joined = b"".join(self._pieces[token] for token in tokens if token < len(self._pieces))
        return joined.decode(errors="replace").replace(MARK, " ").strip()


def files_of(folder: str | None) -> dict[str, Path]:
    """The network's files. Raises MissingExtraError or WeightsError."""
    if folder is None:
        return {
            name: pinned_file(PACKAGE, PACKAGE_VERSION, f"{FOLDER}/{name}", sha256, what=WHAT, extra=EXTRA)
            for name, sha256 in FILES.items()
        }
    files = {name: Path(folder) / name for name in FILES}
    for path in files.values():
        if not path.is_file():
            raise WeightsError(f"{path} is not there; {WHAT} takes a folder with {', '.join(FILES)}")
    return files


def weights_record(folder: str | None) -> Mapping[str, str]:
    """Where the weights come from, and the sha256 of their sha256s."""
    found = {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in files_of(folder).items()}
    source = f"{PACKAGE}=={PACKAGE_VERSION}" if folder is None else folder
    return {"source": source, "sha256": hashlib.sha256("".join(found.values()).encode()).hexdigest()}


def read_pieces(content: bytes) -> list[bytes]:
    """The vocabulary of a `tokenizer.bin`: each piece has its length before it, in one byte or, from 128 on, in two;
    an empty piece is a zero."""
    found, place = [], 0
    while place < len(content):
        length = content[place]
        place += 1
        if length >= 128:
            length += 128 * content[place] - 128
            place += 1
        found.append(content[place : place + length])
        place += length
    return found


def _likeliest(logits: Floats) -> tuple[int, float]:
    token = int(np.argmax(logits))
    shifted = logits.astype(np.float64) - logits[token]
    return token, -float(np.log(np.exp(shifted).sum()))


def _carried(caches: Mapping[str, Any], answers: Mapping[str, Any], *, with_encoder: bool) -> dict[str, Any]:
    """What the next step is given: the encoder's keys and values are reckoned in the first step alone."""
    return {
        name: answers[name.replace("past_key_values", "present")] if with_encoder or ".decoder." in name else cache
        for name, cache in caches.items()
    }

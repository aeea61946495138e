"""Sentence models from a folder: what torch's own encoder gives on seeded weights, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from threadpoolctl import threadpool_info
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import BertProcessing
from torch import nn

from vidray.errors import WeightsError
from vidray.extractors import resolve
from vidray.media import Clip, ClipInput
from vidray.models import sentences
from vidray.models.sentences import Sentences

WORDS = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", "the", "harvest", "was", "late", "this", "year"]
DIM, WIDE, LAYERS, HEADS, LONGEST = 24, 40, 2, 3, 8
CONFIG = {
    "model_type": "bert", "hidden_act": "gelu", "hidden_size": DIM, "intermediate_size": WIDE,
    "num_hidden_layers": LAYERS, "num_attention_heads": HEADS, "layer_norm_eps": 1e-5, "max_position_embeddings": 16,
}  # fmt: skip
TEXTS = ["the harvest was late", "late", "the year the harvest was late this year was late"]


def reference(state: dict[str, torch.Tensor], ids: list[int]) -> torch.Tensor:
    """The encoder's last features of one text, (T, dim), by torch's transformer with the same weights."""
    layer = nn.TransformerEncoderLayer(
        DIM, HEADS, WIDE, dropout=0.0, activation="gelu", layer_norm_eps=1e-5, batch_first=True
    )
    encoder = nn.TransformerEncoder(layer, LAYERS, enable_nested_tensor=False).eval()
    own = {}
    for n in range(LAYERS):
        of = f"encoder.layer.{n}"
        for kind in ("weight", "bias"):
            parts = [state[f"{of}.attention.self.{part}.{kind}"] for part in ("query", "key", "value")]
            own |= {
                f"layers.{n}.self_attn.in_proj_{kind}": torch.cat(parts),
                f"layers.{n}.self_attn.out_proj.{kind}": state[f"{of}.attention.output.dense.{kind}"],
                f"layers.{n}.norm1.{kind}": state[f"{of}.attention.output.LayerNorm.{kind}"],
                f"layers.{n}.linear1.{kind}": state[f"{of}.intermediate.dense.{kind}"],
                f"layers.{n}.linear2.{kind}": state[f"{of}.output.dense.{kind}"],
                f"layers.{n}.norm2.{kind}": state[f"{of}.output.LayerNorm.{kind}"],
            }
    encoder.load_state_dict(own)
    tokens = state["embeddings.word_embeddings.weight"][ids]
    tokens = tokens + state["embeddings.position_embeddings.weight"][: len(ids)]
    tokens = tokens + state["embeddings.token_type_embeddings.weight"][0]
    norm = [state[f"embeddings.LayerNorm.{kind}"] for kind in ("weight", "bias")]
    with torch.no_grad():
        return encoder(nn.functional.layer_norm(tokens, (DIM,), *norm, 1e-5)[None])[0]


def tiny_weights() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)

    def pair(name: str, *shape: int) -> dict[str, torch.Tensor]:
        return {f"{name}.weight": 0.4 * torch.randn(*shape), f"{name}.bias": 0.2 * torch.randn(shape[0])}

    state = {
        "embeddings.word_embeddings.weight": torch.randn(len(WORDS), DIM),
        "embeddings.position_embeddings.weight": torch.randn(16, DIM),
        "embeddings.token_type_embeddings.weight": torch.randn(2, DIM),
        **pair("embeddings.LayerNorm", DIM),
    }
    for n in range(LAYERS):
        of = f"encoder.layer.{n}"
        for part in ("query", "key", "value"):
            state |= pair(f"{of}.attention.self.{part}", DIM, DIM)
        state |= pair(f"{of}.attention.output.dense", DIM, DIM) | pair(f"{of}.attention.output.LayerNorm", DIM)
        state |= pair(f"{of}.intermediate.dense", WIDE, DIM) | pair(f"{of}.output.dense", DIM, WIDE)
        state |= pair(f"{of}.output.LayerNorm", DIM)
    return state


def write_folder(folder: Path, *, prefix: str = "", pooled: str = "mean_tokens", **config: Any) -> Path:
    tokenizer = Tokenizer(WordLevel({word: n for n, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.post_processor = BertProcessing(("[SEP]", 2), ("[CLS]", 1))
    (folder / "1_Pooling").mkdir(parents=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    save_file({prefix + name: tensor for name, tensor in tiny_weights().items()}, folder / "model.safetensors")
    kinds = ("Transformer", "Pooling", "Normalize")
    files = {
        "config.json": CONFIG | config,
        "modules.json": [{"type": f"sentence_transformers.models.{kind}"} for kind in kinds],
        "sentence_bert_config.json": {"max_seq_length": LONGEST},
        "1_Pooling/config.json": {"word_embedding_dimension": DIM, f"pooling_mode_{pooled}": True},
    }
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content))
    return folder


@pytest.mark.parametrize(("prefix", "pooled"), [("", "mean_tokens"), ("bert.", "cls_token")])
def test_a_folder_gives_what_torchs_encoder_gives(tmp_path: Path, prefix: str, pooled: str) -> None:
    model = Sentences.of(write_folder(tmp_path / "tiny", prefix=prefix, pooled=pooled))
    found = model.embed(TEXTS)
    state = tiny_weights()
    for vector, text in zip(found, TEXTS, strict=True):
        ids = [1, *[WORDS.index(word) for word in text.split()][: LONGEST - 2], 2]
        features = reference(state, ids)
        expected = features.mean(0) if pooled == "mean_tokens" else features[0]
        np.testing.assert_allclose(vector, nn.functional.normalize(expected, dim=0).numpy(), atol=1e-5)


def test_the_extractor_takes_a_folder(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "tiny")
    extractor = resolve(f"text_embedding?model={folder}&of=transcript")
    assert extractor.name == "text_embedding-transcript"
    assert extractor.schema.field("embedding").type.list_size == DIM
    record: Any = extractor.weights_record  # type: ignore[attr-defined]
    assert (record["source"], len(record["sha256"])) == (str(folder), 64)
    clip = Clip(clip_id="c", video_id="v", uri="u", clip_index=0, start_s=0.0, end_s=1.0)
    items = [ClipInput(clip=clip, values={"text": {"text": text}}) for text in (TEXTS[0], None)]
    one, none = extractor.load("cpu")(items)["embedding"]
    np.testing.assert_allclose(one, Sentences.of(folder).embed(TEXTS[:1])[0], atol=1e-6)
    assert none is None


def test_what_cannot_be_computed_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="type mpnet"):
        Sentences.of(write_folder(tmp_path / "a", model_type="mpnet"))
    with pytest.raises(WeightsError, match="activation relu"):
        Sentences.of(write_folder(tmp_path / "b", hidden_act="relu"))
    with pytest.raises(WeightsError, match="pooling_mode_max_tokens is pooled"):
        Sentences.of(write_folder(tmp_path / "c", pooled="max_tokens"))
    other = write_folder(tmp_path / "d")
    (other / "modules.json").write_text(
        json.dumps([{"type": "x.Transformer"}, {"type": "x.Pooling"}, {"type": "x.Dense"}])
    )
    with pytest.raises(WeightsError, match="modules are Transformer, Pooling, Dense"):
        Sentences.of(other)
    (other / "tokenizer.json").write_text("{}")
    with pytest.raises(WeightsError, match="no tokenizer"):
        Sentences.of(other)
    with pytest.raises(WeightsError, match=r"config\.json"):
        Sentences.of(tmp_path / "nothing")


def test_few_tokens_are_computed_by_one_thread() -> None:
    def threads() -> set[int]:
        return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}

    before = threads()
    with sentences.threads_for(sentences.FEW_TOKENS):
        assert threads() == {1}
    with sentences.threads_for(sentences.FEW_TOKENS + 1):
        assert threads() == before

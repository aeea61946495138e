"""Networks of `transformers` with seeded random weights, small enough for tests, as folders that it loads."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

WORDS = (
    "the a was is and of to in it not good bad harvest bridge village lovely awful hate love this year people rain "
    "match food friend work camera money children music storm garden doctors time lesson idea crowd"
)
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
LONGEST = 128


def _tokenizer(folder: Path) -> int:
    """A BERT tokenizer of a few words and all letters; returns the size of its vocabulary."""
    from transformers import BertTokenizer

    letters = "abcdefghijklmnopqrstuvwxyz.,!?'"
    pieces = [*SPECIAL, *letters, *(f"##{one}" for one in letters), *WORDS.split()]
    vocabulary = {piece: place for place, piece in enumerate(dict.fromkeys(pieces))}
    BertTokenizer(vocab=vocabulary, model_max_length=LONGEST).save_pretrained(folder)
    return len(vocabulary)


def classifier_folder(folder: Path, labels: Sequence[str], *, seed: int = 0) -> str:
    """A BERT of two layers that classifies texts."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification

    folder.mkdir(parents=True, exist_ok=True)
    names = dict(enumerate(labels))
    config = BertConfig(
        vocab_size=_tokenizer(folder),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=LONGEST,
        initializer_range=0.5,
        id2label=names,
        label2id={name: place for place, name in names.items()},
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        BertForSequenceClassification(config).save_pretrained(folder)
    return str(folder)

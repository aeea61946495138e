"""Networks of `transformers` with seeded random weights, small enough for tests, as folders that it loads."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

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


def _seeded(network: Any, config: Any, folder: Path, seed: int) -> str:
    """A class of networks with random weights, beside its tokenizer."""
    import torch

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network(config).save_pretrained(folder)
    return str(folder)


def classifier_folder(folder: Path, labels: Sequence[str], *, seed: int = 0) -> str:
    """A BERT of two layers that classifies texts."""
    from transformers import BertConfig, BertForSequenceClassification

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
    return _seeded(BertForSequenceClassification, config, folder, seed)


LAYERS = {
    f"{side}_{name}": value
    for side in ("encoder", "decoder")
    for name, value in (("layers", 1), ("attention_heads", 2), ("ffn_dim", 64))
}
PADDING_FIRST = ("<pad>", "<s>", "</s>", "<unk>")


def _fast_tokenizer(folder: Path, more: Sequence[str] = (), special: Sequence[str] = PADDING_FIRST) -> int:
    """A tokenizer of characters with a start, an end and some more tokens; returns the size of its vocabulary."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    characters = " abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.,!?'-<>|:"
    vocabulary = {piece: place for place, piece in enumerate((*special, *more, *characters))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    tokenizer.decoder = decoders.Fuse()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", vocabulary["<s>"])]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
        additional_special_tokens=list(more),
        model_max_length=LONGEST,
    ).save_pretrained(folder)
    return len(vocabulary)


def translator_folder(folder: Path, *, languages: Sequence[str] = (), seed: int = 0) -> str:
    """A BART of one layer each way that writes nonsense."""
    from transformers import BartConfig, BartForConditionalGeneration

    config = BartConfig(
        vocab_size=_fast_tokenizer(folder, languages),
        d_model=32,
        max_position_embeddings=LONGEST,
        init_std=0.5,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=2,
        forced_eos_token_id=2,
        **LAYERS,
    )
    return _seeded(BartForConditionalGeneration, config, folder, seed)


def many_languages_folder(folder: Path, languages: Sequence[str], *, seed: int = 0) -> str:
    """An M2M100, as NLLB's networks are, of one layer each way that writes nonsense."""
    from transformers import M2M100Config, M2M100ForConditionalGeneration

    config = M2M100Config(
        vocab_size=_fast_tokenizer(folder, languages, ("<s>", "<pad>", "</s>", "<unk>")),
        d_model=32,
        max_position_embeddings=LONGEST,
        init_std=0.5,
        # as NLLB has it: the converter takes positions to begin behind this one
        pad_token_id=1,
        bos_token_id=0,
        eos_token_id=2,
        decoder_start_token_id=2,
        **LAYERS,
    )
    return _seeded(M2M100ForConditionalGeneration, config, folder, seed)


def t5_folder(folder: Path, *, seed: int = 0) -> str:
    """A T5 of one layer each way that writes nonsense."""
    from transformers import T5Config, T5ForConditionalGeneration

    config = T5Config(
        vocab_size=_fast_tokenizer(folder),
        d_model=32,
        d_kv=16,
        d_ff=64,
        num_layers=1,
        num_heads=2,
        initializer_factor=3.0,
        pad_token_id=0,
        eos_token_id=2,
        decoder_start_token_id=0,
    )
    return _seeded(T5ForConditionalGeneration, config, folder, seed)


def converted(folder: str, *, copy: Sequence[str] = ("tokenizer.json", "tokenizer_config.json")) -> str:
    """The same network in CTranslate2's format, by the library's own converter."""
    from ctranslate2.converters import TransformersConverter

    return str(TransformersConverter(folder, copy_files=list(copy)).convert(f"{folder}-converted"))


def captioner_folder(folder: Path, kind: str, *, seed: int = 0) -> str:
    """A network of one layer a side that writes nonsense on images of 32 pixels: "vit-gpt2", or "blip"."""
    import transformers as t

    one = {"num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
    sees = {"hidden_size": 32, "image_size": 32, "patch_size": 16, "initializer_range": 0.5, **one}
    size = {"height": 32, "width": 32}
    ends = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    if kind == "blip":
        reads = {"vocab_size": _fast_tokenizer(folder), "hidden_size": 32, "encoder_hidden_size": 32, **one}
        reads |= {**ends, "sep_token_id": 2, "initializer_range": 0.5, "max_position_embeddings": LONGEST}
        t.BlipImageProcessor(size=size).save_pretrained(folder)
        config = t.BlipConfig(text_config=reads, vision_config=sees, projection_dim=32)
        return _seeded(t.BlipForConditionalGeneration, config, folder, seed)
    writes = t.GPT2Config(
        vocab_size=_fast_tokenizer(folder), n_positions=LONGEST, n_embd=32, n_layer=1, n_head=2,
        initializer_range=0.5, add_cross_attention=True, is_decoder=True, **ends,
    )  # fmt: skip
    t.ViTImageProcessor(size=size).save_pretrained(folder)
    both = t.VisionEncoderDecoderConfig.from_encoder_decoder_configs(t.ViTConfig(**sees), writes)
    both.decoder_start_token_id, both.pad_token_id, both.eos_token_id = 1, 0, 2
    return _seeded(t.VisionEncoderDecoderModel, both, folder, seed)


def writer_folder(folder: Path, *, template: str | None = None, seed: int = 0) -> str:
    """A GPT-2 of two layers that writes nonsense; with a template it holds conversations."""
    from transformers import AutoTokenizer, GPT2Config, GPT2LMHeadModel

    size = _fast_tokenizer(folder)
    if template is not None:
        tokenizer = AutoTokenizer.from_pretrained(folder)
        tokenizer.chat_template = template
        tokenizer.save_pretrained(folder)
    config = GPT2Config(
        vocab_size=size,
        n_positions=LONGEST,
        n_embd=32,
        n_layer=2,
        n_head=2,
        initializer_range=0.5,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
    )
    return _seeded(GPT2LMHeadModel, config, folder, seed)

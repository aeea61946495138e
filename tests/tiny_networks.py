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
    import torch
    from transformers import BartConfig, BartForConditionalGeneration

    folder.mkdir(parents=True, exist_ok=True)
    config = BartConfig(
        vocab_size=_fast_tokenizer(folder, languages),
        d_model=32,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=64,
        decoder_ffn_dim=64,
        max_position_embeddings=LONGEST,
        init_std=0.5,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=2,
        forced_eos_token_id=2,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        BartForConditionalGeneration(config).save_pretrained(folder)
    return str(folder)


def many_languages_folder(folder: Path, languages: Sequence[str], *, seed: int = 0) -> str:
    """An M2M100, as NLLB's networks are, of one layer each way that writes nonsense."""
    import torch
    from transformers import M2M100Config, M2M100ForConditionalGeneration

    folder.mkdir(parents=True, exist_ok=True)
    layers = {f"{side}_{name}": value for side in ("encoder", "decoder") for name, value in _LAYER.items()}
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
        **layers,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        M2M100ForConditionalGeneration(config).save_pretrained(folder)
    return str(folder)


_LAYER = {"layers": 1, "attention_heads": 2, "ffn_dim": 64}


def t5_folder(folder: Path, *, seed: int = 0) -> str:
    """A T5 of one layer each way that writes nonsense."""
    import torch
    from transformers import T5Config, T5ForConditionalGeneration

    folder.mkdir(parents=True, exist_ok=True)
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
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        T5ForConditionalGeneration(config).save_pretrained(folder)
    return str(folder)


def converted(folder: str, *, copy: Sequence[str] = ("tokenizer.json", "tokenizer_config.json")) -> str:
    """The same network in CTranslate2's format, by the library's own converter."""
    from ctranslate2.converters import TransformersConverter

    return str(TransformersConverter(folder, copy_files=list(copy)).convert(f"{folder}-converted"))


def captioner_folder(folder: Path, kind: str, *, seed: int = 0) -> str:
    """A network of one layer a side that writes nonsense on images of 32 pixels: "vit-gpt2", or "blip"."""
    import torch
    import transformers as t

    folder.mkdir(parents=True, exist_ok=True)
    one = {"num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
    sees = {"hidden_size": 32, "image_size": 32, "patch_size": 16, "initializer_range": 0.5, **one}
    size = {"height": 32, "width": 32}
    ends = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        if kind == "blip":
            reads = {"vocab_size": _fast_tokenizer(folder), "hidden_size": 32, "encoder_hidden_size": 32, **one}
            reads |= {**ends, "sep_token_id": 2, "initializer_range": 0.5, "max_position_embeddings": LONGEST}
            t.BlipForConditionalGeneration(
                t.BlipConfig(text_config=reads, vision_config=sees, projection_dim=32)
            ).save_pretrained(folder)
            t.BlipImageProcessor(size=size).save_pretrained(folder)
        else:
            writes = t.GPT2Config(
                vocab_size=_fast_tokenizer(folder), n_positions=LONGEST, n_embd=32, n_layer=1, n_head=2,
                initializer_range=0.5, add_cross_attention=True, is_decoder=True, **ends,
            )  # fmt: skip
            both = t.VisionEncoderDecoderConfig.from_encoder_decoder_configs(t.ViTConfig(**sees), writes)
            both.decoder_start_token_id, both.pad_token_id, both.eos_token_id = 1, 0, 2
            t.VisionEncoderDecoderModel(config=both).save_pretrained(folder)
            t.ViTImageProcessor(size=size).save_pretrained(folder)
    return str(folder)


def writer_folder(folder: Path, *, template: str | None = None, seed: int = 0) -> str:
    """A GPT-2 of two layers that writes nonsense; with a template it holds conversations."""
    import torch
    from transformers import AutoTokenizer, GPT2Config, GPT2LMHeadModel

    folder.mkdir(parents=True, exist_ok=True)
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
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        GPT2LMHeadModel(config).save_pretrained(folder)
    return str(folder)

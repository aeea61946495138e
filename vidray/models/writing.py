"""Networks that write texts: by `transformers`, or from a folder in CTranslate2's format."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from vidray.errors import MissingExtraError, UsageError, WeightsError, one_line
from vidray.models.text_networks import EXTRA, is_converted, load_pretrained, longest, reads_first, tokenizer_of

GREEDY = {"do_sample": False, "num_beams": 1}
"""Nothing is drawn by chance, whatever a model's own settings are."""
MOST_WRITTEN = 512
"""Tokens of a translation at most; a sentence has a tenth of it."""
LANGUAGE_MODEL = "vocabulary.json"
"""What a language model in CTranslate2's format has; a network that reads first has `shared_vocabulary.json` or two."""


class Write(Protocol):
    """From tokens to those that a network writes, by the likeliest ones."""

    def __call__(self, tokens: list[int], most: int, first: int | None = None) -> list[int]:
        """`most` is how many are written at most, `first` the token that has to stand first."""
        ...


@dataclass(frozen=True, kw_only=True)
class Network:
    """A network that writes, whichever library runs it.

    Attributes:
        tokenizer: Its own, of `transformers`.
        longest: How many tokens it takes at once.
        reads_first: Whether it reads a text and then writes another one; else it goes on from the text.
        write: From tokens to tokens.
    """

    tokenizer: Any
    longest: int
    reads_first: bool
    write: Write

    def written(self, tokens: list[int], most: int, first: int | None = None) -> str:
        """What it writes on some tokens, as a text."""
        return str(self.tokenizer.decode(self.write(tokens, most, first), skip_special_tokens=True)).strip()


@dataclass(frozen=True, kw_only=True)
class Writer:
    """What a model writes on texts.

    Attributes:
        write: From a text to what is written on it, by the likeliest words; what is too long is cut.
        takes: Whether a text is short enough to be taken whole.
    """

    write: Callable[[str], str]
    takes: Callable[[str], bool]


def translator(model: str, to: str, *, what: str, device: str) -> Callable[[str], str]:
    """A function from a text to its translation, by the likeliest words.

    A model of many languages is told the one to write in, as its vocabulary has it: as a first word (NLLB's `deu_Latn`,
    mBART's `de_DE`), or before the text (Marian's `>>de<<`). One that has neither is taken to be of one pair.
    """
    network = _network(model, what=what, device=device, kind=True)
    before = f">>{to}<< " if f">>{to}<<" in network.tokenizer.get_vocab() else ""
    # a piece of a word may be written as a language is, "de" among them
    first = network.tokenizer.get_added_vocab().get(to)

    def translate(text: str) -> str:
        tokens = network.tokenizer(before + text, truncation=True, max_length=network.longest)["input_ids"]
        return network.written(tokens, min(network.longest, MOST_WRITTEN), first)

    return translate


def writer(model: str, prompt: str, most: int, *, what: str, device: str) -> Writer:
    """What writes on texts as a prompt asks: a language model, or one that reads first, as T5 does.

    Args:
        model: A folder, or a name on a hub.
        prompt: What the model is told, with `{text}` where the text goes. It is put into the model's own form of a
            conversation, where the model has one.
        most: Tokens that are written at most.
        what: Who needs it, for messages.
        device: "cpu" or "cuda".
    """
    network = _network(model, what=what, device=device)
    tokenizer = network.tokenizer
    # who goes on from a text has what it writes in the same row of tokens
    room = network.longest - (0 if network.reads_first else most)
    if room < 1:
        raise UsageError(
            f"{what}: tokens must be less than the {network.longest} that '{model}' takes at once, got {most}"
        )
    around = len(tokenizer(_asked(tokenizer, prompt, ""), verbose=False)["input_ids"])
    # a prompt may say the text more than once
    most_of_text = (room - around) // prompt.count("{text}")
    if most_of_text < 1:
        raise UsageError(
            f"{what}: the prompt takes {around} of the {room} tokens that '{model}' reads, which leaves none for a text"
        )

    def takes(text: str) -> bool:
        return len(tokenizer(_asked(tokenizer, prompt, text), verbose=False)["input_ids"]) <= room

    def write(text: str) -> str:
        if not takes(text):
            tokens = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
            text = str(tokenizer.decode(tokens[:most_of_text]))
        asked = tokenizer(_asked(tokenizer, prompt, text), truncation=True, max_length=room)["input_ids"]
        return network.written(asked, most)

    return Writer(write=write, takes=takes)


def _asked(tokenizer: Any, prompt: str, text: str) -> str:
    asked = prompt.replace("{text}", text)
    if getattr(tokenizer, "chat_template", None) is None:
        return asked
    said = [{"role": "user", "content": asked}]
    return str(tokenizer.apply_chat_template(said, tokenize=False, add_generation_prompt=True))


def _network(model: str, *, what: str, device: str, kind: bool | None = None) -> Network:
    """A network by whichever library its files are of. Raises MissingExtraError or WeightsError.

    `kind` is whether it has to read first; None where either will do.
    """
    if is_converted(model):
        return _converted(model, what=what, device=device, kind=kind)
    is_reader = reads_first(model, what=what) if kind is None else kind
    name = "AutoModelForSeq2SeqLM" if is_reader else "AutoModelForCausalLM"
    tokenizer, network = load_pretrained(model, name, what=what, device=device)
    import torch

    padding = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    more = {} if is_reader else {"pad_token_id": padding}

    def write(tokens: list[int], most: int, first: int | None = None) -> list[int]:
        read = torch.tensor([tokens], device=device)
        forced = {} if first is None else {"forced_bos_token_id": first}
        with torch.inference_mode():
            found = network.generate(
                input_ids=read, attention_mask=torch.ones_like(read), **GREEDY, **more, **forced, max_new_tokens=most
            )
        return list(found[0, 0 if is_reader else len(tokens) :].tolist())

    return Network(tokenizer=tokenizer, longest=longest(tokenizer, network.config), reads_first=is_reader, write=write)


def _converted(folder: str, *, what: str, device: str, kind: bool | None) -> Network:
    if find_spec("ctranslate2") is None:
        raise MissingExtraError(f"{what} by a model in CTranslate2's format", EXTRA)
    import ctranslate2

    is_reader = not Path(folder, LANGUAGE_MODEL).is_file()
    if kind not in (None, is_reader):
        raise WeightsError(
            f"{what}: the model '{folder}' cannot be loaded: it is a language model, and does not translate"
        )
    if not any(Path(folder).glob("tokenizer*")):
        raise WeightsError(
            f"{what}: '{folder}' has no tokenizer: convert the model with "
            "--copy_files tokenizer.json tokenizer_config.json, or copy what its tokenizer reads into the folder"
        )
    tokenizer = tokenizer_of(folder, what=what)
    build = ctranslate2.Translator if is_reader else ctranslate2.Generator
    try:
        network = build(folder, device=device, inter_threads=1, intra_threads=1)
    except (RuntimeError, ValueError) as e:
        raise WeightsError(f"{what}: the model '{folder}' cannot be loaded: {one_line(e)}") from e

    def read_first(tokens: list[int], most: int, first: int | None = None) -> list[int]:
        prefix = None if first is None else [[tokenizer.convert_ids_to_tokens(first)]]
        read = [tokenizer.convert_ids_to_tokens(tokens)]
        found = network.translate_batch(
            read, target_prefix=prefix, beam_size=1, max_input_length=0, max_decoding_length=most
        )
        return list(tokenizer.convert_tokens_to_ids(found[0].hypotheses[0]))

    def go_on(tokens: list[int], most: int, first: int | None = None) -> list[int]:
        read = [tokenizer.convert_ids_to_tokens(tokens)]
        found = network.generate_batch(read, beam_size=1, max_length=most, include_prompt_in_result=False)
        return list(found[0].sequences_ids[0])

    write: Write = read_first if is_reader else go_on
    return Network(tokenizer=tokenizer, longest=longest(tokenizer), reads_first=is_reader, write=write)

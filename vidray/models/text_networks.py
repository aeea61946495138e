"""Networks on texts by `transformers`: from a folder, or by a name on a hub. No code that a model brings is run."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vidray.errors import MissingExtraError, UsageError, WeightsError, one_line
from vidray.models.weights import sha256_of

EXTRA = "transformers"
WEIGHTS = "*.safetensors"
DECIDING = ("*.json", "*.txt", "*.model", WEIGHTS)
"""Files of a folder that decide what a network answers: weights, configurations and vocabularies."""

GREEDY = {"do_sample": False, "num_beams": 1}
"""Nothing is drawn by chance, whatever a model's own settings are."""
MOST_WRITTEN = 512
"""Tokens of a translation at most; a sentence has a tenth of it."""

Floats = npt.NDArray[np.float64]


def folder_record(model: str) -> dict[str, str | None]:
    """What `_spec.json` keeps of a model: where it is from, and a hash of a folder's files, or a hub's commit.

    Asks the hub, or the cache where the hub is out of reach.

    Raises:
        MissingExtraError: The extra `transformers` is not installed, for a hub's name.
        WeightsError: A folder has no weights, or there is no such model.
    """
    folder = Path(model)
    if not folder.is_dir():
        return {"source": model, "sha256": None, "commit": _hub_commit(model)}
    if not any(folder.glob(WEIGHTS)):
        raise WeightsError(f"{model} has no {WEIGHTS}: save the model with save_pretrained(safe_serialization=True)")
    files = sorted({file for pattern in DECIDING for file in folder.glob(pattern)})
    known = "".join(f"{file.name} {sha256_of(str(file))}\n" for file in files)
    return {"source": model, "sha256": hashlib.sha256(known.encode()).hexdigest()}


def _hub_commit(model: str) -> str:
    """The commit that a name on a hub stands for today: the folder of the cache that its configuration is in."""
    if find_spec("huggingface_hub") is None:
        raise MissingExtraError(f"the model '{model}'", EXTRA)
    from huggingface_hub import hf_hub_download

    try:
        return Path(hf_hub_download(model, "config.json")).parent.name
    except (OSError, ValueError, RuntimeError) as e:
        raise WeightsError(f"the model '{model}' is no folder, and no hub gives it: {one_line(e)}") from e


def load_pretrained(model: str, kind: str, *, what: str, device: str) -> tuple[Any, Any]:
    """The tokenizer and the network of a model, in float32 and ready to answer.

    Args:
        model: A folder, or a name on a hub, which is downloaded.
        kind: The class of `transformers` that builds it, as in "AutoModelForSequenceClassification".
        what: Who needs it, for the message.
        device: "cpu" or "cuda".

    Raises:
        MissingExtraError: The extra `transformers` is not installed.
        WeightsError: There is no such model, or it is of another kind.
    """
    if find_spec("transformers") is None:
        raise MissingExtraError(f"{what} by model=", EXTRA)
    import torch
    import transformers

    try:
        # None, the library's default, asks at a terminal whether a model's code may run
        safe = {"trust_remote_code": False, "local_files_only": os.path.isdir(model)}
        tokenizer = transformers.AutoTokenizer.from_pretrained(model, **safe)
        builder = getattr(transformers, kind)
        network, loading = builder.from_pretrained(
            model, use_safetensors=True, dtype=torch.float32, output_loading_info=True, **safe
        )
    except (OSError, ValueError, RuntimeError, KeyError, ImportError) as e:
        raise WeightsError(f"{what}: the model '{model}' cannot be loaded: {one_line(e)}") from e
    if loading["missing_keys"]:
        lacking = ", ".join(sorted(loading["missing_keys"])[:2])
        raise WeightsError(f"{what}: the model '{model}' is no {kind.removeprefix('Auto')}: it has no {lacking}")
    return tokenizer, network.eval().requires_grad_(False).to(device)


def text_classifier(
    model: str, *, what: str, device: str
) -> tuple[tuple[str, ...], Callable[[Sequence[str]], list[Floats]]]:
    """The labels of a classifying network, and a function from texts to probabilities (labels,).

    Each text is looked at alone, so that its answer does not depend on its neighbours; what is longer than the network
    takes is cut. Raises as `load_pretrained`, and UsageError for a network whose labels do not exclude each other.
    """
    tokenizer, network = load_pretrained(model, "AutoModelForSequenceClassification", what=what, device=device)
    import torch

    config = network.config
    if config.num_labels < 2 or config.problem_type == "multi_label_classification":
        raise UsageError(f"{what}: the labels of '{model}' must exclude each other; its problem is another one")
    most = _longest(tokenizer, config)

    def classify(texts: Sequence[str]) -> list[Floats]:
        found = []
        with torch.inference_mode():
            for text in texts:
                encoded = tokenizer(text, return_tensors="pt", truncation=True, max_length=most).to(device)
                found.append(network(**encoded).logits[0].double().softmax(-1).cpu().numpy())
        return found

    return tuple(str(config.id2label[place]) for place in range(config.num_labels)), classify


def _longest(tokenizer: Any, config: Mapping[str, Any]) -> int:
    """How many tokens a network takes at once."""
    places = getattr(config, "max_position_embeddings", None) or tokenizer.model_max_length
    if getattr(config, "model_type", "") in ("roberta", "xlm-roberta", "camembert"):
        places -= 2  # RoBERTa's positions begin behind the padding's own
    return int(min(tokenizer.model_max_length, places))


def translator(model: str, to: str, *, what: str, device: str) -> Callable[[str], str]:
    """A function from a text to its translation, by the likeliest words.

    A model of many languages is told the one to write in, as its vocabulary has it: as a first word (NLLB's `deu_Latn`,
    mBART's `de_DE`), or before the text (Marian's `>>de<<`). One that has neither is taken to be of one pair.
    """
    tokenizer, network = load_pretrained(model, "AutoModelForSeq2SeqLM", what=what, device=device)
    import torch

    known = tokenizer.get_vocab()
    first = {"forced_bos_token_id": known[to]} if to in known else {}
    before = f">>{to}<< " if f">>{to}<<" in known else ""
    most = _longest(tokenizer, network.config)

    def translate(text: str) -> str:
        encoded = tokenizer(before + text, return_tensors="pt", truncation=True, max_length=most).to(device)
        encoded.pop("token_type_ids", None)
        with torch.inference_mode():
            written = network.generate(**encoded, **GREEDY, **first, max_new_tokens=min(most, MOST_WRITTEN))
        return str(tokenizer.decode(written[0], skip_special_tokens=True)).strip()

    return translate


def writer(model: str, prompt: str, most: int, *, what: str, device: str) -> Callable[[str], str]:
    """A function from a text to what a language model writes on it, by the likeliest words.

    Args:
        model: A folder, or a name on a hub.
        prompt: What the model is told, with `{text}` where the text goes. It is put into the model's own form of a
            conversation, where the model has one.
        most: Tokens that are written at most.
        what: Who needs it, for messages.
        device: "cpu" or "cuda".
    """
    tokenizer, network = load_pretrained(model, "AutoModelForCausalLM", what=what, device=device)
    import torch

    room = _longest(tokenizer, network.config) - most
    if room < 1:
        raise UsageError(f"{what}: tokens must be less than the {room + most} that '{model}' takes at once, got {most}")
    around = len(tokenizer(_asked(tokenizer, prompt, ""))["input_ids"])

    def write(text: str) -> str:
        pieces = tokenizer(text, add_special_tokens=False)["input_ids"]
        if around + len(pieces) > room:
            text = str(tokenizer.decode(pieces[: max(0, room - around)]))
        encoded = tokenizer(_asked(tokenizer, prompt, text), return_tensors="pt", truncation=True, max_length=room)
        encoded.pop("token_type_ids", None)
        padding = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
        with torch.inference_mode():
            written = network.generate(**encoded.to(device), **GREEDY, max_new_tokens=most, pad_token_id=padding)
        return str(tokenizer.decode(written[0, encoded["input_ids"].shape[1] :], skip_special_tokens=True)).strip()

    return write


def _asked(tokenizer: Any, prompt: str, text: str) -> str:
    asked = prompt.replace("{text}", text)
    if getattr(tokenizer, "chat_template", None) is None:
        return asked
    said = [{"role": "user", "content": asked}]
    return str(tokenizer.apply_chat_template(said, tokenize=False, add_generation_prompt=True))

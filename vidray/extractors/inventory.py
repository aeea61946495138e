"""The extractors that there are: those that come with vidray, by name, and those that installed packages bring."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import EntryPoint
from typing import Any, Protocol

from vidray.extractors.listed import listed
from vidray.extractors.protocol import ModelInfo
from vidray.plugins import entry_points_of

MODULES = (
    "vision.efficientnet",
    "audio.yamnet",
    "quality",
    "vision.faces",
    "vision.ssd",
    "vision.tracks",
    "vision.object_events",
    "vision.thumbnails",
    "vision.phash",
    "vision.torchvision",
    "vision.torchvision_detection",
    "vision.torchvision_segmentation",
    "vision.person_mask",
    "vision.regions_over_time",
    "audio.torchaudio",
    "audio.events",
    "speech.voice_activity",
    "speech.speech_quality",
    "speech.moonshine",
    "speech.whisper",
    "speech.ctc",
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
    "text.spoken",
    "vision.caption",
    "vision.open_clip",
)
"""A file of one extractor has its `NAME`, its class as `EXTRACTOR` and `info()`, one of several what `Family` has."""

GROUP = "vidray.extractors"
"""The group of entry points by which packages bring extractors."""


class Family(Protocol):
    """The extractors that one file brings."""

    def find(self, name: str) -> tuple[Any, dict[str, str]] | None:
        """The class of a name and the arguments that the name stands for; None for others' names."""

    def names(self) -> list[str]:
        """All names that `find` knows."""

    def infos(self) -> list[ModelInfo]:
        """What `vidray models` says of each."""


@dataclass(frozen=True)
class OneName:
    """A file of one extractor, as a family of one."""

    module: Any

    def find(self, name: str) -> tuple[Any, dict[str, str]] | None:
        return (self.module.EXTRACTOR, {}) if name == self.module.NAME else None

    def names(self) -> list[str]:
        return [self.module.NAME]

    def infos(self) -> list[ModelInfo]:
        return [self.module.info()]


def find(name: str) -> tuple[Any, dict[str, str]] | None:
    """The class of a built-in name and the arguments that the name stands for; None for a name of nobody here."""
    return next((found for family in _families() if (found := family.find(name)) is not None), None)


def names() -> list[str]:
    """Every name that `-x` takes, without those of third parties."""
    return [name for module in MODULES for name in _names(module)]


def installed() -> dict[str, EntryPoint]:
    """The extractors of installed packages, by the names of their entry points; imports none."""
    return entry_points_of(GROUP)


def catalog() -> list[ModelInfo]:
    """One line for each name, installed or not."""
    own = [info for module in MODULES for info in listed(module) or _family(module).infos()]
    return [*own, *map(_info, installed().values())]


def _families() -> Iterator[Family]:
    """File by file, so that looking for a name imports no more than it must."""
    yield from map(_family, MODULES)


def _family(name: str) -> Family:
    module: Any = importlib.import_module(f"vidray.extractors.{name}")
    return module if hasattr(module, "find") else OneName(module)


def _names(name: str) -> list[str]:
    known = listed(name)
    return _family(name).names() if known is None else [info.name for info in known]


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

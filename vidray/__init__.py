"""vidray turns a corpus of videos into Parquet feature tables and a retrieval index, on Ray.

The names below are the public API; each is imported when it is first used, so that `import vidray` is quick.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vidray.duplicates.finding import find_duplicates
    from vidray.errors import VidrayError
    from vidray.exports.export import export
    from vidray.extractors import resolve
    from vidray.extractors.protocol import Extractor
    from vidray.labels.heads import open_head, suggest
    from vidray.labels.imports import import_labels, undo_import
    from vidray.labels.labeling import class_labeler, label, zero_shot_labeler
    from vidray.moving import move
    from vidray.overview import status
    from vidray.pipeline import build_index, extract, plan, train
    from vidray.planning import FixedStride, Shots
    from vidray.report import write_report
    from vidray.retrieval.search import open_index, open_search, search
    from vidray.retrieval.verification import verify
    from vidray.store.accounts import failures
    from vidray.store.removal import drop

_HOMES = {
    "Extractor": "vidray.extractors.protocol",
    "FixedStride": "vidray.planning",
    "Shots": "vidray.planning",
    "VidrayError": "vidray.errors",
    "build_index": "vidray.pipeline",
    "class_labeler": "vidray.labels.labeling",
    "drop": "vidray.store.removal",
    "export": "vidray.exports.export",
    "extract": "vidray.pipeline",
    "failures": "vidray.store.accounts",
    "find_duplicates": "vidray.duplicates.finding",
    "import_labels": "vidray.labels.imports",
    "label": "vidray.labels.labeling",
    "move": "vidray.moving",
    "open_head": "vidray.labels.heads",
    "open_index": "vidray.retrieval.search",
    "open_search": "vidray.retrieval.search",
    "plan": "vidray.pipeline",
    "resolve": "vidray.extractors",
    "search": "vidray.retrieval.search",
    "status": "vidray.overview",
    "suggest": "vidray.labels.heads",
    "train": "vidray.pipeline",
    "undo_import": "vidray.labels.imports",
    "verify": "vidray.retrieval.verification",
    "write_report": "vidray.report",
    "zero_shot_labeler": "vidray.labels.labeling",
}

__all__ = [
    "Extractor",
    "FixedStride",
    "Shots",
    "VidrayError",
    "build_index",
    "class_labeler",
    "drop",
    "export",
    "extract",
    "failures",
    "find_duplicates",
    "import_labels",
    "label",
    "move",
    "open_head",
    "open_index",
    "open_search",
    "plan",
    "resolve",
    "search",
    "status",
    "suggest",
    "train",
    "undo_import",
    "verify",
    "write_report",
    "zero_shot_labeler",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return importlib.import_module("importlib.metadata").version("vidray")
    if name not in _HOMES:
        raise AttributeError(f"module 'vidray' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]

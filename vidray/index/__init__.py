"""The retrieval index: built from a table of embeddings, opened by its folder, searched by vectors.

Parquet is the only source of truth; an index is derived from it and can be built again. Knows no containers, no models
and no Ray. The names below are imported when they are first used: a search by words takes none of them.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vidray.index.build import IndexInfo, build_index
    from vidray.index.filters import Filter
    from vidray.index.open import Index, Matches, open_index

_HOMES = {
    "Filter": "filters",
    "Index": "open",
    "IndexInfo": "build",
    "Matches": "open",
    "build_index": "build",
    "open_index": "open",
}

__all__ = ["Filter", "Index", "IndexInfo", "Matches", "build_index", "open_index"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'vidray.index' has no attribute {name!r}")
    return getattr(importlib.import_module(f"vidray.index.{_HOMES[name]}"), name)

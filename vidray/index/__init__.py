"""The retrieval index: built from a table of embeddings, opened by its folder, searched by vectors.

Parquet is the only source of truth; an index is derived from it and can be built again. Knows no containers, no models
and no Ray.
"""

from vidray.index.build import IndexInfo, build_index
from vidray.index.filters import Filter
from vidray.index.open import Index, Matches, open_index

__all__ = ["Filter", "Index", "IndexInfo", "Matches", "build_index", "open_index"]

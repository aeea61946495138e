"""pyarrow without pandas, for processes that are vidray's own.

The first Python list that pyarrow converts has it import pandas, which Ray Data brings along, to see whether the list
is one of pandas' objects: a second or two of processor time, in every process.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType

import pyarrow as pa


def without_pandas() -> None:
    """Have pyarrow look for pandas now and find none, until something is converted to pandas.

    For processes that run no code but vidray's: until then pyarrow takes a Series for any sequence, which it is not.
    """
    if "pandas" in sys.modules:
        return
    sys.meta_path.insert(0, _NoPandas)
    try:
        pa.array([None])
    finally:
        sys.meta_path.remove(_NoPandas)


class _NoPandas:
    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name == "pandas":
            raise ModuleNotFoundError("not needed here", name=name)
        return None

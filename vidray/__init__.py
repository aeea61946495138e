"""vidray turns a corpus of videos into Parquet feature tables and a retrieval index, on Ray.

The names of `__init__.pyi` are the public API; each is imported when it is first used: `import vidray` is quick.
"""

from __future__ import annotations

import importlib

import lazy_loader

_public, _, __all__ = lazy_loader.attach_stub(__name__, __file__)


def __getattr__(name: str) -> object:
    if name == "__version__":
        return importlib.import_module("importlib.metadata").version("vidray")
    return _public(name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]

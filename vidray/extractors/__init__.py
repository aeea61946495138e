"""Extractors: descriptions of models that turn a clip's samples into columns. Imports no model library by itself."""

from vidray.extractors.inventory import catalog
from vidray.extractors.protocol import Answer, ExtractFn, Extractor, ModelInfo
from vidray.extractors.registry import resolve, slug, table_of
from vidray.extractors.spec import describe, restore

__all__ = [
    "Answer",
    "ExtractFn",
    "Extractor",
    "ModelInfo",
    "catalog",
    "describe",
    "resolve",
    "restore",
    "slug",
    "table_of",
]

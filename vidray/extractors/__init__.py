"""Extractors: descriptions of models that turn a clip's samples into columns. Imports no model library by itself."""

from vidray.extractors.catalog import catalog
from vidray.extractors.protocol import Columns, ExtractFn, Extractor, ModelInfo
from vidray.extractors.registry import resolve, slug
from vidray.extractors.spec import describe, restore

__all__ = ["Columns", "ExtractFn", "Extractor", "ModelInfo", "catalog", "describe", "resolve", "restore", "slug"]

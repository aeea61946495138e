"""Networks that are loaded once, for as many queries as there are."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from typing import Any

from vidray.extractors import ExtractFn, Extractor, restore
from vidray.extractors.spec import given_for
from vidray.labels.class_names import ClassNames
from vidray.labels.joint import JointModel
from vidray.labels.zero_shot import zero_shot


class Networks:
    """The extractors and text models of a store's tables, each by what made the table. Thread-safe."""

    def __init__(self) -> None:
        self._loading = threading.RLock()
        self._given: dict[tuple[str, str], Extractor | None] = {}
        self._extractors: dict[str, Extractor] = {}
        self._loaded: dict[str, ExtractFn] = {}
        self._joint: dict[str, JointModel] = {}

    def extractor(self, spec: Mapping[str, Any], given: str | Extractor | None) -> Extractor:
        """The extractor that a spec tells of; an object that is passed is taken as it is. Raises UsageError."""
        own = self._own(spec, given)
        key = _key(spec, own)
        with self._loading:
            if key not in self._extractors:
                self._extractors[key] = restore(spec, own)
            return self._extractors[key]

    def loaded(self, spec: Mapping[str, Any], given: str | Extractor | None) -> ExtractFn:
        """Its network."""
        extractor = self.extractor(spec, given)
        key = _key(spec, self._own(spec, given))
        with self._loading:
            if key not in self._loaded:
                self._loaded[key] = extractor.load("cpu")
            return self._loaded[key]

    def text(
        self, table: str, spec: Mapping[str, Any], text: str, given: str | Extractor | None
    ) -> ClassNames | JointModel:
        """What compares a text with the clips of a table. Raises UsageError."""
        own = self._own(spec, given)
        labeler = zero_shot(table, spec, [text], own)
        if not isinstance(labeler, JointModel):
            return labeler
        with self._loading:
            known = self._joint.setdefault(f"{table} {_key(spec, own)}", labeler)
            # they share the text tower
            return known.of(labeler.prompts)

    def _own(self, spec: Mapping[str, Any], given: str | Extractor | None) -> Extractor | None:
        """What was passed for a table, the same object each time that it is passed by the same name."""
        if not isinstance(given, str):
            return given_for(spec, given)
        named = (str(spec.get("extractor")), given)
        with self._loading:
            if named not in self._given:
                self._given[named] = given_for(spec, given)
            return self._given[named]


def _key(spec: Mapping[str, Any], own: Extractor | None) -> str:
    return json.dumps(spec, sort_keys=True) + ("" if own is None else f" {id(own)}")

"""Which tables of a store answer a text, and how each is asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from vidray.errors import UsageError
from vidray.extractors import slug
from vidray.extractors.spec import has_classes, has_objects, hears, is_joint, modalities
from vidray.index import spoken
from vidray.index.words import open_words, word_tables
from vidray.labels.joint import JointModel
from vidray.retrieval.answers import Ask, ByClasses, ByVectors
from vidray.retrieval.by_words import ByWords
from vidray.retrieval.fused import Fused, Source
from vidray.retrieval.hits import Hit
from vidray.retrieval.indexed import check_same, indexed, indexed_table
from vidray.retrieval.networks import Networks
from vidray.store import Store
from vidray.store.remedies import index_command, to_extract
from vidray.store.tables import named, text_table

if TYPE_CHECKING:
    from vidray.index import Index

Spec = Mapping[str, Any]

WORD_MODALITIES = ("speech", "screen", "description")
"""What is found by words."""
WRITERS = {"speech": "moonshine", "screen": "ocr", "description": "caption?model=FOLDER"}
"""An extractor that gives words of each."""


def by_text(store: Store, networks: Networks, ask: Ask, index_of: Callable[[str], Index]) -> Fused:
    """The answer to a text: of the table that was named, or of all that suit, of one modality where one is named.

    Raises:
        UsageError: No table can be compared with a text; a joint model's has no index.
    """
    words = _word_sources(store, ask)
    if words and (ask.extractor is not None or ask.modality in WORD_MODALITIES):
        return Fused(ask.value, words)
    if ask.modality in WORD_MODALITIES:
        raise UsageError(f"{store.url}: no index of words of {ask.modality}; {_to_index(store, ask.modality)}")
    if ask.extractor is None and ask.modality is None and words and not _has_texts(store):
        return Fused(ask.value, words)
    tables = [text_table(store, ask.extractor)] if ask.extractor is not None else _suiting(store, ask.modality)
    others = [_source(store, networks, ask, table, index_of) for table in tables]
    return Fused(ask.value, [*others, *(words if ask.modality is None else [])])


def _word_sources(store: Store, ask: Ask) -> list[Source]:
    """The indexes of words that are asked: those of a modality, or of the table that was named, or all."""
    found = []
    tables = word_tables(store)
    asked = ask.extractor if isinstance(ask.extractor, str | None) else ask.extractor.name
    wanted = None if asked is None else named(store, tables, asked)
    for table in tables:
        if ask.extractor is not None and table != wanted:
            continue
        words = open_words(store, table)
        if ask.modality in (None, words.info.modality):
            answer = ByWords(store, table, words, ask.value, ask.where)
            name = extractor_name(store, table)
            found.append(Source(table=table, extractor=name, modality=words.info.modality, answer=answer))
    return found


def _to_index(store: Store, modality: str) -> str:
    """The commands that index what there is of a modality of words."""
    able = [table for table in store.tables("features") if spoken.modality_of(store.spec(table) or {}) == modality]
    if not able:
        return f"no table of the store has such; run {to_extract(store, '-x', WRITERS[modality])}"
    return f"run {' or '.join(index_command(store.url, table) for table in able)}"


def _has_texts(store: Store) -> bool:
    """Whether frames or audio can be compared with a text."""
    specs = [store.spec(table) or {} for table in store.tables("features")]
    return any(is_joint(spec) or has_classes(spec) or has_objects(spec) for spec in specs)


def extractor_name(store: Store, table: str) -> str:
    """The extractor of a table as it was typed, or the table's name where it was given another."""
    name = str((store.spec(table) or {}).get("name", table))
    return name if slug(name) == table else table


def modality_of(spec: Spec) -> str | None:
    """What a table is searched by: `audio` where it is of audio alone, else `frames`; None where it is of neither."""
    return "audio" if hears(spec) else "frames" if "frames" in modalities(spec) else None


def _suiting(store: Store, modality: str | None) -> list[str]:
    """Joint models, networks with classes, and detectors; the classes of frames are left to joint models."""
    specs = {table: store.spec(table) or {} for table in store.tables("features")}
    of = {table: spec for table, spec in specs.items() if modality is None or modality in modalities(spec)}
    joint = [table for table, spec in of.items() if is_joint(spec)]
    indexes = set(indexed(store)) if joint else set()
    usable = [table for table in joint if table in indexes]
    seen = {modality_of(of[table]) for table in usable}
    classes = [table for table, spec in of.items() if has_classes(spec) and modality_of(spec) not in seen]
    objects = [table for table, spec in of.items() if has_objects(spec)]
    # a joint model without an index is asked where nothing else is there, which says what to run
    found = [*usable, *sorted(classes, key=lambda table: hears(of[table])), *objects] or joint
    if not found and modality is not None and specs:
        raise UsageError(f"{store.url}: no table of {modality} can be compared with a text; leave --in out")
    return found or [text_table(store, None)]


def _source(store: Store, networks: Networks, ask: Ask, table: str, index_of: Callable[[str], Index]) -> Source:
    spec = store.spec(table) or {}
    labeler = networks.text(table, spec, ask.value, ask.extractor)
    name, modality = extractor_name(store, table), modality_of(spec) or "frames"
    if not isinstance(labeler, JointModel):
        answer = ByClasses(store, table, labeler, ask)
        return Source(table=table, extractor=name, modality=modality, answer=answer)
    index = index_of(indexed_table(store, table))
    check_same(store, table, index)
    return Source(
        table=table,
        extractor=name,
        modality=modality,
        answer=ByVectors(store.url, table, index, labeler.vectors, ask, ()),
        calibrated=lambda hits: _calibrated(labeler, index, hits),
        is_probability=False,
    )


def _calibrated(labeler: JointModel, index: Index, hits: list[Hit]) -> list[Hit]:
    """The same hits with the joint model's probabilities in place of cosines, in the order of these."""
    if not hits:
        return hits
    vectors = np.stack([index.vector(hit.clip_id) for hit in hits]).astype(np.float32)
    column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), vectors.shape[1])
    scores = labeler.scores(pa.table({"embedding": column}))[:, 0]
    return [replace(hit, score=float(score)) for hit, score in zip(hits, scores, strict=True)]

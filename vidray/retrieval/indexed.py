"""The indexes of a store: which there are, and which suits a query."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from vidray import index as indexes
from vidray.errors import IndexFileError, UsageError
from vidray.extractors import Extractor
from vidray.extractors.registry import origin_of
from vidray.extractors.spec import column_names, modalities, suitability
from vidray.index.files import CURRENT
from vidray.index.manifest import REBUILD
from vidray.store import Store, spec_sha256
from vidray.store.layout import features_of, index_of
from vidray.store.remedies import index_command, to_extract
from vidray.store.tables import named
from vidray.wording import counted

WANTED = {"image": "frames", "audio": "audio", "video": "frames or audio"}
"""What an extractor has to look at, or listen to, for a query by a file of some kind."""

if TYPE_CHECKING:
    from vidray.index import Index


def indexed_table(store: Store, extractor: str | Extractor) -> str:
    """The table of an extractor that has an index. Raises UsageError where there is none."""
    extractor = extractor if isinstance(extractor, str) else origin_of(extractor)
    names = indexed(store)
    table = named(store, names, extractor)
    if table is not None:
        return table
    there = f"there are {', '.join(names)}" if names else "there is none"
    raise UsageError(f"{store.url}: no index of '{extractor}', {there}; run {index_command(store.url, extractor)}")


def indexed(store: Store) -> list[str]:
    """The tables that have an index."""
    return store.holding("index", CURRENT)


def suiting(store: Store, kind: str, modality: str | None) -> list[str]:
    """The indexes that suit a query best, of those of a modality where one is named; the only one there is, anyway."""
    names = indexed(store)
    if not names:
        raise UsageError(f"{store.url}: no index yet; {_to_index(store, kind)}")
    if modality is not None:
        of_modality = [name for name in names if modality in modalities(store.spec(name) or {})]
        if not of_modality:
            raise UsageError(f"{store.url}: no index of {modality}, there are {', '.join(names)}; leave --in out")
        names = of_modality
    if len(names) == 1:
        return names
    ranks = {name: suitability(store.spec(name) or {}, kind) for name in names}
    fitting = {name: rank for name, rank in ranks.items() if rank is not None}
    return [name for name, rank in fitting.items() if rank == min(fitting.values())] or names


def the_only(store: Store, names: Sequence[str]) -> str:
    """The only one of some indexes. Raises UsageError where there are several."""
    if len(names) > 1:
        raise UsageError(f"{store.url}: {', '.join(names)} can answer this; say which, with -x NAME")
    return names[0]


def _to_index(store: Store, kind: str) -> str:
    """The commands that build an index which a query of some kind can be asked of."""
    able = [name for name in store.tables("features") if _is_able(store.spec(name) or {}, kind)]
    if not able:
        return f"no table of the store can have one; run {to_extract(store, '-x', 'NAME')}, vidray models lists names"
    return f"run {' or '.join(index_command(store.url, name) for name in able)}"


def _is_able(spec: Mapping[str, Any], kind: str) -> bool:
    return "embedding" in column_names(spec) and suitability(spec, kind) is not None


def other_index(store: Store, kind: str, table: str) -> str:
    """What to do where the index of a table cannot be asked by a query of some kind."""
    names = indexed(store)
    specs = {name: store.spec(name) or {} for name in store.tables("features") if name != table}
    able = [name for name, spec in specs.items() if _is_able(spec, kind)]
    if ready := [name for name in able if name in names]:
        return f"ask another: {' or '.join(f'-x {name}' for name in ready)}"
    if able:
        return f"run {index_command(store.url, able[0])}, and ask with -x {able[0]}"
    return f"no table of the store can be: vidray models lists extractors of {WANTED[kind]}"


def open_table(store: Store, table: str, *, verify: bool = False) -> Index:
    """Open the index of a table. Raises IndexFileError, and UsageError where the table has no clip any more."""
    if store.config() is not None and store.spec(table) is not None and not store.parts(features_of(table)):
        raise UsageError(f"{store.url}: features/{table} has no clips any more, so that none can be found")
    # the table's place is known here, so that a manifest cannot send its reader elsewhere
    features = f"{store.url}/{features_of(table)}"
    try:
        return indexes.open_index(f"{store.url}/{index_of(table)}", verify=verify, features=features)
    except IndexFileError as e:
        # what opens an index knows its folder, not of which store it is
        remedy = f"run {index_command(store.url, table, '--rebuild')}"
        raise IndexFileError(str(e).replace(REBUILD, remedy)) from e


def check_same(store: Store, table: str, index: Index) -> None:
    """Raise UsageError where the table is no longer of the extractor whose embeddings the index has."""
    if spec_sha256(index.features) != index.manifest.spec_sha256:
        raise UsageError(
            f"{store.url}: another extractor made the table {table} since; run {index_command(store.url, table)}"
        )


def staleness(index: Index, store: str, table: str) -> tuple[str, ...]:
    """A note where the table has clips that the index does not have, or lacks some that it has."""
    if not index.stale:
        return ()
    newer = index.newer_clips()
    changed = (
        f"the index lacks {counted(newer, 'newer clip')}"
        if newer
        else "the table has changed since the index was built"
    )
    return (f"{changed}; run {index_command(store, table)}",)

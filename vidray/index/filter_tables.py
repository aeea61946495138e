"""What a filter may name: the tables that stand beside an index in its store, with their columns."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from vidray.errors import StoreError, one_line
from vidray.index.embeddings import Seen, parts_of
from vidray.storage import Folder
from vidray.store.layout import features_of, of_store, split_table

if TYPE_CHECKING:
    import pyarrow.dataset as ds

LABELS = "labels"
NAMES = "label"


@dataclass(frozen=True, kw_only=True)
class FilterTable:
    """A table whose columns a filter may name, with one row a clip, or a video.

    Attributes:
        path: What it is called in any case: `features/quality`.
        name: What it is called where no other has that name: `quality`; None for a table of videos that stands beside
            one of clips of that name, whose columns are not bare either.
        key: `clip_id`, or `video_id`.
        columns: That a filter sees.
        dataset: Its parts.
        gathered: Whether it has a row a label. A filter then sees `labels`, from label to score, and `label`, the
            labels by score.
    """

    path: str
    name: str | None
    key: str
    columns: tuple[str, ...]
    dataset: ds.Dataset
    gathered: bool = False

    def sql(self, relation: str) -> str:
        """What to join, made of the relation that holds its parts."""
        if not self.gathered:
            return relation
        best = f"SELECT {self.key}, label, max(score) AS score FROM {relation} GROUP BY ALL"
        labels = "map(list(label), list(score)) AS labels, list(label ORDER BY score DESC, label) AS label"
        return f"(SELECT {self.key}, {labels} FROM ({best}) GROUP BY {self.key})"


KINDS = {"features": "clip_id", "video_features": "video_id", "labels": "clip_id", "video_labels": "video_id"}
"""Folders of a store that hold tables by name, and what each of their rows, or groups of rows, is of."""

OWN = {"clips": "clip_id", "videos": "video_id"}
"""A store's tables that are one each."""


def listed(features: Folder) -> dict[str, list[Seen]]:
    """The parts of a table of embeddings and, where that stands in a store, of its other tables, by their path."""
    store, own = of_store(features.url) or ("", "")
    is_of_store = bool(own)
    found = {features_of(own) if is_of_store else features.url: parts_of(features)}
    for name in OWN if is_of_store else ():
        found[name] = parts_of(Folder(f"{store}/{name}"))
    for kind in KINDS if is_of_store else ():
        for part in parts_of(Folder(f"{store}/{kind}")):
            table, name = split_table(part.name)
            if name and f"{kind}/{table}" != features_of(own):
                found.setdefault(f"{kind}/{table}", []).append(
                    Seen(name=name, size_bytes=part.size_bytes, fingerprint=part.fingerprint)
                )
    return {path: parts for path, parts in found.items() if parts}


def stamp(tables: Mapping[str, Sequence[Seen]]) -> str:
    """What changes when any of the tables does."""
    return hashlib.sha256(repr(sorted(tables.items())).encode()).hexdigest()


def filter_tables(features: Folder, tables: Mapping[str, Sequence[Seen]]) -> list[FilterTable]:
    """The tables that were listed, with their columns: one footer of each is read, all of those that may differ.

    Raises StoreError.
    """
    store, _ = of_store(features.url) or ("", "")
    found = []
    for path, parts in tables.items():
        kind, _, name = path.rpartition("/")
        is_own = path == features.url
        folder = features if is_own else Folder(f"{store}/{path}")
        made = dataset(folder, [part.name for part in parts], all_schemas=path in OWN)
        key = OWN.get(path) or KINDS.get(kind, "clip_id")
        gathered = "labels" in kind and {"label", "score"} <= set(made.schema.names)
        columns = (key, LABELS, NAMES) if gathered else tuple(made.schema.names)
        if key in columns:
            called = None if kind in KINDS and key == "video_id" else name or path
            found.append(FilterTable(path=path, name=called, key=key, columns=columns, dataset=made, gathered=gathered))
    return found


def dataset(folder: Folder, names: Sequence[str], *, all_schemas: bool = False) -> ds.Dataset:
    """The Parquet files of a folder as one dataset, without the columns that DuckDB cannot see (float16).

    With `all_schemas` every file is asked for its columns, not only the first. Raises StoreError.
    """
    # a quarter of a second, which a search without a filter need not wait for
    import pyarrow.dataset as ds
    import pyarrow.fs

    paths = [folder.path(name) for name in names]
    files: Any = pyarrow.fs.LocalFileSystem() if folder.local else folder.fs
    try:
        if not folder.local:
            files = pyarrow.fs.PyFileSystem(pyarrow.fs.FSSpecHandler(folder.fs))
        factory = ds.FileSystemDatasetFactory(files, paths, ds.ParquetFileFormat())
        seen = factory.inspect(promote_options="permissive", fragments=None if all_schemas else 1)
        schema = pa.schema([column for column in seen if "halffloat" not in str(column.type)])
        return factory.finish(schema)
    except (pa.ArrowException, OSError) as e:
        raise StoreError(f"{folder.url}: cannot be read as Parquet: {one_line(e)[:200]}") from e

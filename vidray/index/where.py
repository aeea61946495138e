"""Which rows of an index a filter keeps: one SQL expression over the columns of a store's tables, by DuckDB.

The expression is not trusted: it is parsed as one expression, and reads no file, no setting of ours and no variable.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.fs

from vidray.errors import MissingExtraError, StoreError, UsageError
from vidray.index.build import part_sizes
from vidray.storage import Folder

ROW = "_row"
LOCKS = (
    "enable_external_access = false",
    "autoinstall_known_extensions = false",
    "autoload_known_extensions = false",
    "python_enable_replacements = false",
    "lock_configuration = true",
)
JOINS = {"features": "clip_id", "clips": "clip_id", "videos": "video_id"}


def matching_rows(where: str, ids: pa.Table, tables: Mapping[str, ds.Dataset]) -> npt.NDArray[np.int64]:
    """The numbers, ascending, of the rows of `ids` for which the expression is true.

    Args:
        where: One SQL expression. A column that several tables have is taken from the first of them.
        ids: What the index itself knows, `clip_id` and what else it has.
        tables: Datasets by the names `features`, `clips` and `videos`, those that there are; under `features/<name>`
            others with a `clip_id`, which need not have all clips.

    Raises:
        MissingExtraError: DuckDB is not installed.
        UsageError: The expression is not one, or names no column; with DuckDB's message.
    """
    try:
        import duckdb
    except ImportError as e:
        raise MissingExtraError("a filter (where)", "where") from e
    with duckdb.connect(":memory:") as connection:
        ids = ids.append_column(ROW, pa.array(np.arange(len(ids), dtype=np.int64)))
        connection.register("_ids", ids)
        for name, dataset in tables.items():
            connection.register(f"_{name}", dataset)
        for lock in LOCKS:
            connection.execute(f"SET {lock}")
        for last, sql in enumerate(views := _views(ids.schema.names, tables)):
            try:
                rows = connection.sql(sql).filter(where).project(ROW).fetchnumpy()[ROW]
            except duckdb.BinderException as e:
                # a column that this view lacks may stand in the next, which joins one table more
                if last + 1 == len(views):
                    columns = [name for name in connection.sql(sql).columns if name != ROW]
                    raise UsageError(f"{_explained(where, e)} Columns: {', '.join(columns[:60])}") from e
            except duckdb.Error as e:
                raise UsageError(_explained(where, e)) from e
            else:
                return np.unique(np.asarray(rows, dtype=np.int64))
    raise AssertionError("there is always a view")


def rows_where(where: str, ids: pa.Table, features: Folder) -> npt.NDArray[np.int64]:
    """As `matching_rows`, with the tables that there are: the feature table in a folder, and its store's others.

    Rows that the feature table has lost are not among them.
    """
    tables = {}
    if names := list(part_sizes(features)):
        tables["features"] = dataset(features, names)
    store, is_of_store, _ = features.url.rpartition("/features/")
    for name in ("clips", "videos") if is_of_store else ():
        folder = Folder(f"{store}/{name}")
        if parts := list(part_sizes(folder)):
            tables[name] = dataset(folder, parts, all_schemas=True)
    for name, parts in _other_tables(store, features).items() if is_of_store else ():
        tables[f"features/{name}"] = dataset(Folder(f"{store}/features/{name}"), parts)
    return matching_rows(where, ids, tables)


def _other_tables(store: str, features: Folder) -> dict[str, list[str]]:
    """The store's other feature tables, with their parts."""
    own = features.url.rpartition("/")[2]
    found: dict[str, list[str]] = {}
    for path in part_sizes(Folder(f"{store}/features")):
        table, _, name = path.partition("/")
        if table != own:
            found.setdefault(table, []).append(name)
    return found


def _views(own: Sequence[str], tables: Mapping[str, ds.Dataset]) -> list[str]:
    """Selections that join no table, one, two, ...: most filters need no join."""
    seen = [f'_ids."{name}"' for name in own]
    known = {name.lower(): "_ids" for name in own}
    joins = ""
    views = [f"SELECT {', '.join(seen)} FROM _ids"]
    for table, dataset in tables.items():
        key = JOINS.get(table, "clip_id")
        names = {name.lower(): name for name in dataset.schema.names}
        if key not in names or key not in known:
            continue
        view = _quoted(f"_{table}")
        joins += f" {'JOIN' if table == 'features' else 'LEFT JOIN'} {view} ON {view}.{key} = {known[key]}.{key}"
        for lower, name in names.items():
            if lower not in known:
                known[lower] = view
                seen.append(f"{view}.{_quoted(name)}")
        views.append(f"SELECT {', '.join(seen)} FROM _ids{joins}")
    return views


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def dataset(folder: Folder, names: Sequence[str], *, all_schemas: bool = False) -> ds.Dataset:
    """The Parquet files of a folder as one dataset, without the columns that DuckDB cannot see (float16).

    With `all_schemas` every file is asked for its columns, not only the first. Raises StoreError.
    """
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
        raise StoreError(f"{folder.url}: cannot be read as Parquet: {' '.join(str(e).split())[:200]}") from e


def _explained(where: str, error: Exception) -> str:
    reason = str(error).split("\n\nLINE", 1)[0].split("\nCandidate bindings", 1)[0]
    return f"where {where!r:.200}: {' '.join(reason.split())[:300]}"

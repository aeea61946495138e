"""Which rows a filter keeps: one SQL expression over the columns of a store's tables, by DuckDB.

The expression is not trusted. DuckDB parses it, and what is run is printed from that parse: one expression without a
subquery, whose every name is a column of a table that is there. DuckDB itself opens no file and loads no extension.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from vidray.errors import MissingExtraError, UsageError
from vidray.index.embeddings import IDENTITY
from vidray.index.filter_tables import NAMES, OWN, FilterTable, filter_tables, listed
from vidray.storage import Folder

ROW = "_row"
IDS = "_ids"
LOCKS = (
    "enable_external_access = false",
    "autoinstall_known_extensions = false",
    "autoload_known_extensions = false",
    "python_enable_replacements = false",
    "lock_configuration = true",
)
HINTS = {"label": "there are no labels yet: vidray label or vidray import"}
"""What is said of a column of tables that are not there."""
NAMED = 60
"""So many columns are named where there is none as asked for."""

DEEPEST = 500

WORDS = re.compile(
    r"""e'(?:\\.|[^'\\]|'')*'|'(?:[^']|'')*'|\$(\w*)\$.*?\$\1\$|"(?:[^"]|"")*"|\w+""", re.IGNORECASE | re.DOTALL
)
"""Texts and quoted names as a whole, and single words."""


def rows_where(where: str, ids: pa.Table, features: Folder) -> npt.NDArray[np.int64]:
    """As `matching_rows`, with the tables that there are: a table of embeddings in a folder, and its store's others."""
    return matching_rows(where, ids, filter_tables(features, listed(features)))


def matching_rows(where: str, ids: pa.Table, tables: Sequence[FilterTable]) -> npt.NDArray[np.int64]:
    """The numbers, ascending, of the rows of `ids` for which the expression is true.

    A column that one table has is named by itself, one that several have by table and column. What says which clip it
    is (`clip_id`, `video_id`, `uri`, `start_s`, `end_s`) is the same in all, and is taken from `ids` where it has it.

    Raises:
        MissingExtraError: DuckDB is not installed.
        UsageError: It is not one expression, names no column, or one that several tables have; or DuckDB refuses it.
    """
    try:
        import duckdb
    except ImportError as e:
        raise MissingExtraError("a filter (where)", "where") from e
    with duckdb.connect(":memory:") as connection:
        ids = ids.append_column(ROW, pa.array(np.arange(len(ids), dtype=np.int64)))
        connection.register(IDS, ids)
        for number, table in enumerate(tables):
            connection.register(f"_table{number}", table.dataset)
        for lock in LOCKS:
            connection.execute(f"SET {lock}")
        try:
            names = _Names(where, ids.schema.names, tables)
            condition = _parsed(connection, where, names)
            sql = f"SELECT {IDS}.{ROW} FROM {IDS}{names.joins()} WHERE {condition}"
            rows = connection.sql(sql).fetchnumpy()[ROW]
        except duckdb.Error as e:
            raise UsageError(_explained(where, str(e))) from e
    return np.unique(np.asarray(rows, dtype=np.int64))


def _parsed(connection: Any, where: str, names: _Names) -> str:
    """The expression as DuckDB understands it, with every column named by its table."""
    parsed = _read(connection, where)
    if parsed.get("error"):
        quoted = _read(connection, names.quoted(where, _keywords(connection)))
        parsed = parsed if quoted.get("error") else quoted
    if parsed.get("error"):
        raise UsageError(_explained(where, f"not an SQL expression: {parsed.get('error_message')}"))
    node = parsed["statements"][0]["node"] if len(parsed["statements"]) == 1 else {}
    selected = node.get("select_list") or []
    if len(selected) != 1 or not _is_bare(node) or selected[0].get("alias"):
        raise UsageError(_explained(where, "not a single expression"))
    _resolve(selected[0], names.resolved, frozenset())
    _compare_labels(connection, selected[0], {table.path for table in names.tables if table.gathered})
    (sql,) = connection.execute("SELECT json_deserialize_sql(?)", [json.dumps(parsed)]).fetchall()[0]
    return str(sql).removeprefix("SELECT ")


def _read(connection: Any, where: str) -> dict[str, Any]:
    """What DuckDB's parser says of an expression."""
    (text,) = connection.execute("SELECT json_serialize_sql(?)", ["SELECT " + where]).fetchall()[0]
    found: dict[str, Any] = json.loads(text)
    return found


def _keywords(connection: Any) -> set[str]:
    """The words that are no names unless they are quoted."""
    sql = "SELECT keyword_name FROM duckdb_keywords() WHERE keyword_category IN ('reserved', 'type_function')"
    return {word for (word,) in connection.execute(sql).fetchall()}


def _compare_labels(connection: Any, node: Any, gathered: Collection[str]) -> None:
    """Have `label = 'dog'`, `<>` and `IN` ask whether it is among the labels of a clip, which has any number."""
    for item in node if isinstance(node, list) else node.values() if isinstance(node, dict) else ():
        _compare_labels(connection, item, gathered)
    compared = _compared(node) if isinstance(node, dict) else None
    if compared is None:
        return
    # which side of `=` the label stands on is the writer's choice
    labels = next((one for one in compared[1] if _is_label(one, gathered)), None)
    if labels is None:
        return
    others = [one for one in compared[1] if one is not labels]
    asked = " OR ".join(f"list_contains(_labels, _{place})" for place in range(len(others)))
    (text,) = connection.execute(
        "SELECT json_serialize_sql(?)", [f"SELECT {'NOT ' if compared[0] else ''}({asked})"]
    ).fetchall()[0]
    made = json.loads(text)["statements"][0]["node"]["select_list"][0]
    _fill(made, {"_labels": labels, **{f"_{place}": other for place, other in enumerate(others)}})
    node.clear()
    node.update(made)


def _compared(node: Mapping[str, Any]) -> tuple[bool, list[Any]] | None:
    """Whether a comparison is a negated one, and what it compares; None for what is no such comparison."""
    kind = node.get("type")
    if node.get("class") == "COMPARISON" and kind in ("COMPARE_EQUAL", "COMPARE_NOTEQUAL"):
        return kind == "COMPARE_NOTEQUAL", [node["left"], node["right"]]
    return (False, list(node["children"])) if kind == "COMPARE_IN" else None


def _is_label(node: Mapping[str, Any], gathered: Collection[str]) -> bool:
    names = node.get("column_names") or []
    return len(names) == 2 and names[0] in gathered and names[1] == NAMES


def _fill(node: Any, values: Mapping[str, Any]) -> None:
    """Put values in the place of the columns that are named like them."""
    for item in node if isinstance(node, list) else node.values() if isinstance(node, dict) else ():
        _fill(item, values)
    if isinstance(node, dict) and node.get("class") == "COLUMN_REF" and node["column_names"][0] in values:
        value = dict(values[node["column_names"][0]])
        node.clear()
        node.update(value)


def _is_bare(node: Mapping[str, Any]) -> bool:
    """Whether a SELECT has nothing but what it selects."""
    empty = (node.get("from_table") or {}).get("type") == "EMPTY"
    others = ("modifiers", "where_clause", "group_expressions", "group_sets", "having", "sample", "qualify")
    return empty and not any(node.get(name) for name in others) and not node["cte_map"]["map"]


def _resolve(node: Any, resolved: Callable[[list[str]], list[str]], bound: frozenset[str], depth: int = 0) -> None:
    """Have all columns below a node of a parse named by their tables; `bound` are the arguments of lambdas around."""
    if depth > DEEPEST:
        raise UsageError("where: an expression so deeply nested is not looked at")
    if isinstance(node, list):
        for item in node:
            _resolve(item, resolved, bound, depth + 1)
    if not isinstance(node, dict):
        return
    kind = node.get("class")
    if kind in ("SUBQUERY", "STAR"):
        raise UsageError(f"where: a filter looks at one clip at a time: no {kind.lower()} in it")
    if kind == "COLUMN_REF":
        if node["column_names"][0].lower() not in bound:
            node["column_names"] = resolved(node["column_names"])
        return
    if kind == "LAMBDA":
        arguments = frozenset(name.lower() for name in _names_in(node["lhs"]))
        _resolve(node["expr"], resolved, bound | arguments, depth + 1)
        return
    for value in node.values():
        _resolve(value, resolved, bound, depth + 1)


def _names_in(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if node.get("class") == "COLUMN_REF":
            yield node["column_names"][0]
        node = list(node.values())
    for item in node if isinstance(node, list) else ():
        yield from _names_in(item)


class _Names:
    """From the names in an expression to columns, and to the joins that these need."""

    def __init__(self, where: str, ids: Iterable[str], tables: Sequence[FilterTable]) -> None:
        self._where = where
        self._ids = {name.lower(): name for name in ids}
        self.tables = tables
        self._columns = [{name.lower(): name for name in table.columns} for table in tables]
        self._used: set[int] = set()

    def quoted(self, where: str, keywords: set[str]) -> str:
        """The expression with the columns quoted that are words of SQL too, as `left` of `object_events`."""
        columns = keywords & {*self._ids, *(name for columns in self._columns for name in columns)}

        def as_name(word: re.Match[str]) -> str:
            return _quoted(word[0]) if word[0].lower() in columns else word[0]

        return WORDS.sub(as_name, where)

    def resolved(self, names: list[str]) -> list[str]:
        """A column by the relation that has it, and what is asked of its fields."""
        first, rest = names[0], names[1:]
        tables = self._called(first)
        if rest and len(tables) == 1 and rest[0].lower() in self._columns[tables[0]]:
            return self._of(tables[0], rest[0], rest[1:])
        if rest and len(tables) > 1:
            paths = ", ".join(f'"{self.tables[number].path}"' for number in tables)
            raise UsageError(_explained(self._where, f"several tables are called {first}: say {paths}"))
        return self._bare(first, rest)

    def _bare(self, name: str, fields: list[str]) -> list[str]:
        key = name.lower()
        if key in self._ids and key != ROW:
            return [IDS, self._ids[key], *fields]
        bare = [number for number, table in enumerate(self.tables) if table.name is not None]
        having = [number for number in bare if key in self._columns[number]]
        if {self.tables[number].path for number in having} == OWN.keys():
            # a manifest's column stands in both; of a clip counts what is said of its own span
            having = [number for number in having if self.tables[number].key == "clip_id"]
        if len(having) == 1 or (having and key in IDENTITY):
            return self._of(having[0], name, fields)
        if having:
            choices = ", ".join(f"{self._spoken(number)}.{self._columns[number][key]}" for number in having)
            raise UsageError(_explained(self._where, f"several tables have a column {name}: say {choices}"))
        known = dict.fromkeys([*self._ids.values(), *(name for table in self.tables for name in table.columns)])
        shown = ", ".join(name for name in list(known)[:NAMED] if name != ROW)
        near = get_close_matches(name, known, n=3)
        hint = HINTS.get(key) or (f"near: {', '.join(near)}" if near else "")
        parted = [_quoted(table.name) for table in self.tables if table.name and self._is_parted(table.name)]
        hint = f"with its quotes the table is {parted[0]}" if parted else hint
        told = f'column "{name}" not found{hint and f" ({hint})"}. Columns: {shown}'
        raise UsageError(_explained(self._where, told, most=2000))

    def _is_parted(self, table: str) -> bool:
        """Whether a table stands in the expression as a difference, as in `tracks-ssd.counts`."""
        return not table.isidentifier() and re.search(rf'(?<!["/]){re.escape(table)}\.', self._where) is not None

    def _called(self, name: str) -> list[int]:
        exact = [number for number, table in enumerate(self.tables) if table.path.lower() == name.lower()]
        return exact or [n for n, table in enumerate(self.tables) if (table.name or "").lower() == name.lower()]

    def _spoken(self, number: int) -> str:
        """How a table is named in an expression."""
        table = self.tables[number]
        name = table.name if table.name and len(self._called(table.name)) == 1 else table.path
        return name if name.isidentifier() else f'"{name}"'

    def _of(self, number: int, column: str, fields: list[str]) -> list[str]:
        self._used.add(number)
        return [self.tables[number].path, self._columns[number][column.lower()], *fields]

    def joins(self) -> str:
        """The joins of the tables that are named, and of what their keys are taken from."""
        sql, of_videos = "", self._video_ids()
        # tables of videos are found by what tables of clips say
        for number, table in sorted(enumerate(self.tables), key=lambda item: item[1].key):
            if number in self._used or number == of_videos:
                key = f"{IDS}.clip_id" if table.key == "clip_id" else self._key_of_videos(of_videos)
                name = _quoted(table.path)
                sql += f" LEFT JOIN {table.sql(f'_table{number}')} AS {name} ON {name}.{table.key} = {key}"
        return sql

    def _video_ids(self) -> int | None:
        """The table that says of which video a clip is, where the rows do not, and somebody asks."""
        if "video_id" in self._ids or all(self.tables[number].key == "clip_id" for number in self._used):
            return None
        having = (n for n, table in enumerate(self.tables) if table.key == "clip_id" and "video_id" in self._columns[n])
        return next(having, None)

    def _key_of_videos(self, table: int | None) -> str:
        if "video_id" in self._ids:
            return f"{IDS}.video_id"
        if table is None:
            raise UsageError(_explained(self._where, "no table here says which videos the clips are of"))
        return f"{_quoted(self.tables[table].path)}.video_id"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _explained(where: str, reason: str, *, most: int = 300) -> str:
    reason = reason.split("\n\nLINE", 1)[0].split("\nCandidate bindings", 1)[0]
    return f"where {where!r:.200}: {' '.join(reason.split())[:most]}"

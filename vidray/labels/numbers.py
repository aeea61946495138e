"""Plain numbers of a table as features: counts, areas, shares and whatever else a clip has one of.

A feature is a column of numbers, or one label of a column that lists labels with numbers, as `counts.person`. Counts
are seen by their logarithm: between none and four lies more than between twenty and twenty-four.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from vidray.labels.examples import Ragged
from vidray.store import IDENTITY

LISTED = {"counts": "count", "mean_areas": "area", "labels": "score"}
"""Columns that list labels, and what each label has there; a label that is not listed has none of it."""

PLAIN_TYPES = ("bool", "int8", "int16", "int32", "int64", "float", "double")
"""Types of numbers, as a `_spec.json` writes them."""


def number_columns(columns: Iterable[tuple[str, str]]) -> tuple[str, ...]:
    """Those of a table's columns, each with its type as text, that give features."""
    own = set(IDENTITY.names)
    return tuple(name for name, kind in columns if name not in own and (kind in PLAIN_TYPES or name in LISTED))


def has_numbers(spec: Mapping[str, Any]) -> bool:
    """Whether a table, by its `_spec.json`, has features though it has no embedding."""
    columns = [(name, kind) for name, kind in spec.get("columns") or ()]
    return "embedding" not in dict(columns) and bool(number_columns(columns))


def number_names(rows: pa.Table) -> tuple[str, ...]:
    """The features that some rows give: numbers that any of them has, and labels that any of them lists."""
    names: list[str] = []
    for column in rows.column_names:
        if column in LISTED:
            labels = {one["label"] for row in rows[column].to_pylist() for one in row or ()}
            names += [f"{column}.{label}" for label in sorted(labels)]
        elif rows[column].null_count < len(rows):
            names.append(column)
    return tuple(names)


def columns_of_names(names: Iterable[str]) -> tuple[str, ...]:
    """The columns that some features are from."""
    return tuple(dict.fromkeys(_parts(name)[0] for name in names))


def number_features(rows: pa.Table, names: Sequence[str]) -> tuple[Ragged, npt.NDArray[np.bool_]]:
    """The features of the rows that have all of them, and which rows these are: (Ragged of N, bool (rows,)).

    A row that lacks a number, or whose number is not finite, has none.
    """
    matrix = np.zeros((len(rows), len(names)), np.float32)
    listed = {column: _listed(rows[column], column) for column in columns_of_names(names) if column in LISTED}
    for place, name in enumerate(names):
        column, label = _parts(name)
        if label is None:
            values = rows[column].combine_chunks()
            matrix[:, place] = _scaled(values.cast(pa.float64()), is_count=pa.types.is_integer(values.type))
        else:
            found = [None if row is None else row.get(label, 0.0) for row in listed[column]]
            matrix[:, place] = _scaled(pa.array(found, pa.float64()), is_count=column == "counts")
    usable: npt.NDArray[np.bool_] = np.asarray(np.isfinite(matrix).all(axis=1))
    kept = matrix[usable]
    return Ragged(kept, np.ones(len(kept), np.int64)), usable


def _scaled(values: pa.Array, *, is_count: bool) -> npt.NDArray[np.float64]:
    numbers: npt.NDArray[np.float64] = values.to_numpy(zero_copy_only=False)
    return np.sign(numbers) * np.log1p(np.abs(numbers)) if is_count else numbers


def _listed(column: pa.ChunkedArray, name: str) -> list[dict[str, float] | None]:
    value = LISTED[name]
    return [None if row is None else {one["label"]: one[value] for one in row} for row in column.to_pylist()]


def _parts(name: str) -> tuple[str, str | None]:
    column, _, label = name.partition(".")
    return (column, label) if column in LISTED else (name, None)

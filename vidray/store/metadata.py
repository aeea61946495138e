"""A manifest's own columns in a store: which there are and of what types, as `vidray.json` says it.

The parts of a table must agree on the types of their columns. So the first manifest that has a column decides; where a
later one has another type, its values are kept as JSON text in a column beside.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

JSON = b"json"
"""Under which key a field says of which column it holds JSON text."""


def to_config(columns: pa.Schema) -> dict[str, Any]:
    """What `vidray.json` says of the columns: their types to be read, and whole as Parquet files have them."""
    types = {field.name: "json" if _is_json(field) else str(field.type) for field in columns}
    return {"metadata": types, "metadata_schema": base64.b64encode(columns.serialize().to_pybytes()).decode()}


def from_config(config: Mapping[str, Any]) -> pa.Schema:
    """The columns that `vidray.json` tells of; before, it held the names of simple types alone."""
    if "metadata_schema" in config:
        return pa.ipc.read_schema(pa.py_buffer(base64.b64decode(config["metadata_schema"])))
    known = config.get("metadata") or {}
    return pa.schema(
        [_json(name) if kind == "json" else (name, pa.type_for_alias(kind)) for name, kind in known.items()]
    )


def joined(known: pa.Schema, found: pa.Schema) -> pa.Schema:
    """The columns of a store once it takes in those of a manifest.

    A column of nothing but nulls has no type yet, and comes with its first value.
    """
    fields = {field.name: field for field in known}
    for field in found:
        held = fields.get(field.name)
        if pa.types.is_null(field.type):
            continue
        if held is None:
            fields[field.name] = pa.field(field.name, field.type)
        elif not (_is_json(held) or _fits(field.type, held.type)):
            fields[f"{field.name}_json"] = _json(f"{field.name}_json")
    return pa.schema(list(fields.values()))


def texts_of(columns: pa.Schema) -> frozenset[str]:
    """The columns that are text as their manifest has it."""
    return frozenset(field.name for field in columns if pa.types.is_string(field.type) and not _is_json(field))


def column(field: pa.Field, rows: Sequence[Mapping[str, object]]) -> pa.Array:
    """The values of one column of the store, from rows of a manifest; null where they do not fit it."""
    values = [row.get(field.name, row.get(_source(field))) for row in rows]
    if _is_json(field):
        return pa.array([None if v is None else json.dumps(v, default=str) for v in values], pa.string())
    try:
        return pa.array(values, field.type)
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        return pa.nulls(len(values), field.type)


def shown(name: str, taken: Sequence[str]) -> str:
    """Under which name a column stands in the tables, where vidray has columns of its own."""
    return f"meta_{name}" if name in taken else name


def _source(field: pa.Field) -> str:
    return str(field.name).removesuffix("_json") if _is_json(field) else str(field.name)


def _json(name: str) -> pa.Field:
    return pa.field(name, pa.string(), metadata={JSON: name.encode()})


def _is_json(field: pa.Field) -> bool:
    return JSON in (field.metadata or {})


def _fits(found: pa.DataType, held: pa.DataType) -> bool:
    """Whether every value of one type is one of another, such as a whole number of a decimal one."""
    if found == held or (pa.types.is_integer(found) and pa.types.is_floating(held)):
        return True
    return bool(pa.types.is_integer(found) and pa.types.is_integer(held) and found.bit_width <= held.bit_width)

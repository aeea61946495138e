"""What `_spec.json` says of a table: the extractor that made it, so that another one is told apart and it can be
rebuilt.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from vidray.errors import SpecMismatchError, StoreError, UsageError, WeightsError, one_line
from vidray.extractors.inputs import Bound, scope_of, video_schema_of
from vidray.extractors.named_weights import check_named_weights
from vidray.extractors.protocol import Extractor
from vidray.extractors.registry import check, named_fields, origin_of, resolve
from vidray.extractors.with_steps import itself, with_steps_of
from vidray.media import Columns, Modality, record_of
from vidray.models.weights import file_record
from vidray.plugins import fits, known_options
from vidray.storage import is_local

UNSPOKEN_FIELDS = ("memory_bytes",)
"""Fields of any extractor that change nothing in its table."""
PUT_BACK = "put the table's _spec.json back from a copy, or extract anew, with --as under another name"
BOUND = ("table", "spec_sha256")
"""What a spec says of an input besides what the extractor asks for: which table it was given."""


def describe(
    extractor: Extractor, bound: Bound | None = None, hashes: Mapping[str, str | None] | None = None
) -> dict[str, Any]:
    """Everything that decides what an extractor's table holds, as plain JSON values: equal ones make equal tables.

    `extractor` is what `resolve` takes, and `settings` are the dataclass fields that it does not stand for; a setting
    that is no plain value is known by its type alone. Reads the weights file, for its sha256.

    Args:
        extractor: The description.
        bound: The table of each input that is a table.
        hashes: What made each of these tables, as the hash of its `_spec.json`.

    Raises:
        WeightsError: The weights are not there.
        MissingExtraError: They are those of a package that is not installed.
    """
    weights = getattr(extractor, "weights", None)
    record = getattr(extractor, "weights_record", None) or (file_record(weights) if weights else None)
    video_schema = video_schema_of(extractor)
    spec: dict[str, Any] = {
        "name": extractor.name,
        "extractor": origin_of(extractor),
        "settings": _settings(itself(extractor), leave_out=named_fields(itself(extractor))),
        "version": getattr(extractor, "version", None),
        "weights": record,
        "inputs": {name: _input(value, (bound or {}).get(name), hashes) for name, value in extractor.inputs.items()},
        "scope": scope_of(extractor),
        "precision": getattr(extractor, "precision", None),
        "per_frame": bool(getattr(extractor, "per_frame", False)),
        "columns": [[field.name, str(field.type)] for field in extractor.schema],
        "video_columns": None if video_schema is None else [[field.name, str(field.type)] for field in video_schema],
        "reads_text": callable(getattr(extractor, "load_text", None)),
    }
    plain: dict[str, Any] = json.loads(json.dumps(spec, default=dict))
    return plain


def _input(value: Any, table: str | None, hashes: Mapping[str, str | None] | None) -> dict[str, Any]:
    if not isinstance(value, Columns):
        return record_of(value)
    record: dict[str, Any] = {"kind": "Columns", "modality": "text", "columns": list(value.columns)}
    if value.optional:
        record["optional"] = list(value.optional)
    if table is not None:
        record |= {"table": table, "spec_sha256": (hashes or {}).get(table)}
    return record


def current(spec: Mapping[str, Any]) -> dict[str, Any]:
    """A spec in today's words, also one that an earlier version wrote down: it had one `sampling`, and no scope."""
    if "inputs" in spec or "sampling" not in spec:
        return dict(spec)
    from vidray.media import sampling as kinds

    sampling = spec["sampling"]
    named = (
        {"frames": sampling["frames"] | {"kind": "FrameRate"}, "audio": sampling["audio"] | {"kind": "Audio"}}
        if (sampling["kind"] == "AudioVisual")
        else {"audio" if sampling["kind"] == "Audio" else "frames": sampling}
    )
    inputs = {name: record_of(kinds.from_record(record)) for name, record in named.items()}
    later = {"inputs": inputs, "scope": "clip", "video_columns": None}
    text = {"reads_text": str(spec.get("name")).startswith("open_clip/")}
    return {**{name: value for name, value in spec.items() if name != "sampling"}, **later, **text}


def misshapen(spec: Mapping[str, Any]) -> str | None:
    """Why a `_spec.json` cannot be one, by the types of what is read of it; None where it can."""
    for name in ("columns", "video_columns"):
        columns = spec.get(name)
        if columns is not None and not (isinstance(columns, list) and all(map(_is_column, columns))):
            return f"{name} must be a list of names and types, got {json.dumps(columns)[:80]}"
    for name in ("name", "extractor", "scope", "precision"):
        if not isinstance(spec.get(name), str | None):
            return f"{name} must be a text, got {json.dumps(spec[name])[:80]}"
    for name in ("weights", "settings", "inputs", "sampling"):
        if not isinstance(spec.get(name), Mapping | None):
            return f"{name} must be an object, got {json.dumps(spec[name])[:80]}"
    for name, record in (spec.get("inputs") or {}).items():
        if not isinstance(record, Mapping) or not isinstance(record.get("modality"), str):
            return f"the input {name} must be an object with a modality, got {json.dumps(record)[:80]}"
        if not isinstance(record.get("table"), str | None):
            return f"the table of the input {name} must be a name, got {json.dumps(record['table'])[:80]}"
        steps = record.get("steps")
        if steps is not None and not (isinstance(steps, list) and all(isinstance(step, Mapping) for step in steps)):
            return f"the steps of the input {name} must be a list of objects, got {json.dumps(steps)[:80]}"
    try:
        current(spec)
    except (AttributeError, KeyError, TypeError, ValueError, UsageError) as e:
        return f"sampling must be as vidray once wrote it, got {json.dumps(spec['sampling'])[:80]}: {one_line(e)}"
    return None


def _is_column(column: object) -> bool:
    return isinstance(column, list) and len(column) == 2 and all(isinstance(text, str) for text in column)


def restore(spec: Mapping[str, Any], given: Extractor | None = None) -> Extractor:
    """The extractor that a `_spec.json` tells of, checked to be the same in all that decides a table.

    A store may be a stranger's, so it decides nothing that is imported: what comes with vidray or is installed as an
    entry point is found by its name, all else is what the user passed.

    Args:
        spec: What the store says.
        given: An extractor that the user named or passed.

    Raises:
        UsageError: It cannot be rebuilt here: it is to be passed, or was set up with more than plain values.
        WeightsError: The weights are gone, or are not those of the table any more.
        SpecMismatchError: What is rebuilt differs: another version of vidray, of a library or of the extractor's code.
        StoreError: It is no spec: something is of another type than vidray writes, or is not there.
    """
    wrong = misshapen(spec) or ("it names no extractor" if spec.get("extractor") is None else None)
    if wrong is not None:
        raise StoreError(f"what the store says made the table is no spec: {wrong}; {PUT_BACK}")
    then = current(spec)
    origin = str(then["extractor"])
    restored = with_steps_of(_rebuilt(origin, then.get("settings")) if given is None else given, then)
    now = describe(restored)
    then_sha256, now_sha256 = _sha256(then), _sha256(now)
    if then_sha256 != now_sha256:
        raise WeightsError(
            f"the weights of {origin} are not those that made the table: sha256 {now_sha256}, not {then_sha256}"
        )
    then = unbound(then)
    different = [key for key in now if now[key] != then.get(key)]
    if different:
        key = different[0]
        raise SpecMismatchError(
            f"{origin} is not what made the table any more: {', '.join(different)} "
            f"differ ({key} was {then.get(key)}, is {now[key]}); extract it anew, with --as under another name"
        )
    return restored


def unbound(spec: Mapping[str, Any]) -> dict[str, Any]:
    """A spec without which tables its inputs are."""
    inputs = {
        name: {key: value for key, value in record.items() if key not in BOUND}
        for name, record in (spec.get("inputs") or {}).items()
    }
    return {**spec, "inputs": inputs}


def bound_in(spec: Mapping[str, Any]) -> dict[str, str]:
    """The tables that a table was made from, by the name of the input."""
    return {name: record["table"] for name, record in (spec.get("inputs") or {}).items() if "table" in record}


def _rebuilt(origin: str, settings: Mapping[str, Any] | None) -> Extractor:
    for name, value in (settings or {}).items():
        if isinstance(value, Mapping) and "type" in value:
            raise UsageError(f"{origin} was set up with {name} of type {value['type']}: pass the extractor itself")
    if ":" in origin.partition("@")[0]:
        raise UsageError(
            f"the table was made by {origin}, and a store does not decide what is imported: name it with -x {origin}, "
            "or pass the extractor itself"
        )
    check_named_weights(origin, settings or {})
    try:
        described: Any = resolve(origin)
        _check_settings(origin, settings or {}, known_options(type(described)))
        rebuilt: Extractor = dataclasses.replace(described, **(settings or {}))
    except TypeError as e:
        raise SpecMismatchError(f"{origin} does not take the settings that made the table any more: {e}") from e
    return check(rebuilt, f"'{origin}'", schema=False)


def _check_settings(origin: str, settings: Mapping[str, Any], kinds: Mapping[str, Any]) -> None:
    for name, value in settings.items():
        if not fits(value, kinds.get(name, Any)):
            raise StoreError(
                f"{origin} cannot be set up as the store says: {name} cannot be {json.dumps(value)[:80]}; {PUT_BACK}"
            )


def _sha256(spec: Mapping[str, Any]) -> object:
    return (spec.get("weights") or {}).get("sha256")


def _settings(extractor: Any, *, leave_out: tuple[str, ...]) -> dict[str, object] | None:
    if not dataclasses.is_dataclass(extractor):
        return None
    leave_out += UNSPOKEN_FIELDS
    fields = [field for field in dataclasses.fields(extractor) if field.init and field.name not in leave_out]
    return {field.name: _plain(getattr(extractor, field.name)) for field in fields}


def _plain(value: Any) -> object:
    if value is None or isinstance(value, str | int | float | bool):
        return value
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return {"type": f"{type(value).__module__}.{type(value).__qualname__}"}


def is_joint(spec: Mapping[str, Any]) -> bool:
    """Whether a table, by its `_spec.json`, is of a model that has a text tower."""
    return bool(current(spec).get("reads_text"))


def has_classes(spec: Mapping[str, Any]) -> bool:
    """Whether a table, by its `_spec.json`, is of a classifying network: a detector's `labels` are its boxes' best."""
    columns = column_names(spec)
    return "labels" in columns and "detections" not in columns


def has_objects(spec: Mapping[str, Any]) -> bool:
    """Whether a table, by its `_spec.json`, is of a detector that names what is in its boxes."""
    return {"labels", "detections"} <= column_names(spec)


def column_names(spec: Mapping[str, Any]) -> set[str]:
    """The columns of a table, by its `_spec.json`."""
    return {name for name, _ in spec.get("columns") or ()}


def modalities(spec: Mapping[str, Any]) -> frozenset[Modality]:
    """What a table, by its `_spec.json`, is about: frames, audio, or words."""
    inputs = current(spec).get("inputs") or {}
    return frozenset(record["modality"] for record in inputs.values())


def hears(spec: Mapping[str, Any]) -> bool:
    """Whether a table, by its `_spec.json`, is about audio alone."""
    return modalities(spec) == {"audio"}


def suitability(spec: Mapping[str, Any], query: str) -> int | None:
    """How well a table, by its `_spec.json`, suits a query by "image", "audio", "video" or "clip".

    0 suits best; None is for a table that such a query cannot be asked of. A clip suits all alike.
    """
    sees = modalities(spec)
    windows = any("frames" in record for record in (current(spec).get("inputs") or {}).values())
    ranks: dict[str, dict[frozenset[Modality], int]] = {
        "image": {frozenset({"frames"}): int(windows)},
        "audio": {frozenset({"audio"}): 0},
        "video": {frozenset({"frames"}): 0, frozenset({"audio"}): 1, frozenset({"frames", "audio"}): 2},
    }
    return 0 if query == "clip" else ranks[query].get(sees)


def given_for(spec: Mapping[str, Any], extractor: str | Extractor | None) -> Extractor | None:
    """The extractor that a user named or passed for a table, where it is one that the table's spec cannot name."""
    name, at, weights = str(spec.get("extractor")).partition("@")
    if extractor is None or not (":" in name or (at and not is_local(weights))):
        return None
    if not isinstance(extractor, str):
        return extractor
    return resolve(extractor) if ":" in extractor.partition("@")[0] or "@" in extractor else None

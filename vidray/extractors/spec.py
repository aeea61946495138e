"""What `_spec.json` says of a table: the extractor that made it, so that another one is told apart and it can be
rebuilt.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from vidray.errors import SpecMismatchError, UsageError, WeightsError
from vidray.extractors.protocol import Extractor
from vidray.extractors.registry import check, import_class, resolve
from vidray.models.weights import file_record

BUILT_IN = "vidray.extractors."
NAMED_FIELDS = ("model", "bundle", "weights")
"""Fields of the built-in extractors that their name stands for."""
UNSPOKEN_FIELDS = ("memory_bytes",)
"""Fields of any extractor that change nothing in its table."""


def describe(extractor: Extractor) -> dict[str, object]:
    """Everything that decides what an extractor's table holds, as plain JSON values: equal ones make equal tables.

    `extractor` is what `resolve` takes, and `settings` are the dataclass fields that it does not stand for; a setting
    that is no plain value is known by its type alone. Reads the weights file, for its sha256.

    Raises:
        WeightsError: The weights are not there.
        MissingExtraError: They are those of a package that is not installed.
    """
    cls = type(extractor)
    weights = getattr(extractor, "weights", None)
    record = getattr(extractor, "weights_record", None) or (file_record(weights) if weights else None)
    built_in = cls.__module__.startswith(BUILT_IN)
    origin = f"{cls.__module__}:{cls.__qualname__}"
    if built_in:
        origin = f"{extractor.name}@{weights}" if weights else extractor.name
    spec = {
        "name": extractor.name,
        "extractor": origin,
        "settings": _settings(extractor, leave_out=NAMED_FIELDS if built_in else ()),
        "version": getattr(extractor, "version", None),
        "weights": record,
        "sampling": {"kind": type(extractor.sampling).__name__, **dataclasses.asdict(extractor.sampling)},
        "precision": getattr(extractor, "precision", None),
        "per_frame": bool(getattr(extractor, "per_frame", False)),
        "columns": [[field.name, str(field.type)] for field in extractor.schema],
    }
    plain: dict[str, object] = json.loads(json.dumps(spec, default=dict))
    return plain


def restore(spec: Mapping[str, Any]) -> Extractor:
    """The extractor that a `_spec.json` tells of, checked to be the same in all that decides a table.

    Raises:
        UsageError: It cannot be rebuilt here: its module is not there, or it was set up with more than plain values.
        WeightsError: The weights are gone, or are not those of the table any more.
        SpecMismatchError: What is rebuilt differs: another version of vidray, of a library or of the extractor's code.
    """
    origin, settings = str(spec["extractor"]), spec["settings"]
    for name, value in (settings or {}).items():
        if isinstance(value, Mapping) and "type" in value:
            raise UsageError(f"{origin} was set up with {name} of type {value['type']}: pass the extractor itself")
    restored = _rebuilt(origin, settings)
    now = describe(restored)
    then_sha256, now_sha256 = _sha256(spec), _sha256(now)
    if then_sha256 != now_sha256:
        raise WeightsError(
            f"the weights of {origin} are not those that made the table: sha256 {now_sha256}, not {then_sha256}"
        )
    different = [key for key in now if now[key] != spec.get(key)]
    if different:
        key = different[0]
        raise SpecMismatchError(
            f"{origin} is not what made the table any more: {', '.join(different)} "
            f"differ ({key} was {spec.get(key)}, is {now[key]}); extract it anew, with --as under another name"
        )
    return restored


def _rebuilt(origin: str, settings: Mapping[str, Any] | None) -> Extractor:
    try:
        if ":" in origin.partition("@")[0]:
            made = import_class(origin)
            # the store may be a stranger's, so nothing is called that is no extractor's class
            if not (isinstance(made, type) and callable(getattr(made, "load", None))):
                raise UsageError(f"'{origin}', which made the table by its own account, is no extractor's class")
            return check(made(**(settings or {})), f"'{origin}'")
        described: Any = resolve(origin)
        rebuilt: Extractor = dataclasses.replace(described, **(settings or {}))
    except TypeError as e:
        raise SpecMismatchError(f"{origin} does not take the settings that made the table any more: {e}") from e
    return rebuilt


def _sha256(spec: Mapping[str, Any]) -> object:
    return (spec["weights"] or {}).get("sha256")


def _settings(extractor: Any, *, leave_out: tuple[str, ...]) -> dict[str, object] | None:
    if not dataclasses.is_dataclass(extractor):
        return None
    leave_out += UNSPOKEN_FIELDS
    names = [field.name for field in dataclasses.fields(extractor) if field.init and field.name not in leave_out]
    return {name: _plain(getattr(extractor, name)) for name in names}


def _plain(value: Any) -> object:
    if value is None or isinstance(value, str | int | float | bool):
        return value
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return {"type": f"{type(value).__module__}.{type(value).__qualname__}"}


def is_joint(spec: Mapping[str, Any]) -> bool:
    """Whether a table, by its `_spec.json`, is of a model that has a text tower."""
    return str(spec.get("name")).startswith("open_clip/")


def has_classes(spec: Mapping[str, Any]) -> bool:
    """Whether a table, by its `_spec.json`, is of a classifying network: a detector's `labels` are its boxes' best."""
    columns = column_names(spec)
    return "labels" in columns and "detections" not in columns


def column_names(spec: Mapping[str, Any]) -> set[str]:
    """The columns of a table, by its `_spec.json`."""
    return {name for name, _ in spec.get("columns") or ()}


def hears(spec: Mapping[str, Any]) -> bool:
    """Whether a table, by its `_spec.json`, is about audio."""
    return (spec.get("sampling") or {}).get("kind") == "Audio"

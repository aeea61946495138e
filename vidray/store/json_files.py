"""The JSON files of a store, each one object."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from vidray.errors import StoreError
from vidray.storage import Folder


def read_json(folder: Folder, name: str) -> dict[str, Any]:
    """The object in a file. Raises StoreError, with the file, where it cannot be read or is none."""
    try:
        value = json.loads(folder.read_bytes(name))
    except (ValueError, OSError) as e:
        raise StoreError(f"{folder.url}/{name}: cannot be read: {e}") from e
    if not isinstance(value, dict):
        raise StoreError(f"{folder.url}/{name}: not a JSON object")
    return value


def write_json(folder: Folder, name: str, value: Mapping[str, Any]) -> None:
    """Write an object; the file appears whole."""
    folder.write_bytes(name, json_bytes(value))


def json_bytes(value: Mapping[str, Any]) -> bytes:
    """A file as it is written."""
    return (json.dumps(value, indent=2) + "\n").encode()

"""Options of an extractor, as users type them: `NAME[@WEIGHTS][?OPTION=VALUE&...]`. They are its dataclass's fields."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Collection, Mapping
from typing import Any
from urllib.parse import unquote

from vidray.errors import UsageError

TABLE = "name"
"""The option that every extractor has: what its table is called."""
YES, NO = ("1", "true", "yes", "on"), ("0", "false", "no", "off")


def split(text: str) -> tuple[str, dict[str, str]]:
    """What comes before the last `?`, and the options behind it; all of the text, and none, where these are no options.

    Values are percent-decoded.
    """
    head, mark, tail = text.rpartition("?")
    parts = [part.partition("=") for part in tail.split("&")]
    if not mark or not head or not all(equals and name.isidentifier() for name, equals, _ in parts):
        return text, {}
    return head, {name: unquote(value) for name, _, value in parts}


def known(cls: Any, *, but: Collection[str] = ()) -> dict[str, Any]:
    """The options of an extractor's class, each with its type."""
    if not dataclasses.is_dataclass(cls):
        return {}
    hints = typing.get_type_hints(cls)
    return {f.name: hints[f.name] for f in dataclasses.fields(cls) if f.init and f.name not in {*but, TABLE}}


def parsed(values: Mapping[str, str], kinds: Mapping[str, Any], what: str) -> dict[str, Any]:
    """Typed texts as values of the fields' types. Raises UsageError with the option, its type and the value."""
    return {name: _value(text, kinds[name], f"{what}: option {name}") for name, text in values.items()}


def _value(text: str, kind: Any, what: str) -> Any:
    origin = typing.get_origin(kind)
    if origin in (typing.Union, types.UnionType):
        choices = typing.get_args(kind)
        if type(None) in choices and text.lower() in ("", "none"):
            return None
        return _first([choice for choice in choices if choice is not type(None)], text, what)
    if origin is typing.Literal:
        allowed = {str(choice): choice for choice in typing.get_args(kind)}
        if text not in allowed:
            raise UsageError(f"{what} must be one of {', '.join(allowed)}, got {text!r}")
        return allowed[text]
    if origin in (tuple, list):
        item = typing.get_args(kind)[0]
        return tuple(_value(part, item, what) for part in text.split(",") if part)
    return _plain(text, kind, what)


def _plain(text: str, kind: Any, what: str) -> Any:
    if kind is bool:
        if text.lower() not in (*YES, *NO):
            raise UsageError(f"{what} must be true or false, got {text!r}")
        return text.lower() in YES
    if kind in (int, float):
        try:
            return kind(text)
        except ValueError as e:
            raise UsageError(f"{what} must be a {'whole ' if kind is int else ''}number, got {text!r}") from e
    if kind is str:
        return text
    raise UsageError(f"{what} cannot be typed: pass the extractor itself")


def _first(kinds: Collection[Any], text: str, what: str) -> Any:
    """The value as the first of some types that it fits."""
    errors: list[UsageError] = []
    for kind in sorted(kinds, key=lambda kind: kind is str):
        try:
            return _value(text, kind, what)
        except UsageError as e:
            errors.append(e)
    raise errors[0]

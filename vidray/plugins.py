"""Classes of third parties by name: `module:Class`, entry points of installed packages, and options typed behind a `?`.

`NAME?OPTION=VALUE&...` sets fields of the dataclass that a name means, as extractors and planners are.
"""

from __future__ import annotations

import dataclasses
import importlib
import os
import sys
import traceback
import types
import typing
from collections.abc import Collection, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any
from urllib.parse import unquote

from vidray.errors import UsageError, one_line

TABLE_OPTION = "name"
"""The option that every extractor has: what its table is called."""
YES, NO = ("1", "true", "yes", "on"), ("0", "false", "no", "off")


def split_options(text: str) -> tuple[str, dict[str, str]]:
    """What comes before the last `?`, and the options behind it; all of the text, and none, where these are no options.

    Values are percent-decoded.
    """
    head, mark, tail = text.rpartition("?")
    parts = [part.partition("=") for part in tail.split("&")]
    if not mark or not head or not all(equals and name.isidentifier() for name, equals, _ in parts):
        return text, {}
    return head, {name: unquote(value) for name, _, value in parts}


def known_options(cls: Any, *, but: Collection[str] = ()) -> dict[str, Any]:
    """The options of an extractor's class, each with its type."""
    if not dataclasses.is_dataclass(cls):
        return {}
    hints = typing.get_type_hints(cls)
    return {f.name: hints[f.name] for f in dataclasses.fields(cls) if f.init and f.name not in {*but, TABLE_OPTION}}


def parsed_options(values: Mapping[str, str], kinds: Mapping[str, Any], what: str) -> dict[str, Any]:
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


def fits(value: Any, kind: Any) -> bool:
    """Whether a plain value, as JSON has it, is of a field's type; of types that no text can be typed for, any is."""
    origin, choices = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return any(fits(value, choice) for choice in choices)
    if origin is typing.Literal:
        return any(type(value) is type(choice) and value == choice for choice in choices)
    if origin in (tuple, list):
        return isinstance(value, list | tuple) and all(fits(item, choices[0]) for item in value)
    if kind in (int, float):
        return isinstance(value, int if kind is int else int | float) and not isinstance(value, bool)
    return isinstance(value, kind) if kind in (bool, str, types.NoneType) else True


def import_class(dotted: str) -> Any:
    """The class that `module:Class` names; its file may lie in the working directory. Raises UsageError."""
    module_name, _, class_name = dotted.partition(":")
    here = os.getcwd()
    sys.path.insert(0, here)
    try:
        importlib.invalidate_caches()
        found: Any = importlib.import_module(module_name)
        for part in class_name.split("."):
            found = getattr(found, part)
    except ImportError as e:
        raise UsageError(f"'{dotted}' cannot be imported from {here} or the installed packages: {e}{_place(e)}") from e
    except (AttributeError, ValueError) as e:
        raise UsageError(f"'{dotted}' must be module:Class: {e}{_place(e)}") from e
    except Exception as e:
        # a person's module may fail in any way of its own
        raise UsageError(f"'{dotted}' cannot be imported: {type(e).__name__}: {one_line(e)}{_place(e)}") from e
    finally:
        sys.path.remove(here)
    return found


def _place(error: BaseException) -> str:
    """Where in a person's module an error is from; nothing where it is from no file of theirs."""
    if isinstance(error, SyntaxError) and error.filename:
        # its own words name the file without its folder
        return f" ({error.filename}, line {error.lineno})"
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not _is_ours(frame.filename)]
    return f" ({frames[-1].filename}, line {frames[-1].lineno})" if frames else ""


def _is_ours(file: str) -> bool:
    return file in (__file__, importlib.__file__) or file.startswith("<frozen ")


def entry_points_of(group: str) -> dict[str, EntryPoint]:
    """What installed packages bring to a group, by the names of their entry points; imports none."""
    return {entry.name: entry for entry in entry_points(group=group)}


def load_entry(entry: EntryPoint) -> Any:
    """The class of an entry point. Raises UsageError where its package fails."""
    try:
        return entry.load()
    except Exception as e:
        # an installed package may fail in any way of its own
        raise UsageError(f"the installed '{entry.name}' cannot be loaded: {type(e).__name__}: {e}") from e


def built(cls: Any, what: str, values: Mapping[str, Any]) -> Any:
    """An object of a class. Raises UsageError where it cannot be built from these values alone."""
    if not callable(cls):
        raise UsageError(f"'{what}' is a {type(cls).__name__}, not a class")
    try:
        return cls(**values)
    except TypeError as e:
        raise UsageError(f"'{what}' cannot be built without arguments: {e}") from e

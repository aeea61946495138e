"""Arguments of public functions: what is of another type than was meant is a TypeError that says so.

Each function takes arguments by name, so that its message has the name that the caller wrote.
"""

from __future__ import annotations

from collections.abc import Iterable
from numbers import Real
from operator import index


def check_text(**given: object) -> None:
    """Refuse what is no text: TypeError."""
    for name, value in given.items():
        if not isinstance(value, str):
            raise _wrong(name, "a text", value)


def check_text_or_none(**given: object) -> None:
    """Refuse what is neither text nor None: TypeError."""
    check_text(**_given(given))


def check_texts(**given: object) -> None:
    """Refuse what is no list of texts; one text alone is none, although it is a row of letters: TypeError."""
    for name, value in given.items():
        if isinstance(value, str | bytes) or not isinstance(value, Iterable):
            raise _wrong(name, "a list of texts", value)
        if isinstance(value, list | tuple | set | frozenset):
            check_text(**{f"{name}[{place}]": one for place, one in enumerate(value)})


def check_whole(**given: object) -> None:
    """Refuse what is no whole number, True and False among it: TypeError."""
    for name, value in given.items():
        try:
            index(value)  # type: ignore[arg-type]
        except TypeError:
            raise _wrong(name, "a whole number", value) from None
        if isinstance(value, bool):
            raise _wrong(name, "a whole number", value)


def check_whole_or_none(**given: object) -> None:
    """Refuse what is neither a whole number nor None: TypeError."""
    check_whole(**_given(given))


def check_number(**given: object) -> None:
    """Refuse what is no number: TypeError."""
    for name, value in given.items():
        if isinstance(value, bool) or not isinstance(value, Real):
            raise _wrong(name, "a number", value)


def check_has(what: str, *attributes: str, **given: object) -> None:
    """Refuse an object that has not what makes it `what`, "a planner" say; a class is not its object: TypeError."""
    for name, value in given.items():
        if isinstance(value, type) or not all(hasattr(value, attribute) for attribute in attributes):
            raise _wrong(name, what, value)


def check_extractor(**given: object) -> None:
    """Refuse what is neither an extractor's name nor one, unless it is None: TypeError."""
    for name, value in _given(given).items():
        if not isinstance(value, str):
            check_has("an extractor or the name of one", "name", "inputs", "schema", **{name: value})


def _given(arguments: dict[str, object]) -> dict[str, object]:
    return {name: value for name, value in arguments.items() if value is not None}


def _wrong(name: str, what: str, value: object) -> TypeError:
    return TypeError(f"{name} must be {what}, got {type(value).__name__} {value!r:.80}")

"""How numbers and things are put into words, in messages of every room."""

from __future__ import annotations


def counted(number: int, what: str, plural: str | None = None) -> str:
    """A number with what it counts: "1 clip", "2,000 clips"."""
    return f"{number:,} {what if number == 1 else plural or what + 's'}"

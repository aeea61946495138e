"""What extractors need: samplings of a video, tables of each other, and so the order in which they run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal, cast

from vidray.errors import UsageError
from vidray.extractors.protocol import Extractor
from vidray.media import Columns, Sampling, context_of

Bound = Mapping[str, str]
"""Of an extractor that takes tables: the name of each such input, and the table that it is."""


def samplings_of(extractor: Extractor) -> dict[str, Sampling]:
    """The inputs that are decoded, by name."""
    return {name: value for name, value in extractor.inputs.items() if not isinstance(value, Columns)}


def columns_of(extractor: Extractor) -> dict[str, Columns]:
    """The inputs that are columns of other tables, by name."""
    return {name: value for name, value in extractor.inputs.items() if isinstance(value, Columns)}


def scope_of(extractor: Extractor) -> Literal["clip", "video"]:
    """Whether its function sees clips, or all clips of a video at once."""
    return cast(Literal["clip", "video"], getattr(extractor, "scope", "clip"))


def video_schema_of(extractor: Extractor) -> Any:
    """The columns of one row a video that it answers too; None for none."""
    return getattr(extractor, "video_schema", None)


def levels(bound: Mapping[str, Bound]) -> list[list[str]]:
    """Tables in the order in which they can be filled: first those that need no other of these, then what needs these.

    Raises UsageError where tables need each other.
    """
    left = {table: set(inputs.values()) & bound.keys() for table, inputs in bound.items()}
    found: list[list[str]] = []
    while left:
        ready = [table for table, needed in left.items() if not needed & left.keys()]
        if not ready:
            raise UsageError(f"{', '.join(left)} need each other's tables, so that none can be the first")
        found.append(ready)
        left = {table: needed for table, needed in left.items() if table not in ready}
    return found


def has_context(sampling: Sampling) -> bool:
    """Whether a sampling asks for more than a clip's own span."""
    return any(context_of(sampling)) or hasattr(sampling, "around")


def audio_context_s(extractors: Iterable[Extractor]) -> float:
    """How many seconds of audio around a clip some extractors ask for, before and behind it together, at most."""
    asked = (sampling for extractor in extractors for sampling in samplings_of(extractor).values())
    return max((sum(context_of(sampling)) for sampling in asked if sampling.modality == "audio"), default=0.0)


def fitting(tables: Mapping[str, set[str]], wanted: Columns) -> list[str]:
    """The tables, each with the names of its columns, that have all columns of an input."""
    return [table for table, names in tables.items() if names.issuperset(wanted.columns)]

"""Labels in words of one's own: which of the two ways a feature table allows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from vidray.errors import UsageError
from vidray.extractors import Extractor
from vidray.extractors.spec import has_classes, has_objects, hears, is_joint
from vidray.labels.class_names import ClassNames
from vidray.labels.joint import JointModel

LONGEST = 1000
MOST = 10_000


def zero_shot(
    table: str, spec: Mapping[str, Any], prompts: Iterable[str], given: Extractor | None = None
) -> ClassNames | JointModel:
    """The labeler that compares texts with the clips of a feature table.

    Args:
        table: The name of the feature table.
        spec: Its `_spec.json`: what made it, and its columns.
        prompts: The texts, each a label; one that stands there twice counts once.
        given: The extractor that made the table, where the user has passed it.

    Raises:
        UsageError: No texts, an empty or a very long one, or a table that texts cannot be compared with.
    """
    wanted = check_prompts(prompts)
    if is_joint(spec):
        return JointModel(table, wanted, spec, given)
    if has_classes(spec):
        return ClassNames(table, wanted, "audio" if hears(spec) else "frame")
    if has_objects(spec):
        return ClassNames(table, wanted, "object")
    raise UsageError(
        f"the table {table} has no classes and no text model, so that texts cannot be compared with it; "
        f"extract efficientnet_lite0, yamnet or open_clip/MODEL, and name it with -x"
    )


def check_prompts(prompts: Iterable[str]) -> tuple[str, ...]:
    """The texts without surrounding space, each once. Raises UsageError."""
    wanted = tuple(dict.fromkeys(" ".join(prompt.split()) for prompt in prompts))
    if not wanted or not all(wanted):
        raise UsageError("prompts must be one or more texts that are not empty")
    if len(wanted) > MOST or max(map(len, wanted)) > LONGEST:
        raise UsageError(f"prompts must be at most {MOST:,} texts of at most {LONGEST:,} characters")
    return wanted

"""The steps that there are, and from what a user types, or a spec says, to a step.

`denoise,loudness:lufs=-16` is two steps, the second with an option; they are taken in the order named.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from importlib import import_module
from typing import Any

from vidray.errors import SpecMismatchError, UsageError
from vidray.plugins import built, known_options, parsed_options
from vidray.steps.protocol import Step

STEPS: Mapping[str, Mapping[str, str]] = {
    "audio": {
        "denoise": "vidray.steps.audio.denoise:Denoise",
        "loudness": "vidray.steps.audio.loudness:Loudness",
        "noise": "vidray.steps.audio.noise:Noise",
    },
    "frames": {
        "denoise": "vidray.steps.frames.denoise:Denoise",
        "light": "vidray.steps.frames.light:Light",
        "white_balance": "vidray.steps.frames.white_balance:WhiteBalance",
        "sharpen": "vidray.steps.frames.sharpen:Sharpen",
        "noise": "vidray.steps.frames.noise:Noise",
        "enlarge": "vidray.steps.frames.enlarge:Enlarge",
    },
}
"""The class of each step, by modality and name."""

RECORDED = ("step", "version", "weights")
"""What a record of a step says besides its options."""


def names(modality: str) -> list[str]:
    """The steps for frames, or for audio."""
    return list(STEPS[modality])


def steps_of(modality: str, text: str) -> tuple[Step, ...]:
    """The steps that a text names. Raises UsageError where one is not known, or has no such option."""
    return tuple(_typed(modality, part) for part in text.split(",")) if text else ()


def text_of(steps: tuple[Step, ...]) -> str:
    """What is typed for some steps, with the options that are not as they are by default."""
    return ",".join(":".join([step.name, *(f"{name}={value}" for name, value in _options(step).items())])
                    for step in steps)  # fmt: skip


def record_of_step(step: Step) -> dict[str, Any]:
    """A step as a spec keeps it: plain JSON values, with what its weights are."""
    weights = getattr(step, "weights_record", None)
    record = {"step": step.name, "version": step.version, **_options(step)}
    return record if weights is None else {**record, "weights": dict(weights)}


def step_from(modality: str, record: Mapping[str, Any]) -> Step:
    """The step that a spec tells of. Raises SpecMismatchError where there is no such step or option any more."""
    try:
        options = {name: value for name, value in record.items() if name not in RECORDED}
        step: Step = _class(modality, str(record.get("step")))(**options)
    except (AttributeError, TypeError, ValueError, UsageError) as e:
        raise SpecMismatchError(f"the table was made with {modality}={record}, which is not known: {e}") from e
    return step


def _typed(modality: str, text: str) -> Step:
    name, *options = text.strip().split(":")
    what = f"{modality}={text}"
    cls = _class(modality, name)
    kinds = known_options(cls)
    values: dict[str, str] = {}
    for option, equals, value in (one.partition("=") for one in options):
        if option not in kinds:
            raise UsageError(f"{what}: {name} has no option {option!r}; it has {', '.join(kinds) or 'none'}")
        if not equals or option in values:
            raise UsageError(f"{what}: each option is given once, as {option}=VALUE")
        values[option] = value
    step: Step = built(cls, what, parsed_options(values, kinds, what))
    return step


def _class(modality: str, name: str) -> Any:
    if name not in STEPS.get(modality, ()):
        known = ", ".join(names(modality)) if modality in STEPS else "none"
        raise UsageError(f"there is no step '{name}' for {modality}; there are {known}")
    module, _, cls = STEPS[modality][name].partition(":")
    return getattr(import_module(module), cls)


def _options(step: Any) -> dict[str, Any]:
    values = {field.name: (getattr(step, field.name), field.default) for field in dataclasses.fields(step)}
    return {name: value for name, (value, default) in values.items() if value != default}

"""An extractor whose audio or frames go through steps first: `-x "whisper?audio=denoise,loudness"`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from vidray.errors import UsageError
from vidray.extractors.protocol import ExtractFn, Extractor, Input
from vidray.media import Columns
from vidray.steps import Step, improved, step_from, steps_of

NOISE_OPTION = "noise_db"
"""Stands for `audio=noise:db=...`, after the steps that are named."""
STEP_OPTIONS = ("audio", "frames", NOISE_OPTION)
"""The options that every extractor with such an input has; one whose own field is called so has that instead."""


@dataclass(frozen=True)
class WithSteps:
    """An extractor as it is, but for what it is given. Whatever else is asked of it, it answers itself.

    Attributes:
        extractor: The extractor itself.
        audio: What its audio goes through, in this order.
        frames: What its frames go through.
    """

    extractor: Extractor
    audio: tuple[Step, ...] = ()
    frames: tuple[Step, ...] = ()

    @property
    def name(self) -> str:
        return self.extractor.name

    @property
    def inputs(self) -> Mapping[str, Input]:
        return {name: self._improved(value) for name, value in self.extractor.inputs.items()}

    @property
    def schema(self) -> pa.Schema:
        return self.extractor.schema

    def settle(self) -> None:
        """See that the packages of the steps are here, and what the extractor needs."""
        for needed in (*self.audio, *self.frames, self.extractor):
            settle = getattr(needed, "settle", None)
            if settle is not None:
                settle()

    def load(self, device: str) -> ExtractFn:
        return self.extractor.load(device)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "extractor":
            # asked while it is unpickled, when there is no extractor yet
            raise AttributeError(name)
        return getattr(self.extractor, name)

    def _improved(self, value: Input) -> Input:
        if isinstance(value, Columns):
            return value
        return improved(value, self.audio if value.modality == "audio" else self.frames)


def itself(extractor: Extractor) -> Extractor:
    """The extractor without its steps."""
    return extractor.extractor if isinstance(extractor, WithSteps) else extractor


def like(extractor: Extractor, other: Extractor) -> Extractor:
    """Another extractor with the same steps."""
    return replace(extractor, extractor=other) if isinstance(extractor, WithSteps) else other


def with_steps(extractor: Extractor, options: Mapping[str, str], what: str) -> Extractor:
    """The extractor with the steps that were typed; the same object without any.

    Args:
        extractor: The extractor.
        options: Of `STEP_OPTIONS`, as typed.
        what: For the message.

    Raises:
        UsageError: There is no such step, or the extractor has no such input.
    """
    typed = {modality: options.get(modality, "") for modality in ("audio", "frames")}
    if NOISE_OPTION in options:
        typed["audio"] = ",".join(filter(None, [typed["audio"], f"noise:db={options[NOISE_OPTION]}"]))
    steps = {modality: steps_of(modality, text) for modality, text in typed.items()}
    has = {value.modality for value in extractor.inputs.values() if not isinstance(value, Columns)}
    for modality, some in steps.items():
        if some and modality not in has:
            raise UsageError(f"{what}: {extractor.name} has no {modality}, so {modality}= is not for it")
    return _with(extractor, steps)


def with_steps_of(extractor: Extractor, spec: Mapping[str, Any]) -> Extractor:
    """The extractor with the steps of a table's spec; as it is where it has some. Raises SpecMismatchError."""
    if isinstance(extractor, WithSteps):
        return extractor
    records = [record for record in (spec.get("inputs") or {}).values() if record.get("steps")]
    steps = {r["modality"]: tuple(step_from(r["modality"], step) for step in r["steps"]) for r in records}
    return _with(extractor, steps)


def _with(extractor: Extractor, steps: Mapping[str, tuple[Step, ...]]) -> Extractor:
    if not any(steps.values()):
        return extractor
    found = WithSteps(extractor, audio=steps.get("audio", ()), frames=steps.get("frames", ()))
    _ = found.inputs  # refuses steps that do not go with a sampling
    return found

"""Samplings: how an extractor wants a clip's frames or audio. A kind is a file, and nobody else knows it by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vidray.media.sampling.audio import Audio
from vidray.media.sampling.frame_rate import FrameRate
from vidray.media.sampling.frame_spread import FrameSpread
from vidray.media.sampling.frame_windows import FrameWindows
from vidray.media.sampling.protocol import Modality, Sampling, context_of, record_of, span_read, with_context
from vidray.media.values import Resize

__all__ = [
    "Audio",
    "FrameRate",
    "FrameSpread",
    "FrameWindows",
    "Modality",
    "Sampling",
    "context_of",
    "from_record",
    "record_of",
    "span_read",
    "with_context",
]


def from_record(record: Mapping[str, Any]) -> Sampling:
    """The sampling of a record that an earlier version wrote, which knew these kinds and wrote all of their fields."""
    kinds: dict[str, Any] = {"FrameRate": FrameRate, "FrameWindows": FrameWindows, "Audio": Audio}
    values = {name: value for name, value in record.items() if name != "kind"}
    if values.get("resize") is not None:
        sides: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in values["resize"].items()
        }
        values["resize"] = Resize(**sides)
    sampling: Sampling = kinds[record["kind"]](**values)
    return sampling

"""What classes cover second by second, and how steady their masks are: from any table that keeps masks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import floor
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from vidray.extractors.protocol import Answer, ExtractFn, ModelInfo
from vidray.extractors.vision.regions import read_run_lengths
from vidray.media import TIME_SLACK_S, ClipInput, Columns

NAME = "regions_over_time"

SECONDS_TYPE = pa.list_(pa.struct([("second_s", pa.float64()), ("label", pa.string()), ("area", pa.float32())]))
STABILITY_TYPE = pa.list_(pa.struct([("label", pa.string()), ("stability", pa.float32())]))

Masks = npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class RegionsOverTime:
    """The part of the frame that each class covers in each second of the video's clock, and how steady that is.

    A second's area is the mean over its frames in which anything was found; a class that one of them lacks covers
    nothing there. Several masks of a class in one frame are one. Stability is the mean intersection over union of a
    class's mask in one frame and in the next, 1 where nothing moves; null where there is no next one.

    Attributes:
        of: The table with masks; None for the only one.
    """

    family: ClassVar[str] = NAME
    version: ClassVar[str] = "1"

    of: str | None = None

    @property
    def name(self) -> str:
        """The table's name."""
        return NAME if self.of is None else f"{NAME}-{self.of}"

    @property
    def inputs(self) -> Mapping[str, Columns]:
        """What segmentation networks give with `--masks`."""
        return {"regions": Columns(self.of, ["masks"])}

    @property
    def schema(self) -> pa.Schema:
        """The columns that it adds."""
        fields = [("areas_by_second", SECONDS_TYPE), ("stabilities", STABILITY_TYPE), ("stability", pa.float32())]
        return pa.schema(fields)

    def load(self, device: str) -> ExtractFn:
        """Nothing to load."""

        def extract(items: Sequence[ClipInput]) -> Answer:
            frames = [_frames((item["regions"] or {}).get("masks") or ()) for item in items]
            steady = [dict(_stabilities(some)) for some in frames]
            known = [[value for value in values.values() if value is not None] for values in steady]
            return {
                "areas_by_second": [list(_by_second(some)) for some in frames],
                "stabilities": [[{"label": a, "stability": b} for a, b in values.items()] for values in steady],
                "stability": [sum(values) / len(values) if values else None for values in known],
            }

        return extract


def _frames(masks: Sequence[Mapping[str, Any]]) -> dict[float, dict[str, Masks]]:
    """The mask of each class in each frame, in order of time."""
    found: dict[float, dict[str, Masks]] = {}
    for one in sorted(masks, key=lambda one: float(one["time_s"])):
        mask = read_run_lengths(one["counts"], one["height"], one["width"])
        frame = found.setdefault(one["time_s"], {})
        frame[one["label"]] = frame[one["label"]] | mask if one["label"] in frame else mask
    return found


def _by_second(frames: Mapping[float, Mapping[str, Masks]]) -> Iterator[dict[str, Any]]:
    seconds: dict[int, list[Mapping[str, Masks]]] = {}
    for time_s, frame in frames.items():
        seconds.setdefault(floor(time_s + TIME_SLACK_S), []).append(frame)
    for second, some in seconds.items():
        for label in sorted({label for frame in some for label in frame}):
            areas = [float(frame[label].mean()) if label in frame else 0.0 for frame in some]
            yield {"second_s": float(second), "label": label, "area": sum(areas) / len(areas)}


def _stabilities(frames: Mapping[float, Mapping[str, Masks]]) -> Iterator[tuple[str, float | None]]:
    for label in sorted({label for frame in frames.values() for label in frame}):
        overlaps = []
        for before, after in pairwise(frames.values()):
            masks = [frame[label] for frame in (before, after) if label in frame]
            if masks:
                is_in_both = len(masks) == 2
                overlaps.append(float((masks[0] & masks[1]).sum() / (masks[0] | masks[1]).sum()) if is_in_both else 0.0)
        yield label, sum(overlaps) / len(overlaps) if overlaps else None


EXTRACTOR = RegionsOverTime


def info() -> ModelInfo:
    """What `vidray models` says of this extractor."""
    return ModelInfo(
        name=NAME,
        kind="segmentation",
        dim=None,
        inputs="a table with masks",
        weights="none",
        licence="none",
        available=True,
    )

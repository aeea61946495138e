"""The columns of what is seen where: boxes, counts, areas and masks. All exactly typed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from vidray.extractors.columns import LABELS_TYPE

_SEEN = (("time_s", pa.float64()), ("label", pa.string()), ("score", pa.float32()))

DETECTIONS_TYPE = pa.list_(pa.struct([*_SEEN, *((name, pa.float32()) for name in ("x0", "y0", "x1", "y1"))]))
COUNTS_TYPE = pa.list_(pa.struct([("label", pa.string()), ("count", pa.int32())]))
AREAS_TYPE = pa.list_(pa.struct([("time_s", pa.float64()), ("label", pa.string()), ("area", pa.float32())]))
MEAN_AREAS_TYPE = pa.list_(pa.struct([("label", pa.string()), ("area", pa.float32())]))
MASKS_TYPE = pa.list_(pa.struct([*_SEEN, ("height", pa.int32()), ("width", pa.int32()), ("counts", pa.string())]))


@dataclass(frozen=True, kw_only=True)
class Box:
    """One thing in one frame; coordinates are parts of the frame's width and height, in [0, 1]."""

    time_s: float
    label: str
    score: float
    x0: float
    y0: float
    x1: float
    y1: float


@dataclass(frozen=True, kw_only=True)
class Area:
    """How much of one frame is of one class, in (0, 1]."""

    time_s: float
    label: str
    area: float


@dataclass(frozen=True, kw_only=True)
class Mask:
    """The pixels of one thing, or class, in one frame: `counts` is COCO's compressed run-length encoding."""

    time_s: float
    label: str
    score: float
    height: int
    width: int
    counts: str


def detection_columns(clips: Sequence[Sequence[Box]]) -> dict[str, pa.Array]:
    """`detections`, `labels` and `counts` of clips.

    `labels` has the best score of each label. `counts` has the largest number of boxes of a label in any one frame:
    somebody who is there for thirty frames counts once, and two who are never seen together count once too.
    """
    return {
        "detections": pa.array([[asdict(box) for box in boxes] for boxes in clips], DETECTIONS_TYPE),
        "labels": pa.array([_best_scores(boxes) for boxes in clips], LABELS_TYPE),
        "counts": pa.array([_largest_numbers(boxes) for boxes in clips], COUNTS_TYPE),
    }


def area_columns(clips: Sequence[Sequence[Area]], frames: Sequence[int]) -> dict[str, pa.Array]:
    """`areas` of clips, and `mean_areas`, largest first: means over all of a clip's frames, which are so many."""
    means = []
    for areas, count in zip(clips, frames, strict=True):
        sums: Counter[str] = Counter()
        for area in areas:
            sums[area.label] += area.area  # type: ignore[assignment]
        ranked = sorted(sums.items(), key=lambda entry: (-entry[1], entry[0]))
        means.append([{"label": label, "area": total / count} for label, total in ranked])
    return {
        "areas": pa.array([[asdict(area) for area in areas] for areas in clips], AREAS_TYPE),
        "mean_areas": pa.array(means, MEAN_AREAS_TYPE),
    }


def mask_column(clips: Sequence[Sequence[Mask]]) -> pa.Array:
    """`masks` of clips."""
    return pa.array([[asdict(mask) for mask in masks] for masks in clips], MASKS_TYPE)


def run_lengths(mask: npt.NDArray[np.bool_]) -> str:
    """COCO's compressed run-length encoding of a mask (H, W), as `pycocotools.mask.encode` answers in `counts`.

    Runs go down the columns, starting with what is not set. From the fourth on each is the difference to the last but
    one, in groups of five bits, least first: https://github.com/cocodataset/cocoapi/blob/master/common/maskApi.c.
    """
    flat = np.concatenate([[False], mask.T.ravel()])
    edges = np.flatnonzero(np.diff(flat))
    runs = np.diff(np.concatenate([[0], edges, [mask.size]])).tolist()
    text = bytearray()
    for index, run in enumerate(runs):
        value = run - runs[index - 2] if index > 2 else run
        more = True
        while more:
            bits = value & 0x1F
            value >>= 5
            more = value != (-1 if bits & 0x10 else 0)
            text.append((bits | 0x20 if more else bits) + 48)
    return text.decode("ascii")


def read_run_lengths(counts: str, height: int, width: int) -> npt.NDArray[np.bool_]:
    """The mask (height, width) of COCO's compressed run-length encoding.

    From the fourth on each run is the difference to the last but one, in groups of five bits, least first, the sixth
    saying that more follow: https://github.com/cocodataset/cocoapi/blob/master/common/maskApi.c.
    """
    runs: list[int] = []
    value = shift = 0
    for byte in counts.encode("ascii"):
        bits = byte - 48
        value |= (bits & 0x1F) << shift
        shift += 5
        if not bits & 0x20:
            if bits & 0x10:
                value -= 1 << shift
            runs.append(value + (runs[-2] if len(runs) > 2 else 0))
            value = shift = 0
    flat = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    return np.asarray(flat.reshape(width, height).T, np.bool_)


def _best_scores(boxes: Iterable[Box]) -> list[dict[str, object]]:
    best: dict[str, float] = {}
    for box in boxes:
        best[box.label] = max(best.get(box.label, 0.0), box.score)
    ranked = sorted(best.items(), key=lambda entry: (-entry[1], entry[0]))
    return [{"label": label, "score": score} for label, score in ranked]


def _largest_numbers(boxes: Iterable[Box]) -> list[dict[str, object]]:
    largest: dict[str, int] = {}
    for (label, _), number in Counter((box.label, box.time_s) for box in boxes).items():
        largest[label] = max(largest.get(label, 0), number)
    ranked = sorted(largest.items(), key=lambda entry: (-entry[1], entry[0]))
    return [{"label": label, "count": number} for label, number in ranked]

"""Frames of a store's clips as images, decoded from their files anew; with steps, before and after."""

from __future__ import annotations

import contextlib
import io
import shlex
from dataclasses import dataclass
from os import PathLike
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from vidray.errors import DecodeError, UsageError
from vidray.exports.protocol import in_file_name, write_into
from vidray.index.where import rows_where
from vidray.media import TIME_SLACK_S, FrameRequest, RawFrames
from vidray.sandbox import Sandbox
from vidray.steps import steps_of
from vidray.steps.improved import through
from vidray.steps.protocol import Frame
from vidray.storage import place_of
from vidray.store import IDENTITY, Store
from vidray.store.layout import features_of
from vidray.store.remedies import plan_command
from vidray.wording import typed

JPEG_QUALITY = 95
"""Of 100: at less, what steps change drowns in what JPEG does."""


@dataclass(frozen=True, kw_only=True)
class FramesSummary:
    """What `export_frames` wrote.

    Attributes:
        path: Into which folder.
        clips: How many clips were chosen.
        images: How many files were written.
        failed: What is wrong with the clips that have none, one line each.
    """

    path: str
    clips: int
    images: int
    failed: tuple[str, ...]


def export_frames(
    store: str | PathLike[str],
    path: str | PathLike[str],
    *,
    clip: str | None = None,
    where: str | None = None,
    at_s: float | None = None,
    steps: str = "",
    to: Literal["png", "jpeg"] = "png",
) -> FramesSummary:
    """Write a frame of each of some clips, named by the clip's id and the time on its video's clock.

    With steps there are two images of each, `-before` and `-after`.

    Args:
        store: fsspec URL of a store.
        path: Path or URL of a folder.
        clip: The id of a clip.
        where: An SQL expression over the columns of the store's tables, as of `vidray search`; this or `clip`.
        at_s: Seconds from the clip's start; the middle of the clip where it is None.
        steps: As for `frames=`: "denoise,light".
        to: Lossless, or small.

    Raises:
        UsageError: There are no clips, or no such clip or step, the time is outside of it, DuckDB refuses the filter,
            or a clip's id cannot name a file.
        StoreError: A table cannot be read.
        OSError: A file cannot be written.
    """
    held, path = Store(store), place_of(path, "path")
    held.check_planned()
    if (clip is None) == (where is None):
        raise UsageError("frames are exported of one clip or of those of a filter: give one of --clip and --where")
    taken = steps_of("frames", steps)
    for step in taken:
        getattr(step, "settle", lambda: None)()
    rows = _clips(held, clip, where)
    names = [in_file_name(row["clip_id"]) for row in rows]
    times_s = [_time(row, at_s, where) for row in rows]
    images, failed = 0, []
    with contextlib.closing(Sandbox()) as sandbox:
        for row, name, time_s in zip(rows, names, times_s, strict=True):
            frame = _frame(sandbox, row, time_s)
            if isinstance(frame, DecodeError):
                failed.append(str(frame))
                continue
            shown = {"": frame} if not taken else {"-before": frame, "-after": through(taken, frame)}
            for suffix, image in shown.items():
                write_into(path, f"{name}-{time_s:.3f}{suffix}.{to}", _encoded(image, to))
                images += 1
    return FramesSummary(path=path, clips=len(rows), images=images, failed=tuple(failed))


def _clips(store: Store, clip: str | None, where: str | None) -> list[dict[str, Any]]:
    columns = [*IDENTITY.names]
    parts = [store.read("clips", part, columns) for part in store.parts("clips")]
    if not parts:
        raise UsageError(f"{store.url}: there are no clips yet; run {plan_command(store)}")
    rows = pa.concat_tables(parts)
    if where is not None:
        # a filter sees all of the store's tables, whichever is named here
        table = next(iter(store.tables("features")), "none")
        rows = rows.take(rows_where(where, rows, store.folder_of(features_of(table))))
    else:
        rows = rows.filter(np.array([clip_id == clip for clip_id in rows["clip_id"].to_pylist()], np.bool_))
        if not len(rows):
            ids = typed("export", store.url, "clips", "--to", "csv", "-o", "clips.csv")
            raise UsageError(f"{store.url}: no clip {clip!r}; their ids are written by {ids}")
    found: list[dict[str, Any]] = rows.to_pylist()
    return sorted(found, key=lambda row: (row["uri"], row["start_s"]))


def _time(row: dict[str, Any], at_s: float | None, where: str | None) -> float:
    """The time on the video's clock."""
    length_s = float(row["end_s"] - row["start_s"])
    if at_s is not None and not 0 <= at_s < length_s:
        longer = f"({where}) AND end_s - start_s > {at_s:g}"
        remedy = f"; leave shorter clips out by --where {shlex.quote(longer)}" if where is not None and at_s > 0 else ""
        raise UsageError(
            f"{row['clip_id']} lasts {length_s:.3f} s; a time in it must be >= 0 and less, got {at_s:g}{remedy}"
        )
    wanted_s = float(row["start_s"]) + (length_s / 2 if at_s is None else at_s)
    return min(wanted_s, float(row["end_s"]) - 2 * TIME_SLACK_S)


def _frame(sandbox: Sandbox, row: dict[str, Any], time_s: float) -> Frame | DecodeError:
    """The frame on display at a time, as displayed."""
    request = FrameRequest(times_s=(time_s,), end_s=row["end_s"])
    found = sandbox.read(row["uri"], [request], row["start_s"], row["end_s"], (0, 0)).samples[request]
    if isinstance(found, DecodeError):
        return found
    if not isinstance(found, RawFrames) or found.places[0] < 0:
        return DecodeError("empty", "no frame on display then", row["uri"], time_s)
    frame: Frame = found.frames[found.places[0]]
    return frame


def _encoded(frame: Frame, to: str) -> bytes:
    from PIL import Image

    held = io.BytesIO()
    Image.fromarray(frame).save(held, to, **({"quality": JPEG_QUALITY} if to == "jpeg" else {}))
    return held.getvalue()

"""Events as lines of a CSV file, each with its own start and end: the shape in which `vidray import` takes labels."""

from __future__ import annotations

import csv
import io
from typing import BinaryIO

from vidray.errors import UsageError
from vidray.exports.protocol import ExportSummary, Format, first_columns, writing
from vidray.store import Store

HEADER = ("uri", "start_s", "end_s", "label", "score", "source")
SOURCE = "events"


def export_segments(store: Store, table: str, path: str) -> ExportSummary:
    """Write a line an event of a table with a column `events`, clip by clip.

    Their `source` says that no person gave them, so that nothing learns from them unasked. Raises UsageError where the
    table has no events.
    """
    if "events" not in first_columns(store, table):
        raise UsageError(
            f"{store.url}/{table} has no events, which segments are; extract -x object_events or audio_events"
        )
    with writing(path) as file:
        return ExportSummary(path=path, rows=_write(store, table, file), unit="segments")


def _write(store: Store, table: str, file: BinaryIO) -> int:
    text = io.TextIOWrapper(file, encoding="utf-8", newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(HEADER)
    lines = 0
    for part in store.parts(table):
        for rows in store.stream(table, part, ["uri", "events"]):
            for row in rows.to_pylist():
                for one in row["events"] or ():
                    times = (f"{one['start_s']:.6f}", f"{one['end_s']:.6f}")
                    writer.writerow([row["uri"], *times, one["label"], f"{one['score']:.6f}", SOURCE])
                    lines += 1
    text.detach()
    return lines


FORMATS = (Format(name="segments", holds="events, a line each", write=export_segments),)

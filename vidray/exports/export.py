"""A store's tables as other tools want them: one table to one file, or to a file a video."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from os import PathLike

from vidray.arguments import check_text
from vidray.errors import UsageError
from vidray.exports.protocol import ExportSummary, Format
from vidray.storage import place_of
from vidray.store import Store
from vidray.store.layout import split_table
from vidray.store.tables import named

MODULES = ("csv", "coco", "segments", "cues", "rttm", "description", "label_studio")
"""A file of formats has them as `FORMATS`."""
SPARSE_TABLES = ("clips", "videos")


def export(store: str | PathLike[str], table: str, path: str | PathLike[str], *, to: str) -> ExportSummary:
    """Write one table of a store to one file, which appears whole or not at all, or to a folder of a file a video.

    Args:
        store: fsspec URL of a store.
        table: As in `labels/<name>`, `video_labels/<name>`, `features/<extractor>`, `clips` or `videos`.
        path: Path or URL of the file, or of a folder for subtitles, turns and descriptions.
        to: "csv", the columns that are no lists or structures; "coco", for tables with `detections` or `masks`;
            "segments", for tables with `events`: a line of CSV for each, with its own start and end; "vtt", "srt" or
            "json", for what is said or written; "rttm", for who speaks when; "description", texts and labels spoken at
            their times; or "label-studio", a task for each clip, pre-labeled by the table. Each is a file of
            `vidray.exports`, where it is described.

    Raises:
        UsageError: There is no such table or format, or nothing in the table that the format could hold.
        StoreError: The table cannot be read.
        OSError: The file cannot be written.
    """
    path = place_of(path, "path")
    held = Store(store)
    held.check_planned()
    check_text(table=table, to=to)
    known = {found.name: found for found in formats()}
    if to not in known:
        raise UsageError(f"a table is exported to {', '.join(known)}, got {to!r}")
    return known[to].write(held, _table(held, table), path)


def formats() -> Iterator[Format]:
    """All formats."""
    for module in MODULES:
        yield from importlib.import_module(f"vidray.exports.{module}").FORMATS


def _table(store: Store, table: str) -> str:
    kind, name = split_table(table.strip("/"))
    if name and kind == "features":
        name = named(store, store.tables(kind), name) or name
    known = f"{kind}/{name}" if name else kind
    if store.parts(known):
        return known
    there = [f"{kind}/{name}" for kind in ("labels", "video_labels", "features") for name in store.tables(kind)]
    raise UsageError(f"{store.url}: no table '{table}'; there are {', '.join([*there, *SPARSE_TABLES])}")

"""Posters and storyboards: from the table of thumbnails to files, and what it takes to find a tile in one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc

from vidray.report.clips import Clips, streamed
from vidray.report.shards import Site
from vidray.store import Store

COLUMNS = ("poster", "storyboard", "tile_times_s", "tile_width", "tile_height", "columns")
FOLDER_FILES = 500


@dataclass(frozen=True, kw_only=True, eq=False)
class Boards:
    """How the storyboards are laid out; 0 where a clip has none.

    Attributes:
        tiles: uint8 (N,), how many a clip has.
        columns: uint8 (N,), of them beside each other.
        widths, heights: uint8 (N,), of a tile in pixels.
    """

    tiles: npt.NDArray[np.uint8]
    columns: npt.NDArray[np.uint8]
    widths: npt.NDArray[np.uint8]
    heights: npt.NDArray[np.uint8]


def thumbnails_table(store: Store) -> str | None:
    """The table that has posters and storyboards, `features/<name>`; None where none has."""
    for name in store.tables("features"):
        table = f"features/{name}"
        parts = store.parts(table)
        if parts and set(COLUMNS) <= set(store.columns(table, parts[0])):
            return table
    return None


def write_images(site: Site, store: Store, clips: Clips, table: str | None) -> Boards:
    """Write `images/<clip // 500>/<clip>p.webp`, the poster, and `<clip>s.webp`, the storyboard, of each clip."""
    found = np.zeros((4, len(clips)), np.uint8)
    for numbers, rows in streamed(store, clips, table, list(COLUMNS)) if table else ():
        known = np.asarray(rows["poster"].is_valid())
        for place, name in enumerate(("tile_times_s", "columns", "tile_width", "tile_height")):
            values = pc.list_value_length(rows[name]) if place == 0 else rows[name]
            found[place, numbers[known]] = pc.fill_null(values, 0).to_numpy()[known].clip(0, 255)
        boards = zip(numbers.tolist(), rows["poster"], rows["storyboard"], strict=True)
        for number, poster, board in boards:
            if poster.is_valid and board.is_valid:
                name = f"{number // FOLDER_FILES}/{number}"
                site.image(f"{name}p", poster.as_buffer())
                site.image(f"{name}s", board.as_buffer())
    tiles, columns, widths, heights = found
    return Boards(tiles=tiles, columns=columns, widths=widths, heights=heights)

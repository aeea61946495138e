"""Posters and storyboards: from the table of thumbnails to scripts, and what it takes to find a tile in one."""

from __future__ import annotations

import base64
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from vidray.report.clips import Clips, streamed
from vidray.report.shards import Site
from vidray.store import Store
from vidray.store.layout import features_of

COLUMNS = ("poster", "storyboard", "tile_times_s", "tile_width", "tile_height", "columns")

POSTERS, STORYBOARDS = 24, 8
"""So many a file: some hundreds of kilobytes, which a window of the grid fills, and which a pointer does not wait for.

A file an image would take most of the time that a report takes, and one request each on object storage."""


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
        table = features_of(name)
        parts = store.parts(table)
        if parts and set(COLUMNS) <= set(store.columns(table, parts[0])):
            return table
    return None


def write_images(site: Site, store: Store, clips: Clips, table: str | None) -> Boards:
    """Write the posters and storyboards of each clip, `images/p/` and `images/s/`: a shard is a list of base64."""
    found = np.zeros((4, len(clips)), np.uint8)
    posters, boards = _Shards(site, "p", POSTERS), _Shards(site, "s", STORYBOARDS)
    for numbers, rows in streamed(store, clips, table, list(COLUMNS)) if table else ():
        known = np.asarray(rows["poster"].is_valid()) & np.asarray(rows["storyboard"].is_valid())
        for place, name in enumerate(("tile_times_s", "columns", "tile_width", "tile_height")):
            values = pc.list_value_length(rows[name]) if place == 0 else rows[name]
            found[place, numbers[known]] = pc.fill_null(values, 0).to_numpy()[known].clip(0, 255)
        images = zip(
            numbers[known].tolist(), *(rows[name].filter(known) for name in ("poster", "storyboard")), strict=True
        )
        for number, poster, board in images:
            posters.put(number, poster.as_buffer())
            boards.put(number, board.as_buffer())
    posters.finish()
    boards.finish()
    tiles, columns, widths, heights = found
    return Boards(tiles=tiles, columns=columns, widths=widths, heights=heights)


class _Shards:
    """Images of one kind, which come in the order of the clips: a shard is written once the next one begins."""

    def __init__(self, site: Site, kind: str, size: int) -> None:
        self._site, self._kind, self._size = site, kind, size
        self._number = 0
        self._held: list[bytes | None] = [None] * size

    def put(self, clip: int, image: pa.Buffer) -> None:
        number, place = divmod(clip, self._size)
        if number != self._number:
            self.finish()
            self._number = number
        self._held[place] = base64.b64encode(image)

    def finish(self) -> None:
        if any(image is not None for image in self._held):
            self._site.images(f"{self._kind}/{self._number}", self._held)
        self._held = [None] * self._size

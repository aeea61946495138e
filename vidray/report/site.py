"""A report of a store: data beside a static page, written in one go."""

from __future__ import annotations

import base64
import datetime
import importlib.metadata
import importlib.resources
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from vidray.report import overview
from vidray.report.clips import MOST_CLIPS, Clips, read_clips
from vidray.report.columns import Categories, Column, Labels, Numbers, columns_of, joined
from vidray.report.details import SHARD_CLIPS as DETAIL_CLIPS
from vidray.report.details import write_details
from vidray.report.images import POSTERS, STORYBOARDS, Boards, thumbnails_table, write_images
from vidray.report.neighbours import NEIGHBOURS, write_neighbours
from vidray.report.neighbours import SHARD_CLIPS as NEIGHBOUR_CLIPS
from vidray.report.shards import Site, packed
from vidray.storage import place_of
from vidray.store import Store

CORE_CLIPS = 20_000
"""Clips a shard of what the grid needs: about a megabyte."""

EXTREMES = 4
"""So many clips with the least and the most of a number are shown."""

FACET_NAMES = 300
"""Labels that can be chosen without typing; all of them are in the shard."""


@dataclass(frozen=True, kw_only=True)
class ReportSummary:
    """What `write_report` wrote.

    Attributes:
        path: The page.
        clips: That are shown, of `clips_total` in the store.
        data_bytes: Of all that is not an image.
        core_bytes: Of data that is loaded before and while the grid scrolls.
        image_bytes: Of posters and storyboards.
        wall_s: Seconds that it took, `neighbours_s` of them for what is alike.
    """

    path: str
    clips: int
    clips_total: int
    data_bytes: int
    core_bytes: int
    image_bytes: int
    wall_s: float
    neighbours_s: float


def write_report(
    store: str | os.PathLike[str], output: str | os.PathLike[str], *, most: int = MOST_CLIPS, served: bool = False
) -> ReportSummary:
    """Write a page that shows a store, with its data beside it: it opens from disk, or from any bucket.

    The store is read, no video is opened and nothing is computed but neighbours, from the indexes that there are. A
    report that is in the folder already is replaced.

    Args:
        store: fsspec URL of a store.
        output: Path or URL of a folder: a new one, or one of a report.
        most: So many clips are shown at most, evenly spaced over the plan where there are more.
        served: The page is to be served by `vidray browse`, and asks it for what needs a process.

    Raises:
        UsageError: There is no store, or the folder holds something else.
        StoreError: The store cannot be read.
        OSError: The report cannot be written.
    """
    began = time.perf_counter()
    held = Store(store)
    held.check_planned()
    site = Site(place_of(output, "output"))
    site.clear()
    clips = read_clips(held, most=most)
    rows = joined(held, clips)
    columns = columns_of(held, clips, rows)
    thumbnails = thumbnails_table(held)
    boards = write_images(site, held, clips, thumbnails)
    write_details(site, rows, len(clips))
    listed = [_write_column(site, number, column) for number, column in enumerate(columns)]
    before_core = site.data_bytes
    _write_core(site, clips, boards)
    core_bytes = site.data_bytes - before_core
    before_neighbours = time.perf_counter()
    alike = write_neighbours(site, held, clips)
    neighbours_s = time.perf_counter() - before_neighbours
    before_manifest = site.data_bytes
    site.data(
        "manifest",
        {
            "store": held.url,
            "made_at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "vidray": importlib.metadata.version("vidray"),
            "served": served,
            "clips": len(clips),
            "core_clips": CORE_CLIPS,
            "detail_clips": DETAIL_CLIPS,
            "neighbour_clips": NEIGHBOUR_CLIPS,
            "neighbours": NEIGHBOURS,
            "images": {"p": POSTERS, "s": STORYBOARDS},
            "thumbnails": thumbnails,
            "columns": listed,
            "alike": alike,
            "corpus": overview.corpus(held, clips),
            "tables": overview.tables(held),
            "runs": overview.runs(held),
            "troubles": overview.troubles(held),
            "words": overview.words(rows),
            "duplicates": overview.duplicates(held, clips),
        },
    )
    core_bytes += site.data_bytes - before_manifest
    site.finish(page_files(served=served))
    return ReportSummary(
        path=f"{site.url}/index.html",
        clips=len(clips),
        clips_total=clips.total,
        data_bytes=site.data_bytes,
        core_bytes=core_bytes,
        image_bytes=site.image_bytes,
        wall_s=round(time.perf_counter() - began, 3),
        neighbours_s=round(neighbours_s, 3),
    )


def page_files(*, served: bool) -> dict[str, bytes]:
    """The files of the page itself, `index.html` last."""
    held = importlib.resources.files("vidray.report") / "page"
    found = {f"page/{file.name}": file.read_bytes() for file in held.iterdir() if file.name.endswith((".js", ".css"))}
    page = (held / "index.html").read_text().replace("{connect}", "'self'" if served else "'none'")
    return {**dict(sorted(found.items())), "index.html": page.encode()}


def _write_core(site: Site, clips: Clips, boards: Boards) -> None:
    """What the grid needs of each clip, and the videos that they are of."""
    uris = clips.table["uri"].combine_chunks().dictionary_encode()
    folders: dict[str, int] = {}
    names = []
    for uri in uris.dictionary.to_pylist():
        folder, slash, name = uri.rpartition("/")
        names.append([folders.setdefault(folder + slash, len(folders)), name])
    site.data("videos", {"folders": list(folders), "names": names})
    if not len(clips):
        return
    videos = uris.indices.to_numpy().astype(np.uint32)
    starts, ends = (clips.table[name].to_numpy().astype(np.float64) for name in ("start_s", "end_s"))
    ids = clips.ids.to_pylist()
    for number, first in enumerate(range(0, len(clips), CORE_CLIPS)):
        few = slice(first, first + CORE_CLIPS)
        site.data(
            f"clips/{number}",
            {
                "ids": _ids(ids[few]),
                "videos": packed(videos[few]),
                "starts": packed(starts[few]),
                "ends": packed(ends[few]),
                "tiles": packed(boards.tiles[few]),
                "columns": packed(boards.columns[few]),
                "widths": packed(boards.widths[few]),
                "heights": packed(boards.heights[few]),
            },
        )


def _ids(ids: Sequence[str]) -> object:
    """Clip ids: 16 bytes each where they are vidray's own, of 32 hexadecimal digits."""
    try:
        data = [bytes.fromhex(clip) for clip in ids if len(clip) == 32 and clip == clip.lower()]
    except ValueError:
        return list(ids)
    return base64.b64encode(b"".join(data)).decode() if len(data) == len(ids) else list(ids)


def _write_column(site: Site, number: int, column: Column) -> dict[str, Any]:
    """Write a column's values, and tell what there is of it."""
    told: dict[str, Any] = {"table": column.table, "name": column.name, "where": column.where}
    if isinstance(column, Numbers):
        site.data(f"columns/{number}", packed(column.values))
        return {**told, "kind": "number", **overview.histogram(column.values), "extremes": _extremes(column.values)}
    if isinstance(column, Categories):
        site.data(f"columns/{number}", packed(column.codes))
        counts = np.bincount(column.codes, minlength=len(column.names) + 1)[: len(column.names)]
        return {**told, "kind": "category", "names": column.names, "counts": counts.tolist()}
    return {**told, "kind": "labels", **_write_labels(site, number, column)}


def _write_labels(site: Site, number: int, column: Labels) -> Mapping[str, Any]:
    arrays = {"clips": column.clips, "codes": column.codes, "scores": column.scores}
    site.data(f"columns/{number}", {name: packed(values) for name, values in arrays.items()})
    site.data(f"names/{number}", column.names)
    few = slice(FACET_NAMES)
    counts = np.bincount(column.codes, minlength=len(column.names))
    weights = np.bincount(column.codes, np.nan_to_num(column.scores), minlength=len(column.names))
    return {
        "names": column.names[few],
        "counts": counts[few].tolist(),
        "weights": weights[few].round(1).tolist(),
        "names_total": len(column.names),
        "scores": overview.histogram(column.scores),
    }


def _extremes(values: npt.NDArray[Any]) -> dict[str, list[int]]:
    """The numbers of the clips that have the least and the most."""
    known = np.flatnonzero(np.isfinite(values))
    order = known[np.argsort(values[known], kind="stable")]
    return {"least": order[:EXTREMES].tolist(), "most": order[::-1][:EXTREMES].tolist()}

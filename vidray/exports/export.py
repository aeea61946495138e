"""A store's tables as other tools want them: CSV, and COCO's JSON for boxes and masks."""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv as pa_csv

from vidray.errors import UsageError
from vidray.exports.cues import CUE_FORMATS, export_cues
from vidray.extractors.vision.regions import run_lengths
from vidray.storage import Folder, place_of
from vidray.store import IDENTITY, Store
from vidray.store.tables import named

FORMATS = ("csv", "coco", *CUE_FORMATS)
FIRST_OTHER_ID = 1001
SPARSE_TABLES = ("clips", "videos")


@dataclass(frozen=True, kw_only=True)
class ExportSummary:
    """What `export` wrote.

    Attributes:
        path: Where to.
        rows: Rows of the table, annotations of COCO, cues or segments.
        left_out: Columns that CSV cannot hold: lists and structures.
    """

    path: str
    rows: int
    left_out: tuple[str, ...] = ()


def export(store: str | PathLike[str], table: str, path: str | PathLike[str], *, to: str) -> ExportSummary:
    """Write one table of a store to one file, which appears whole or not at all.

    Args:
        store: fsspec URL of a store.
        table: As in `labels/<name>`, `video_labels/<name>`, `features/<extractor>`, `clips` or `videos`.
        path: Path or URL of the file, or of a folder for subtitles.
        to: "csv", the columns that are no lists or structures; "coco", for tables with `detections` or `masks`: an
            image for each time of a clip at which something was seen, boxes and areas in pixels of the video; or
            "vtt", "srt" or "json", for what is said or written: `vidray.exports.cues`.

    Raises:
        UsageError: There is no such table, or nothing in it that the format could hold.
        StoreError: The table cannot be read.
        OSError: The file cannot be written.
    """
    path = place_of(path, "path")
    held = Store(store)
    if held.config() is None:
        raise UsageError(f"{held.url}: no vidray store there (no vidray.json)")
    if to not in FORMATS:
        raise UsageError(f"a table is exported to {', '.join(FORMATS)}, got {to!r}")
    table = _table(held, table)
    if to in CUE_FORMATS:
        kind, _, name = table.partition("/")
        if kind != "features":
            raise UsageError(f"--to {to} is for tables of speech to text or ocr, features/NAME, got {table!r}")
        return ExportSummary(path=path, rows=export_cues(held, name, path, to=to))
    columns = held.columns(table, held.parts(table)[0])
    if to == "coco" and not {"detections", "masks"} & set(columns):
        raise UsageError(f"{held.url}/{table} has neither detections nor masks, which COCO is made of; use --to csv")
    with writing(path) as file:
        if to == "csv":
            return _to_csv(held, table, file, path)
        return ExportSummary(path=path, rows=_to_coco(held, table, columns, file))


@contextlib.contextmanager
def writing(path: str) -> Iterator[BinaryIO]:
    """A file that appears when the block ends without an error, in a folder that is left as tidy as it was."""
    parent, slash, name = path.rpartition("/")
    folder = Folder(parent or slash or ".")
    scratch = Path(folder.path("_staging")) if folder.local else None
    is_new = scratch is not None and not scratch.exists()
    try:
        with folder.writing(name) as file:
            yield file
    finally:
        if scratch is not None and is_new:
            with contextlib.suppress(OSError):
                scratch.rmdir()


def _table(store: Store, table: str) -> str:
    kind, _, name = table.strip("/").partition("/")
    if name and kind == "features":
        name = named(store, store.tables(kind), name) or name
    known = f"{kind}/{name}" if name else kind
    if store.parts(known):
        return known
    there = [f"{kind}/{name}" for kind in ("labels", "video_labels", "features") for name in store.tables(kind)]
    raise UsageError(f"{store.url}: no table '{table}'; there are {', '.join([*there, *SPARSE_TABLES])}")


def _to_csv(store: Store, table: str, file: BinaryIO, path: str) -> ExportSummary:
    schemas = {part: store.schema(table, part) for part in store.parts(table)}
    # a manifest's columns stand only in the parts that were planned with it
    schema = pa.unify_schemas(list(schemas.values()), promote_options="permissive")
    flat = pa.schema([field for field in schema if not pa.types.is_nested(field.type)])
    rows = 0
    with pa_csv.CSVWriter(file, flat, write_options=pa_csv.WriteOptions(quoting_style="needed")) as writer:
        for part, there in schemas.items():
            for some in store.stream(table, part, [name for name in flat.names if name in there.names]):
                filled = pa.concat_tables([flat.empty_table(), some], promote_options="permissive")
                writer.write_table(filled.select(flat.names).cast(flat))
                rows += len(some)
    left_out = tuple(name for name in schema.names if name not in flat.names)
    return ExportSummary(path=path, rows=rows, left_out=left_out)


def _to_coco(store: Store, table: str, columns: list[str], file: BinaryIO) -> int:
    """Write the images and, set aside meanwhile, the annotations: neither need fit into memory."""
    wanted = [*IDENTITY.names, *(column for column in ("detections", "masks") if column in columns)]
    ids = _category_ids(store, table, wanted)
    images = annotations = 0
    with tempfile.TemporaryFile("w+", encoding="utf-8") as aside:
        file.write(b'{"info": ' + json.dumps({"description": f"{table} of {store.url}"}).encode() + b',\n"images": [')
        for clip, sizes in _clips(store, table, wanted):
            for time_s, seen in sorted(_by_time(clip).items()):
                images += 1
                image = _image(images, clip, time_s, sizes)
                file.write((b",\n" if images > 1 else b"\n") + json.dumps(image).encode())
                for entry in seen:
                    annotations += 1
                    values = _annotation(entry, image["width"], image["height"])
                    values = {"id": annotations, "image_id": images, "category_id": ids[entry["label"]], **values}
                    aside.write((",\n" if annotations > 1 else "\n") + json.dumps(values))
        file.write(b'],\n"annotations": [')
        aside.seek(0)
        for line in aside:
            file.write(line.encode())
    categories = [{"id": number, "name": name, "supercategory": ""} for name, number in ids.items()]
    file.write(b'],\n"categories": ' + json.dumps(categories).encode() + b"}\n")
    return annotations


def _category_ids(store: Store, table: str, columns: list[str]) -> dict[str, int]:
    """COCO's own numbers for COCO's classes, as torchvision lists them; others follow from 1001 on by their names."""
    from torchvision.models.detection import FasterRCNN_ResNet50_FPN_Weights

    labels: set[str] = set()
    for part in store.parts(table):
        for rows in store.stream(table, part, columns[len(IDENTITY.names) :]):
            for column in rows.columns:
                labels.update(entry["label"] for row in column.to_pylist() for entry in row or ())
    categories = FasterRCNN_ResNet50_FPN_Weights.DEFAULT.meta["categories"]
    official = {name: number for number, name in enumerate(categories) if name not in ("__background__", "N/A")}
    others = {name: FIRST_OTHER_ID + place for place, name in enumerate(sorted(labels - official.keys()))}
    found = {name: official.get(name) or others[name] for name in labels}
    return dict(sorted(found.items(), key=lambda entry: entry[1]))


def _clips(store: Store, table: str, columns: list[str]) -> Iterator[tuple[dict[str, Any], tuple[int, int]]]:
    """The rows of a table, each with the (width, height) of its video."""
    for part in store.parts(table):
        videos = store.read("videos", part, ["video_id", "width", "height"]).to_pylist()
        sizes = {video["video_id"]: (video["width"], video["height"]) for video in videos}
        for rows in store.stream(table, part, columns):
            for clip in rows.to_pylist():
                yield clip, sizes[clip["video_id"]]


def _by_time(clip: Mapping[str, Any]) -> dict[float, list[dict[str, Any]]]:
    """What was seen at each time. Masks that go with the boxes, one each in the same order, complete them."""
    boxes, masks = clip.get("detections") or [], clip.get("masks") or []
    is_paired = len(boxes) == len(masks) and all(
        (box["time_s"], box["label"]) == (mask["time_s"], mask["label"]) for box, mask in zip(boxes, masks, strict=True)
    )
    entries = [{**box, **mask} for box, mask in zip(boxes, masks, strict=True)] if is_paired else [*boxes, *masks]
    found: dict[float, list[dict[str, Any]]] = {}
    for entry in entries:
        found.setdefault(entry["time_s"], []).append(entry)
    return found


def _image(number: int, clip: Mapping[str, Any], time_s: float, size: tuple[int, int]) -> dict[str, Any]:
    """`file_name` is the video with a time (https://www.w3.org/TR/media-frags/): no frame has a file of its own."""
    return {
        "id": number,
        "file_name": f"{clip['uri']}#t={time_s:.6f}",
        "width": size[0],
        "height": size[1],
        "clip_id": clip["clip_id"],
        "video_id": clip["video_id"],
        "time_s": time_s,
    }


def _annotation(entry: Mapping[str, Any], width: int, height: int) -> dict[str, Any]:
    """Box, area and mask in the pixels of the video: https://cocodataset.org/#format-data."""
    values: dict[str, Any] = {"iscrowd": 0, "score": entry["score"]}
    if "counts" in entry:
        mask = decode_mask(entry["counts"], entry["height"], entry["width"])
        segmentation: dict[str, Any] = {"size": [height, width], "counts": entry["counts"]}
        if mask.shape != (height, width):
            rows, columns = np.arange(height) * mask.shape[0] // height, np.arange(width) * mask.shape[1] // width
            mask = mask[rows][:, columns]
            segmentation["counts"] = run_lengths(mask)
        values |= {"segmentation": segmentation, "area": float(mask.sum()), "bbox": _box_of(mask)}
    if "x0" in entry:
        x0, x1 = entry["x0"] * width, entry["x1"] * width
        y0, y1 = entry["y0"] * height, entry["y1"] * height
        box = [round(value, 3) for value in (x0, y0, x1 - x0, y1 - y0)]
        values = {"area": round(box[2] * box[3], 3), **values, "bbox": box}
    return values


def _box_of(mask: npt.NDArray[np.bool_]) -> list[float]:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return [0.0, 0.0, 0.0, 0.0]
    x, y = int(columns[0]), int(rows[0])
    return [float(x), float(y), float(columns[-1] - x + 1), float(rows[-1] - y + 1)]


def decode_mask(counts: str, height: int, width: int) -> npt.NDArray[np.bool_]:
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

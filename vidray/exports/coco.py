"""Boxes and masks as COCO's JSON: https://cocodataset.org/#format-data."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from vidray.errors import UsageError
from vidray.exports.protocol import ExportSummary, Format, first_columns, writing
from vidray.extractors.spec import column_names
from vidray.extractors.vision.regions import read_run_lengths, run_lengths
from vidray.media import TIME_SLACK_S
from vidray.store import IDENTITY, Store

SEEN = {"detections", "masks"}
"""The columns that COCO has a form for."""
FIRST_OTHER_ID = 1001
"""Classes that are not COCO's own are numbered from here on."""


def export_coco(store: Store, table: str, path: str) -> ExportSummary:
    """Write one file of JSON: an image for each time of a video at which something was seen, of the first of its clips
    that holds it; boxes and areas in pixels of the video. Raises UsageError where a table has neither detections nor
    masks."""
    there = first_columns(store, table)
    seen = sorted(SEEN & there)
    if not seen:
        tables = [name for name in store.tables("features") if SEEN & column_names(store.spec(name) or {})]
        remedy = f"take features/{' or features/'.join(tables)}" if tables else "extract -x ssd"
        raise UsageError(f"{store.url}/{table} has neither detections nor masks, which COCO is made of; {remedy}")
    with writing(path) as file:
        return ExportSummary(path=path, rows=_write(store, table, [*IDENTITY.names, *seen], file), unit="annotations")


def _write(store: Store, table: str, wanted: list[str], file: BinaryIO) -> int:
    """Write the images and, set aside meanwhile, the annotations: neither need fit into memory."""
    ids = _category_ids(store, table, wanted)
    images = annotations = 0
    video, shown = "", set[int]()
    with tempfile.TemporaryFile("w+", encoding="utf-8") as aside:
        file.write(b'{"info": ' + json.dumps({"description": f"{table} of {store.url}"}).encode() + b',\n"images": [')
        for clip, sizes in _clips(store, table, wanted):
            if clip["video_id"] != video:
                video, shown = clip["video_id"], set()
            for time_s, seen in sorted(_by_time(clip).items()):
                moment = round(time_s / TIME_SLACK_S)
                if moment in shown:
                    continue
                shown.add(moment)
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
        mask = read_run_lengths(entry["counts"], entry["height"], entry["width"])
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


FORMATS = (Format(name="coco", holds="boxes and masks", write=export_coco),)

"""Tables for other tools: CSV with what it can hold, and COCO that pycocotools reads."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import fsspec
import numpy as np
import pyarrow as pa
import pytest
from labeled_stores import write_store
from pycocotools import mask as coco_masks
from pycocotools.coco import COCO

from vidray.cli import main
from vidray.errors import UsageError
from vidray.exports.export import export
from vidray.extractors.vision.regions import read_run_lengths
from vidray.store import IDENTITY, features_schema

SEEN = [("time_s", pa.float64()), ("label", pa.string()), ("score", pa.float32())]
BOXES = pa.list_(pa.struct([*SEEN, *((name, pa.float32()) for name in ("x0", "y0", "x1", "y1"))]))
MASKS = pa.list_(pa.struct([*SEEN, ("height", pa.int32()), ("width", pa.int32()), ("counts", pa.string())]))


def box(time_s: float, label: str, *corners: float) -> dict:
    return {"time_s": time_s, "label": label, "score": 0.5, **dict(zip(("x0", "y0", "x1", "y1"), corners, strict=True))}


def mask_entry(time_s: float, label: str, mask: np.ndarray) -> dict:
    counts = coco_masks.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"].decode()
    size = {"height": mask.shape[0], "width": mask.shape[1]}
    return {"time_s": time_s, "label": label, "score": 0.75, **size, "counts": counts}


@pytest.fixture
def store(tmp_path):
    """Two parts, four clips, one a video; videos are 200 wide and 100 high."""
    return write_store(tmp_path / "store", np.ones((4, 4), np.float32), parts=2)


def write_detections(store, **columns: list) -> None:
    """A table `features/detector` of these columns, a value a clip of the store."""
    types = {"detections": BOXES, "masks": MASKS}
    schema = features_schema(pa.schema([(name, types[name]) for name in columns]))
    first = 0
    for part in store.parts("clips"):
        rows = store.read("clips", part, IDENTITY.names).to_pylist()
        for row in rows:
            row |= {name: values[first] for name, values in columns.items()}
            first += 1
        store.write("features/detector", part, pa.Table.from_pylist(rows, schema), schema)


def exported(store, tmp_path: Path) -> COCO:
    path = tmp_path / "coco.json"
    export(store.url, "features/detector", str(path), to="coco")
    return COCO(str(path))


def test_boxes_are_in_pixels_of_the_video(store, tmp_path):
    first = [box(0.0, "person", 0.1, 0.2, 0.35, 0.8), box(0.5, "gnu", 0, 0, 1, 1), box(0.5, "person", 0, 0, 0.5, 0.5)]
    write_detections(store, detections=[first, [], None, [box(7.0, "bee", 0, 0, 0.01, 0.01)]])
    coco = exported(store, tmp_path)
    images = [(image["clip_id"], image["time_s"], image["width"], image["height"]) for image in coco.imgs.values()]
    assert images == [("clip00000", 0.0, 200, 100), ("clip00000", 0.5, 200, 100), ("clip00003", 7.0, 200, 100)]
    assert coco.imgs[1]["file_name"] == "/media/0.mp4#t=0.000000"
    found = [(entry["image_id"], entry["category_id"], entry["bbox"], entry["area"]) for entry in coco.anns.values()]
    assert found == [
        (1, 1, pytest.approx([20, 20, 50, 60]), pytest.approx(3000)),
        (2, 1002, [0, 0, 200, 100], 20000),
        (2, 1, [0, 0, 100, 50], 5000),
        (3, 1001, pytest.approx([0, 0, 2, 1]), pytest.approx(2)),
    ]
    assert [(c["id"], c["name"]) for c in coco.cats.values()] == [(1, "person"), (1001, "bee"), (1002, "gnu")]


def test_a_frame_that_overlapping_clips_share_is_one_image(tmp_path):
    store = write_store(tmp_path / "store", np.ones((4, 4), np.float32), clips_a_video=2)
    seen = [box(9.0, "person", 0, 0, 0.5, 0.5), box(9.0, "dog", 0, 0, 1, 1), box(9.5, "dog", 0, 0, 1, 1)]
    write_detections(store, detections=[seen, [*seen, box(11.0, "dog", 0, 0, 1, 1)], seen[:1], []])
    coco = exported(store, tmp_path)
    assert [(image["video_id"], image["clip_id"], image["time_s"]) for image in coco.imgs.values()] == [
        ("v0", "clip00000", 9.0), ("v0", "clip00000", 9.5), ("v0", "clip00001", 11.0), ("v1", "clip00002", 9.0),
    ]  # fmt: skip
    assert [entry["image_id"] for entry in coco.anns.values()] == [1, 1, 2, 3, 4]


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of pycocotools
def test_masks_come_in_the_size_of_the_video(store, tmp_path):
    rng = np.random.default_rng(0)
    whole, half = rng.random((100, 200)) < 0.3, rng.random((50, 100)) < 0.3
    entries = [[mask_entry(0.0, "cat", whole)], [mask_entry(1.0, "cat", half)], None, None]
    write_detections(store, masks=entries)
    coco = exported(store, tmp_path)
    same, scaled = coco.anns.values()
    np.testing.assert_array_equal(coco.annToMask(same), whole)
    np.testing.assert_array_equal(coco.annToMask(scaled), half.repeat(2, axis=0).repeat(2, axis=1))
    for entry in (same, scaled):
        rle = coco.annToRLE(entry)
        assert entry["area"] == coco_masks.area(rle)
        assert entry["bbox"] == coco_masks.toBbox(rle).tolist()


def test_a_mask_completes_its_box(store, tmp_path):
    mask = np.zeros((100, 200), bool)
    mask[20:40, 50:60] = True
    boxes, masks = [box(0.0, "dog", 0.25, 0.2, 0.3, 0.4)], [mask_entry(0.0, "dog", mask)]
    write_detections(store, detections=[boxes, boxes, None, None], masks=[masks, [], None, None])
    both, alone = exported(store, tmp_path).anns.values()
    assert both["bbox"] == pytest.approx([50, 20, 10, 20])
    assert both["area"] == 200
    assert "segmentation" in both
    assert alone["bbox"] == both["bbox"]
    assert "segmentation" not in alone


@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.999, 1.0])
def test_run_lengths_are_read_as_coco_reads_them(share):
    rng = np.random.default_rng(1)
    for shape in [(1, 1), (7, 5), (64, 300)]:
        mask = rng.random(shape) < share
        encoded = coco_masks.encode(np.asfortranarray(mask.astype(np.uint8)))
        np.testing.assert_array_equal(read_run_lengths(encoded["counts"].decode(), *shape), mask)


def test_csv_holds_what_it_can_and_says_the_rest(store, tmp_path, capsys):
    path = tmp_path / "net.csv"
    assert main(["export", store.url, "features/net", "--to", "csv", "-o", str(path)]) == 0
    out, err = capsys.readouterr()
    assert "4 rows" in out
    assert "embedding" in err
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["clip_id"] for row in rows] == [f"clip{n:05d}" for n in range(4)]
    assert float(rows[0]["end_s"]) == 10
    assert "embedding" not in rows[0]


@pytest.mark.parametrize("with_camera", [0, 1])
def test_a_column_of_some_parts_is_empty_in_the_others(store, tmp_path, with_camera):
    clips = store.read("clips", with_camera).append_column("camera", pa.array(["front", "rear"]))
    store.write("clips", with_camera, clips, clips.schema)
    path = tmp_path / "clips.csv"
    export(store.url, "clips", str(path), to="csv")
    with path.open(newline="") as file:
        cameras = [row["camera"] for row in csv.DictReader(file)]
    assert cameras == (["front", "rear", "", ""] if with_camera == 0 else ["", "", "front", "rear"])


def test_a_table_goes_to_any_storage(store):
    assert export(store.url, "clips", "memory://exported/clips.csv", to="csv").rows == 4
    assert fsspec.filesystem("memory").cat("/exported/clips.csv").count(b"\n") == 5


def test_an_export_that_fails_leaves_the_old_file(store, tmp_path):
    path = tmp_path / "out" / "coco.json"
    path.parent.mkdir()
    path.write_text("old")
    write_detections(store, masks=[[mask_entry(0.0, "cat", np.ones((2, 2)))], [], [], []])
    store.remove("videos", 1)
    with pytest.raises(Exception, match="videos/part-00001"):
        export(store.url, "features/detector", str(path), to="coco")
    assert path.read_text() == "old"
    assert os.listdir(path.parent) == ["coco.json"]


@pytest.mark.parametrize(
    ("table", "to", "message"),
    [
        ("labels/nosuch", "csv", "no table 'labels/nosuch'; there are features/net, clips, videos"),
        ("features/net", "coco", "has neither detections nor masks, which COCO is made of; extract -x ssd"),
        ("features/net", "xml", "exported to csv, coco, segments, vtt, srt, json"),
    ],
)
def test_what_cannot_be_exported_is_said(store, tmp_path, table, to, message):
    with pytest.raises(UsageError, match=message):
        export(store.url, table, str(tmp_path / "x"), to=to)


def test_the_table_that_coco_can_hold_is_named(store, tmp_path):
    write_detections(store, detections=[[]] * 4)
    store.write_spec("detector", {"name": "detector", "columns": [["detections", str(BOXES)]]})
    with pytest.raises(UsageError, match=r"COCO is made of; take features/detector$"):
        export(store.url, "features/net", str(tmp_path / "x"), to="coco")

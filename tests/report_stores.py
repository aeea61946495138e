"""Stores to look at, made up without any media: every tile of a storyboard has a colour of its own."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
from PIL import Image

from vidray.extractors.vision.regions import DETECTIONS_TYPE
from vidray.extractors.vision.thumbnails import Thumbnails
from vidray.store import CLIPS, ERRORS, VIDEOS, Store, features_schema

TILES = 5
WIDTH, HEIGHT = 160, 90
CLIPS_A_VIDEO = 4
CLIP_S = 10.0
MEDIA = "/media"
LABELS = ("dog", "cat", 'it\'s "odd", <b>bold</b>', "dog house")
HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>'\"&.mp4"
QUALITY = pa.schema([("brightness", pa.float32()), ("loudness_lufs", pa.float64()), ("faces", pa.int32())])
LABEL = pa.struct([("label", pa.string()), ("score", pa.float32())])
CLASSES = pa.schema([("embedding", pa.list_(pa.float32(), 4)), ("labels", pa.list_(LABEL))])
SEGMENT = pa.struct([("start_s", pa.float64()), ("end_s", pa.float64()), ("text", pa.string()), ("label", pa.string()),
                     ("score", pa.float32())])  # fmt: skip
SPEECH = pa.schema([("text", pa.string()), ("language", pa.string()), ("segments", pa.list_(SEGMENT))])
SEEN = pa.schema([("detections", DETECTIONS_TYPE)])


def clip_id(number: int) -> str:
    return f"{number:032x}"


def tile_colour(tile: int) -> tuple[int, int, int]:
    """A colour a tile, far from those of the others."""
    return [(220, 40, 40), (40, 180, 60), (50, 70, 220), (230, 210, 60), (240, 240, 240)][tile]


def webp(image: np.ndarray) -> bytes:
    held = io.BytesIO()
    Image.fromarray(image).save(held, "WEBP", quality=60)
    return held.getvalue()


def storyboard() -> bytes:
    tiles = [np.full((HEIGHT, WIDTH, 3), tile_colour(tile), np.uint8) for tile in range(TILES)]
    return webp(np.concatenate(tiles, axis=1))


def poster() -> bytes:
    return webp(np.full((270, 480, 3), (120, 60, 130), np.uint8))


def uri_of(video: int, media: str) -> str:
    return f"{media}/{HOSTILE}" if video == 1 else f"{media}/shots/video {video:04d}.mp4"


def identity(number: int, media: str = MEDIA) -> dict[str, object]:
    video, index = divmod(number, CLIPS_A_VIDEO)
    return {
        "clip_id": clip_id(number),
        "video_id": f"v{video}",
        "uri": uri_of(video, media),
        "start_s": index * CLIP_S,
        "end_s": (index + 1) * CLIP_S,
    }


def write_report_store(
    folder: Path, clips: int = 40, *, parts: int = 2, with_thumbnails: bool = True, media: str = MEDIA
) -> Store:
    """A store with labels, numbers, speech, detections and thumbnails; clip 3 has failed in `quality`.

    Brightness is clip / 100 in float32, so that bounds matter; every third clip is a dog, every fifth a cat.
    """
    store = Store(str(folder))
    store.write_config({"planner": "fixed_stride", "clip_length_s": CLIP_S, "stride_s": CLIP_S})
    tables = {"classes": CLASSES, "quality": QUALITY, "speech": SPEECH, "seen": SEEN}
    if with_thumbnails:
        tables["thumbnails"] = Thumbnails().schema
    for name, columns in tables.items():
        spec = {"name": name, "extractor": name, "columns": [[field.name, str(field.type)] for field in columns]}
        store.write_spec(name, spec)
    videos = np.arange(clips) // CLIPS_A_VIDEO
    for part, chosen in enumerate(np.array_split(np.unique(videos), parts)):
        numbers = np.flatnonzero(np.isin(videos, chosen)).tolist()
        planned = [{**identity(n, media), "clip_index": n % CLIPS_A_VIDEO, "part": part, "block": 0} for n in numbers]
        store.write("clips", part, pa.Table.from_pylist(planned, CLIPS), CLIPS)
        store.write("videos", part, pa.Table.from_pylist([video_row(int(v), media) for v in chosen], VIDEOS), VIDEOS)
        for name, columns in tables.items():
            schema = features_schema(columns)
            rows = [identity(n, media) | row_of(name, n) for n in numbers if (name, n) != ("quality", 3)]
            store.write(f"features/{name}", part, pa.Table.from_pylist(rows, schema), schema)
            failed = [identity(n, media) for n in numbers if (name, n) == ("quality", 3)]
            failed = [
                {**row, "stage": "decode", "kind": "corrupt", "message": "a <b>broken</b> frame"} for row in failed
            ]
            store.write(f"errors/{name}", part, pa.Table.from_pylist(failed, ERRORS), ERRORS)
    return store


def video_row(video: int, media: str) -> dict[str, object]:
    return {
        "video_id": f"v{video}", "uri": uri_of(video, media), "size_bytes": 1000 + video, "status": "ok", "fps": 25.0,
        "duration_s": CLIP_S * CLIPS_A_VIDEO, "width": 640, "height": 360, "corpus": media,
        "video_codec": "h264" if video % 2 else "hevc", "audio_codec": "aac" if video % 3 else None,
    }  # fmt: skip


def labels_of(number: int) -> list[str]:
    return [name for name, every in zip(LABELS, (3, 5, 7, 11), strict=True) if number % every == 0]


def row_of(table: str, number: int) -> dict[str, object]:
    start_s = identity(number)["start_s"]
    assert isinstance(start_s, float)
    if table == "classes":
        angle = number * 0.05
        found = [{"label": name, "score": 0.9 - 0.1 * place} for place, name in enumerate(labels_of(number))]
        return {"embedding": [np.cos(angle), np.sin(angle), 0, 0], "labels": found}
    if table == "quality":
        loud = None if number % 2 else -60.0 + number
        return {"brightness": number / 100, "loudness_lufs": loud, "faces": number % 4}
    if table == "speech":
        text = f"Hello <i>world</i> number {number}"
        said = {"start_s": start_s + 4.2, "end_s": start_s + 6, "text": text, "label": "calm", "score": None}
        return {"text": text, "language": "en" if number % 2 else "de", "segments": [said]}
    if table == "seen":
        score = None if number % 4 == 0 else 0.5
        box = {"time_s": start_s + 2, "label": "ball", "score": score, "x0": 0.25, "y0": 0.5, "x1": 0.5, "y1": 0.75}
        return {"detections": [box] if number % 2 == 0 else []}
    return {
        "poster": poster(), "storyboard": storyboard(), "tile_times_s": [start_s + 2 * tile for tile in range(TILES)],
        "tile_width": WIDTH, "tile_height": HEIGHT, "columns": TILES,
    }  # fmt: skip


def values_of(script: bytes) -> str:
    """The JSON text that a shard hands to the page."""
    text = script.decode()
    assert text.startswith("vidray.put(")
    assert text.endswith("');\n")
    return text[text.index(",'") + 2 : -4].replace("\\'", "'").replace("\\\\", "\\")

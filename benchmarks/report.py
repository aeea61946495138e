"""How fast a report is built, how much of it is loaded, and when its first posters are seen.

20,000 made clips with labels, numbers, transcripts and thumbnails: what is measured is reading tables, writing JSON
and files. The limits are Python's: each clip's rows become objects and JSON text once, and each clip is two files of
images. With `chromium` on the path the page is opened as well, and scrolled by a window a step while posters that are
blank are counted. Ends with one JSON object.

    python benchmarks/report.py [CLIPS]
"""

from __future__ import annotations

import io
import json
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image

import vidray
from vidray.extractors.vision.thumbnails import Thumbnails
from vidray.store import CLIPS, VIDEOS, Store, features_schema

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

CLIPS_A_VIDEO = 20
PART_CLIPS = 5000
WORDS = 25
LABELS = 5
IMAGES = 64
SCROLLS = 40

LABEL = pa.struct([("label", pa.string()), ("score", pa.float32())])
WORD = pa.struct([("word", pa.string()), ("start_s", pa.float64()), ("end_s", pa.float64()), ("score", pa.float32())])
SCHEMAS = {
    "classes": pa.schema([("embedding", pa.list_(pa.float32(), 64)), ("labels", pa.list_(LABEL))]),
    "quality": pa.schema([(f"measure_{number}", pa.float32()) for number in range(12)]),
    "transcript": pa.schema([("text", pa.string()), ("language", pa.string()), ("words", pa.list_(WORD))]),
    "thumbnails": Thumbnails().schema,
}


def main() -> None:
    clips = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
    with tempfile.TemporaryDirectory() as folder:
        store = write_store(Path(folder) / "store", clips)
        vidray.build_index(store.url, extractor="classes")
        began_cpu_s = time.process_time()
        summary = vidray.write_report(store.url, Path(folder) / "report")
        cpu_s = time.process_time() - began_cpu_s
        built_s = summary.wall_s - summary.neighbours_s
        found: dict[str, Any] = {
            "clips": clips,
            "clips_a_second": round(clips / built_s),
            "core_bytes_a_clip": round(summary.core_bytes / clips, 1),
            "data_bytes_a_clip": round(summary.data_bytes / clips, 1),
            "neighbours_s": summary.neighbours_s,
            "cpu_s": round(cpu_s, 2),
            "wall_s": summary.wall_s,
        }
        if shutil.which("chromium"):
            found |= in_a_browser(Path(folder) / "report", Path(folder) / "profile")
    print(f"python {platform.python_version()}, pyarrow {version('pyarrow')}, {platform.machine()}")
    print(f"{clips:,} clips in {built_s:.1f} s, and {summary.neighbours_s:.1f} s for neighbours from the index")
    print(json.dumps(found))


def write_store(folder: Path, clips: int) -> Store:
    """A store of made rows; images are of noise that is smooth, as large as those of films."""
    store = Store(str(folder))
    store.write_config({"planner": "fixed_stride", "clip_length_s": 10.0, "stride_s": 10.0})
    for name, columns in SCHEMAS.items():
        store.write_spec(name, {"name": name, "extractor": name, "columns": [[f.name, str(f.type)] for f in columns]})
    images = [(webp(480, 270, seed), webp(800, 180, seed)) for seed in range(IMAGES)]
    for part, first in enumerate(range(0, clips, PART_CLIPS)):
        numbers = range(first, min(clips, first + PART_CLIPS))
        planned = [{**identity(n), "clip_index": n % CLIPS_A_VIDEO, "part": part, "block": 0} for n in numbers]
        store.write("clips", part, pa.Table.from_pylist(planned, CLIPS), CLIPS)
        videos = [video(n) for n in sorted({n // CLIPS_A_VIDEO for n in numbers})]
        store.write("videos", part, pa.Table.from_pylist(videos, VIDEOS), VIDEOS)
        for name, columns in SCHEMAS.items():
            schema = features_schema(columns)
            batches = written(name, numbers, schema, images)
            store.write(f"features/{name}", part, batches, schema)
    return store


def written(name: str, numbers: range, schema: pa.Schema, images: list[tuple[bytes, bytes]]) -> Iterator[pa.Table]:
    for first in range(0, len(numbers), 1000):
        rows = [identity(n) | row(name, n, images) for n in numbers[first : first + 1000]]
        yield pa.Table.from_pylist(rows, schema)


def identity(number: int) -> dict[str, Any]:
    of, index = divmod(number, CLIPS_A_VIDEO)
    uri = f"/archive/broadcasts/2026/{of % 12 + 1:02d}/recording-{of:08d}.mp4"
    return {
        "clip_id": f"{number:032x}",
        "video_id": f"v{of}",
        "uri": uri,
        "start_s": index * 10.0,
        "end_s": index * 10.0 + 10,
    }


def video(number: int) -> dict[str, Any]:
    return {
        "video_id": f"v{number}", "uri": identity(number * CLIPS_A_VIDEO)["uri"], "duration_s": 10.0 * CLIPS_A_VIDEO,
        "size_bytes": 10**7, "status": "ok", "fps": 25.0, "width": 1280, "height": 720,
        "video_codec": "h264", "audio_codec": "aac",
    }  # fmt: skip


def row(name: str, number: int, images: list[tuple[bytes, bytes]]) -> dict[str, Any]:
    rng = np.random.default_rng(number)
    start_s = number % CLIPS_A_VIDEO * 10.0
    if name == "classes":
        labels = [{"label": f"class {rng.integers(1000)}", "score": float(rng.random())} for _ in range(LABELS)]
        return {"embedding": rng.standard_normal(64).astype(np.float32), "labels": labels}
    if name == "quality":
        return {f"measure_{column}": float(rng.random()) for column in range(12)}
    if name == "transcript":
        words = [f"word{rng.integers(5000)}" for _ in range(WORDS)]
        timed = [
            {"word": word, "start_s": start_s + at / 3, "end_s": start_s + at / 3 + 0.3, "score": 0.9}
            for at, word in enumerate(words)
        ]
        return {"text": " ".join(words), "language": "en", "words": timed}
    poster, board = images[number % IMAGES]
    return {
        "poster": poster, "storyboard": board, "tile_times_s": [start_s + at for at in range(10)],
        "tile_width": 160, "tile_height": 90, "columns": 5,
    }  # fmt: skip


def webp(width: int, height: int, seed: int) -> bytes:
    noise = np.random.default_rng(seed).integers(0, 256, (height // 6, width // 6, 3), dtype=np.uint8)
    held = io.BytesIO()
    Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC).save(held, "WEBP", quality=60)
    return held.getvalue()


def in_a_browser(report: Path, profile: Path) -> dict[str, Any]:
    """Seconds until the first posters are drawn, and the share of posters that were blank as the grid scrolled."""
    from chromium import chromium

    with chromium(profile) as page:
        page.window(1280, 800)
        began = time.perf_counter()
        page.ask("Page.navigate", url=f"file://{report}/index.html#/clips")
        page.until(
            "[...document.querySelectorAll('.clip img')].slice(0, 12).filter((one) => one.naturalWidth).length === 12"
        )
        opened_s = time.perf_counter() - began
        paint_s = page.run("performance.getEntriesByName('first-contentful-paint')[0].startTime / 1000")
        seen = blank = 0
        for _ in range(SCROLLS):
            page.run("window.scrollBy(0, window.innerHeight)")
            counts = page.run(COUNT)
            seen, blank = seen + counts[0], blank + counts[1]
    return {
        "first_paint_s": round(paint_s, 3),
        "posters_after_s": round(opened_s, 3),
        "scrolled_posters": seen,
        "blank_share": round(blank / max(1, seen), 4),
    }


COUNT = """new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => {
  const seen = [...document.querySelectorAll('.clip')].filter((one) => {
    const box = one.getBoundingClientRect();
    return box.bottom > 100 && box.top < innerHeight;
  });
  done([seen.length, seen.filter((one) => !one.querySelector('img')?.naturalWidth).length]);
})))"""
"""Two frames after a step: the posters in the window, and how many of them are not there yet."""


if __name__ == "__main__":
    main()

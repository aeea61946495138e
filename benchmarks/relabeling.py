"""How long it takes to label 100,000 clips with a new head.

Labeling reads one column of the feature table, multiplies it with the head's weights and writes the labels: no video is
opened (there is none here). The limit is reading: 100,000 embeddings of 1280 numbers are 512 MB, whose random bits
Parquet cannot compress. Prints the ratio to merely reading that column, and ends with one JSON object.

    python benchmarks/relabeling.py [CLIPS]
"""

from __future__ import annotations

import json
import platform
import sys
import tempfile
import time
from importlib.metadata import version

import numpy as np
import pyarrow as pa

import vidray
from vidray.labels.heads import write_head
from vidray.labels.networks import LinearNetwork, to_safetensors
from vidray.store import CLIPS, IDENTITY, Store, features_schema

DIM = 1280
PART_CLIPS = 20_000
CLASSES = 10


def main() -> None:
    clips = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    with tempfile.TemporaryDirectory() as folder:
        store = Store(folder)
        write_features(store, clips)
        config = {
            "network": "linear",
            "classes": [f"class {number}" for number in range(CLASSES)],
            "features": "net",
            "spec": store.spec("net"),
        }
        write_head(store, "new", model=to_safetensors(LinearNetwork(DIM, CLASSES)), config=config,
                   files={"predictions.csv": b"clip_id\n"})  # fmt: skip
        began = time.perf_counter()
        for part in store.parts("features/net"):
            for _ in store.stream("features/net", part, ["clip_id", "embedding"]):
                pass
        read_s = time.perf_counter() - began
        began = time.perf_counter()
        head = vidray.open_head(folder, "new")
        summary = vidray.label(folder, head, name="new", top=1)
        label_s = time.perf_counter() - began
        began = time.perf_counter()
        suggestions = vidray.suggest(folder, head, count=20)
        suggest_s = time.perf_counter() - began
    assert (summary.labeled, len(suggestions)) == (clips, 20)
    print(f"python {platform.python_version()}, pyarrow {version('pyarrow')}, torch {version('torch')}")
    print(f"reading the embeddings of {clips:,} clips {read_s:.1f} s, labeling them {label_s:.1f} s", end="")
    print(f" ({label_s / read_s:.1f} times that), suggesting 20 {suggest_s:.1f} s")
    print(json.dumps({"clips": clips, "read_s": read_s, "label_s": label_s, "suggest_s": suggest_s}))


def write_features(store: Store, clips: int) -> None:
    """Random embeddings, ten clips a video."""
    store.write_config({"clip_length_s": 10.0})
    columns = pa.schema([("embedding", pa.list_(pa.float32(), DIM))])
    store.write_spec("net", {"name": "net", "columns": [["embedding", "list"]]})
    rng = np.random.default_rng(0)
    for part, first in enumerate(range(0, clips, PART_CLIPS)):
        rows = np.arange(first, min(first + PART_CLIPS, clips))
        table = pa.table(
            {
                "clip_id": [f"{row:032x}" for row in rows],
                "video_id": [f"{row // 10:032x}" for row in rows],
                "uri": [f"/videos/{row // 10}.mp4" for row in rows],
                "clip_index": rows % 10,
                "start_s": rows % 10 * 10.0,
                "end_s": rows % 10 * 10.0 + 10,
                "part": np.full(len(rows), part),
                "block": np.zeros(len(rows), int),
            }
        )
        store.write("clips", part, table, CLIPS)
        vectors = rng.standard_normal((len(rows), DIM), dtype=np.float32)
        table = table.select(IDENTITY.names)
        table = table.append_column("embedding", pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), DIM))
        table = table.append_column("decode_warning", pa.nulls(len(rows), pa.string()))
        store.write("features/net", part, table, features_schema(columns))


if __name__ == "__main__":
    main()

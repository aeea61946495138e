"""The same work as other tools do it, each in the style of its own documentation; run by end_to_end.py.

- loop: one process, one video after another, plain float32.
- ray-data: `from_items` of paths, a task a video that decodes, actors with the plain network, `write_parquet`.
- daft: a DataFrame of paths, a UDF in processes that decodes, another with the plain network, `write_parquet`. Daft is
  no dependency of vidray: `pip install daft` first. Its own `read_video_frames` decodes every frame.

`startup_s` is the time until the first video is being decoded, as in vidray's summary; `network_s` that until the first
network stands: some peers decode before, vidray does not.

Usage: python benchmarks/peers.py loop|ray-data|daft FOLDER OUTPUT [--model mobilenet_v3_large] [--limit N]
(daft's processes need PYTHONPATH=benchmarks)
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from ceiling import BATCH, Frames, PlainNetwork, batches, plain_frames, videos_in

MARKS = ("decoding", "network")


def leave_mark(output: Path, what: str) -> None:
    """Note when something was first done, whichever process does it."""
    with contextlib.suppress(FileExistsError), output.with_name(what).open("x"):
        pass


def decoded(path: str, output: Path) -> Frames:
    leave_mark(output, "decoding")
    return plain_frames(Path(path))


def built(model: str, output: Path) -> PlainNetwork:
    network = PlainNetwork(model)
    leave_mark(output, "network")
    return network


def loop(videos: list[str], output: Path, model: str) -> None:
    network = built(model, output)
    rows = []
    for path in videos:
        features = np.concatenate([network(batch) for batch in batches(decoded(path, output))])
        rows.append({"uri": path, "embedding": features.mean(axis=0).tolist()})
    output.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), output / "features.parquet")


def ray_data(videos: list[str], output: Path, model: str) -> None:
    import ray

    cores = len(os.sched_getaffinity(0))
    # one CPU beyond the cores, so that decoding goes on beside the actors
    ray.init(address="local", num_cpus=cores + 1, include_dashboard=False, log_to_driver=False)

    def decode(row: dict[str, Any]) -> list[dict[str, Any]]:
        return [{"uri": row["item"], "frame": frame} for frame in decoded(row["item"], output)]

    class Network:
        def __init__(self) -> None:
            self._network = built(model, output)

        def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
            return {"uri": batch["uri"], "embedding": self._network(np.stack(batch["frame"]))}

    frames = ray.data.from_items(videos).repartition(len(videos)).flat_map(decode)
    features = frames.map_batches(Network, batch_size=BATCH, concurrency=cores)
    features.write_parquet(str(output))


def daft(videos: list[str], output: Path, model: str) -> None:
    import daft

    binaries, floats = (daft.DataType.list(kind) for kind in (daft.DataType.binary(), daft.DataType.float32()))

    @daft.udf(return_dtype=binaries, use_process=True, concurrency=1)
    def decode(paths: Any) -> Any:
        return [[frame.tobytes() for frame in decoded(path, output)] for path in paths.to_pylist()]

    @daft.udf(return_dtype=floats, use_process=True, concurrency=1, batch_size=BATCH)
    class Network:
        def __init__(self) -> None:
            self._network = built(model, output)

        def __call__(self, frames: Any) -> Any:
            shown = [np.frombuffer(frame, np.uint8).reshape(224, 224, 3) for frame in frames.to_pylist()]
            return list(self._network(np.stack(shown)))

    frame = daft.from_pydict({"uri": videos}).into_partitions(len(videos))
    frame = frame.with_column("frame", decode(frame["uri"])).explode("frame")
    frame.with_column("embedding", Network(frame["frame"])).exclude("frame").write_parquet(str(output))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("side", choices=["loop", "ray-data", "daft"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--model", default="mobilenet_v3_large")
    parser.add_argument("--limit", type=int)
    options = parser.parse_args()
    videos = [str(path) for path in videos_in(options.folder)[: options.limit]]
    marks = [options.output.with_name(what) for what in MARKS]
    options.output.parent.mkdir(parents=True, exist_ok=True)
    for mark in marks:
        mark.unlink(missing_ok=True)
    began = time.time()
    {"loop": loop, "ray-data": ray_data, "daft": daft}[options.side](videos, options.output, options.model)
    wall_s = time.time() - began
    decoding_s, network_s = (mark.stat().st_mtime - began for mark in marks)
    for mark in marks:
        mark.unlink()
    answer = {"wall_s": wall_s, "startup_s": decoding_s, "network_s": network_s}
    print(json.dumps({name: round(seconds, 2) for name, seconds in answer.items()}))


if __name__ == "__main__":
    main()

"""What grows with the corpus, and what must not: processor seconds a clip, the driver's memory, a rerun's time.

- clips: many short videos against few, the same ones, with an extractor that does nothing, so that the pipeline's own
  work a clip shows; what a run of one video costs is taken out.
- long: one long video against the same packets in sixty short ones, and how many of the cores were busy.
- memory: the driver's largest resident size with many planned clips against few. The plan is written as it would be,
  the workers are replaced by one in this process that stages empty rows, and all is published.
- rerun: a finished store, and the same command again.
- passes: three frame extractors in one pass against three passes, on 720p.

Usage: python benchmarks/scale.py clips|long|memory|rerun|passes [--few 100] [--many 10000] [--hours 1] [--rounds 3]
The rounds are of long, whose two sides take turns; each figure is their median.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import av
import pyarrow as pa
from ceiling import weights_file
from corpus import make, shifted
from nothing import Nothing
from processes import Cost, medians, run

HERE = Path(__file__).resolve().parent
PLANNED_PART = 1000
PLANNED_S = 1.0


def extract(corpus: Path, store: Path, *extractors: str, clip_s: float = 10.0) -> Cost:
    options = [f"--clip-length={clip_s}", "--json", *(f"-x={name}" for name in extractors)]
    command = [sys.executable, "-m", "vidray.cli", "extract", str(corpus), str(store), *options]
    return run(command, PYTHONPATH=os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")]))


def clips(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    costs = {}
    for count in (1, options.few, options.many):
        corpus = folder / f"{count}"
        make(corpus, lengths_s=[2.0] * count, heights=[240], codecs=["h264"])
        costs[count] = extract(corpus, folder / f"store-{count}", "nothing:Nothing").cpu_s
    few, many = ((costs[n] - costs[1]) / (n - 1) for n in (options.few, options.many))
    return {
        "few": options.few,
        "many": options.many,
        "few_cpu_ms_a_clip": round(1000 * few, 2),
        "many_cpu_ms_a_clip": round(1000 * many, 2),
        "ratio": round(many / few, 3),
    }


def cut(whole: Path, folder: Path, *, every_s: float) -> None:
    """Its packets as they are, in videos of so many seconds, each from a keyframe on."""
    folder.mkdir()
    with av.open(str(whole)) as source, contextlib.ExitStack() as pieces:
        video = source.streams.video[0]
        count = 0
        for packet in source.demux(video):
            if packet.pts is None or packet.dts is None or packet.time_base is None:
                continue
            if packet.is_keyframe and packet.pts * packet.time_base >= count * every_s:
                piece = pieces.enter_context(av.open(str(folder / f"{count:04}.mp4"), "w"))
                stream, began = piece.add_stream_from_template(video), packet.pts
                count += 1
            piece.mux(shifted(packet, -began, stream))


def long(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    for side, length_s in {"one": 3600.0 * options.hours, "start": 2.0}.items():
        make(folder / side, lengths_s=[length_s], heights=[480], codecs=["h264"])
    (whole,) = (folder / "one").iterdir()
    cut(whole, folder / "sixty", every_s=60.0 * options.hours)

    def cost(side: str, index: int) -> Cost:
        return extract(folder / side, folder / f"store-{side}-{index}", "efficientnet_lite0")

    start_s = cost("start", 0).cpu_s
    rounds = []
    for index in range(options.rounds):
        one, sixty = cost("one", index), cost("sixty", index)
        one_s, sixty_s = one.cpu_s - start_s, sixty.cpu_s - start_s
        busy = one_s / (one.answer["wall_s"] - one.answer["startup_s"])
        rounds.append({"one_cpu_s": one_s, "sixty_cpu_s": sixty_s, "ratio": one_s / sixty_s, "cores_busy": busy})
    return {"hours": options.hours, "ratios": [round(found["ratio"], 3) for found in rounds], **medians(rounds, 3)}


def passes(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """The networks are the smallest of torchvision's, so that decoding counts."""
    models = ("mobilenet_v3_small", "shufflenet_v2_x0_5", "mnasnet0_5")
    names = [f"torchvision/{model}@{weights_file(model)}" for model in models]
    make(folder / "corpus", lengths_s=[30.0] * 8, heights=[720], codecs=["h264"])
    make(folder / "start", lengths_s=[2.0], heights=[720], codecs=["h264"])
    together, start = (extract(folder / part, folder / f"all-{part}", *names) for part in ("corpus", "start"))
    one_by_one = [extract(folder / "corpus", folder / f"store-{i}", name) for i, name in enumerate(names)]
    starts = [extract(folder / "start", folder / f"start-{i}", name) for i, name in enumerate(names)]
    three_s = sum(cost.cpu_s for cost in one_by_one) - sum(cost.cpu_s for cost in starts)
    one_s = together.cpu_s - start.cpu_s
    return {
        "one_pass_cpu_s": round(one_s, 1),
        "three_passes_cpu_s": round(three_s, 1),
        "ratio": round(one_s / three_s, 3),
    }


def write_plan(store_url: str, count: int, features: pa.Schema | None) -> None:
    """A store of so many planned clips of ten to a video, in parts as planning makes them; finished with `features`."""
    from vidray.extractors import describe
    from vidray.media import Clip
    from vidray.planning import FixedStride, blocks_of
    from vidray.store import CLIPS, ERRORS, PROBE, PROBE_ERRORS, VIDEOS, Store, features_schema

    store = Store(store_url)
    store.write_config(FixedStride(PLANNED_S).config)
    if features is not None:
        store.write_spec("nothing", describe(Nothing()))
    for part in range((count + 10 * PLANNED_PART - 1) // (10 * PLANNED_PART)):
        names = [f"/corpus/{part:05d}-{i:04d}.mp4" for i in range(min(PLANNED_PART, count // 10 - part * PLANNED_PART))]
        rows = [
            {
                "video_id": f"{name:>032}",
                "uri": name,
                "size_bytes": 1,
                "fingerprint": "1",
                "status": "ok",
                "duration_s": 10 * PLANNED_S,
                "fps": 25.0,
                "width": 426,
                "height": 240,
                "rotation": 0,
                "video_codec": "h264",
                "corpus": "m",
            }
            for name in names
        ]
        store.write("videos", part, pa.Table.from_pylist(rows, VIDEOS), VIDEOS)
        store.write(f"errors/{PROBE}", part, PROBE_ERRORS.empty_table(), PROBE_ERRORS)
        found = [
            Clip(
                clip_id=f"{row['video_id'][2:]}{i:02d}",
                video_id=row["video_id"],
                uri=row["uri"],
                clip_index=i,
                start_s=PLANNED_S * i,
                end_s=PLANNED_S * (i + 1),
            )
            for row in rows
            for i in range(10)
        ]
        table = [
            {**vars(clip), "part": part, "block": block.number}
            for block in blocks_of(part, found)
            for clip in block.clips
        ]
        if features is not None:
            store.write("errors/nothing", part, ERRORS.empty_table(), ERRORS)
            schema = features_schema(features)
            store.write(
                "features/nothing", part, pa.Table.from_pylist([{**vars(c), "seen": 1} for c in found], schema), schema
            )
        store.write("clips", part, pa.Table.from_pylist(table, CLIPS), CLIPS)
    manifest = Path(store_url + ".csv")
    listed = (row["uri"] for part in store.parts("videos") for row in store.read("videos", part, ["uri"]).to_pylist())
    manifest.write_text("uri,size_bytes,etag\n" + "".join(f"{uri},1,1\n" for uri in listed))


class EmptyPool:
    """Stands in for the pool of workers: stages empty rows for every slice, in this process."""

    stood = True
    lost = nodes_lost = 0

    def __init__(self, store_url: str, cluster: Any, *, say: Any) -> None:
        from vidray.store import Store

        self._store = Store(store_url)

    def equip(self, extractors: Mapping[str, Any], bound: Mapping[str, Any], memory_bytes: int) -> None:
        """No network is held."""

    def __enter__(self) -> EmptyPool:
        return self

    def __exit__(self, *error: object) -> None:
        """Nothing is held."""

    def close(self) -> None:
        """Nothing is held."""

    def receipts(self, tasks: Sequence[Any]) -> Any:
        from vidray.pipeline.worker import receipt_of
        from vidray.store import staged_schema

        schema = staged_schema(Nothing().schema)
        for task in tasks:
            for block in task:
                for item in block.slices:
                    rows = [{**vars(clip), "seen": 1} for clip in block.clips[item.first : item.stop]]
                    table = pa.Table.from_pylist(
                        [{k: v for k, v in row.items() if k in schema.names} for row in rows], schema
                    )
                    self._store.staging.write(item.table, item.key, table)
                    yield receipt_of(item, table, 1.0, 1.0)


def drive(store_url: str) -> None:
    """The driver of one run over a planned store, with the stand-in for the workers; prints the run's counts."""
    import dataclasses

    import vidray.pipeline.extract  # noqa: F401  the module, by way of sys.modules
    from vidray import extract as run_extract
    from vidray.planning import FixedStride

    sys.modules["vidray.pipeline.extract"].Pool = EmptyPool  # type: ignore[attr-defined]
    summary = run_extract(store_url + ".csv", store_url, extractors=[Nothing()], planner=FixedStride(PLANNED_S))
    print(json.dumps(dataclasses.asdict(summary)))


def memory(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    peaks = {}
    for count in (options.few, options.many):
        write_plan(str(folder / f"{count}"), count, None)
        cost = run([sys.executable, __file__, "drive", "--store", str(folder / f"{count}")])
        assert cost.answer["done"] == count, cost.answer
        peaks[count] = cost.peak_bytes
    return {
        "few": options.few,
        "many": options.many,
        "few_peak_mb": peaks[options.few] >> 20,
        "many_peak_mb": peaks[options.many] >> 20,
        "grown_mb": (peaks[options.many] - peaks[options.few]) >> 20,
    }


def rerun(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    write_plan(str(folder / "store"), options.many, Nothing().schema)
    cost = extract(folder / "store.csv", folder / "store", "nothing:Nothing", clip_s=PLANNED_S)
    assert cost.answer["skipped"] == options.many, cost.answer
    return {"clips": options.many, "wall_s": round(cost.wall_s, 2), "cpu_s": round(cost.cpu_s, 2)}


WHAT = {"clips": clips, "long": long, "passes": passes, "memory": memory, "rerun": rerun}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("what", choices=[*WHAT, "drive"])
    parser.add_argument("--few", type=int, default=100)
    parser.add_argument("--many", type=int, default=10_000)
    parser.add_argument("--hours", type=float, default=1.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--store", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.what == "drive":
        drive(options.store)
        return
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps({"what": options.what, **WHAT[options.what](options, Path(folder))}))


if __name__ == "__main__":
    main()

"""What an index costs and gives, beside FAISS's own on the same vectors, in one run and on one thread.

Vectors are of unit length about random centres on two levels, forty clips to a scene and fifty scenes to a topic;
queries are others of the same scenes. Comparing one query with a million vectors of 512 numbers reads 2 GB, some 0.1 s;
all that lists can save is reading. Figures are ratios of CPU seconds of one thread, since machines differ and are busy;
those of workers, and of opening, are of the clock. What is compared runs one after the other.

    python benchmarks/index.py [--clips 1000000] [--dim 512] [--phases lists,workers,codes]

Phases: `lists` builds IVF with fp16 and measures building, opening, searching, filtering and appending; `workers`
builds it again by one and by two workers of one thread each; `codes` builds IVF with RaBitQ and searches. Ends with one
JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

# read when NumPy is loaded
os.environ |= {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}

import faiss
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import vidray
from vidray.index import Index, ann, open_index
from vidray.index.build import SEED

PARTS = 16
QUERIES = 500
FLAT_QUERIES = 30
K = 10
A_SCENE, SCENES_A_TOPIC = 40, 50
SCENE, SPREAD = 0.7, 0.5
"""How far scenes lie from their topic, and clips from their scene, where topics lie 1 from the origin."""

KEPT = (0.5, 0.1, 0.01, 0.001, 0.0001)
GROWTH = 0.01

OPENING = """
import sys, time
import numpy as np
from vidray.index import ann, open_index
def anonymous():
    return sum(int(line.split()[1]) for line in open("/proc/self/smaps_rollup") if line.startswith("Anonymous:"))
ann.threads(1)
queries = np.load(sys.argv[2])
before = anonymous()
began = time.perf_counter()
index = open_index(sys.argv[1])
opened = time.perf_counter() - began
for query in queries:
    index.search(query, 10)
print(opened * 1000, (anonymous() - before) / 1000)
"""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--clips", type=int, default=1_000_000)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--phases", default="lists,workers,codes")
    arguments = parser.parse_args()
    faiss.omp_set_num_threads(1)
    answer: dict[str, Any] = {
        "benchmark": "index", "clips": arguments.clips, "dim": arguments.dim, "cpus": len(os.sched_getaffinity(0)),
        "python": platform.python_version(), "faiss": version("faiss-cpu"), "vidray": vidray.__version__,
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        vectors, queries = write_store(Path(folder), arguments.clips, arguments.dim)
        phases = {"lists": lists, "workers": workers, "codes": codes}
        truth = Truth(vectors, queries)
        answer["flat_ms"] = round(truth.flat_ms, 2)
        for name in arguments.phases.split(","):
            answer |= phases[name](folder, vectors, queries, truth)
            print(json.dumps(answer), file=sys.stderr, flush=True)
    print(json.dumps(answer))


def clustered(rows: int, dim: int, centres: np.ndarray, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    vectors = np.empty((rows, dim), np.float32)
    for first in range(0, rows, 50_000):
        chunk = vectors[first : first + 50_000]
        chunk[:] = SPREAD * rng.standard_normal(chunk.shape, dtype=np.float32)
        chunk += centres[rng.integers(len(centres), size=len(chunk))]
        chunk /= np.linalg.norm(chunk, axis=1, keepdims=True)
    return vectors


def write_store(folder: Path, clips: int, dim: int) -> tuple[np.ndarray, np.ndarray]:
    """A table of clips in parts, as `vidray extract` leaves it; and queries."""
    rng = np.random.default_rng(1)
    scenes = max(2, clips // A_SCENE)
    topics = rng.standard_normal((-(-scenes // SCENES_A_TOPIC), dim), dtype=np.float32)
    centres = SCENE * rng.standard_normal((scenes, dim), dtype=np.float32)
    centres += topics[np.arange(scenes) // SCENES_A_TOPIC]
    vectors = clustered(clips, dim, centres, 2)
    for part, rows in enumerate(np.array_split(np.arange(clips), PARTS)):
        write_part(folder, part, vectors[rows[0] : rows[-1] + 1], int(rows[0]))
    write_part(folder, PARTS, newer(vectors, centres), clips, away=True)
    return vectors, clustered(QUERIES, dim, centres, 3)


def newer(vectors: np.ndarray, centres: np.ndarray) -> np.ndarray:
    return clustered(max(1, round(GROWTH * len(vectors))), vectors.shape[1], centres, 4)


def write_part(folder: Path, part: int, vectors: np.ndarray, first: int, *, away: bool = False) -> None:
    rows = np.arange(first, first + len(vectors))
    table = pa.table(
        {
            "clip_id": [f"{row:032x}" for row in rows],
            "video_id": [f"{row // 6:032x}" for row in rows],
            "uri": [f"s3://corpus/videos/{row // 6:08d}.mp4" for row in rows],
            "start_s": rows % 6 * 10.0,
            "end_s": rows % 6 * 10.0 + 10,
            "embedding": pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), vectors.shape[1]),
        }
    )
    place = folder / ("away" if away else "features/net")
    place.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, place / f"part-{part:05d}.parquet", compression="zstd", row_group_size=8192)


class Truth:
    """What is nearest, by FAISS's own comparison with everything; and how long that takes a query."""

    def __init__(self, vectors: np.ndarray, queries: np.ndarray) -> None:
        flat = faiss.IndexFlatIP(vectors.shape[1])
        flat.add(vectors)
        self.rows = flat.search(queries, K)[1]
        self.flat_ms = 1000 * median(lambda query: flat.search(query, K), queries[:FLAT_QUERIES])

    def recall(self, rows: np.ndarray) -> float:
        return overlap(rows, self.rows)


def overlap(found: np.ndarray, truth: np.ndarray) -> float:
    shared = [len(set(a.tolist()) & set(b.tolist())) for a, b in zip(found, truth, strict=True)]
    return float(np.sum(shared) / truth.size)


def median(search: Callable[[np.ndarray], Any], queries: np.ndarray) -> float:
    search(queries[:1])
    times = []
    for query in queries:
        began = time.process_time()
        search(query[None, :])
        times.append(time.process_time() - began)
    return float(np.median(times))


def clip_rows(index: Index, rows: np.ndarray) -> np.ndarray:
    ids = index.clips(rows.ravel())["clip_id"].to_pylist()
    return np.array([int(clip, 16) for clip in ids]).reshape(rows.shape)


def searched(index: Index, queries: np.ndarray) -> tuple[float, np.ndarray]:
    seconds = median(lambda query: index.search(query, K), queries)
    return seconds, clip_rows(index, index.search(queries, K).rows)


def lists(folder: str, vectors: np.ndarray, queries: np.ndarray, truth: Truth) -> dict[str, Any]:
    _, plain_s = faiss_own(vectors, same_means=False)
    raw, raw_s = faiss_own(vectors)
    factory = f"IVF{raw.nlist},SQfp16"
    build = vidray.build_index  # Ray is imported by now
    began = time.process_time()
    build(folder, extractor="net", factory=factory, workers=1)
    build_s = time.process_time() - began
    place = f"{folder}/index/net"
    faiss.omp_set_num_threads(1)
    np.save(f"{folder}/queries.npy", np.concatenate([queries, queries])[:1000])
    opened = subprocess.run(
        [sys.executable, "-c", OPENING, place, f"{folder}/queries.npy"], capture_output=True, text=True, check=True
    )
    open_ms, anonymous_mb = map(float, opened.stdout.split())
    index = open_index(place)
    first_s = median(lambda query: index.search(query, K), queries)
    # FAISS's own lists are memory that was written a moment ago; files' pages are in this process after a search
    seconds, rows = searched(index, queries)
    raw.nprobe = index.manifest.nprobe
    raw_s_query = median(lambda query: raw.search(query, K), queries)
    answer = {
        "nlist": raw.nlist, "nprobe": raw.nprobe, "segments": len(index.segments),
        "recall": round(truth.recall(rows), 4), "rate_over_flat": round(truth.flat_ms / 1000 / seconds, 1),
        "search_ms": round(1000 * seconds, 3), "first_search_ms": round(1000 * first_s, 3),
        "rate_over_raw_faiss": round(raw_s_query / seconds, 3),
        "build_over_faiss": round(build_s / plain_s, 3),
        "build_over_faiss_with_the_same_means": round(build_s / raw_s, 3), "build_s": round(build_s, 1),
        "open_ms": round(open_ms, 1), "anonymous_mb": round(anonymous_mb, 1),
        "filters": filters(index, vectors, queries, seconds),
    }  # fmt: skip
    return answer | appended(folder, vectors, queries, build_s)


def faiss_own(vectors: np.ndarray, *, same_means: bool = True) -> tuple[Any, float]:
    """FAISS's index of the same kind, by its own train and add, of the same sample.

    With the settings of its k-means that vidray has too, or with those that it comes with.
    """
    nlist = ann.list_count(len(vectors), vectors.shape[1])
    began = time.process_time()
    index = faiss.index_factory(vectors.shape[1], f"IVF{nlist},SQfp16", faiss.METRIC_INNER_PRODUCT)
    index.by_residual = False
    index.cp.seed = SEED
    index.cp.use_super_kmeans = same_means and vectors.shape[1] >= ann.SUPER_KMEANS_DIM
    index.cp.min_points_per_centroid = 1
    count = min(len(vectors), ann.TRAIN_ROWS_PER_LIST * nlist)
    index.train(vectors[np.sort(np.random.default_rng(SEED).choice(len(vectors), count, replace=False))])
    index.add(vectors)
    return index, time.process_time() - began


def filters(index: Index, vectors: np.ndarray, queries: np.ndarray, unfiltered_s: float) -> dict[str, Any]:
    """By clips that are drawn at random: their recall, and the time of a prepared filter over that of none."""
    answer = {}
    some = queries[:100]
    for kept in KEPT:
        made = index.filter(f"hash(clip_id) % 1000000 < {round(kept * 1_000_000)}")
        allowed = np.sort(clip_rows(index, made.rows))
        if not len(allowed):
            # of few clips none may be left
            continue
        scores = some @ vectors[allowed].T
        k = min(K, len(allowed))
        truth = allowed[np.argsort(-scores, axis=1)[:, :k]]
        matches = index.search(some, K, made)
        recall = overlap(clip_rows(index, matches.rows), truth)
        seconds = median(lambda query, made=made: index.search(query, K, made), some)
        answer[f"{kept:.2%}"] = {
            "kept": len(allowed), "hits": matches.rows.shape[1], "recall": round(recall, 4),
            "time_over_unfiltered": round(seconds / unfiltered_s, 2), "lists": matches.work.lists,
        }  # fmt: skip
    return answer


def appended(folder: str, vectors: np.ndarray, queries: np.ndarray, build_s: float) -> dict[str, Any]:
    name = f"part-{PARTS:05d}.parquet"
    fresh = np.concatenate(
        pq.read_table(f"{folder}/away/{name}", columns=["embedding"])["embedding"].combine_chunks().flatten().to_numpy()
        .reshape(1, -1, vectors.shape[1])
    )  # fmt: skip
    os.rename(f"{folder}/away/{name}", f"{folder}/features/net/{name}")
    began = time.process_time()
    info = vidray.build_index(folder, extractor="net", workers=1)
    append_s = time.process_time() - began
    index = open_index(f"{folder}/index/net")
    found = clip_rows(index, index.search(queries, K).rows)
    both = np.concatenate([np.sort(-(queries @ part.T), axis=1)[:, :K] for part in (vectors, fresh)], axis=1)
    tenth = -np.sort(both, axis=1)[:, K - 1 : K]
    scores = np.stack([scored(vectors, fresh, line, query) for line, query in zip(found, queries, strict=True)])
    os.rename(f"{folder}/features/net/{name}", f"{folder}/away/{name}")
    return {
        "append_over_build": round(append_s / build_s, 4), "appended": info.added,
        "recall_after_append": round(float((scores >= tenth - 1e-5).mean()), 4),
    }  # fmt: skip


def scored(vectors: np.ndarray, fresh: np.ndarray, rows: np.ndarray, query: np.ndarray) -> np.ndarray:
    old = rows < len(vectors)
    scores = np.empty(len(rows), np.float32)
    scores[old] = vectors[rows[old]] @ query
    scores[~old] = fresh[rows[~old] - len(vectors)] @ query
    return scores


def workers(folder: str, vectors: np.ndarray, queries: np.ndarray, truth: Truth) -> dict[str, Any]:
    """One worker and two, each of one thread; a cluster's start is no part of it."""
    import ray

    ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False)
    seconds = {}
    for count in (1, 2):
        began = time.perf_counter()
        vidray.build_index(folder, extractor="net", factory="IVF,SQfp16", rebuild=True, workers=count)
        seconds[count] = time.perf_counter() - began
        for name in Path(folder, "index/net/segments").iterdir():
            (name / "built.json").unlink()
    ray.shutdown()
    return {"two_workers_over_one": round(seconds[1] / seconds[2], 3)}


def codes(folder: str, vectors: np.ndarray, queries: np.ndarray, truth: Truth) -> dict[str, Any]:
    vidray.build_index(folder, extractor="net", factory="IVF,RaBitQ", rebuild=True)
    faiss.omp_set_num_threads(1)
    index = open_index(f"{folder}/index/net")
    seconds, rows = searched(index, queries)
    return {
        "codes": {
            "recall": round(truth.recall(rows), 4), "rate_over_flat": round(truth.flat_ms / 1000 / seconds, 1),
            "nprobe": index.manifest.nprobe, "rerank": index.manifest.measured[0].rerank,
        }
    }  # fmt: skip


if __name__ == "__main__":
    main()

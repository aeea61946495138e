"""How many planted copies are found, and how many that are none; and what a self-join costs beside an exact one.

Copies are of pieces of 5 s of a real music video (`planted.py`), which the thresholds were not set on: re-encoded,
cropped by up to 15% of each side, bordered, captioned on up to 15% of the height, at other frame rates, trimmed to
30%, and 5 s inside another piece. A copy is found where a group tells a stretch of it and of its piece, at least half
of what they share; borders are compared where they stand in both. What a group tells of two stretches that show other
moments is false. Scenes: the shots of the same video by themselves, of which those pairs that look most alike are
compared, each whole, whether a candidate or not: they show the same people in the same places, and are no copies.

The self-join compares each of so many clips with the lists nearest to it; the exact one with all, and is measured on a
sample of the clips. CPU seconds of one thread.

    python benchmarks/duplicates.py [--pieces 40] [--pairs 500] [--clips 200000] [--folder DIR] [--phases ...]

Ends with one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

# read when NumPy is loaded
os.environ |= {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}

import numpy as np
from planted import KINDS, REPEATED, REUSED, Planted, Span, encode, music_video, pieces_of, plant, shots_of

import vidray
from vidray.duplicates.alignment import align
from vidray.duplicates.finding import THRESHOLD
from vidray.duplicates.pictures import PictureFile, read_videos
from vidray.duplicates.table import Copies
from vidray.store import Store

EMBEDDINGS = "efficientnet_lite0"
SEED = 7
BORDER_S = 0.5
MOMENT_S = 0.75
"""Two moments of one piece that are further apart are others."""

LEAST_SHARED_S = 0.5
"""Of two stretches that are told of one kept stretch: less is what their borders are uncertain by."""

SHORTEST_SHOT_S = 1.2
SAMPLE = 2_000
DIM = 512
NEIGHBOURS, LEAST = 10, 0.5
"""As candidates are looked for."""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--pieces", type=int, default=40)
    parser.add_argument("--pairs", type=int, default=500)
    parser.add_argument("--clips", type=int, default=200_000)
    parser.add_argument("--folder", help="where files are made and kept, to go on from (a temporary one)")
    parser.add_argument("--phases", default="copies,scenes,join")
    arguments = parser.parse_args()
    answer: dict[str, Any] = {
        "benchmark": "duplicates", "python": platform.python_version(), "vidray": vidray.__version__,
        "threshold": THRESHOLD,
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(arguments.folder or scratch)
        phases = {"copies": copies, "scenes": scenes, "join": join}
        for name in arguments.phases.split(","):
            answer |= phases[name](folder, arguments)
            print(json.dumps(answer), file=sys.stderr, flush=True)
    print(json.dumps(answer))


def copies(folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    pieces = pieces_of(music_video(), arguments.pieces)
    planted = plant(folder / "copies", pieces, seed=SEED)
    groups = found_in(folder / "copies")
    relations = list(related(groups))
    by_kind: dict[str, list[float | None]] = {kind: [] for kind in KINDS}
    for one in planted:
        if one.kind != "piece":
            by_kind[one.kind].append(border_error(one, f"piece-{one.piece:03d}.mp4", relations))
    told = {}
    for kind, errors in by_kind.items():
        seen = [error for error in errors if error is not None]
        told[kind] = {
            "copies": len(errors), "found": round(len(seen) / len(errors), 4),
            "borders_within": round(sum(error <= BORDER_S for error in seen) / max(1, len(seen)), 4),
        }  # fmt: skip
    false = [relation for relation in relations if is_false(relation, {one.file: one for one in planted})]
    for relation in false:
        print("false:", relation, file=sys.stderr)
    return {"pieces": len(pieces), "planted": told, "groups": len(groups), "false": len(false), "told": len(relations)}


def found_in(corpus: Path) -> Sequence[Copies]:
    store = f"{corpus}-store"
    vidray.extract(str(corpus), store, extractors=["phash", EMBEDDINGS])
    return vidray.find_duplicates(store).groups


Stretch = tuple[str, Span]


def related(groups: Sequence[Copies]) -> Iterator[tuple[Stretch, Stretch]]:
    """All pairs of stretches that groups tell, each of what both share of the kept one."""
    for group in groups:
        kept = group.keep.start_s, group.keep.end_s
        told = [(Path(group.keep.uri).name, kept[0], kept)]
        told += [(Path(one.uri).name, one.start_s, one.of) for one in group.members]
        for place, (one, one_s, of_one) in enumerate(told):
            for other, other_s, of_other in told[:place]:
                low, high = max(of_one[0], of_other[0]), min(of_one[1], of_other[1])
                if high - low >= LEAST_SHARED_S and one != other:
                    on_one, on_other = one_s - of_one[0], other_s - of_other[0]
                    yield (one, (low + on_one, high + on_one)), (other, (low + on_other, high + on_other))


def border_error(copy: Planted, piece: str, relations: Sequence[tuple[Stretch, Stretch]]) -> float | None:
    """Of the stretch that is told of a copy and its piece, in seconds; None where not half of it is."""
    at, _, span = copy.content[0]
    best = None
    for pair in relations:
        stretches = dict(pair)
        if set(stretches) == {copy.file, piece}:
            error = max(
                abs(a - b) for a, b in zip((*stretches[copy.file], *stretches[piece]), (*at, *span), strict=True)
            )
            shared = min(stretches[piece][1], span[1]) - max(stretches[piece][0], span[0])
            if shared >= 0.5 * (span[1] - span[0]) and (best is None or error < best):
                best = error
    return best


def is_false(relation: tuple[Stretch, Stretch], planted: dict[str, Planted]) -> bool:
    """Whether most of what is told of two stretches is of other moments."""
    steps = np.linspace(0.05, 0.95, 19)
    shown = []
    for file, (start_s, end_s) in relation:
        shown.append([moment(planted[file], start_s + step * (end_s - start_s)) for step in steps])
    same = [
        one is not None and other is not None and one[0] == other[0] and abs(one[1] - other[1]) <= MOMENT_S
        for one, other in zip(*shown, strict=True)
    ]
    return sum(same) < len(same) / 2


def moment(file: Planted, at_s: float) -> tuple[int, float] | None:
    """The piece that a file shows at some time, the earliest that has this footage, and when that is in the piece."""
    for (start_s, end_s), piece, (from_s, to_s) in file.content:
        if start_s <= at_s < end_s:
            moment_s = from_s + (at_s - start_s) / (end_s - start_s) * (to_s - from_s)
            if piece in REPEATED:
                (first_s, last_s), earlier, there_s = REPEATED[piece]
                if first_s <= moment_s < last_s:
                    return earlier, there_s + moment_s - first_s
            return piece, moment_s
    return None


def scenes(folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    shots = shots_of(music_video(), SHORTEST_SHOT_S)
    corpus = folder / "scenes"
    corpus.mkdir(parents=True, exist_ok=True)
    for number, shot in enumerate(shots):
        encode(corpus / f"shot-{number:03d}.mp4", shot, preset="veryfast", crf="20")
    groups = found_in(corpus)
    store = Store(f"{corpus}-store")
    videos = read_videos(store, "phash")
    rows = [store.read(f"features/{EMBEDDINGS}", part, ["video_id", "embedding"]) for part in store.parts("clips")]
    vectors = {row["video_id"]: row["embedding"] for table in rows for row in reversed(table.to_pylist())}
    matrix = np.array([vectors[video.video_id] for video in videos], np.float32)
    matrix /= np.linalg.norm(matrix, axis=1, keepdims=True)
    one, other = np.triu_indices(len(videos), 1)
    likeness = np.einsum("ij,ij->i", matrix[one], matrix[other])
    best = np.argsort(-likeness, kind="stable")[: arguments.pairs]
    scores: list[float] = []
    false = reused = 0
    with PictureFile(store, "phash", videos) as pictures:
        for pair in best.tolist():
            both = videos[one[pair]], videos[other[pair]]
            if tuple(sorted(int(Path(video.uri).stem.split("-")[1]) for video in both)) in REUSED:
                reused += 1
                continue
            first, second = map(pictures.of, both)
            found = align(first, second, slice(0, len(first)), slice(0, len(second)))
            scores.append(0.0 if found is None else found.score)
            if found is not None and found.reaches(THRESHOLD):
                false += 1
                print("false:", both[0].uri, both[1].uri, found, file=sys.stderr)
    return {
        "shots": len(shots), "scene_pairs": len(scores), "least_cosine": round(float(likeness[best[-1]]), 3),
        "scene_groups": len(groups), "scene_pairs_false": false, "scene_pairs_reused": reused,
        "highest_score": round(max(scores, default=0.0), 3),
    }  # fmt: skip


def join(folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    import faiss
    from index import A_SCENE, SCENE, SCENES_A_TOPIC, clustered

    from vidray.index.join import self_join

    draw = np.random.default_rng(SEED)
    count = arguments.clips // A_SCENE
    topics = draw.standard_normal((-(-count // SCENES_A_TOPIC), DIM), dtype=np.float32)
    centres = SCENE * draw.standard_normal((count, DIM), dtype=np.float32) + topics[np.arange(count) // SCENES_A_TOPIC]
    vectors = clustered(arguments.clips, DIM, centres, SEED).astype(np.float16)
    faiss.omp_set_num_threads(1)
    began = time.process_time()
    one, other, _ = self_join(vectors, k=NEIGHBOURS, least=LEAST)
    joined_s = time.process_time() - began
    rows = np.sort(draw.choice(len(vectors), min(SAMPLE, len(vectors)), replace=False))
    flat = faiss.IndexFlatIP(DIM)
    flat.add(vectors.astype(np.float32))
    began = time.process_time()
    scores, near = flat.search(vectors[rows].astype(np.float32), NEIGHBOURS + 1)
    exact_s = (time.process_time() - began) * len(vectors) / len(rows)
    pairs = set(zip(one.tolist(), other.tolist(), strict=True))
    truth = {
        (min(row, found), max(row, found))
        for row, some, likely in zip(rows.tolist(), near.tolist(), scores.tolist(), strict=True)
        for found, score in zip(some, likely, strict=True)
        if found != row and score >= LEAST
    }
    return {
        "join_clips": len(vectors), "join_pairs": len(pairs), "join_truth": len(truth),
        "join_recall": round(len(truth & pairs) / max(1, len(truth)), 4),
        "join_over_exact": round(exact_s / joined_s, 2), "join_s": round(joined_s, 1),
    }  # fmt: skip


if __name__ == "__main__":
    main()

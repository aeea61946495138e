"""The work of a build that is done segment by segment, wherever: drawing a sample, encoding parts, merging segments.

A job is small and picklable, its result too. What is written is written whole, under a name that says what it is made
of, so that a job that is done is not done again.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vidray.errors import IndexFileError
from vidray.index.ann import F16, Encoder, Layout
from vidray.index.embeddings import Metric, PartReader, Seen
from vidray.index.files import describe, sha256_of, workspace
from vidray.index.identities import IdentityWriter
from vidray.index.manifest import IDS_FILE, REBUILD, SEGMENTS, File, Part, Run, Segment, segment_of
from vidray.index.segment import OpenSegment, merge, write_lists
from vidray.storage import Folder

BUILT_FILE = "built.json"
"""What a segment was made of, with the fingerprints of then; the last of its files to be written."""


@dataclass(frozen=True, kw_only=True)
class SampleJob:
    """Rows of some parts, by their numbers within each, ascending; those that cannot be compared are passed over."""

    features: str
    index: str
    parts: tuple[tuple[str, npt.NDArray[np.int64]], ...]
    metric: Metric
    dim: int


@dataclass(frozen=True, kw_only=True)
class EncodeJob:
    """Parts that become one segment, whose row 0 is the index's row `base`."""

    features: str
    index: str
    parts: tuple[Seen, ...]
    base: int
    metric: Metric
    layout: Layout
    centroids: Mapping[str, File]

    @property
    def name(self) -> str:
        """Of the segment: the same for the same parts, laid out alike."""
        parts = [[part.name, part.size_bytes] for part in self.parts]
        return _name(self.base, [parts, self.metric, asdict(self.layout), sorted(self.centroids)])


@dataclass(frozen=True, kw_only=True)
class Encoded:
    """What became of the parts; no segment where none of their rows can be compared."""

    segment: Segment | None
    parts: tuple[Part, ...]


@dataclass(frozen=True, kw_only=True)
class MergeJob:
    """Segments that become one, of what is alive in them."""

    index: str
    segments: tuple[Segment, ...]
    layout: Layout

    @property
    def name(self) -> str:
        alive = [[segment.name, [asdict(run) for run in segment.runs]] for segment in self.segments]
        return _name(self.segments[0].base, alive)


def _name(base: int, made_of: Any) -> str:
    return f"{base:012d}-{hashlib.sha256(json.dumps(made_of).encode()).hexdigest()[:16]}"


def sample(job: SampleJob) -> F16:
    """The vectors of the rows that were drawn, in order."""
    drawn: list[F16] = [np.empty((0, job.dim), np.float16)]
    with workspace(Folder(job.index)) as work:
        for name, rows in job.parts:
            with PartReader(Folder(job.features), name, job.metric, work, dim=job.dim) as part:
                drawn += part.vectors(rows)
    return np.concatenate(drawn)


def encode(job: EncodeJob) -> Encoded:
    """Write one segment, unless an earlier run has written it of the same files."""
    target = Folder(job.index)
    done = _already(target, job)
    if done is not None:
        return done
    with workspace(target) as work:
        folder = work / job.name
        folder.mkdir()
        encoder = Encoder(job.layout, centroids_of(target, job.centroids, job.layout, work))
        parts, runs = _collect(job, encoder, folder, work)
        rows = sum(run.clips for run in runs)
        encoded = Encoded(segment=None, parts=tuple(parts))
        if rows:
            encoded = Encoded(segment=_segment(folder, job.name, job.base, rows, runs), parts=tuple(parts))
        _place(target, folder, {**asdict(encoded), "fingerprints": [part.fingerprint for part in job.parts]})
    return encoded


def _collect(job: EncodeJob, encoder: Encoder, folder: Path, work: Path) -> tuple[list[Part], list[Run]]:
    """Read the parts once: identities and vectors go to files, and the vectors from there into the lists."""
    parts: list[Part] = []
    runs: list[Run] = []
    lists: list[npt.NDArray[np.int32]] = [np.empty(0, np.int32)]
    scratch, count = work / "vectors.f16", 0
    with scratch.open("wb") as vectors, IdentityWriter(folder / IDS_FILE) as ids:
        for seen in job.parts:
            first = count
            with PartReader(Folder(job.features), seen.name, job.metric, work, dim=job.layout.dim) as part:
                sha256 = sha256_of(part.file)
                for batch in part.batches():
                    vectors.write(batch.vectors.tobytes())
                    ids.write(batch.identities)
                    lists.append(encoder.assign(batch.vectors))
                    count += len(batch.rows)
                left_out = {reason: rows for reason, rows in part.left_out.items() if rows}
                size_bytes, rows = os.fstat(part.file.fileno()).st_size, part.rows
            parts.append(
                Part(name=seen.name, size_bytes=size_bytes, sha256=sha256, rows=rows, clips=count - first,
                     left_out=left_out)
            )  # fmt: skip
            runs.append(Run(part=seen.name, first=first, clips=count - first))
    if count:
        whole = np.memmap(scratch, np.float16, "r", shape=(count, job.layout.dim))
        write_lists(folder, whole, np.concatenate(lists), job.base, encoder)
    os.unlink(scratch)
    return parts, [run for run in runs if run.clips]


def merge_segments(job: MergeJob) -> Segment:
    """Write one segment of what is alive in several. Raises IndexFileError where one of them is damaged."""
    target = Folder(job.index)
    done = _already(target, job)
    if done is not None and done.segment is not None:
        return done.segment
    with workspace(target) as work:
        folder = work / job.name
        folder.mkdir()
        sources = [open_segment(target, segment, job.layout, work, every=True) for segment in job.segments]
        base = job.segments[0].base
        runs = merge(folder, sources, job.layout, base)
        segment = _segment(folder, job.name, base, sum(run.clips for run in runs), runs)
        _place(target, folder, {"segment": asdict(segment), "parts": [], "fingerprints": []})
    return segment


def open_segment(index: Folder, segment: Segment, layout: Layout, work: Path, *, every: bool) -> OpenSegment:
    """Open one segment by itself; of a remote index, from a copy. Raises IndexFileError."""
    place = f"{SEGMENTS}/{segment.name}"
    folder = local_files(index, place, segment.files, work, every=every)
    return OpenSegment.open(folder, segment, layout)


def centroids_of(index: Folder, files: Mapping[str, File], layout: Layout, work: Path) -> npt.NDArray[np.float32]:
    """The centroids, (nlist, dim); zeros where there is one list and nothing to choose."""
    for name in files:
        folder = local_files(index, "", files, work, every=True)
        return read_centroids(folder / name, layout)
    return np.zeros((1, layout.dim), np.float32)


def read_centroids(path: Path, layout: Layout) -> npt.NDArray[np.float32]:
    """The centroids in a file, mapped. Raises IndexFileError where they are not as many as the lists."""
    values = np.memmap(path, "<f4", "r") if path.stat().st_size % 4 == 0 else np.empty(0, np.float32)
    if values.size != layout.nlist * layout.dim:
        raise IndexFileError(f"{path.name} does not have {layout.nlist} centroids")
    if not np.isfinite(values).all():
        raise IndexFileError(f"{path.name} is damaged: centroids that are no numbers")
    return values.reshape(layout.nlist, layout.dim)


def local_files(index: Folder, place: str, files: Mapping[str, File], work: Path, *, every: bool) -> Path:
    """A local folder with these files of a folder of the index, checked. Raises IndexFileError."""
    folder = Path(index.path(place)) if index.local else work / "copies" / place
    for name, file in files.items():
        path, where = folder / name, f"{index.url}/{place}/{name}"
        try:
            if not index.local and not path.exists():
                path.parent.mkdir(parents=True, exist_ok=True)
                index.fs.get_file(index.path(f"{place}/{name}" if place else name), str(path))
            same = path.stat().st_size == file.size_bytes and (not every or describe(path).sha256 == file.sha256)
        except FileNotFoundError as e:
            raise IndexFileError(f"{where} is missing; {REBUILD}") from e
        if not same:
            raise IndexFileError(f"{where} is damaged: its size or sha256 is not the manifest's; {REBUILD}")
    return folder


def _segment(folder: Path, name: str, base: int, rows: int, runs: Any) -> Segment:
    files = {path.name: describe(path) for path in sorted(folder.iterdir())}
    return Segment(name=name, base=base, rows=rows, runs=tuple(runs), files=files)


def _already(target: Folder, job: EncodeJob | MergeJob) -> Encoded | None:
    """What an earlier run has written for a job, if its parts have not been written since."""
    try:
        known = json.loads(target.read_bytes(f"{SEGMENTS}/{job.name}/{BUILT_FILE}"))
        seen = [part.fingerprint for part in job.parts] if isinstance(job, EncodeJob) else []
        if known["fingerprints"] != seen:
            return None
        segment = None if known["segment"] is None else segment_of(known["segment"])
        if segment is not None and not _is_whole(target, segment):
            return None
        return Encoded(segment=segment, parts=tuple(Part(**part) for part in known["parts"]))
    except (FileNotFoundError, ValueError, TypeError, KeyError):
        return None


def _is_whole(index: Folder, segment: Segment) -> bool:
    """Whether the files of a segment are as they were written; of a remote index only their sizes are asked for."""
    place = f"{SEGMENTS}/{segment.name}"
    if not index.local:
        sizes = index.sizes(place)
        return all(sizes.get(f"{place}/{name}") == file.size_bytes for name, file in segment.files.items())
    folder = Path(index.path(place))
    return all((folder / name).is_file() and describe(folder / name) == file for name, file in segment.files.items())


def _place(target: Folder, folder: Path, built: Mapping[str, Any]) -> None:
    """Put a segment where it belongs, with what it was built from last."""
    place = f"{SEGMENTS}/{folder.name}"
    target.remove_tree(place)
    (folder / BUILT_FILE).write_text(json.dumps(built))
    if target.local:
        # a temporary directory is its owner's alone; an index is for whoever may read the folder that it is in
        os.chmod(folder, Path(target.root).stat().st_mode & 0o777)
        Path(target.path(SEGMENTS)).mkdir(exist_ok=True)
        shutil.move(str(folder), target.path(place))
        return
    for path in sorted(folder.iterdir(), key=lambda path: path.name == BUILT_FILE):
        target.fs.put_file(str(path), target.path(f"{place}/{path.name}"))

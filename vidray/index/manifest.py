"""What an index is and what it was built from: its manifest, of parts, segments and their files."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, cast

from vidray.errors import IndexFileError
from vidray.index.ann import Layout
from vidray.index.embeddings import REASONS, Metric

FORMAT = 2
CENTROIDS = "centroids-{sha256}.f32"
SEGMENTS = "segments"
IDS_FILE = "ids.arrow"
LISTS_FILE = "lists.bin"
SIZES_FILE = "sizes.u32"
PLACES_FILE = "places.u64"
VECTORS_FILE = "vectors.f16"
REBUILD = "run vidray index again"
SEGMENT_NAME = re.compile(r"\d{12}-[0-9a-f]{16}")
CENTROIDS_NAME = re.compile(r"centroids-[0-9a-f]{16}\.f32")


@dataclass(frozen=True, kw_only=True)
class Part:
    """One Parquet file that the index was built from; `clips` of its `rows` are in the index.

    Attributes:
        left_out: The others, by reason: `null` (a clip without audio, say), `zero`, `not_finite`, `too_large`.
    """

    name: str
    size_bytes: int
    sha256: str
    rows: int
    clips: int
    left_out: Mapping[str, int]


@dataclass(frozen=True, kw_only=True)
class File:
    """One file of the index."""

    size_bytes: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Run:
    """Rows `first` to `first + clips` of a segment are of this part."""

    part: str
    first: int
    clips: int


@dataclass(frozen=True, kw_only=True)
class Segment:
    """Some parts' clips, written once.

    Attributes:
        name: Its folder.
        base: The index's row that is this segment's row 0; between segments, rows may belong to nobody.
        rows: How many it has.
        runs: What of it is alive, in order; rows of parts that changed since, or went, belong to none.
        files: By their names in its folder.
    """

    name: str
    base: int
    rows: int
    runs: tuple[Run, ...]
    files: Mapping[str, File]

    @property
    def clips(self) -> int:
        return sum(run.clips for run in self.runs)


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What was measured against exact search, by clips of the index.

    Attributes:
        kept: The share of the clips, drawn at random, that a filter kept; 1.0 without one.
        nprobe: Into how many lists a search looks.
        rerank: How many of the best by their codes it compares as fp16; 0 where codes are fp16.
        recall_at_10: Of the ten best clips, how many it finds then.
    """

    kept: float
    nprobe: int
    rerank: int
    recall_at_10: float


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What an index is and what it was built from.

    Attributes:
        features: The table: relative to the index where both are in one store, else its URL.
        spec_sha256: Of the table's `_spec.json`, None where it has none.
        parts: By name.
        clips: How many are alive in the index.
        trained_on: How many there were when its centroids were trained.
        dim, nlist, codec: See `Layout`.
        asked: The factory that was asked for, and goes on to be; None where the number of clips decides.
        measured: Without a filter first, then with filters that keep less and less.
        centroids: Their file and its name; None where the index is exact.
    """

    features: str
    spec_sha256: str | None
    parts: tuple[Part, ...]
    clips: int
    trained_on: int
    metric: Metric
    dim: int
    nlist: int
    codec: Literal["fp16", "rabitq"]
    asked: str | None
    measured: tuple[Measured, ...]
    centroids: Mapping[str, File]
    segments: tuple[Segment, ...]

    @property
    def layout(self) -> Layout:
        return Layout(dim=self.dim, nlist=self.nlist, codec=self.codec)

    @property
    def factory(self) -> str:
        """FAISS's name of what it is."""
        return self.layout.factory

    @property
    def nprobe(self) -> int:
        """How many lists a search without a filter looks into, for the recall that was measured."""
        return self.measured[0].nprobe

    @property
    def recall_at_10(self) -> float:
        return self.measured[0].recall_at_10

    @property
    def left_out(self) -> dict[str, int]:
        """Rows that cannot be compared, by reason."""
        return {reason: sum(part.left_out.get(reason, 0) for part in self.parts) for reason in REASONS}

    @property
    def files(self) -> dict[str, File]:
        """All files, by their names relative to the index's folder."""
        segments = {f"{SEGMENTS}/{s.name}/{name}": file for s in self.segments for name, file in s.files.items()}
        return {**self.centroids, **segments}

    def to_bytes(self) -> bytes:
        """As JSON; `parse_manifest` reads it."""
        return (json.dumps({"format": FORMAT, **asdict(self)}, indent=1) + "\n").encode()


def parse_manifest(data: bytes, where: str) -> Manifest:
    """The manifest in a JSON document; raises IndexFileError."""
    try:
        values = json.loads(data)
        written = values.pop("format")
        if written != FORMAT:
            raise IndexFileError(f"{where}: index format {written!r}, this vidray opens {FORMAT}; {REBUILD}")
        values["parts"] = _all(Part, values["parts"])
        values["measured"] = _all(Measured, values["measured"])
        values["centroids"] = _files(values["centroids"])
        values["segments"] = tuple(segment_of(segment) for segment in values["segments"])
        manifest = cast(Manifest, _typed(Manifest, values))
        _check(manifest)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as e:
        raise IndexFileError(f"{where}: not a manifest of an index ({e}); {REBUILD}") from e
    return manifest


def segment_of(values: Mapping[str, Any]) -> Segment:
    """A segment from what `asdict` made of it; raises TypeError, KeyError or ValueError."""
    runs = _all(Run, values["runs"])
    segment = cast(Segment, _typed(Segment, {**values, "runs": runs, "files": _files(values["files"])}))
    end = 0
    for run in runs:
        if run.first < end or run.clips < 0:
            raise ValueError(f"segment {segment.name} has overlapping runs")
        end = run.first + run.clips
    if not SEGMENT_NAME.fullmatch(segment.name) or segment.base < 0 or end > segment.rows:
        raise ValueError(f"segment {segment.name!r:.60} does not add up")
    return segment


def _check(manifest: Manifest) -> None:
    layout = manifest.layout
    clips = sum(segment.clips for segment in manifest.segments)
    named = {run.part for segment in manifest.segments for run in segment.runs}
    if clips != manifest.clips or clips < 1 or not named <= {part.name for part in manifest.parts}:
        raise ValueError("its parts and segments do not add up")
    if manifest.metric not in ("cosine", "inner_product") or not manifest.measured:
        raise ValueError("its numbers cannot be")
    if not all(0 < m.kept <= 1 and 0 < m.nprobe <= layout.nlist and m.rerank >= 0 for m in manifest.measured):
        raise ValueError("what was measured cannot be")
    if any(not CENTROIDS_NAME.fullmatch(name) for name in manifest.centroids):
        raise ValueError("its centroids have another's name")
    if len(manifest.centroids) != (layout.nlist > 1):
        raise ValueError("its centroids are missing")
    end, expected = 0, segment_files(manifest.codec)
    for segment in manifest.segments:
        if segment.base < end or set(segment.files) != expected:
            raise ValueError(f"segment {segment.name} does not fit in")
        end = segment.base + segment.rows


def segment_files(codec: str) -> set[str]:
    """The names of a segment's files."""
    return {IDS_FILE, LISTS_FILE, SIZES_FILE, PLACES_FILE} | ({VECTORS_FILE} if codec == "rabitq" else set())


def _all(kind: type[Any], values: Any) -> tuple[Any, ...]:
    return tuple(_typed(kind, value) for value in values)


def _files(values: Mapping[str, Any]) -> dict[str, File]:
    return {name: _typed(File, file) for name, file in values.items()}


_TYPES: dict[str, tuple[type, ...]] = {
    "str": (str,), "str | None": (str, type(None)), "int": (int,), "float": (float, int), "Metric": (str,),
    "Literal['fp16', 'rabitq']": (str,), 'Literal["fp16", "rabitq"]': (str,),
}  # fmt: skip
_CONTAINERS = {"tuple": tuple, "Mapping": dict}


def _typed(kind: type[Any], values: Mapping[str, object]) -> Any:
    for field in fields(kind):
        value = values[field.name]
        name = str(field.type)
        allowed = _TYPES.get(name) or (_CONTAINERS[name.partition("[")[0]],)
        if not isinstance(value, allowed) or isinstance(value, bool):
            raise TypeError(f"{field.name} is {value!r:.60}")
    if "left_out" in values and not all(type(count) is int for count in cast(Any, values["left_out"]).values()):
        raise TypeError("left_out is not of counts")
    return kind(**values)

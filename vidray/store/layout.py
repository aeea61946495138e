"""The layout on disk: names, schemas and kinds of tables. Nobody else writes or reads a name."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import pyarrow as pa

from vidray.errors import UsageError
from vidray.storage import STAGING, Folder

FORMAT = 1
PROBE = "_probe"
PROBE_TABLE = f"errors/{PROBE}"
SPEC_FILE = "_spec.json"
"""What made a table, in the table's folder."""
INTENT = "_intent.json"
AGAIN = "again"
GROWN = "grown"
INPUTS = "inputs.json"
"""Of what a part is being made, beside its staged slices."""
ROW_GROUP_ROWS = 8192
ROW_GROUP_BYTES = 64 << 20
"""A row group is read whole: wide rows, such as images, come in fewer of them."""
STREAM_ROWS = 1024
READS_AT_ONCE = 16
"""On remote storage most of the time goes by waiting."""

VIDEOS = pa.schema(
    [
        ("video_id", pa.string()),
        ("uri", pa.string()),
        ("size_bytes", pa.int64()),
        ("fingerprint", pa.string()),
        ("status", pa.string()),
        ("duration_s", pa.float64()),
        ("fps", pa.float64()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("rotation", pa.int32()),
        ("video_codec", pa.string()),
        ("audio_codec", pa.string()),
        ("sample_rate", pa.int32()),
        ("audio_tracks", pa.string()),
        ("holes", pa.list_(pa.list_(pa.float64()))),
        ("corpus", pa.string()),
    ]
)
LISTED = pa.schema([VIDEOS.field(name) for name in ("video_id", "uri", "fingerprint", "status", "corpus")])
"""What a listing is compared with."""
CLIPS = pa.schema(
    [
        ("clip_id", pa.string()),
        ("video_id", pa.string()),
        ("uri", pa.string()),
        ("clip_index", pa.int32()),
        ("start_s", pa.float64()),
        ("end_s", pa.float64()),
        ("part", pa.int32()),
        ("block", pa.int32()),
        ("starts_shot", pa.bool_()),
    ]
)
IDENTITY = pa.schema(
    [
        ("clip_id", pa.string()),
        ("video_id", pa.string()),
        ("uri", pa.string()),
        ("start_s", pa.float64()),
        ("end_s", pa.float64()),
    ]
)
VIDEO_IDENTITY = pa.schema([("video_id", pa.string()), ("uri", pa.string())])
FAILURE = pa.schema([("stage", pa.string()), ("kind", pa.string()), ("message", pa.string())])
ERRORS = pa.schema([*IDENTITY, *FAILURE])
PROBE_ERRORS = pa.schema([("video_id", pa.string()), ("uri", pa.string()), *FAILURE])
WARNING = pa.field("decode_warning", pa.string())
VIDEO_ROW = "video_row"
RESERVED = frozenset({*IDENTITY.names, *CLIPS.names, *FAILURE.names, WARNING.name, VIDEO_ROW})
"""Columns that no extractor may have."""
SCORED = pa.schema([("label", pa.string()), ("score", pa.float32()), ("source", pa.string())])
LABELS = pa.schema([*IDENTITY, *SCORED])
VIDEO_LABELS = pa.schema([("video_id", pa.string()), ("uri", pa.string()), *SCORED])
DUPLICATES = pa.schema(
    [
        ("group_id", pa.string()),
        *IDENTITY,
        ("of_clip_id", pa.string()),
        ("of_video_id", pa.string()),
        ("of_uri", pa.string()),
        ("of_start_s", pa.float64()),
        ("of_end_s", pa.float64()),
        ("score", pa.float32()),
        ("keep", pa.bool_()),
        ("why", pa.string()),
    ]
)
"""A row is what a clip shares with the video that is kept of its group: `start_s` and `end_s` are the shared span's."""
HUMAN = "human"
"""The `source` of labels that a person gave; a model's have the kind of its labeler."""

SEAL_FILE = re.compile(r"_part-(\d{5,})\.json$")
PART_FILE = re.compile(r"part-(\d{5,})\.parquet$")
STAGED_FILE = re.compile(r"_staging/([^/]+)/part-(\d{5,})/([^/]+)")
SLICE_FILE = re.compile(r"part-(\d{5,})/block-(\d{4,})\.s(\d+)of(\d+)\.parquet$")


@dataclass(frozen=True, order=True)
class SliceKey:
    """One staged file: a run of clips inside a block, for one extractor."""

    part: int
    block: int
    index: int
    count: int

    @property
    def file(self) -> str:
        return f"part-{self.part:05d}/block-{self.block:04d}.s{self.index:02d}of{self.count:02d}.parquet"


def features_of(name: str) -> str:
    """Where a feature table lies, relative to the store."""
    return f"features/{name}"


def video_features_of(name: str) -> str:
    """Where the rows of videos lie, of an extractor that has such."""
    return f"video_features/{name}"


def errors_of(name: str) -> str:
    """Where the failures of an extractor lie."""
    return f"errors/{name}"


def labels_of(name: str) -> str:
    """Where the labels of clips lie, by their name."""
    return f"labels/{name}"


def video_labels_of(name: str) -> str:
    """Where the labels of videos lie, by their name."""
    return f"video_labels/{name}"


def duplicates_of(name: str) -> str:
    """The table of near-duplicates of this name."""
    return f"duplicates/{name}"


def imports_of(name: str) -> str:
    """Where the imports of people's labels are kept, so that one can be undone."""
    return f"{labels_of(name)}/_imports"


def head_of(name: str) -> str:
    """Where a trained head lies."""
    return f"heads/{name}"


def index_of(name: str) -> str:
    """Where the index of a feature table lies."""
    return f"index/{name}"


def run_file(run_id: str) -> str:
    """Where the record of a run stands."""
    return f"runs/{run_id}.json"


def staged_of(name: str) -> str:
    """Where all that is staged of one extractor lies."""
    return f"{STAGING}/{name}"


def of_store(features_url: str) -> tuple[str, str] | None:
    """The store's URL and the name of a feature table, by the URL of its folder; None where it is in no store."""
    store, is_of_store, name = features_url.rpartition("/features/")
    return (store, name) if is_of_store else None


def split_table(table: str) -> tuple[str, str]:
    """The kind and the name of a table: `features` and `yamnet` of `features/yamnet`."""
    kind, _, name = table.partition("/")
    return kind, name


def part_file(table: str, part: int) -> str:
    """The name of one part of a table, relative to the store: `clips/part-00000.parquet`."""
    return f"{table}/part-{part:05d}.parquet"


def seal_file(table: str, part: int) -> str:
    """Where it stands what the bytes of a part are to be: beside it, passed over by readers of Parquet folders."""
    return f"{table}/_part-{part:05d}.json"


def spec_sha256(features: Folder) -> str | None:
    """The hash of what made the table in a folder, None where it does not say."""
    try:
        return hashlib.sha256(features.read_bytes(SPEC_FILE)).hexdigest()
    except FileNotFoundError:
        return None


def staging_of(table: str, part: int) -> str:
    """Where the slices of one part are staged, relative to the store."""
    return f"{staged_of(table)}/part-{part:05d}"


def inputs_file(table: str, part: int) -> str:
    """Where it stands what a part of a derived table was made from."""
    return f"{features_of(table)}/_inputs-{part:05d}.json"


def features_schema(columns: pa.Schema) -> pa.Schema:
    return pa.schema([*IDENTITY, *columns, WARNING])


def staged_schema(columns: pa.Schema, video_columns: pa.Schema | None = None) -> pa.Schema:
    """A staged slice holds successes and failures in plan order; `kind` tells them apart.

    Where a video has a row too, it stands with the first of its clips.
    """
    schema = pa.schema([*features_schema(columns), *FAILURE])
    return schema if video_columns is None else schema.append(pa.field(VIDEO_ROW, pa.struct(list(video_columns))))


def video_features_schema(columns: pa.Schema) -> pa.Schema:
    return pa.schema([*VIDEO_IDENTITY, *columns])


def check_columns(name: str, *schemas: pa.Schema | None) -> None:
    """Refuse columns that every table has of its own: UsageError names the first."""
    for schema in schemas:
        taken = next((column for column in (schema.names if schema is not None else ()) if column in RESERVED), None)
        if taken is not None:
            raise UsageError(f"{name}: the column '{taken}' is one of vidray's own; name it otherwise")


def parts_in(names: Iterable[str], table: str) -> set[int]:
    """The part numbers among file names relative to the store."""
    found = (PART_FILE.fullmatch(name.removeprefix(f"{table}/")) for name in names)
    return {int(match[1]) for match in found if match}


@dataclass(frozen=True)
class TableKind:
    """A kind of table, `<name>/<table>/part-...`: what its rows are of, and so how they are verified and retired.

    Attributes:
        name: The folder.
        rows_of: Whether a row is of a clip or of a video.
        has_gaps: Whether clips of the plan may lack rows.
        refers_by: The column that names another video, whose rows go with it; None where there is none.
    """

    name: str
    rows_of: Literal["clip", "video"]
    has_gaps: bool = True
    refers_by: str | None = None


KINDS = (
    TableKind("duplicates", "clip", refers_by="of_video_id"),
    TableKind("video_labels", "video"),
    TableKind("labels", "clip"),
    TableKind("errors", "clip"),
    TableKind("video_features", "video"),
    TableKind("features", "clip", has_gaps=False),
)
"""All kinds of tables with a folder a table, in the order in which a retired video's rows are removed from them."""

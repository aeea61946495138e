"""The store: the only owner of the layout and the schemas on disk. Plain Parquet on any fsspec URL.

Law, per extractor: rows(features) + rows(errors) == rows(clips). A part's features file is written last and never
changes: it is the commit. What is staged is a checkpoint that no reader looks at.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from vidray.errors import SpecMismatchError, StoreError
from vidray.storage import Folder

FORMAT = 1
PROBE = "_probe"
INTENT = "_intent.json"
AGAIN = "again"
ROW_GROUP_ROWS = 8192
STREAM_ROWS = 1024

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
        ("corpus", pa.string()),
    ]
)
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
FAILURE = pa.schema([("stage", pa.string()), ("kind", pa.string()), ("message", pa.string())])
ERRORS = pa.schema([*IDENTITY, *FAILURE])
PROBE_ERRORS = pa.schema([("video_id", pa.string()), ("uri", pa.string()), *FAILURE])
WARNING = pa.field("decode_warning", pa.string())
SCORED = pa.schema([("label", pa.string()), ("score", pa.float32()), ("source", pa.string())])
LABELS = pa.schema([*IDENTITY, *SCORED])
VIDEO_LABELS = pa.schema([("video_id", pa.string()), ("uri", pa.string()), *SCORED])
HUMAN = "human"
"""The `source` of labels that a person gave; a model's have the kind of its labeler."""

_PART = re.compile(r"part-(\d{5,})\.parquet$")
_STAGED = re.compile(r"_staging/([^/]+)/part-(\d{5,})/([^/]+)")
_SLICE = re.compile(r"part-(\d{5,})/block-(\d{4,})\.s(\d+)of(\d+)\.parquet$")


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


def part_file(table: str, part: int) -> str:
    """The name of one part of a table, relative to the store: `clips/part-00000.parquet`."""
    return f"{table}/part-{part:05d}.parquet"


def spec_sha256(features: Folder) -> str | None:
    """The hash of what made the table in a folder, None where it does not say."""
    try:
        return hashlib.sha256(features.read_bytes("_spec.json")).hexdigest()
    except FileNotFoundError:
        return None


def staging_of(table: str, part: int) -> str:
    """Where the slices of one part are staged, relative to the store."""
    return f"_staging/{table}/part-{part:05d}"


def features_schema(columns: pa.Schema) -> pa.Schema:
    return pa.schema([*IDENTITY, *columns, WARNING])


def staged_schema(columns: pa.Schema) -> pa.Schema:
    """A staged slice holds successes and failures in plan order; `kind` tells them apart."""
    return pa.schema([*features_schema(columns), *FAILURE])


class Store:
    """A store at an fsspec URL; the folder need not exist yet."""

    def __init__(self, url: str) -> None:
        self.folder = Folder(url)
        self.url = self.folder.url

    def config(self) -> dict[str, Any] | None:
        """What `vidray.json` says; None for a store that is not there."""
        if not self.folder.exists("vidray.json"):
            return None
        config = self._json("vidray.json")
        if config.get("format") != FORMAT:
            raise StoreError(
                f"{self.url}: store format {config.get('format')!r}, this vidray reads {FORMAT}; upgrade vidray"
            )
        return config

    def write_config(self, plan: Mapping[str, Any], *, metadata: Mapping[str, str] | None = None) -> None:
        """Write down how videos become clips, and the Arrow types of a manifest's other columns."""
        self._write_json("vidray.json", {"format": FORMAT, "plan": dict(plan), "metadata": dict(metadata or {})})

    def check_plan(self, plan: Mapping[str, Any]) -> None:
        """Refuse another plan's configuration than the store has."""
        config = self.config()
        if config is not None and config["plan"] != plan:
            raise SpecMismatchError(
                f"{self.url} is planned with {_differences(config['plan'], plan)}; use the same, or another STORE"
            )

    def spec(self, table: str) -> dict[str, Any] | None:
        name = f"features/{table}/_spec.json"
        return self._json(name) if self.folder.exists(name) else None

    def check_spec(self, table: str, spec: Mapping[str, Any]) -> None:
        """Refuse an extractor that is not the one that made the table."""
        different = self.spec_differences(table, spec)
        if different is not None:
            raise SpecMismatchError(
                f"{self.url}/features/{table} was made with {different}; "
                f"give the new table a name of its own with --as NAME"
            )

    def spec_differences(self, table: str, spec: Mapping[str, Any]) -> str | None:
        """How what made a table differs from a spec; None where it does not, or the table does not say."""
        known = self.spec(table)
        if known is None or _by_content(known) == _by_content(spec):
            return None
        return _differences(known, spec)

    def write_spec(self, table: str, spec: Mapping[str, Any]) -> None:
        if self.spec(table) is None:
            self._write_json(f"features/{table}/_spec.json", spec)

    def spec_sha256(self, table: str) -> str | None:
        """The hash of what made a feature table, None where it does not say."""
        return spec_sha256(self.folder_of(f"features/{table}"))

    def labels_spec(self, name: str) -> dict[str, Any] | None:
        """What made the labels of a name; None where there are none."""
        file = f"labels/{name}/_spec.json"
        return self._json(file) if self.folder.exists(file) else None

    def write_labels_spec(self, name: str, spec: Mapping[str, Any]) -> None:
        self._write_json(f"labels/{name}/_spec.json", spec)

    def write_run(self, run_id: str, record: Mapping[str, Any]) -> None:
        self._write_json(f"runs/{run_id}.json", record)

    def folder_of(self, table: str) -> Folder:
        """The folder of a table's parts."""
        return Folder(f"{self.url}/{table}")

    def parts(self, table: str) -> list[int]:
        """The published parts of a table, in order."""
        return sorted(parts_in(self.folder.sizes(table), table))

    def tables(self, kind: str) -> list[str]:
        """The names below `features/`, `errors/`, ...; `_probe` is not among them."""
        names = {name.split("/")[1] for name in self.folder.sizes(kind) if name.count("/") >= 2}
        return sorted(names - {PROBE})

    def read(self, table: str, part: int, columns: Sequence[str] | None = None) -> pa.Table:
        with self._reading(table, part) as file:
            return pq.read_table(file, columns=None if columns is None else list(columns))

    def stream(self, table: str, part: int, columns: Sequence[str], *, rows: int = STREAM_ROWS) -> Iterator[pa.Table]:
        """The rows of a part in order, so many at a time: wide columns need not fit into memory."""
        with self._reading(table, part) as file:
            for batch in pq.ParquetFile(file).iter_batches(batch_size=rows, columns=list(columns)):
                yield pa.Table.from_batches([batch])

    def rows(self, table: str, part: int) -> int:
        """How many rows a part has, from its footer."""
        with self._reading(table, part) as file:
            return int(pq.read_metadata(file).num_rows)

    def columns(self, table: str, part: int) -> list[str]:
        """The names of a part's columns, from its footer."""
        return list(self.schema(table, part).names)

    def schema(self, table: str, part: int) -> pa.Schema:
        """The columns of a part with their types, from its footer."""
        with self._reading(table, part) as file:
            return pq.read_schema(file)

    @contextlib.contextmanager
    def _reading(self, table: str, part: int) -> Iterator[BinaryIO]:
        name = part_file(table, part)
        try:
            with self.folder.open(name) as file:
                yield file
        except (pa.ArrowInvalid, FileNotFoundError) as e:
            raise StoreError(f"{self.url}/{name}: cannot be read as Parquet: {e}") from e

    def write(self, table: str, part: int, batches: pa.Table | Iterable[pa.Table], schema: pa.Schema) -> int:
        """Publish one part; the rows are streamed, the file appears whole. Returns its rows."""
        tables = [batches] if isinstance(batches, pa.Table) else batches
        rows = 0
        with (
            self.folder.writing(part_file(table, part)) as file,
            pq.ParquetWriter(file, schema, compression="zstd") as writer,
        ):
            for group in _row_groups(tables, schema):
                rows += group.num_rows
                writer.write_table(group)
        return rows

    def staged(self, table: str, part: int | None = None) -> set[SliceKey]:
        """The slices of one extractor that are staged, of all parts or of one; one listing. Those of a published part
        count for nothing, unless the part is to be done again."""
        keys = set()
        for name in self.folder.sizes(f"_staging/{table}" if part is None else staging_of(table, part)):
            if match := _SLICE.search(name):
                keys.add(SliceKey(*map(int, match.groups())))
        return keys

    def again(self, table: str) -> set[int]:
        """The published parts of one extractor that are to be done again; one listing."""
        names = self.folder.sizes(f"_staging/{table}")
        return {int(match[2]) for match in map(_STAGED.fullmatch, names) if match and match[3] == AGAIN}

    def mark_again(self, table: str, part: int) -> None:
        """Have a published part count as missing, but for what is staged of it; readers keep it until then."""
        self.folder.write_bytes(f"{staging_of(table, part)}/{AGAIN}", b"")

    def stage(self, table: str, key: SliceKey, rows: pa.Table) -> None:
        with self.folder.writing(f"_staging/{table}/{key.file}") as file:
            pq.write_table(rows, file, compression="zstd")

    def unstage(self, table: str, key: SliceKey) -> None:
        self.folder.remove(f"_staging/{table}/{key.file}")

    def read_staged(self, table: str, key: SliceKey) -> pa.Table:
        """The rows of a staged slice. Raises StoreError for a damaged one, after removing it: it is missing then."""
        try:
            with self.folder.open(f"_staging/{table}/{key.file}") as file:
                # slices are small, and other threads publish as well
                return pq.ParquetFile(file).read(use_threads=False)
        except pa.ArrowInvalid as e:
            raise self._useless(table, key, "damaged") from e

    def _useless(self, table: str, key: SliceKey, what: str) -> StoreError:
        self.unstage(table, key)
        return StoreError(f"{self.url}/_staging/{table}/{key.file}: {what}; it is removed, run again to do it anew")

    def publish(self, table: str, part: int, slices: Sequence[SliceKey], columns: pa.Schema) -> tuple[int, int]:
        """Commit one part of one extractor from its staged slices: errors first, then features, then clean up.

        Returns the rows of features and of errors. Done twice, it writes the same bytes. Raises StoreError, and
        publishes nothing, where the slices are not the plan's clips in its order.
        """
        errors: list[pa.Table] = []

        def features() -> Iterator[pa.Table]:
            for rows in self._planned_rows(table, part, slices):
                errors.append(rows.select(ERRORS.names).filter(rows["kind"].is_valid()))
                yield rows.filter(rows["kind"].is_null())
            # the file of features appears once this ends
            self.write(f"errors/{table}", part, errors, ERRORS)

        try:
            done = self.write(f"features/{table}", part, features(), features_schema(columns))
            failed = sum(rows.num_rows for rows in errors)
            self.folder.remove(f"{staging_of(table, part)}/{AGAIN}")
        except FileNotFoundError:
            # somebody who began earlier has published it, and is cleaning up or was killed at it
            if part in self.again(table) or part not in self.parts(f"features/{table}"):
                raise
            done, failed = self.rows(f"features/{table}", part), self.rows(f"errors/{table}", part)
        self.clear_staged(part, table)
        return done, failed

    def clear_staging(self) -> None:
        """Remove what is staged and of no use: of parts that are published, and files that were never finished.

        What is staged of other parts is a checkpoint, whichever run needs it.
        """
        places = [(name, _STAGED.fullmatch(name)) for name in self.folder.sizes("_staging")]
        tables = {match[1] for _, match in places if match}
        settled = {table: set(self.parts(f"features/{table}")) - self.again(table) for table in tables}
        for name, match in places:
            if match is None or int(match[2]) in settled[match[1]]:
                self.folder.remove(name)

    def clear_staged(self, part: int, table: str) -> None:
        """Forget what is staged for one part of one extractor."""
        self.folder.remove_tree(staging_of(table, part))

    def remove(self, table: str, part: int) -> None:
        """Remove one part of a table, if it is there."""
        self.folder.remove(part_file(table, part))

    def intent(self) -> list[str]:
        """The videos whose retirement has begun and not ended."""
        return list(self._json(INTENT)["retire"]) if self.folder.exists(INTENT) else []

    def write_intent(self, video_ids: Sequence[str]) -> None:
        self._write_json(INTENT, {"retire": list(video_ids)})

    def clear_intent(self) -> None:
        self.folder.remove(INTENT)

    def _planned_rows(self, table: str, part: int, slices: Sequence[SliceKey]) -> Iterator[pa.Table]:
        """What is staged, of the plan's clips only: a worker that outlived its run may have staged an older plan's."""
        planned = self.read("clips", part, ["clip_id"])["clip_id"]
        count = 0
        for key in sorted(slices):
            rows = self.read_staged(table, key)
            if rows["clip_id"].to_pylist() != planned.slice(count, rows.num_rows).to_pylist():
                raise self._useless(table, key, "holds other clips than the plan")
            count += rows.num_rows
            yield rows
        if count != len(planned):
            raise StoreError(f"{self.url}: part {part} of {table} has {count} of {len(planned)} planned clips staged")

    def _json(self, name: str) -> dict[str, Any]:
        try:
            value = json.loads(self.folder.read_bytes(name))
        except (ValueError, OSError) as e:
            raise StoreError(f"{self.url}/{name}: cannot be read: {e}") from e
        if not isinstance(value, dict):
            raise StoreError(f"{self.url}/{name}: not a JSON object")
        return value

    def _write_json(self, name: str, value: Mapping[str, Any]) -> None:
        self.folder.write_bytes(name, (json.dumps(value, indent=2) + "\n").encode())


def parts_in(names: Iterable[str], table: str) -> set[int]:
    """The part numbers among file names relative to the store."""
    found = (_PART.fullmatch(name.removeprefix(f"{table}/")) for name in names)
    return {int(match[1]) for match in found if match}


def _row_groups(tables: Iterable[pa.Table], schema: pa.Schema) -> Iterator[pa.Table]:
    """Rows regrouped, so that the bytes of a part depend on its rows and not on how they were staged."""
    held: list[pa.Table] = []
    count = 0
    for table in tables:
        held.append(table.select(schema.names).cast(schema))
        count += table.num_rows
        while count >= ROW_GROUP_ROWS:
            joined = pa.concat_tables(held).combine_chunks()
            yield joined.slice(0, ROW_GROUP_ROWS)
            held = [joined.slice(ROW_GROUP_ROWS)]
            count -= ROW_GROUP_ROWS
    if count:
        yield pa.concat_tables(held).combine_chunks()


def _by_content(spec: Mapping[str, Any]) -> dict[str, Any]:
    """A spec without where its weights lay: the same weights from another place make the same table."""
    weights = spec.get("weights") or {}
    if not weights.get("sha256"):
        return dict(spec)
    settings = {name: value for name, value in (spec.get("settings") or {}).items() if name != "weights"}
    origin = str(spec.get("extractor")).partition("@")[0]
    return {**spec, "weights": weights["sha256"], "settings": settings, "extractor": origin}


def _differences(known: Mapping[str, Any], asked: Mapping[str, Any]) -> str:
    names = [name for name in {**known, **asked} if known.get(name) != asked.get(name)]
    return ", ".join(f"{name} {_short(known.get(name))}, not {_short(asked.get(name))}" for name in names)


def _short(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 80 else text[:77] + "..."

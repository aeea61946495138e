"""A store: its plan, tables, staging and publishing.

Law, per extractor: rows(features) + rows(errors) == rows(clips). A part's features file is written last and never
changes: it is the commit. What is staged is a checkpoint that no reader looks at.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from vidray.errors import SpecMismatchError, StoreError, UsageError, one_line
from vidray.extractors.spec import current, misshapen, unbound
from vidray.storage import STORE_FILE, Folder, place_of
from vidray.store import parquet
from vidray.store.differences import by_content, differences
from vidray.store.intents import Intents
from vidray.store.json_files import json_bytes, read_json, write_json
from vidray.store.layout import (
    AGAIN,
    ERRORS,
    FORMAT,
    INPUTS,
    PROBE,
    READS_AT_ONCE,
    SPEC_FILE,
    STREAM_ROWS,
    VIDEO_IDENTITY,
    VIDEO_ROW,
    SliceKey,
    duplicates_of,
    errors_of,
    features_of,
    features_schema,
    inputs_file,
    labels_of,
    part_file,
    parts_in,
    run_file,
    seal_file,
    spec_sha256,
    split_table,
    staged_of,
    staging_of,
    video_features_of,
    video_features_schema,
)
from vidray.store.listed import PLAN, ListedVideos
from vidray.store.metadata import from_config, to_config
from vidray.store.row_groups import row_groups
from vidray.store.seals import read_seal, settle_seal, write_seal
from vidray.store.staging import Staging
from vidray.wording import see_verify


class Store:
    """A store at an fsspec URL; the folder need not exist yet."""

    def __init__(self, url: str | os.PathLike[str]) -> None:
        self.folder = Folder(place_of(url, "store"))
        self.url = self.folder.url
        self.listed = ListedVideos(self.folder, self.read)
        self.staging = Staging(self.folder)
        self.intents = Intents(self.folder)

    def check_there(self) -> None:
        """Raise UsageError, the same for every command, where there is no store, nor tables of another's making."""
        if self.folder.exists(STORE_FILE):
            return
        if self.is_file() or not any(self.folder.sizes(kind) for kind in ("features", "index")):
            raise self._none_there()

    def check_planned(self) -> dict[str, Any]:
        """What `vidray.json` says. Raises UsageError where there is none: no store, or tables of another's making."""
        config = self.config()
        if config is None:
            raise self._none_there()
        return config

    def _none_there(self) -> UsageError:
        what = "a file, and a store is a folder" if self.is_file() else f"no vidray store there (no {STORE_FILE})"
        return UsageError(f"{self.url}: {what}")

    def is_file(self) -> bool:
        """Whether a file is in the place of the folder."""
        return bool(self.folder.fs.isfile(self.folder.root))

    def config(self) -> dict[str, Any] | None:
        """What `vidray.json` says; None for a store that is not there."""
        if not self.folder.exists(STORE_FILE):
            return None
        try:
            config = read_json(self.folder, STORE_FILE)
        except StoreError as e:
            raise StoreError(f"{e}; put it back from a copy") from e
        if config.get("format") != FORMAT:
            raise StoreError(
                f"{self.url}: store format {config.get('format')!r}, this vidray reads {FORMAT}; upgrade vidray"
            )
        if not isinstance(config.get("plan"), dict):
            raise StoreError(f"{self.url}/{STORE_FILE}: does not say how clips were planned; put it back from a copy")
        return config

    def write_config(self, plan: Mapping[str, Any], *, metadata: pa.Schema | None = None) -> None:
        """Write down how videos become clips, and the types of a manifest's other columns."""
        columns = to_config(pa.schema([]) if metadata is None else metadata)
        write_json(self.folder, STORE_FILE, {"format": FORMAT, "plan": dict(plan), **columns})

    def metadata(self) -> pa.Schema:
        """The columns that manifests brought."""
        return from_config(self.config() or {})

    def check_plan(self, plan: Mapping[str, Any]) -> None:
        """Refuse another plan's configuration than the store has."""
        if self.is_file():
            raise UsageError(f"{self.url}: a file, and a store is a folder; is CORPUS missing before it?")
        config = self.config()
        if config is not None and config["plan"] != plan:
            raise SpecMismatchError(
                f"{self.url} is planned with {differences(config['plan'], plan)}; use the same, or another store"
            )

    def spec(self, table: str) -> dict[str, Any] | None:
        """What made a table, None where it does not say. Raises StoreError where that cannot be read, or is no spec."""
        name = f"{features_of(table)}/{SPEC_FILE}"
        if not self.folder.exists(name):
            return None
        spec = read_json(self.folder, name)
        wrong = misshapen(spec)
        if wrong is not None:
            raise StoreError(f"{self.url}/{name}: is no spec of a table: {wrong}; {see_verify(self.url)}")
        return spec

    def check_spec(self, table: str, spec: Mapping[str, Any]) -> None:
        """Refuse an extractor that did not make the table, and a table whose inputs were made anew since.

        A table without rows is anybody's.
        """
        different = self.spec_differences(table, spec)
        if different is None or not self.parts(features_of(table)):
            return
        if self.is_stale(table, spec):
            raise SpecMismatchError(
                f"{self.url}/{features_of(table)} is stale: what it was made from was made anew since ({different}); "
                "--refresh makes it again"
            )
        raise SpecMismatchError(
            f"{self.url}/{features_of(table)} was made with {different}; "
            "give the new table a name of its own with --as NAME"
        )

    def spec_differences(self, table: str, spec: Mapping[str, Any]) -> str | None:
        """How what made a table differs from a spec; None where it does not, or the table does not say."""
        known = self.spec(table)
        if known is None:
            return None
        known, asked = current(known), current(spec)
        return None if by_content(known) == by_content(asked) else differences(known, asked)

    def is_stale(self, table: str, spec: Mapping[str, Any]) -> bool:
        """Whether a table was made by this extractor, but from other inputs than those that there are now."""
        known = self.spec(table)
        if known is None:
            return False
        known, asked = current(known), current(spec)
        same = by_content(unbound(known)) == by_content(unbound(asked))
        return same and by_content(known) != by_content(asked)

    def write_spec(self, table: str, spec: Mapping[str, Any]) -> None:
        """Say what makes a table, unless it has rows. Of another that was to make it nothing stays staged."""
        if self.spec(table) is not None:
            if self.spec_differences(table, spec) is None or self.parts(features_of(table)):
                return
            self.folder.remove_tree(staged_of(table))
        self.folder.write_bytes(f"{features_of(table)}/{SPEC_FILE}", json_bytes(spec))

    def forget_empty(self, table: str) -> None:
        """Remove what says what makes a table, where nothing of it was made."""
        if not (self.parts(features_of(table)) or self.parts(errors_of(table)) or self.staging.slices(table)):
            self.folder.remove(f"{features_of(table)}/{SPEC_FILE}")

    def remove_table(self, table: str) -> None:
        """Remove a feature table with its errors, rows of videos and staged slices; its commit goes first."""
        for name in (features_of(table), video_features_of(table), errors_of(table), staged_of(table)):
            self.folder.remove_tree(name)

    def spec_sha256(self, table: str) -> str | None:
        """The hash of what made a feature table, None where it does not say."""
        return spec_sha256(self.folder_of(features_of(table)))

    def labels_spec(self, name: str) -> dict[str, Any] | None:
        """What made the labels of a name; None where there are none."""
        file = f"{labels_of(name)}/{SPEC_FILE}"
        return read_json(self.folder, file) if self.folder.exists(file) else None

    def write_labels_spec(self, name: str, spec: Mapping[str, Any]) -> None:
        write_json(self.folder, f"{labels_of(name)}/{SPEC_FILE}", spec)

    def duplicates_spec(self, name: str) -> dict[str, Any] | None:
        """What the duplicates of a name were found by and in; None where there are none."""
        file = f"{duplicates_of(name)}/{SPEC_FILE}"
        return read_json(self.folder, file) if self.folder.exists(file) else None

    def write_duplicates_spec(self, name: str, spec: Mapping[str, Any]) -> None:
        write_json(self.folder, f"{duplicates_of(name)}/{SPEC_FILE}", spec)

    def write_run(self, run_id: str, record: Mapping[str, Any]) -> None:
        write_json(self.folder, run_file(run_id), record)

    def folder_of(self, table: str) -> Folder:
        """The folder of a table's parts."""
        return Folder(f"{self.url}/{table}")

    def parts(self, table: str) -> list[int]:
        """The published parts of a table, in order."""
        return sorted(parts_in(self.folder.sizes(table), table))

    def tables(self, kind: str) -> list[str]:
        """The names below `features/`, `errors/`, ...; `_probe` is not among them."""
        return sorted({name for name, _ in self.files(kind)} - {PROBE})

    def files(self, kind: str) -> list[tuple[str, str]]:
        """All files below `features/`, `index/`, ...: the table's name, and the file's relative to its folder."""
        names = (name.split("/", 2)[1:] for name in self.folder.sizes(kind) if name.count("/") >= 2)
        return [(table, file) for table, file in names]

    def holding(self, kind: str, file: str) -> list[str]:
        """The tables of a kind in whose folder a file is."""
        return sorted(name for name, held in self.files(kind) if held == file)

    def read(self, table: str, part: int, columns: Sequence[str] | None = None) -> pa.Table:
        """The rows of a part, of all columns or of some. Raises StoreError where it is damaged, or lacks a column."""
        with self._reading(table, part) as file:
            return parquet.read_part(file, columns)

    def stream(self, table: str, part: int, columns: Sequence[str], *, rows: int = STREAM_ROWS) -> Iterator[pa.Table]:
        """The rows of a part in order, so many at a time: wide columns need not fit into memory."""
        with self._reading(table, part) as file:
            for batch in parquet.batches(file, parquet.open_part(file, columns), columns, rows=rows):
                yield pa.Table.from_batches([batch])

    def rows(self, table: str, part: int) -> int:
        """How many rows a part has, from its footer."""
        with self._reading(table, part) as file:
            return int(pq.read_metadata(file).num_rows)

    def count(self, table: str, parts: Iterable[int] | None = None) -> int:
        """How many rows a table has, or some of its parts have together, from their footers."""
        return sum(self.counts(table, parts).values())

    def counts(self, table: str, parts: Iterable[int] | None = None) -> dict[int, int]:
        """How many rows each part has, of all or of some, from their footers, of which many are read at once."""
        asked = self.parts(table) if parts is None else list(parts)
        with ThreadPoolExecutor(READS_AT_ONCE) as pool:
            return dict(zip(asked, pool.map(lambda part: self.rows(table, part), asked), strict=True))

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
        except StoreError as e:
            raise StoreError(f"{self.url}/{name}: {e}; {see_verify(self.url)}") from e
        except (pa.ArrowException, OSError) as e:
            reason = one_line(e)[:300]
            raise StoreError(f"{self.url}/{name}: cannot be read as Parquet: {reason}; {see_verify(self.url)}") from e

    def write(self, table: str, part: int, batches: pa.Table | Iterable[pa.Table], schema: pa.Schema) -> int:
        """Publish one part, its seal before it; the rows are streamed, the file appears whole. Returns its rows."""
        tables = [batches] if isinstance(batches, pa.Table) else batches
        rows = 0
        self._forget(table)
        with self.folder.writing(part_file(table, part)) as file:
            with pq.ParquetWriter(file, schema, compression="zstd", write_page_checksum=True) as writer:
                for group in row_groups(tables, schema):
                    rows += group.num_rows
                    writer.write_table(group)
            is_replacing = write_seal(self.folder, table, part, file)
        if is_replacing:
            settle_seal(self.folder, table, part)
        return rows

    def publish(
        self,
        table: str,
        part: int,
        slices: Sequence[SliceKey],
        columns: pa.Schema,
        video_columns: pa.Schema | None = None,
    ) -> tuple[int, int]:
        """Commit one part of one extractor from its staged slices: errors first, then features, then clean up.

        Rows of videos, where the extractor has such, come between; before all what a derived part was made from.
        Returns the rows of features and of errors. Done twice, it writes the same bytes. Raises StoreError, and
        publishes nothing, where the slices are not the plan's clips in its order.
        """
        errors: list[pa.Table] = []
        videos: list[pa.Table] = []

        def features() -> Iterator[pa.Table]:
            for rows in self._planned_rows(table, part, slices):
                errors.append(rows.select(ERRORS.names).filter(rows["kind"].is_valid()))
                if video_columns is not None:
                    videos.append(_video_rows(rows, video_columns))
                yield rows.filter(rows["kind"].is_null())
            # the file of features appears once this ends
            self.write(errors_of(table), part, errors, ERRORS)
            if video_columns is not None:
                self.write(video_features_of(table), part, videos, video_features_schema(video_columns))
            self._keep_inputs(table, part)

        try:
            done = self.write(features_of(table), part, features(), features_schema(columns))
            failed = sum(rows.num_rows for rows in errors)
            self.folder.remove(f"{staging_of(table, part)}/{AGAIN}")
        except FileNotFoundError:
            # somebody who began earlier has published it, and is cleaning up or was killed at it
            if part in self.staging.again(table) or part not in self.parts(features_of(table)):
                raise
            done, failed = self.rows(features_of(table), part), self.rows(errors_of(table), part)
        self.staging.clear(part, table)
        return done, failed

    def made_from(self, table: str, part: int) -> dict[str, str] | None:
        """The content hash of each table's part that a derived part was made from; None where it does not say, or
        nobody can read it.
        """
        name = inputs_file(table, part)
        with contextlib.suppress(StoreError):
            return read_json(self.folder, name) if self.folder.exists(name) else None
        return None

    def write_made_from(self, table: str, part: int, made_from: Mapping[str, str]) -> None:
        """Say of what a derived part is made."""
        write_json(self.folder, inputs_file(table, part), made_from)

    def content_hash(self, table: str, part: int) -> str:
        """The hash of all that one part of an extractor's table says: its features and its errors."""
        found = hashlib.sha256()
        for name in (features_of(table), errors_of(table)):
            seal = read_seal(self.folder, name, part)
            if seal is None or seal.before is not None:
                found.update(hashlib.sha256(self.folder.read_bytes(part_file(name, part))).digest())
            else:
                found.update(bytes.fromhex(seal.now.sha256))
        return found.hexdigest()

    def _keep_inputs(self, table: str, part: int) -> None:
        staged = f"{staging_of(table, part)}/{INPUTS}"
        if self.folder.exists(staged):
            self.write_made_from(table, part, read_json(self.folder, staged))

    def remove(self, table: str, part: int) -> None:
        """Remove one part of a table, if it is there, and what it says that it was made from."""
        self._forget(table)
        self.folder.remove(seal_file(table, part))
        self.folder.remove(part_file(table, part))
        kind, name = split_table(table)
        if kind == "features":
            self.folder.remove(inputs_file(name, part))

    def _forget(self, table: str) -> None:
        if table in PLAN:
            self.listed.forget()

    def _planned_rows(self, table: str, part: int, slices: Sequence[SliceKey]) -> Iterator[pa.Table]:
        """What is staged, of the plan's clips only: a worker that outlived its run may have staged an older plan's."""
        planned = self.read("clips", part, ["clip_id"])["clip_id"]
        count = 0
        for key in sorted(slices):
            rows = self.staging.read(table, key)
            if rows["clip_id"].to_pylist() != planned.slice(count, rows.num_rows).to_pylist():
                raise self.staging.useless(table, key, "holds other clips than the plan")
            count += rows.num_rows
            yield rows
        if count != len(planned):
            raise StoreError(f"{self.url}: part {part} of {table} has {count} of {len(planned)} planned clips staged")


def _video_rows(rows: pa.Table, columns: pa.Schema) -> pa.Table:
    """The rows of videos that a staged slice holds."""
    found = rows.filter(rows[VIDEO_ROW].is_valid())
    values = found[VIDEO_ROW].combine_chunks()
    held = [values.field(name) for name in columns.names]
    return pa.table([*(found[name] for name in VIDEO_IDENTITY.names), *held], schema=video_features_schema(columns))

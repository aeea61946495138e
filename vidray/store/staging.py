"""What is staged: the slices that are done of parts that are not, and which published parts are to be done again.

It is a checkpoint that no reader looks at.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from vidray.errors import StoreError
from vidray.storage import STAGING, Folder
from vidray.store.json_files import read_json, write_json
from vidray.store.layout import (
    AGAIN,
    GROWN,
    INPUTS,
    SLICE_FILE,
    STAGED_FILE,
    SliceKey,
    features_of,
    parts_in,
    staged_of,
    staging_of,
)


class Staging:
    """The staged slices and marks of a store."""

    def __init__(self, folder: Folder) -> None:
        self.folder = folder

    def slices(self, table: str, part: int | None = None) -> set[SliceKey]:
        """The slices of one extractor that are staged, of all parts or of one; one listing. Those of a published part
        count for nothing, unless the part is to be done again."""
        keys = set()
        for name in self.folder.sizes(staged_of(table) if part is None else staging_of(table, part)):
            if match := SLICE_FILE.search(name):
                keys.add(SliceKey(*map(int, match.groups())))
        return keys

    def again(self, table: str) -> set[int]:
        """The published parts of one extractor that are to be done again, or lack new clips; one listing."""
        return self._marked(table, AGAIN, GROWN)

    def grown(self, table: str) -> set[int]:
        """The published parts of one extractor that lack clips that were planned later; one listing."""
        return self._marked(table, GROWN)

    def _marked(self, table: str, *marks: str) -> set[int]:
        names = self.folder.sizes(staged_of(table))
        return {int(match[2]) for match in map(STAGED_FILE.fullmatch, names) if match and match[3] in marks}

    def mark_grown(self, table: str, part: int) -> None:
        """Have a published part count as missing for the clips that it has no rows of; readers keep it until then."""
        self.folder.write_bytes(f"{staging_of(table, part)}/{GROWN}", b"")

    def unmark_grown(self, table: str, part: int) -> None:
        self.folder.remove(f"{staging_of(table, part)}/{GROWN}")

    def mark_again(self, table: str, part: int) -> None:
        """Have a published part count as missing, but for what is staged of it; readers keep it until then."""
        self.folder.write_bytes(f"{staging_of(table, part)}/{AGAIN}", b"")

    def write(self, table: str, key: SliceKey, rows: pa.Table) -> None:
        with self.folder.writing(f"{staged_of(table)}/{key.file}") as file:
            pq.write_table(rows, file, compression="zstd")

    def remove(self, table: str, key: SliceKey) -> None:
        self.folder.remove(f"{staged_of(table)}/{key.file}")

    def read(self, table: str, key: SliceKey) -> pa.Table:
        """The rows of a staged slice. Raises StoreError for a damaged one, after removing it: it is missing then."""
        try:
            with self.folder.open(f"{staged_of(table)}/{key.file}") as file:
                # slices are small, and other threads publish as well
                return pq.ParquetFile(file).read(use_threads=False)
        except pa.ArrowInvalid as e:
            raise self.useless(table, key, "damaged") from e

    def has_failed(self, table: str, key: SliceKey, kinds: Sequence[str] | None = None) -> bool:
        """Whether a staged slice has failures, of any kind or of some; a damaged one is removed, and has none."""
        try:
            found = self.read(table, key)["kind"]
        except StoreError:
            return False
        return any(kind is not None and (kinds is None or kind in kinds) for kind in found.to_pylist())

    def useless(self, table: str, key: SliceKey, what: str) -> StoreError:
        """Remove a staged slice, which is missing from then on; the error to raise."""
        self.remove(table, key)
        place = f"{self.folder.url}/{staged_of(table)}/{key.file}"
        return StoreError(f"{place}: {what}; it is removed, run again to do it anew")

    def clear_useless(self) -> None:
        """Remove what is staged and of no use: of parts that are published, and files that were never finished.

        What is staged of other parts is a checkpoint, whichever run needs it.
        """
        places = [(name, STAGED_FILE.fullmatch(name)) for name in self.folder.sizes(STAGING)]
        tables = {match[1] for _, match in places if match}
        published = {table: parts_in(self.folder.sizes(features_of(table)), features_of(table)) for table in tables}
        settled = {table: parts - self.again(table) for table, parts in published.items()}
        for name, match in places:
            if match is None or int(match[2]) in settled[match[1]]:
                self.folder.remove(name)

    def clear(self, part: int, table: str) -> None:
        """Forget what is staged for one part of one extractor."""
        self.folder.remove_tree(staging_of(table, part))

    def forget_slices(self, part: int, table: str) -> None:
        """Forget the staged slices of a part whose plan changes; what it lacks it lacks still."""
        if part in self.again(table):
            self.mark_grown(table, part)
        for name in self.folder.sizes(staging_of(table, part)):
            if not name.endswith(f"/{GROWN}"):
                self.folder.remove(name)

    def begin_derived(self, table: str, part: int, made_from: Mapping[str, str]) -> None:
        """Say of what a part of a derived table is being made; what was staged of other inputs is removed."""
        name = f"{staging_of(table, part)}/{INPUTS}"
        if self.folder.exists(name):
            if read_json(self.folder, name) == dict(made_from):
                return
            self.clear(part, table)
        write_json(self.folder, name, made_from)

"""What became of a table since its index was built: which of the index's clips it has lost, and how many are new."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from vidray.errors import StoreError, one_line
from vidray.index.ann import Bits
from vidray.index.embeddings import Seen, parts_of
from vidray.index.manifest import Manifest
from vidray.index.segment import bits_of
from vidray.index.vectors import Mask, Vectors
from vidray.storage import Folder
from vidray.store import spec_sha256

LOOK_EVERY_S = 2.0
"""A table is listed no more often; a listing of object storage takes some 50 ms."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Live:
    """Which rows of an index may be found.

    Attributes:
        mask: bool (rows,).
        bits: The same as a bitmap, None where it is all that the lists name.
        count: How many.
        sizes: Of the table's parts, as they were when it was looked.
    """

    mask: Mask
    bits: Bits | None
    count: int
    sizes: dict[str, int]


class Following:
    """Looks at the table now and then. Thread-safe."""

    def __init__(self, manifest: Manifest, vectors: Vectors, features: Folder) -> None:
        self._manifest, self._vectors, self._features = manifest, vectors, features
        self._built = {part.name: part for part in manifest.parts}
        self._looking = threading.Lock()
        self._live: Live | None = None
        self._looked_at = -np.inf

    def table(self) -> list[Seen]:
        """The table's parts now."""
        return parts_of(self._features)

    def live(self) -> Live:
        """Which rows may be found, as of two seconds ago at most: those of clips that the table still has.

        A table that is not there at all says nothing: an index may be used without it. One that has its `_spec.json`
        and no parts has lost all of its clips.
        """
        with self._looking:
            if self._live is None or time.monotonic() - self._looked_at > LOOK_EVERY_S:
                sizes = {part.name: part.size_bytes for part in self.table()}
                if self._live is None or sizes != self._live.sizes:
                    self._live = self._look(sizes)
                self._looked_at = time.monotonic()
            return self._live

    def _look(self, sizes: dict[str, int]) -> Live:
        changed = {name for name, part in self._built.items() if sizes.get(name) != part.size_bytes}
        is_unknown = not sizes and spec_sha256(self._features) is None
        if is_unknown or not changed:
            bits = self._vectors.alive_bits
            return Live(mask=self._vectors.mask(), bits=bits, count=self._manifest.clips, sizes=sizes)
        mask = self._vectors.mask()
        for segment in self._vectors.segments:
            for run in segment.segment.runs:
                if run.part in changed:
                    first = segment.segment.base + run.first
                    held = segment.identities.slice(run.first, run.clips)["clip_id"]
                    there = self._clip_ids(run.part) if run.part in sizes else pa.array([], pa.string())
                    kept = pc.is_in(held, value_set=there).to_numpy()
                    mask[first : first + run.clips] &= kept
        return Live(mask=mask, bits=bits_of(mask), count=int(mask.sum()), sizes=sizes)

    def _clip_ids(self, name: str) -> pa.Array:
        try:
            with _reading(self._features, name) as file:
                return pq.read_table(file, columns=["clip_id"])["clip_id"].cast(pa.string()).combine_chunks()
        except FileNotFoundError:
            return pa.array([], pa.string())

    @property
    def stale(self) -> bool:
        """Whether the table has changed since: its parts' names and sizes, or the extractor that made it."""
        return lags(self._manifest, self._features)

    def newer_clips(self) -> int:
        """How many rows the table has that the index has not seen. Raises StoreError where a part cannot be read."""
        return newer_clips(self._manifest, self._features)


def lags(manifest: Manifest, features: Folder) -> bool:
    """Whether a table has changed since it was indexed: its parts' names and sizes, or the extractor that made it."""
    built = {part.name: part.size_bytes for part in manifest.parts}
    now = {part.name: part.size_bytes for part in parts_of(features)}
    return now != built or spec_sha256(features) != manifest.spec_sha256


def newer_clips(manifest: Manifest, features: Folder) -> int:
    """How many rows a table has that its index has not seen; asks the footers of new and changed parts.

    Raises StoreError where one cannot be read.
    """
    built = {part.name: part for part in manifest.parts}
    newer = 0
    for part in parts_of(features):
        known = built.get(part.name)
        if known is None or known.size_bytes != part.size_bytes:
            with _reading(features, part.name) as file:
                rows = int(pq.read_metadata(file).num_rows)
            newer += max(0, rows - known.rows) if known else rows
    return newer


@contextlib.contextmanager
def _reading(features: Folder, name: str) -> Iterator[BinaryIO]:
    try:
        with features.open(name) as file:
            yield file
    except FileNotFoundError:
        raise
    except (pa.ArrowException, OSError) as e:
        reason = one_line(e)[:200]
        raise StoreError(f"{features.url}/{name}: {reason}; vidray verify says what to do") from e

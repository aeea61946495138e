"""Reading parts that may be damaged: what cannot be read is a finding, not the end of a check."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc

from vidray.errors import StoreError, one_line
from vidray.store.layout import part_file, seal_file
from vidray.store.seals import broken, read_seal
from vidray.store.store import Store
from vidray.store.verify.findings import Finding, damaged
from vidray.wording import see_verify

VIDEO = ("video_id", "uri")
CLIP = ("clip_id", *VIDEO, "start_s", "end_s")
NONE = pa.nulls(0, pa.string())


@dataclass
class PartReader:
    """One part of one table, read for a check, with what is found wrong on the way.

    Attributes:
        store: The store.
        table: Relative to the store, as in `features/yamnet`.
        part: Its number.
        remedy_of: Says what to do where it is damaged.
        findings: Of what could not be read, or is not what it should be.
    """

    store: Store
    table: str
    part: int
    remedy_of: Callable[[], str]
    findings: list[Finding] = field(default_factory=list)

    @property
    def where(self) -> str:
        return part_file(self.table, self.part)

    @property
    def remedy(self) -> str:
        return self.remedy_of()

    def check_seal(self, *, full: bool, is_there: bool = True) -> bool:
        """Compare the part with its seal; False where it is not what was published, or has no seal.

        A part that is gone although its seal stands is missing.
        """
        try:
            seal = read_seal(self.store.folder, self.table, self.part)
            if not is_there:
                self._add("missing", "was published and is not there")
                return False
            if seal is None:
                return False
            wrong = broken(self.store.folder, self.table, self.part, seal, full=full)
        except StoreError:
            self.findings.append(damaged(seal_file(self.table, self.part), "is no seal of a part", self.remedy))
            return False
        except OSError as e:
            wrong = f"cannot be read: {one_line(e)[:200]}"
        if wrong is not None:
            self._add("damaged", wrong)
        return wrong is None

    def check_columns(self, expected: Sequence[tuple[str, str]], *, exactly: bool = True) -> None:
        """Compare the names of the columns and their types: these and no others, or these at least."""
        try:
            schema = self.store.schema(self.table, self.part)
        except StoreError:
            # reading its rows says so
            return
        there = {column.name: _named_alike(str(column.type)) for column in schema}
        wrong = [
            f"{name} is {there.get(name, 'not there')}, not {kind}"
            for name, kind in ((name, _named_alike(kind)) for name, kind in expected)
            if there.get(name) != kind
        ]
        names = {name for name, _ in expected}
        wrong += [f"{name} does not belong there" for name in there if exactly and name not in names]
        wrong += [f"{name} is there twice" for name in there if schema.names.count(name) > 1]
        if wrong:
            self._add("damaged", f"has other columns: {', '.join(wrong[:3])}")

    def rows(self, columns: Sequence[str]) -> pa.Table | None:
        """Some columns of all rows; None, and a finding, where they cannot be read."""
        try:
            return self.store.read(self.table, self.part, columns)
        except StoreError as e:
            self._unreadable(e)
            return None

    def keys(self, columns: Sequence[str]) -> pa.Array | None:
        """What a row must agree on with its clip, as one text a row; None, and a finding, where it cannot be read."""
        rows = self.rows(columns)
        if rows is None:
            return None
        try:
            return joined(rows, columns)
        except pa.ArrowException as e:
            self._unreadable(e)
            return None

    def say(self, what: str, count: int = 1) -> None:
        """Note that something in the part is not as it should be."""
        if count:
            self.findings.append(damaged(self.where, what, self.remedy, count))

    def _unreadable(self, error: Exception) -> None:
        url = self.store.url
        reason = str(error).removeprefix(f"{url}/{self.where}: ").removesuffix(f"; {see_verify(url)}")
        self._add("damaged", reason if isinstance(error, StoreError) else f"cannot be read: {reason}")

    def _add(self, count: str, what: str) -> None:
        self.findings.append(Finding(where=self.where, what=what, remedy=self.remedy, counts={count: 1}))


def _named_alike(kind: str) -> str:
    """A type without what Parquet and Arrow call the values of a list, which differs with who wrote them."""
    return kind.replace("<element: ", "<item: ")


def joined(rows: pa.Table, columns: Sequence[str]) -> pa.Array:
    """The values of some columns as one text a row, nulls included."""
    texts = [pc.fill_null(rows[name].cast(pa.string()), "\x00") for name in columns]
    found = pc.binary_join_element_wise(*texts, "\x1f")
    return found.combine_chunks() if isinstance(found, pa.ChunkedArray) else found


def unknown(rows: pa.Array, known: pa.Array) -> int:
    """How many values are not among others."""
    return int(pc.sum(pc.invert(pc.is_in(rows, value_set=known))).as_py() or 0)


def beyond_the_first(rows: pa.Array) -> int:
    """How many values are there already."""
    return len(rows) - len(pc.unique(rows))

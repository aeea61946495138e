"""What a format of `vidray export` is, and what an export says of itself. A file of formats lists them as `FORMATS`."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from vidray.errors import UsageError
from vidray.storage import STAGING, Folder
from vidray.store import Store


@dataclass(frozen=True, kw_only=True)
class ExportSummary:
    """What `export` wrote.

    Attributes:
        path: Where to.
        rows: How many there are of what the format is made of.
        unit: What that is, such as rows, cues or tasks.
        left_out: Columns that CSV cannot hold: lists and structures.
        passed_over: Descriptions for which there was no time.
    """

    path: str
    rows: int
    unit: str = "rows"
    left_out: tuple[str, ...] = ()
    passed_over: int = 0


@dataclass(frozen=True, kw_only=True)
class Format:
    """A format that tables are exported to.

    Attributes:
        name: What `--to` takes.
        holds: What is written, for a person.
        write: From a store, one of its tables as in `features/<name>`, and where to, a path or URL of a file or, for
            formats of a file a video, of a folder. Raises UsageError where the table has nothing that it could hold.
    """

    name: str
    holds: str
    write: Callable[[Store, str, str], ExportSummary]


@contextlib.contextmanager
def writing(path: str) -> Iterator[BinaryIO]:
    """A file that appears when the block ends without an error, in a folder that is left as tidy as it was."""
    parent, slash, name = path.rpartition("/")
    folder = Folder(parent or slash or ".")
    scratch = Path(folder.path(STAGING)) if folder.local else None
    is_new = scratch is not None and not scratch.exists()
    try:
        with folder.writing(name) as file:
            yield file
    finally:
        if scratch is not None and is_new:
            with contextlib.suppress(OSError):
                scratch.rmdir()


def write_into(folder: str, name: str, data: bytes) -> None:
    """Write a file of a folder, as `writing` does."""
    with writing(f"{folder.rstrip('/')}/{name}") as file:
        file.write(data)


def first_columns(store: Store, table: str) -> set[str]:
    """The columns of a table's first part."""
    return set(store.columns(table, store.parts(table)[0]))


def in_file_name(identity: str) -> str:
    """An id of a store as a part of a file's name. Raises UsageError where it is none that vidray gives.

    A store may be a stranger's: an id with a slash in it would write outside of the folder that was named.
    """
    if not re.fullmatch(r"[A-Za-z0-9_-]+", identity):
        raise UsageError(f"ids must be of letters and digits to name files, got {identity!r}; vidray verify says more")
    return identity

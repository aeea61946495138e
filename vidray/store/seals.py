"""Seals: what the bytes of each published part are to be, in a small file beside it, written before the part.

While a part is replaced, its seal admits what was there before too, so that a run that is killed in between leaves
nothing that looks like damage. A part without a seal was written by an earlier version, or by somebody else.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import struct
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, BinaryIO, cast

from vidray.errors import StoreError
from vidray.storage import Folder
from vidray.store.layout import part_file, seal_file
from vidray.wording import see_verify

HASHED_BYTES = 16 << 20
"""Parts up to this size are hashed by every check: some 10 ms each, and their rows are read anyway."""

MAGIC = b"PAR1"
TAIL = struct.Struct("<I4s")
FOOTER_BYTES_MAX = 256 << 20
SEAL_BYTES_MAX = 64 << 10


@dataclass(frozen=True, kw_only=True)
class Fingerprint:
    """What identifies the bytes of a part.

    Attributes:
        size_bytes: Of the file.
        sha256: Of all of it.
        footer_sha256: Of its footer alone, which says where all columns lie, how long they are and of what range: it
            tells most changes apart without reading a large part.
    """

    size_bytes: int
    sha256: str
    footer_sha256: str


@dataclass(frozen=True, kw_only=True)
class Seal:
    """What a part is to be; while it is replaced, also what it was."""

    now: Fingerprint
    before: Fingerprint | None = None

    def to_bytes(self) -> bytes:
        """As JSON."""
        before = {} if self.before is None else {"before": asdict(self.before)}
        return (json.dumps({**asdict(self.now), **before}, indent=1) + "\n").encode()


SETTLED_BYTES_MAX = len(Seal(now=Fingerprint(size_bytes=1 << 62, sha256="0" * 64, footer_sha256="0" * 64)).to_bytes())


def fingerprint(file: BinaryIO) -> Fingerprint:
    """Read an open file from its beginning to its end. Raises ValueError where it does not end as Parquet does."""
    file.seek(0)
    digest = hashlib.file_digest(cast(Any, file), "sha256")
    return Fingerprint(size_bytes=file.tell(), sha256=digest.hexdigest(), footer_sha256=footer_sha256(file))


def footer_sha256(file: BinaryIO) -> str:
    """The hash of an open file's footer, its length included. Raises ValueError where there is none."""
    size = file.seek(0, io.SEEK_END)
    if size < 2 * TAIL.size:
        raise ValueError(f"{size} bytes are no Parquet file")
    file.seek(size - TAIL.size)
    tail = file.read(TAIL.size)
    length, magic = TAIL.unpack(tail)
    if magic != MAGIC or length > min(size - TAIL.size, FOOTER_BYTES_MAX):
        raise ValueError("it does not end as a Parquet file does")
    file.seek(size - TAIL.size - length)
    return hashlib.sha256(file.read(length) + tail).hexdigest()


def read_seal(folder: Folder, table: str, part: int) -> Seal | None:
    """The seal of a part; None where it has none. Raises StoreError for one that cannot be read."""
    name = seal_file(table, part)
    try:
        with folder.open(name) as file:
            values = json.loads(file.read(SEAL_BYTES_MAX))
        before = values.pop("before", None)
        return Seal(now=_fingerprint(values), before=None if before is None else _fingerprint(before))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError, AttributeError, OSError) as e:
        raise StoreError(f"{folder.url}/{name}: cannot be read as a part's hashes: {e}") from e


def write_seal(folder: Folder, table: str, part: int, file: BinaryIO) -> bool:
    """Say what a part is to be whose bytes are in an open file; returns whether that replaces another part."""
    now, before = fingerprint(file), _published(folder, table, part)
    folder.write_bytes(seal_file(table, part), Seal(now=now, before=None if before == now else before).to_bytes())
    return before is not None and before != now


def settle_seal(folder: Folder, table: str, part: int) -> None:
    """A part is replaced: what was there before is not admitted any more."""
    seal = read_seal(folder, table, part)
    if seal is not None and seal.before is not None:
        folder.write_bytes(seal_file(table, part), Seal(now=seal.now).to_bytes())


def is_unsettled(size_bytes: int) -> bool:
    """Whether a seal of this size may say what was there before, too."""
    return size_bytes > SETTLED_BYTES_MAX


def mend_seal(folder: Folder, table: str, part: int) -> None:
    """After a run that was killed while it replaced a part: admit what is there, and nothing else.

    What is neither of both, and a seal that cannot be read, is left for `verify` to find.
    """
    try:
        seal = read_seal(folder, table, part)
    except StoreError:
        return
    if seal is None or seal.before is None:
        return
    for known in (seal.now, seal.before):
        with contextlib.suppress(FileNotFoundError):
            if broken(folder, table, part, Seal(now=known), full=False) is None:
                folder.write_bytes(seal_file(table, part), Seal(now=known).to_bytes())
                return


def broken(folder: Folder, table: str, part: int, seal: Seal, *, full: bool) -> str | None:
    """How the bytes of a part are not what its seal says; None where they are.

    Its size and footer are compared, and all bytes of a part of `HASHED_BYTES` at most, or with `full` of any.
    Raises OSError where it cannot be read.
    """
    admitted = [seal.now] if seal.before is None else [seal.now, seal.before]
    name = part_file(table, part)
    with folder.open(name) as file:
        size = file.seek(0, io.SEEK_END)
        if size not in {known.size_bytes for known in admitted}:
            return f"has {size:,} bytes, not the {seal.now.size_bytes:,} that were published"
        try:
            if full or size <= HASHED_BYTES:
                is_same = fingerprint(file) in admitted
            else:
                is_same = footer_sha256(file) in {known.footer_sha256 for known in admitted}
        except ValueError as e:
            return f"is not what was published: {e}"
    return None if is_same else "is not what was published: its hash is another"


def check_parts(folder: Folder, table: str, parts: Iterable[int]) -> None:
    """Refuse parts that are not what was published, as far as size, footer and small parts tell. Raises StoreError."""
    for part in parts:
        seal = read_seal(folder, table, part)
        wrong = None if seal is None else broken(folder, table, part, seal, full=False)
        if wrong is not None:
            name = part_file(table, part)
            raise StoreError(f"{folder.url}/{name}: {wrong}; {see_verify(folder.url)}")


def _published(folder: Folder, table: str, part: int) -> Fingerprint | None:
    """Of the part that is there now; None where there is none, or nothing that could be one."""
    try:
        with folder.open(part_file(table, part)) as file:
            return fingerprint(file)
    except (FileNotFoundError, ValueError):
        return None


def _fingerprint(values: Mapping[str, Any]) -> Fingerprint:
    found = Fingerprint(**{name: values[name] for name in Fingerprint.__dataclass_fields__})
    if not isinstance(found.size_bytes, int) or not all(
        isinstance(text, str) for text in (found.sha256, found.footer_sha256)
    ):
        raise ValueError("its values are of other types")
    return found

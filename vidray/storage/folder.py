"""A folder on any storage, with whole files: the only way in which vidray writes."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, cast

from fsspec.implementations.local import LocalFileSystem

from vidray.storage.patience import ChangedError
from vidray.storage.places import filesystem, find, is_local, local_path, place_of

UNWRITABLE = frozenset({errno.EACCES, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.ENOSPC, errno.EPERM, errno.EROFS})
UNWRITABLE |= {errno.EISDIR, errno.ENOTDIR}

STAGING = "_staging"
"""What is not finished lies here, on the same disk: a rename makes it appear whole. No reader looks in here."""

STORE_FILE = "vidray.json"
"""By which a folder is known as a store."""

REPLACED_TIMES = 5
"""A file that is replaced more often while it is read is somebody's who writes all the time."""


class Folder:
    """A folder on any fsspec URL. Writes are atomic: a reader sees all of a file, or no file.

    What cannot be read or written raises an OSError of one line that names the file; FileNotFoundError for a file
    that is not there.
    """

    def __init__(self, url: str | os.PathLike[str]) -> None:
        url = place_of(url, "a folder")
        self.url = local_path(url) if is_local(url) else url.rstrip("/")
        self.fs, root = filesystem(self.url)
        self.root = root.rstrip("/")
        self.local = isinstance(self.fs, LocalFileSystem)

    def path(self, name: str) -> str:
        return f"{self.root}/{name}"

    def exists(self, name: str) -> bool:
        return bool(self.fs.exists(self.path(name)))

    def sizes(self, prefix: str = "") -> dict[str, int]:
        """Every file below `prefix`, by its name relative to this folder, with its size; one listing."""
        return {name: size_bytes for name, (size_bytes, _) in self.seen(prefix).items()}

    def seen(self, prefix: str = "") -> dict[str, tuple[int, str]]:
        """The same, each with its size and what changes whenever it is written: its ETag, else when it last changed;
        empty where the storage says neither."""
        top = self.path(prefix).rstrip("/")
        try:
            found = find(self.fs, top)
        except (FileNotFoundError, NotADirectoryError):
            # where a file is in the place of the folder, there is nothing below it
            return {}
        skip = len(self.root) + 1
        return {name[skip:]: (int(info["size"] or 0), _changed(info)) for name, info in sorted(found.items())}

    def read_bytes(self, name: str) -> bytes:
        """All of a file: as it was, or as it is, where it is replaced meanwhile."""
        for _ in range(REPLACED_TIMES):
            with contextlib.suppress(ChangedError), self.open(name) as file:
                return file.read()
        with self.open(name) as file:
            return file.read()

    def open(self, name: str) -> BinaryIO:
        return cast(BinaryIO, self.fs.open(self.path(name), "rb"))

    def write_bytes(self, name: str, data: bytes) -> None:
        with self.writing(name) as file:
            file.write(data)

    def create_bytes(self, name: str, data: bytes) -> bool:
        """Write a file that is not there yet; False, and nothing written, where it is."""
        path = self.path(name)
        if self.exists(name):
            return False
        try:
            if self.local:
                place = Path(self.path(STAGING))
                with self._telling(f"{self.url}/{name} cannot be written"):
                    place.mkdir(parents=True, exist_ok=True)
                    Path(path).parent.mkdir(parents=True, exist_ok=True)
                    with tempfile.NamedTemporaryFile(dir=place, prefix="writing-") as file:
                        file.write(data)
                        file.flush()
                        # a link appears with all of its content, or not at all
                        os.link(file.name, path)
            else:
                self.fs.pipe_file(path, data, mode="create")
        except FileExistsError:
            return False
        return True

    def swap_bytes(self, name: str, expected: bytes, data: bytes) -> bool:
        """Write a file if it still holds what is expected; False, and nothing written, where it does not.

        On local storage and S3 one of many who try at once succeeds; elsewhere the last one to write wins.
        """
        with contextlib.suppress(FileNotFoundError):
            if not self.local:
                return cast(bool, self.fs.swap_file(self.path(name), expected, data))
            with open(self.path(name), "rb") as held:
                # it ends with its process, and who waited for it finds another file under the name
                fcntl.flock(held, fcntl.LOCK_EX)
                if self.read_bytes(name) == expected:
                    self.write_bytes(name, data)
                    return True
        return False

    @contextlib.contextmanager
    def writing(self, name: str) -> Iterator[BinaryIO]:
        """A file to write to; it appears under its name when the block ends without an error."""
        place = Path(self.path(STAGING) if self.local else tempfile.gettempdir())
        scratch = place / f"writing-{uuid.uuid4().hex}"
        try:
            with self._telling(f"{self.url}/{name} cannot be written"):
                if self.local:
                    place.mkdir(parents=True, exist_ok=True)
                    Path(self.path(name)).parent.mkdir(parents=True, exist_ok=True)
                with open(scratch, "x+b", opener=self._create) as file:
                    yield cast(BinaryIO, file)
                    if self.local:
                        # a name that outlives a power failure must not be of an empty file
                        file.flush()
                        os.fsync(file.fileno())
                if self.local:
                    os.replace(scratch, self.path(name))
                else:
                    self.fs.put_file(str(scratch), self.path(name))
        finally:
            with contextlib.suppress(OSError):
                scratch.unlink()

    def remove(self, name: str) -> None:
        with contextlib.suppress(FileNotFoundError), self._telling(f"{self.url}/{name} cannot be removed"):
            self.fs.rm_file(self.path(name))

    def remove_tree(self, name: str) -> None:
        with contextlib.suppress(FileNotFoundError), self._telling(f"{self.url}/{name} cannot be removed"):
            self.fs.rm(self.path(name), recursive=True)

    def _create(self, path: str, flags: int) -> int:
        # what goes elsewhere is nobody's business here
        return os.open(path, flags, 0o666 if self.local else 0o600)

    @contextlib.contextmanager
    def _telling(self, what: str) -> Iterator[None]:
        """Name the file where the operating system names none, or a scratch file."""
        try:
            yield
        except OSError as e:
            if e.errno not in UNWRITABLE:
                raise
            where = "" if self.local else f" in {tempfile.gettempdir()}, where uploads are gathered"
            raise OSError(f"{what}: {os.strerror(e.errno).lower()}{where}") from e


def _changed(info: Mapping[str, Any]) -> str:
    known = (info.get(name) for name in ("ETag", "etag", "mtime", "LastModified", "last_modified", "created"))
    return str(next((value for value in known if value), ""))

"""Files on any fsspec URL: one way to open, list, read and write them. Knows nothing of what they hold."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast
from urllib.parse import quote, unquote_to_bytes, urlsplit

import fsspec
import fsspec.core
from fsspec.implementations.local import LocalFileSystem

from vidray.errors import MissingExtraError, UsageError

EXTRAS = {"s3": "s3", "s3a": "s3", "http": "http", "https": "http", "gs": "gcs", "gcs": "gcs"}
READ_BLOCK_BYTES = 1 << 20
READ_BLOCKS_KEPT = 32


def filesystem(url: str) -> tuple[Any, str]:
    """The fsspec filesystem of a URL and the path in it; listings are always fresh."""
    if is_local(url):
        return LocalFileSystem(), local_path(url)
    scheme = urlsplit(url).scheme
    try:
        fs, path = fsspec.core.url_to_fs(url, use_listings_cache=False)
    except ImportError as e:
        if scheme in EXTRAS:
            raise MissingExtraError(f"{scheme}:// storage", EXTRAS[scheme]) from e
        raise UsageError(f"{url}: {e}") from e
    except ValueError as e:
        raise UsageError(f"{url}: fsspec knows no storage '{scheme}://'") from e
    return fs, path


def is_local(url: str) -> bool:
    return "://" not in url or url.startswith(("file://", "local://"))


def local_path(url: str) -> str:
    """The absolute path of a local URL; `file://` URLs may carry percent-encoded bytes that are not UTF-8."""
    if "://" in url:
        return os.fsdecode(unquote_to_bytes(url.split("://", 1)[1]))
    return os.path.abspath(os.path.expanduser(url))


def to_uri(fs: Any, path: str) -> str:
    """How vidray writes a file down: an absolute path, or a URL; always valid UTF-8."""
    if not isinstance(fs, LocalFileSystem):
        return cast(str, fs.unstrip_protocol(path))
    try:
        path.encode()
    except UnicodeEncodeError:
        return "file://" + quote(os.fsencode(path))
    return path


def open_uri(uri: str) -> BinaryIO:
    """A seekable binary file; remote files are read by ranges. Raises OSError."""
    fs, path = filesystem(uri)
    if isinstance(fs, LocalFileSystem):
        return Path(path).open("rb")
    options = {"block_size": READ_BLOCK_BYTES, "cache_type": "blockcache"}
    file = fs.open(path, "rb", cache_options={"maxblocks": READ_BLOCKS_KEPT}, **options)
    return cast(BinaryIO, file)


class Folder:
    """A folder on any fsspec URL. Writes are atomic: a reader sees all of a file, or no file."""

    def __init__(self, url: str) -> None:
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
        top = self.path(prefix).rstrip("/")
        try:
            found = self.fs.find(top, detail=True)
        except FileNotFoundError:
            return {}
        skip = len(self.root) + 1
        return {name[skip:]: int(info["size"] or 0) for name, info in sorted(found.items())}

    def read_bytes(self, name: str) -> bytes:
        return cast(bytes, self.fs.cat_file(self.path(name)))

    def open(self, name: str) -> BinaryIO:
        return cast(BinaryIO, self.fs.open(self.path(name), "rb"))

    def write_bytes(self, name: str, data: bytes) -> None:
        with self.writing(name) as file:
            file.write(data)

    @contextlib.contextmanager
    def writing(self, name: str) -> Iterator[BinaryIO]:
        """A file to write to; it appears under its name when the block ends without an error."""
        scratch = Path(self.path("_staging")) if self.local else None
        if scratch is not None:
            scratch.mkdir(parents=True, exist_ok=True)
            Path(self.path(name)).parent.mkdir(parents=True, exist_ok=True)
        file = tempfile.NamedTemporaryFile(dir=scratch, prefix="writing-", delete=False)  # noqa: SIM115
        try:
            with file:
                yield cast(BinaryIO, file)
            if self.local:
                # mkstemp makes files that only their owner may read
                os.chmod(file.name, 0o666 & ~_umask())
                os.replace(file.name, self.path(name))
            else:
                self.fs.put_file(file.name, self.path(name))
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(file.name)

    def remove(self, name: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            self.fs.rm_file(self.path(name))

    def remove_tree(self, name: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            self.fs.rm(self.path(name), recursive=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask

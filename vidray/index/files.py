"""The files of one index: segments that never change, a manifest a version, and `CURRENT`, which commits it.

    index/<name>/
      CURRENT                     the version that readers open, and the sha256 of its manifest
      v0003/manifest.json         what it is, what it was built from, and its files with their sizes and hashes
      centroids-<sha256>.f32      (nlist, dim) float32, of an index that has lists
      segments/<name>/            see `vidray.index.segment`

A reader sees all of a version or none of it. Opening is trust: names, sizes and hashes are checked against the
manifest, and the manifest against `CURRENT`, before anything is parsed.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, cast

from vidray.errors import IndexFileError
from vidray.index.manifest import CENTROIDS_NAME, REBUILD, SEGMENT_NAME, SEGMENTS, File, Manifest, parse_manifest
from vidray.storage import STAGING, Folder

CURRENT = "CURRENT"
MANIFEST_FILE = "manifest.json"
HASHED_BYTES = 16 << 20
"""At every opening so many bytes are hashed, the smallest files first: 15 ms or so."""

ABANDONED_S = 24 * 3600.0
WORK_PREFIX = "building-"
WORK_FOLDER = STAGING
_VERSION = re.compile(r"v\d{4,}")
_CURRENT = re.compile(r"(v\d{4,}) ([0-9a-f]{64})\n")


def describe(path: Path) -> File:
    """Size and sha256 of a local file."""
    with path.open("rb") as file:
        return File(size_bytes=path.stat().st_size, sha256=sha256_of(file))


def sha256_of(file: BinaryIO) -> str:
    """The hash of an open file, from where it stands to its end."""
    return hashlib.file_digest(cast(Any, file), "sha256").hexdigest()


@contextlib.contextmanager
def workspace(folder: Folder) -> Iterator[Path]:
    """A local folder to build in, on the index's own disk where that is local; gone when the block ends.

    The folder around it stays until the index is published: other workers build in it at the same time.
    """
    place = Path(folder.path(WORK_FOLDER)) if folder.local else None
    if place is not None:
        place.mkdir(parents=True, exist_ok=True)
        for left in place.glob(f"{WORK_PREFIX}*"):
            with contextlib.suppress(FileNotFoundError):
                if time.time() - left.stat().st_mtime > ABANDONED_S:
                    shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=WORK_PREFIX, dir=place, ignore_cleanup_errors=True) as work:
        yield Path(work)


def publish(folder: Folder, manifest: Manifest, beside: Mapping[str, bytes]) -> str:
    """Commit a manifest whose files are there: a new version, then `CURRENT`. Returns the version.

    What is to stand `beside` the manifest is the builder's own.

    What the new version does not name is removed after that: older versions and their files, and what builds that
    were killed left behind. Only one build at a time may be here.
    """
    data = manifest.to_bytes()
    version = f"v{max(map(_number, _versions(folder)), default=0) + 1:04d}"
    for name, content in {**beside, MANIFEST_FILE: data}.items():
        folder.write_bytes(f"{version}/{name}", content)
    folder.write_bytes(CURRENT, f"{version} {hashlib.sha256(data).hexdigest()}\n".encode())
    _clear(folder, version, manifest)
    return version


def _clear(folder: Folder, version: str, manifest: Manifest) -> None:
    segments = {segment.name for segment in manifest.segments}
    gone = set()
    for name in folder.sizes():
        top, _, below = name.partition("/")
        below = below.partition("/")[0]
        if (_VERSION.fullmatch(top) and top != version) or (
            CENTROIDS_NAME.fullmatch(top) and top not in manifest.centroids
        ):
            gone.add(top)
        elif top == SEGMENTS and SEGMENT_NAME.fullmatch(below) and below not in segments:
            gone.add(f"{SEGMENTS}/{below}")
    for name in sorted(gone):
        folder.remove(name) if name.endswith(".f32") else folder.remove_tree(name)
    if folder.local:
        with contextlib.suppress(OSError):
            Path(folder.path(WORK_FOLDER)).rmdir()


def _number(version: str) -> int:
    return int(version[1:])


def _versions(folder: Folder) -> set[str]:
    return {top for name in folder.sizes() if _VERSION.fullmatch(top := name.split("/", 1)[0])}


def current(folder: Folder) -> tuple[str, str]:
    """The version that readers are to open, and the sha256 of its manifest; raises IndexFileError."""
    try:
        text = folder.read_bytes(CURRENT).decode("ascii", "replace")
    except FileNotFoundError as e:
        raise IndexFileError(f"{folder.url}: no index here; {REBUILD}") from e
    match = _CURRENT.fullmatch(text)
    if match is None:
        raise IndexFileError(f"{folder.url}/{CURRENT} is damaged; {REBUILD}")
    return match[1], match[2]


def read_manifest(folder: Folder, version: str, manifest_sha256: str) -> Manifest:
    """The manifest of a version. Raises IndexFileError, and FileNotFoundError where it is missing."""
    where = f"{folder.url}/{version}/{MANIFEST_FILE}"
    data = folder.read_bytes(f"{version}/{MANIFEST_FILE}")
    if hashlib.sha256(data).hexdigest() != manifest_sha256:
        raise IndexFileError(f"{where} is not the one that {CURRENT} names; {REBUILD}")
    return parse_manifest(data, where)


def fetch(folder: Folder, manifest: Manifest, download_to: Path) -> Path:
    """A local folder with the index's files: of a remote index, copies in `download_to`, each fetched once.

    Raises IndexFileError, and FileNotFoundError where a file is missing.
    """
    if folder.local:
        return Path(folder.root)
    for name, file in manifest.files.items():
        copy = download_to / name
        if copy.is_file() and copy.stat().st_size == file.size_bytes:
            continue
        # before it is downloaded: a file of another size is not worth the traffic
        _check_size(f"{folder.url}/{name}", int(folder.fs.size(folder.path(name))), file)
        copy.parent.mkdir(parents=True, exist_ok=True)
        folder.fs.get_file(folder.path(name), str(copy))
    return download_to


def check_files(files: Path, manifest: Manifest, where: str, *, every: bool) -> None:
    """Compare sizes, and the hashes of the smallest files or of every one, with the manifest.

    Raises IndexFileError, and FileNotFoundError where a file is missing.
    """
    hashed = 0
    for name, file in sorted(manifest.files.items(), key=lambda item: (item[1].size_bytes, item[0])):
        _check_size(f"{where}/{name}", (files / name).stat().st_size, file)
        hashed += file.size_bytes
        if (every or hashed <= HASHED_BYTES) and describe(files / name).sha256 != file.sha256:
            raise IndexFileError(f"{where}/{name} is damaged: its sha256 is not the manifest's; {REBUILD}")


def _check_size(name: str, size_bytes: int, file: File) -> None:
    if size_bytes != file.size_bytes:
        raise IndexFileError(f"{name} is damaged: {size_bytes} bytes, not {file.size_bytes}; {REBUILD}")

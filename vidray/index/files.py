"""The files of one index: `index/<name>/v0001/...`, its manifest, and `CURRENT`, whose replacement is the commit.

A reader sees all of a version or none of it. Opening is trust: names, sizes and hashes are checked against the
manifest, and the manifest against `CURRENT`, before anything is parsed.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, BinaryIO, cast

from vidray.errors import IndexFileError
from vidray.index.ann import LISTS_FILE, MAIN_FILE
from vidray.storage import Folder

FORMAT = 1
CURRENT = "CURRENT"
MANIFEST_FILE = "manifest.json"
IDS_FILE = "ids.arrow"
ALL_FILES = (IDS_FILE, MAIN_FILE, LISTS_FILE)
SMALL_BYTES = 16 << 20
"""Files up to this size are hashed at every opening: 40 ms at most."""

REBUILD = "run vidray index again"
ABANDONED_S = 24 * 3600.0
WORK_PREFIX = "building-"
WORK_FOLDER = "_staging"
_VERSION = re.compile(r"v\d{4,}")
_CURRENT = re.compile(r"(v\d{4,}) ([0-9a-f]{64})\n")


@dataclass(frozen=True, kw_only=True)
class Part:
    """One Parquet file that the index was built from; `clips` of its `rows` are in the index."""

    name: str
    size_bytes: int
    sha256: str
    rows: int
    clips: int


@dataclass(frozen=True, kw_only=True)
class File:
    """One file of the index."""

    size_bytes: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What an index is and what it was built from.

    Attributes:
        features: The table: relative to the index where both are in one store, else its URL.
        spec_sha256: Of the table's `_spec.json`, None where it has none.
        parts: In the order of the rows.
        clips: How many are in the index.
        left_out: Rows that have no direction to compare, by reason: `null` (a clip without audio, say), `zero`,
            `not_finite`.
        nlist: Inverted lists, 0 where the index is exact.
        nprobe: How many of them a search looks into, for the recall that was measured when it was built.
    """

    features: str
    spec_sha256: str | None
    parts: tuple[Part, ...]
    clips: int
    left_out: Mapping[str, int]
    dim: int
    metric: str
    factory: str
    nlist: int
    nprobe: int
    recall_at_10: float
    files: Mapping[str, File]

    def to_bytes(self) -> bytes:
        """As JSON; `parse_manifest` reads it."""
        return (json.dumps({"format": FORMAT, **asdict(self)}, indent=1) + "\n").encode()


def parse_manifest(data: bytes, where: str) -> Manifest:
    """The manifest in a JSON document; raises IndexFileError."""
    try:
        values = json.loads(data)
        written = values.pop("format")
        if written != FORMAT:
            raise IndexFileError(f"{where}: index format {written!r}, this vidray opens {FORMAT}; {REBUILD}")
        values["parts"] = tuple(_typed(Part, part) for part in values["parts"])
        values["files"] = {name: _typed(File, file) for name, file in values["files"].items()}
        manifest = cast(Manifest, _typed(Manifest, values))
        expected = {IDS_FILE, MAIN_FILE} | ({LISTS_FILE} if manifest.nlist else set())
        if set(manifest.files) != expected or sum(part.clips for part in manifest.parts) != manifest.clips:
            raise ValueError("its files or parts do not add up")
        if min(manifest.clips, manifest.dim, manifest.nprobe) < 1 or manifest.nlist < 0 or manifest.metric != "cosine":
            raise ValueError("its numbers cannot be")
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as e:
        raise IndexFileError(f"{where}: not a manifest of an index ({e}); {REBUILD}") from e
    return manifest


_TYPES: dict[str, tuple[type, ...]] = {
    "str": (str,), "str | None": (str, type(None)), "int": (int,), "float": (float, int), "tuple[Part, ...]": (tuple,),
    "Mapping[str, int]": (dict,), "Mapping[str, File]": (dict,),
}  # fmt: skip


def _typed(kind: type[Any], values: Mapping[str, object]) -> Any:
    for field in fields(kind):
        value = values[field.name]
        if not isinstance(value, _TYPES[str(field.type)]) or isinstance(value, bool):
            raise TypeError(f"{field.name} is {value!r:.60}")
    return kind(**values)


def describe(path: Path) -> File:
    """Size and sha256 of a local file."""
    with path.open("rb") as file:
        return File(size_bytes=path.stat().st_size, sha256=sha256_of(file))


def sha256_of(file: BinaryIO) -> str:
    """The hash of an open file, from where it stands to its end."""
    return hashlib.file_digest(cast(Any, file), "sha256").hexdigest()


@contextlib.contextmanager
def workspace(folder: Folder) -> Iterator[Path]:
    """A local folder to build in, on the index's own disk where that is local; gone when the block ends."""
    place = Path(folder.path(WORK_FOLDER)) if folder.local else None
    if place is not None:
        place.mkdir(parents=True, exist_ok=True)
        for left in place.glob(f"{WORK_PREFIX}*"):
            with contextlib.suppress(FileNotFoundError):
                if time.time() - left.stat().st_mtime > ABANDONED_S:
                    shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=WORK_PREFIX, dir=place, ignore_cleanup_errors=True) as work:
        yield Path(work)
    if place is not None:
        with contextlib.suppress(OSError):
            place.rmdir()


def publish(folder: Folder, built: Path, manifest: Manifest) -> str:
    """Commit the files in `built`: a new version, then `CURRENT`. Returns the version.

    What was current before, and older versions, are removed after that. A version that lies between was left by a
    build that was killed, or belongs to one that commits at this moment: it goes with the next build.
    """
    data = manifest.to_bytes()
    (built / MANIFEST_FILE).write_bytes(data)
    version = _place(folder, built)
    try:
        before = _number(current(folder)[0])
    except IndexFileError:
        before = 0
    folder.write_bytes(CURRENT, f"{version} {hashlib.sha256(data).hexdigest()}\n".encode())
    for other in _versions(folder) - {version}:
        if _number(other) <= before:
            folder.remove_tree(other)
    return version


def _number(version: str) -> int:
    return int(version[1:])


def _versions(folder: Folder) -> set[str]:
    return {top for name in folder.sizes() if _VERSION.fullmatch(top := name.split("/", 1)[0])}


def _place(folder: Folder, built: Path) -> str:
    """Put the built files under the next free version."""
    number = max(map(_number, _versions(folder)), default=0) + 1
    if not folder.local:
        for path in sorted(built.iterdir()):
            folder.fs.put_file(str(path), folder.path(f"v{number:04d}/{path.name}"))
        return f"v{number:04d}"
    # a temporary directory is its owner's alone; an index is for whoever may read the folder that it is in
    os.chmod(built, Path(folder.root).stat().st_mode & 0o777)
    while True:
        version = f"v{number:04d}"
        try:
            if not os.path.lexists(folder.path(version)):
                os.rename(built, folder.path(version))
                return version
        except OSError as e:
            # another build took the number since
            if e.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                raise
        number += 1


def current(folder: Folder) -> tuple[str, str]:
    """The version that readers are to open, and the sha256 of its manifest; raises IndexFileError."""
    try:
        text = folder.read_bytes(CURRENT).decode("ascii", "replace")
    except FileNotFoundError as e:
        raise IndexFileError(f"{folder.url}: no index here; run vidray index") from e
    match = _CURRENT.fullmatch(text)
    if match is None:
        raise IndexFileError(f"{folder.url}/{CURRENT} is damaged; {REBUILD}")
    return match[1], match[2]


def fetch(folder: Folder, version: str, manifest_sha256: str, download_to: Path) -> tuple[Manifest, Path]:
    """The manifest of a version and a local folder with its files: of a remote index, copies below `download_to`.

    Raises IndexFileError, and FileNotFoundError where a file is missing.
    """
    where = f"{folder.url}/{version}/{MANIFEST_FILE}"
    data = folder.read_bytes(f"{version}/{MANIFEST_FILE}")
    if hashlib.sha256(data).hexdigest() != manifest_sha256:
        raise IndexFileError(f"{where} is not the one that {CURRENT} names; {REBUILD}")
    manifest = parse_manifest(data, where)
    if folder.local:
        return manifest, Path(folder.path(version))
    copies = download_to / version
    copies.mkdir(exist_ok=True)
    for name, file in manifest.files.items():
        # before it is downloaded: a file of another size is not worth the traffic
        _check_size(f"{folder.url}/{version}/{name}", int(folder.fs.size(folder.path(f"{version}/{name}"))), file)
        folder.fs.get_file(folder.path(f"{version}/{name}"), str(copies / name))
    return manifest, copies


def check_files(files: Path, manifest: Manifest, where: str, *, every: bool) -> None:
    """Compare sizes, and the hashes of small files or of every one, with the manifest.

    Raises IndexFileError, and FileNotFoundError where a file is missing.
    """
    for name, file in manifest.files.items():
        _check_size(f"{where}/{name}", (files / name).stat().st_size, file)
        if (every or file.size_bytes <= SMALL_BYTES) and describe(files / name).sha256 != file.sha256:
            raise IndexFileError(f"{where}/{name} is damaged: its sha256 is not the manifest's; {REBUILD}")


def _check_size(name: str, size_bytes: int, file: File) -> None:
    if size_bytes != file.size_bytes:
        raise IndexFileError(f"{name} is damaged: {size_bytes} bytes, not {file.size_bytes}; {REBUILD}")

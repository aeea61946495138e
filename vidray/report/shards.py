"""Data beside the page, as scripts: a page that is opened from disk may load scripts, and may fetch nothing.

Each script hands one JSON text to the page, as a string that `JSON.parse` reads: no value of a table is ever code, nor
a key that means something to JavaScript.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vidray.errors import UsageError
from vidray.storage import Folder

MARKER = "vidray-report.txt"
"""By this file a folder is known to be a report: it is written before all else, so that a report that was interrupted
is one too."""
MARKER_TEXT = b"Of vidray report, which replaces what is in this folder.\n"

UPLOADS = 32
"""Files that are on their way to object storage at once: each takes some ten milliseconds of waiting."""

MOST_WAITING = 1024

TYPES = {"f4": "f32", "f8": "f64", "i4": "i32", "u1": "u8", "u2": "u16", "u4": "u32"}
"""Types of numbers that a page takes, by what they are called there."""


TYPES_OF_FILES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
}
TELLING = {"s3://": "ContentType", "gs://": "content_type", "gcs://": "content_type"}
"""By which argument each object storage is told what a file is."""


def packed(values: npt.NDArray[Any]) -> dict[str, str]:
    """Numbers as base64 of their little-endian bytes, with their type."""
    kind = values.dtype.str[1:]
    data = np.ascontiguousarray(values, values.dtype.newbyteorder("<"))
    return {"type": TYPES[kind], "data": base64.b64encode(data.tobytes()).decode()}


def script(name: str, value: object) -> bytes:
    """A script that hands a value to the page under a name."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    # what JSON leaves as it is and a string in JavaScript does not
    text = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"vidray.put({json.dumps(name)},'{text}');\n".encode()


class Site:
    """The folder that a report is written to: files are written beside each other, the page itself last."""

    def __init__(self, url: str | os.PathLike[str]) -> None:
        self.folder = Folder(url)
        self.url = self.folder.url
        self.data_bytes = 0
        self.image_bytes = 0
        self._made: set[str] = set()
        self._pool = ThreadPoolExecutor(UPLOADS) if not self.folder.local else None
        self._told = [key for start, key in TELLING.items() if self.url.startswith(start)]
        self._waiting: list[Future[Any]] = []

    def clear(self) -> None:
        """Make room for a report, and mark the folder as one. Raises UsageError where it holds something else."""
        held = [name for name in self.folder.sizes() if not name.startswith(".")]
        if held and MARKER not in held:
            raise UsageError(f"{self.url}: holds other files ({held[0]}); give -o a new folder, or one of a report")
        self.folder.write_bytes(MARKER, MARKER_TEXT)
        if not held:
            return
        self.folder.remove("index.html")
        for name in ("data", "images", "page"):
            self.folder.remove_tree(name)

    def data(self, name: str, value: object) -> None:
        """Write `data/<name>.js`."""
        made = script(name, value)
        self.data_bytes += len(made)
        self.file(f"data/{name}.js", made)

    def images(self, name: str, encoded: Sequence[bytes | None]) -> None:
        """Write `images/<name>.js`, a list of base64: characters that neither JSON nor JavaScript knows otherwise."""
        listed = b",".join(b"null" if image is None else b'"%b"' % image for image in encoded)
        made = b"vidray.put(%b,'[%b]');\n" % (json.dumps(name).encode(), listed)
        self.image_bytes += len(made)
        self.file(f"images/{name}.js", made)

    def file(self, name: str, data: bytes) -> None:
        """Write a file; on object storage soon, `finish` waits for it."""
        if self._pool is None:
            self._write(name, data)
            return
        # a browser shows what it is told to be a page
        told = {key: TYPES_OF_FILES[Path(name).suffix] for key in self._told}
        self._waiting.append(self._pool.submit(self.folder.fs.pipe_file, self.folder.path(name), data, **told))
        if len(self._waiting) >= MOST_WAITING:
            self._settle()

    def _write(self, name: str, data: bytes) -> None:
        path = self.folder.path(name)
        parent = os.path.dirname(path)
        if parent not in self._made:
            os.makedirs(parent, exist_ok=True)
            self._made.add(parent)
        with open(path, "wb", buffering=0) as file:
            file.write(data)

    def _settle(self) -> None:
        waiting, self._waiting = self._waiting, []
        for write in waiting:
            write.result()

    def finish(self, files: Mapping[str, bytes]) -> None:
        """Wait until all is written, then write what is the page."""
        self._settle()
        for name, data in files.items():
            self.file(name, data)
        self._settle()
        if self._pool is not None:
            self._pool.shutdown()

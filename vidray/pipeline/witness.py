"""Whether it is a file that is lost, or its storage: before a clip is given up, the files next to it are asked for.

Judged where the clip is read, before anything of it is staged: so no row blames a storage that was gone for a while.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from vidray.errors import DecodeError, StorageGoneError
from vidray.media import Decoded
from vidray.storage import is_answering, open_uri
from vidray.store import Store

UNREACHABLE = ("not_found", "unreadable")
"""Kinds of errors of files that the storage does not give."""
WITNESSES = 5
TRIES = 3


class Reader(Protocol):
    """What decodes a clip: a sandbox, or one with witnesses."""

    def read(self, uri: str, *rest: Any, **options: Any) -> Decoded: ...

    def start(self) -> None: ...

    def close(self) -> None: ...


class Witnessed:
    """A sandbox whose answer that a file is not given can be believed.

    Raises StorageGoneError from `read` where none of the files next to it, all of which were read when they were
    planned, is given either. While they are, the file is asked for some times more.
    """

    def __init__(self, sandbox: Reader, store: Store) -> None:
        self._sandbox = sandbox
        self._store = store
        self._part = 0
        self._planned: dict[int, list[str]] = {}

    def about(self, part: int) -> None:
        """Say of which part the next clips are."""
        self._part = part

    def start(self) -> None:
        self._sandbox.start()

    def close(self) -> None:
        self._sandbox.close()

    def read(self, uri: str, *rest: Any, **options: Any) -> Decoded:
        """As of `Sandbox.read`."""
        for _ in range(TRIES):
            decoded = self._sandbox.read(uri, *rest, **options)
            error = next((found for found in decoded.samples.values() if _is_unreachable(found)), None)
            if error is None:
                break
            if is_gone_beside(uri, self._others(uri)):
                assert isinstance(error, DecodeError)
                raise StorageGoneError(uri, error.message)
        return decoded

    def _others(self, uri: str) -> list[str]:
        """Files of the same part; of others where it has none."""
        for part in (self._part, *self._store.parts("clips")):
            if part not in self._planned:
                rows = self._store.read("videos", part, ["uri", "status"]).to_pylist()
                self._planned[part] = [row["uri"] for row in rows if row["status"] == "ok"]
            others = [other for other in self._planned[part] if other != uri]
            if others:
                return others
        return []


def is_gone_beside(uri: str, others: Sequence[str]) -> bool:
    """Whether a storage that does not give a file gives none of the other files next to it."""
    witnesses = witnesses_of(uri, others)
    if not witnesses:
        return not is_answering(uri)
    for witness in witnesses:
        try:
            with open_uri(witness) as file:
                if file.read(1):
                    return False
        except (FileNotFoundError, PermissionError):
            continue
        except Exception:
            # any storage's library may raise any error of its own, and what was borne with for long is no accident
            return True
    return True


def witnesses_of(uri: str, others: Sequence[str]) -> list[str]:
    """A few of the files that share the deepest folder with one, spread over all of these: single files, and neighbours
    with them, may be removed, and a folder may be a storage of its own."""
    depths = [_common_folders(uri, other) for other in others]
    near = [other for other, depth in zip(others, depths, strict=True) if depth == max(depths)]
    step = max(1, len(near) // WITNESSES)
    return near[::step][:WITNESSES]


def _common_folders(one: str, other: str) -> int:
    pairs = zip(one.split("/")[:-1], other.split("/")[:-1], strict=False)
    return next((depth for depth, (a, b) in enumerate(pairs) if a != b), min(one.count("/"), other.count("/")))


def _is_unreachable(found: object) -> bool:
    return isinstance(found, DecodeError) and found.kind in UNREACHABLE

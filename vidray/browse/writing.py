"""Labels that are put by a key: gathered for a moment, and written as any import of people's labels is."""

from __future__ import annotations

import csv
import tempfile
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path

from vidray.errors import UsageError
from vidray.labels.imports import import_labels, undo_import
from vidray.store import Store
from vidray.store.layout import imports_of
from vidray.store.tables import checked_name

GATHERED_S = 0.25
"""Keys that are pressed faster than that are written together: each import rewrites the parts that it touches."""


class LabelWriter:
    """One writer for all who label by the page. `put` may be called from any thread."""

    def __init__(self, store: str) -> None:
        self._store = store
        self._waiting: dict[str, dict[str, Sequence[str]]] = {}
        self._written: dict[str, Future[None]] = {}
        self._made: dict[str, list[str]] = {}
        self._lock = threading.Lock()
        self._writing = threading.Lock()

    def put(self, name: str, clips: dict[str, Sequence[str]]) -> None:
        """Give clips, by id, these labels and no others of the name; returns when they are written.

        Raises UsageError, and StoreError where another run holds the labels.
        """
        checked_name(name)
        with self._lock:
            is_first = name not in self._waiting
            self._waiting.setdefault(name, {}).update(clips)
            done = self._written.setdefault(name, Future())
        if is_first:
            threading.Timer(GATHERED_S, self._write, (name,)).start()
        done.result()

    def undo(self, name: str) -> None:
        """Take the last labels of a name back, also those that are not written yet.

        Raises UsageError where this writer has written none that are still the last: those of others stay.
        """
        checked_name(name)
        self._write(name)
        with self._writing:
            made = self._made.get(name, [])
            if not made:
                raise UsageError(f"no labels of {name} were put here that could be taken back")
            if made[-1] != self._last(name):
                raise UsageError(f"the last labels of {name} are others' since; vidray import --undo takes those back")
            undo_import(self._store, name=name)
            made.pop()

    def _write(self, name: str) -> None:
        """Write what waits, which may be nothing any more."""
        with self._writing:
            with self._lock:
                clips, done = self._waiting.pop(name, None), self._written.pop(name, None)
            if clips is None or done is None:
                return
            try:
                self._import(name, clips)
            except Exception as e:
                # whoever waits for it is told
                done.set_exception(e)
            else:
                done.set_result(None)

    def _import(self, name: str, clips: Mapping[str, Sequence[str]]) -> None:
        with tempfile.TemporaryDirectory(prefix="vidray-labels-") as folder:
            file = Path(folder) / "labels.csv"
            with file.open("w", newline="", encoding="utf-8") as out:
                rows = ((clip, label) for clip, labels in clips.items() for label in labels)
                csv.writer(out).writerows([("clip_id", "label"), *rows])
            import_labels(self._store, str(file), name=name)
        self._made.setdefault(name, []).append(self._last(name))

    def _last(self, name: str) -> str:
        """The last import of a name, whoever made it; empty where there is none."""
        return max(Store(self._store).folder.sizes(imports_of(name)), default="")

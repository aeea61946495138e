"""Labels that are put by a key: gathered for a moment, and written as any import of people's labels is."""

from __future__ import annotations

import csv
import tempfile
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path

from vidray.labels.imports import import_labels, undo_import
from vidray.store.tables import checked_name

GATHERED_S = 0.25
"""Keys that are pressed faster than that are written together: each import rewrites the parts that it touches."""


class LabelWriter:
    """One writer for all who label by the page. `put` may be called from any thread."""

    def __init__(self, store: str) -> None:
        self._store = store
        self._waiting: dict[str, dict[str, Sequence[str]]] = {}
        self._written: dict[str, Future[None]] = {}
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
        """Take the last labels of a name back. Raises UsageError where there is none."""
        with self._writing:
            undo_import(self._store, name=name)

    def _write(self, name: str) -> None:
        with self._lock:
            clips, done = self._waiting.pop(name), self._written.pop(name)
        try:
            with self._writing, tempfile.TemporaryDirectory(prefix="vidray-labels-") as folder:
                file = Path(folder) / "labels.csv"
                with file.open("w", newline="") as out:
                    rows = ((clip, label) for clip, labels in clips.items() for label in labels)
                    csv.writer(out).writerows([("clip_id", "label"), *rows])
                import_labels(self._store, str(file), name=name)
        except Exception as e:
            # whoever waits for it is told
            done.set_exception(e)
        else:
            done.set_result(None)

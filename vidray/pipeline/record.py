"""What a run did: the counts that users see, and the provenance under `runs/`."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import importlib.metadata
import platform
import secrets
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vidray.errors import VidrayError
from vidray.extractors.protocol import Extractor
from vidray.pipeline.worker import Receipt
from vidray.planning import Planner
from vidray.store import PROBE, Store
from vidray.store.layout import PROBE_TABLE, errors_of

RECENT_SLICES = 16
PACKAGES = ("vidray", "ray", "torch", "torchvision", "torchaudio", "av", "pyarrow")


@dataclass(frozen=True, kw_only=True)
class Summary:
    """The counts of one run. planned = done + failed + skipped.

    Attributes:
        videos: In the store.
        videos_failed: Of these, how many cannot be read, and so have no clips.
        clips: In the store.
        planned: (clip, extractor) pairs of the extractors of this run.
        done: Pairs that this run has columns for.
        failed: Pairs that this run has an error for.
        skipped: Pairs that an earlier run had done or failed.
        video_s: Seconds of video that this run decoded.
        wall_s: Seconds from the start to the end of the run.
        startup_s: Seconds until the first clip was being decoded; None where none was.
        x_realtime: video_s / wall_s.
    """

    videos: int
    videos_failed: int
    clips: int
    planned: int
    done: int
    failed: int
    skipped: int
    video_s: float
    wall_s: float
    startup_s: float | None
    x_realtime: float


class RunRecord:
    """Collects what happens in a run, from its start on."""

    def __init__(self, store: Store, *, corpus: str, tables: Mapping[str, Extractor], planner: Planner) -> None:
        self._store = store
        self._tables = list(tables)
        self._began = time.time()
        self._first_decode: float | None = None
        self._done = 0
        self._failed = 0
        self._video_s = 0.0
        self._recent: deque[bool] = deque(maxlen=RECENT_SLICES)
        self.settings: dict[str, Any] = {
            "corpus": corpus,
            "plan": planner.config,
            "extractors": {table: extractor.name for table, extractor in tables.items()},
        }

    def takes(self, tables: Mapping[str, Extractor]) -> None:
        """The run's tables, those that were added too."""
        self._tables = list(tables)
        self.settings["extractors"] = {table: extractor.name for table, extractor in tables.items()}

    def count(self, what: str, number: int) -> None:
        """Add to one of the record's own counts: what was lost and tried again."""
        if not number:
            return
        attempts = self.settings.setdefault("attempts", {})
        attempts[what] = attempts.get(what, 0) + number

    def is_storage_gone(self) -> bool:
        """Whether of the last slices most hold files that the storage has and does not give."""
        return 2 * sum(self._recent) > RECENT_SLICES

    def received(self, receipt: Receipt) -> None:
        self._recent.append(receipt.unreachable is not None)
        self._done += receipt.done
        self._failed += receipt.failed
        self._video_s += receipt.video_s
        self._first_decode = min(self._first_decode or receipt.started_at, receipt.started_at)

    def fail(self, error: Exception) -> None:
        """Write down that the run ended early, and why; the error itself is more important than this record."""
        with contextlib.suppress(OSError, VidrayError):
            self._write({"error": str(error), "done": self._done, "failed": self._failed})

    def finish(self) -> Summary:
        """Count what the store holds now, write the run's record and return its summary."""
        parts = self._store.parts("clips")
        videos, videos_failed, clips = (self._store.count(name, parts) for name in ("videos", PROBE_TABLE, "clips"))
        planned = clips * len(self._tables)
        wall_s = time.time() - self._began
        summary = Summary(
            videos=videos,
            videos_failed=videos_failed,
            clips=clips,
            planned=planned,
            done=self._done,
            failed=self._failed,
            skipped=planned - self._done - self._failed,
            video_s=round(self._video_s, 3),
            wall_s=round(wall_s, 3),
            startup_s=None if self._first_decode is None else round(self._first_decode - self._began, 3),
            x_realtime=round(self._video_s / wall_s, 3),
        )
        self._write({"counts": dataclasses.asdict(summary)})
        return summary

    def _write(self, outcome: Mapping[str, Any]) -> None:
        began = datetime.datetime.fromtimestamp(self._began, datetime.UTC)
        versions = {name: importlib.metadata.version(name) for name in PACKAGES}
        record = {
            "started_at": began.isoformat(),
            **self.settings,
            "versions": versions | {"python": platform.python_version()},
            **outcome,
        }
        self._store.write_run(f"{began:%Y%m%dT%H%M%S}-{secrets.token_hex(3)}", record)


def failures(store_url: str, tables: Sequence[str], *, most: int) -> tuple[list[str], int]:
    """What could not be read or extracted: the first lines for a person, and how many there are in all."""
    store = Store(store_url)
    lines: list[str] = []
    count = 0
    for table in (PROBE, *tables):
        for part, rows in store.counts(errors_of(table)).items():
            count += rows
            if len(lines) < most and rows:
                named = ["uri", "message"] if table == PROBE else ["uri", "message", "start_s"]
                for row in store.read(errors_of(table), part, named).slice(0, most - len(lines)).to_pylist():
                    place = f" at {row['start_s']:g} s ({table})" if "start_s" in row else ""
                    lines.append(f"{row['uri']}{place}: {row['message']}")
    return lines, count

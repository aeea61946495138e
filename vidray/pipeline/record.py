"""What a run did: the counts that users see, and the provenance under `runs/`."""

from __future__ import annotations

import dataclasses
import datetime
import importlib.metadata
import platform
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vidray.extractors.protocol import Extractor
from vidray.pipeline.worker import Receipt
from vidray.planners import FixedStride
from vidray.store import PROBE, Store

UNREACHABLE_SLICES = 8
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

    def __init__(self, store: Store, *, corpus: str, tables: Mapping[str, Extractor], planner: FixedStride) -> None:
        self._store = store
        self._tables = list(tables)
        self._began = time.time()
        self._first_decode: float | None = None
        self._done = 0
        self._failed = 0
        self._video_s = 0.0
        self._slices = 0
        self._unreachable = 0
        self.settings: dict[str, Any] = {
            "corpus": corpus,
            "plan": planner.config,
            "extractors": {table: extractor.name for table, extractor in tables.items()},
        }

    def count(self, what: str, number: int) -> None:
        """Add to one of the record's own counts: what was lost and tried again."""
        attempts = self.settings.setdefault("attempts", {})
        attempts[what] = attempts.get(what, 0) + number

    def is_storage_gone(self) -> bool:
        """Whether most slices of this run hold files that the storage does not give."""
        return self._unreachable >= UNREACHABLE_SLICES and 2 * self._unreachable > self._slices

    def received(self, receipt: Receipt) -> None:
        self._slices += 1
        self._unreachable += receipt.unreachable is not None
        self._done += receipt.done
        self._failed += receipt.failed
        self._video_s += receipt.video_s
        self._first_decode = min(self._first_decode or receipt.started_at, receipt.started_at)

    def finish(self) -> Summary:
        """Count what the store holds now, write the run's record and return its summary."""
        parts = self._store.parts("clips")
        videos = sum(self._store.rows("videos", part) for part in parts)
        videos_failed = sum(self._store.rows(f"errors/{PROBE}", part) for part in parts)
        clips = sum(self._store.rows("clips", part) for part in parts)
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
        began = datetime.datetime.fromtimestamp(self._began, datetime.UTC)
        record = {
            "started_at": began.isoformat(),
            **self.settings,
            "versions": {name: importlib.metadata.version(name) for name in PACKAGES}
            | {"python": platform.python_version()},
            "counts": dataclasses.asdict(summary),
        }
        self._store.write_run(f"{began:%Y%m%dT%H%M%S}-{secrets.token_hex(3)}", record)
        return summary


def failures(store: Store, table: str, *, most: int) -> list[tuple[str, str]]:
    """The first failures of one extractor, as (where, why)."""
    found: list[tuple[str, str]] = []
    for part in store.parts(f"errors/{table}"):
        if len(found) >= most:
            break
        rows = store.read(f"errors/{table}", part)
        if table == PROBE:
            found += [(row["uri"], row["message"]) for row in rows.to_pylist()]
            continue
        for row in rows.sort_by([("uri", "ascending"), ("start_s", "ascending")]).to_pylist():
            found.append((f"{row['uri']} at {row['start_s']:g} s", row["message"]))
    return found[:most]

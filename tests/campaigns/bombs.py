"""Bombs: every file of `media_bombs` in one corpus with good videos, through `vidray extract` with its own limits.

    python -m tests.campaigns.bombs [--only NAME ...]

The laws: the run ends; every file is planned or has a probe error; `verify` finds each pair once; the good videos' rows
are those of a run without bombs; no child takes much more memory than it may. The last line of standard output is one
JSON object; the exit status is 1 if a law is broken.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

import ray

from tests.campaigns.fuzz import left_behind, rows
from tests.campaigns.media_bombs import BOMBS, make_bombs
from tests.extractors_for_tests import Loudness, MeanColour
from vidray.pipeline import extract
from vidray.sandbox import Limits
from vidray.store import Store
from vidray.store.verification import verify
from vidray.testing import Sweep, SyntheticVideo, write_video

GOOD = 6
CPUS = 4
SLACK_BYTES = 512 << 20
"""A child grows between two looks at it."""


class Peak:
    """The largest resident size of any sandbox's child, looked at ten times a second."""

    def __init__(self) -> None:
        self.bytes = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> Peak:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(0.1):
            for entry in Path("/proc").iterdir():
                with contextlib.suppress(OSError, ValueError, IndexError):
                    if b"vidray.sandbox.child" in (entry / "cmdline").read_bytes():
                        pages = int((entry / "statm").read_text().split()[1])
                        self.bytes = max(self.bytes, pages * os.sysconf("SC_PAGE_SIZE"))


def good_rows(store: Store) -> list[dict[str, object]]:
    found = [row for table in ("mean_colour", "loudness") for row in rows(store, f"features/{table}")]
    return [row | {"uri": Path(str(row["uri"])).name} for row in found if Path(str(row["uri"])).name.startswith("good")]


def nameless(found: list[dict[str, object]]) -> list[dict[str, object]]:
    """Rows without ids, which depend on when the files were written."""
    return sorted(({name: value for name, value in row.items() if not name.endswith("_id")} for row in found), key=str)


def run(folder: Path, names: list[str]) -> dict[str, object]:
    """One campaign on a Ray cluster that is running; returns its figures."""
    corpora, stores = ([folder / f"{kind}-{what}" for what in ("good", "bad")] for kind in ("corpus", "store"))
    for corpus in corpora:
        corpus.mkdir()
        for number in range(GOOD):
            video = SyntheticVideo(frames=60 + number, fps=10, audio=Sweep(length_s=5.0))
            # spread among the bombs, by their names
            write_video(corpus / f"good-{number}.mp4", video)
    make_bombs(corpora[1], names)
    for number, name in enumerate(names):
        (corpora[1] / name).rename(corpora[1] / f"{'af'[number % 2]}-{name}")
    extractors = {"mean_colour": MeanColour(), "loudness": Loudness()}
    extract(str(corpora[0]), str(stores[0]), extractors=extractors)
    began = time.monotonic()
    with Peak() as peak:
        summary = extract(str(corpora[1]), str(stores[1]), extractors=extractors)
    wall_s = time.monotonic() - began
    store, checked = Store(str(stores[1])), verify(str(stores[1]))
    failures = [row for table in ("_probe", *extractors) for row in rows(store, f"errors/{table}")]
    laws = {
        "every file is accounted for": summary.videos == len(names) + GOOD,
        "every pair is there once": checked.is_whole,
        "good videos are done": summary.planned > 0 and len(good_rows(store)) == 2 * GOOD,
        "good rows are as without bombs": nameless(good_rows(store)) == nameless(good_rows(Store(str(stores[0])))),
        "memory is bounded": peak.bytes < Limits().memory_bytes + SLACK_BYTES,
    }
    return {
        "bombs": len(names),
        "clips": summary.clips,
        "probe_errors": summary.videos_failed,
        "planned": summary.planned,
        "done": summary.done,
        "failed": summary.failed,
        "kinds": dict(Counter(str(row["kind"]) for row in failures).most_common()),
        "largest_child_mib": peak.bytes >> 20,
        "wall_s": round(wall_s, 1),
        "broken_laws": [law for law, holds in laws.items() if not holds],
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--only", nargs="*", default=list(BOMBS), choices=list(BOMBS), metavar="NAME")
    options = parser.parse_args()
    ray.init(address="local", num_cpus=CPUS, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    try:
        with tempfile.TemporaryDirectory(prefix="bombs-") as folder:
            found = run(Path(folder), options.only)
    finally:
        ray.shutdown()
    time.sleep(2.0)
    found["processes_left"] = len(left_behind())
    sys.stdout.write(json.dumps(found) + "\n")
    return 1 if found["broken_laws"] or found["processes_left"] else 0


if __name__ == "__main__":
    sys.exit(main())

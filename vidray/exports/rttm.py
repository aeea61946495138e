"""Who speaks when as RTTM, one file a video: https://github.com/nryant/dscore#rttm (NIST's Rich Transcription)."""

from __future__ import annotations

import re

from vidray.errors import UsageError
from vidray.exports.cues import video_names
from vidray.exports.protocol import ExportSummary, Format, write_into
from vidray.extractors.spec import column_names
from vidray.store import Store
from vidray.store.layout import split_table


def export_rttm(store: Store, table: str, path: str) -> ExportSummary:
    """Write a file a video into a folder, and say how many turns there are over all.

    Args:
        store: The store.
        table: Of speakers.
        path: Path or URL of the folder.

    Raises:
        UsageError: The table holds no turns.
        StoreError: It cannot be read.
        OSError: A file cannot be written.
    """
    kind, name = split_table(table)
    if kind != "features" or "turns" not in column_names(store.spec(name) or {}):
        raise UsageError(f"{store.url}/{table} has no turns of speakers for --to rttm; extract -x speakers")
    names = video_names(store)
    lines: dict[str, list[str]] = {}
    for part in store.parts(table):
        for row in store.read(table, part, ["video_id", "turns"]).to_pylist():
            held = lines.setdefault(row["video_id"], [])
            held += [_line(names[row["video_id"]], **turn) for turn in row["turns"] or ()]
    for video_id, some in lines.items():
        write_into(path, f"{names[video_id]}.rttm", "".join(some).encode())
    return ExportSummary(path=path, rows=sum(map(len, lines.values())), unit="turns")


def _line(name: str, *, start_s: float, end_s: float, speaker: str) -> str:
    """Fields are parted by spaces, so that names have none."""
    file, who = (re.sub(r"\s+", "_", one) for one in (name, speaker))
    return f"SPEAKER {file} 1 {start_s:.3f} {end_s - start_s:.3f} <NA> <NA> {who} <NA> <NA>\n"


FORMATS = (Format(name="rttm", holds="who speaks when", write=export_rttm),)

"""The plan of a store: videos, the clips that they are cut into, and why others could not be read."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from vidray.media import TIME_SLACK_S
from vidray.store.layout import CLIPS, PROBE, PROBE_ERRORS, PROBE_TABLE, VIDEOS
from vidray.store.remedies import plan_command
from vidray.store.store import Store
from vidray.store.verify.findings import Finding, counted, plan_anew
from vidray.store.verify.inventory import Inventory
from vidray.store.verify.reading import CLIP, NONE, VIDEO, PartReader, joined

STATUSES = ("ok", "failed")
LATER_COLUMNS = ("starts_shot", "corpus", "audio_tracks", "holes")
"""What stores of earlier versions do not have."""


@dataclass(frozen=True)
class PlannedPart:
    """One part of the plan.

    Attributes:
        clips: What names each clip, as `keys` of `CLIP`; none where it cannot be read.
        videos: What names the video of each clip, as `keys` of `VIDEO`.
        video_ids: Of each clip.
        is_read: Whether they are known: a part that is not there plans no clips.
    """

    clips: pa.Array
    videos: pa.Array
    video_ids: tuple[str, ...]
    is_read: bool


def check_plan(store: Store, held: Inventory, part: int, *, full: bool) -> tuple[PlannedPart, list[Finding]]:
    """One part of the plan as it stands there, and what is wrong with it."""
    tables = {"videos": VIDEOS, "clips": CLIPS, PROBE_TABLE: PROBE_ERRORS}
    readers = {table: PartReader(store, table, part, lambda: plan_anew(store, part)) for table in tables}
    sealed = set()
    for table, schema in tables.items():
        is_there = part in held.parts_of(table)
        if (is_there or part in held.sealed_of(table)) and readers[table].check_seal(full=full, is_there=is_there):
            sealed.add(table)
        if is_there:
            asked = [(column.name, str(column.type)) for column in schema if column.name not in LATER_COLUMNS]
            readers[table].check_columns(asked, exactly=False)
    videos, clips, probes = (
        _rows(reader, columns, part in held.parts_of(table))
        for (table, reader), columns in zip(readers.items(), (_VIDEO_COLUMNS, _CLIP_COLUMNS, VIDEO), strict=True)
    )
    if videos is not None and clips is not None:
        known = _check_videos(readers["videos"], videos, probes)
        _check_clips(readers["clips"], clips, known, ends="clips" in sealed)
    findings = [finding for reader in readers.values() for finding in reader.findings]
    if not any(finding.counts.get("missing") for finding in findings):
        findings += _absent(store, held, part)
    return _planned(clips, part in held.parts_of("clips")), findings


_VIDEO_COLUMNS = ("video_id", "uri", "status", "duration_s")
_CLIP_COLUMNS = (*CLIP, "clip_index", "part")


def _rows(reader: PartReader, columns: tuple[str, ...], is_there: bool) -> pa.Table | None:
    return reader.rows(columns) if is_there else None


def _absent(store: Store, held: Inventory, part: int) -> Iterator[Finding]:
    """Parts that stand in one table of the plan only: `clips` is written last, after the two others."""
    there = {table: part in held.parts_of(table) for table in ("videos", "clips", PROBE_TABLE)}
    if there["clips"]:
        for table in (table for table, is_there in there.items() if not is_there):
            yield from counted(f"{table} part {part}", Counter(missing=1), plan_anew(store, part))
    elif there["videos"]:
        what = Counter(missing=1)
        yield from counted(f"clips part {part}", what, f"to plan its videos anew run {plan_command(store)}")


def _planned(clips: pa.Table | None, is_there: bool) -> PlannedPart:
    if clips is None:
        return PlannedPart(NONE, NONE, (), not is_there)
    try:
        ids = tuple(str(value) for value in clips["video_id"].to_pylist())
        return PlannedPart(joined(clips, CLIP), joined(clips, VIDEO), ids, True)
    except pa.ArrowException:
        return PlannedPart(NONE, NONE, (), False)


def _check_videos(reader: PartReader, videos: pa.Table, probes: pa.Table | None) -> dict[str, dict[str, Any]]:
    """The videos that have clips, by their ids; says what is wrong with the others and their rows of errors."""
    rows = videos.to_pylist()
    failed = Counter(row["video_id"] for row in rows if row["status"] == "failed")
    reader.say("has videos without an id, a URI or a known status", sum(1 for row in rows if _is_nameless(row)))
    reader.say("has readable videos without a duration", sum(1 for row in rows if _is_endless(row)))
    found = Counter(duplicated=len(rows) - len({row["video_id"] for row in rows}))
    if probes is not None:
        said = Counter(probes["video_id"].to_pylist())
        found.update(missing=len(failed.keys() - said.keys()), orphaned=len(said.keys() - failed.keys()))
        found.update(duplicated=sum(said.values()) - len(said))
    reader.findings += counted(f"videos and errors/{PROBE} part {reader.part}", found, reader.remedy)
    return {row["video_id"]: row for row in rows if row["status"] == "ok"}


def _is_nameless(row: dict[str, Any]) -> bool:
    return row["video_id"] is None or row["uri"] is None or row["status"] not in STATUSES


def _is_endless(row: dict[str, Any]) -> bool:
    duration_s = row["duration_s"]
    return row["status"] == "ok" and not (isinstance(duration_s, float) and 0 <= duration_s < math.inf)


def _check_clips(reader: PartReader, clips: pa.Table, videos: dict[str, dict[str, Any]], *, ends: bool) -> None:
    """Say which clips cannot be of these videos. Spans of a manifest may have outlasted their video in old stores."""
    rows, part = clips.to_pylist(), reader.part
    found, wrong = Counter[str](), Counter[str]()
    indices: dict[str, int] = {}
    for row in rows:
        video = videos.get(row["video_id"])
        found["orphaned"] += video is None or video["uri"] != row["uri"]
        if row["clip_id"] is None or not _is_span(row["start_s"], row["end_s"]):
            wrong["has clips without an id or a span"] += 1
        elif ends and video is not None and row["end_s"] > (video["duration_s"] or 0) + TIME_SLACK_S:
            wrong["has clips that end after their video"] += 1
        before = indices.get(row["video_id"], -1)
        indices[row["video_id"]] = before if row["clip_index"] is None else row["clip_index"]
        if row["part"] != part or indices[row["video_id"]] <= before:
            wrong["has clips out of their order"] += 1
    found["duplicated"] = len(rows) - len({row["clip_id"] for row in rows})
    for what, count in wrong.items():
        reader.say(what, count)
    reader.findings += counted(f"clips part {part}", found, reader.remedy)


def _is_span(start_s: object, end_s: object) -> bool:
    return isinstance(start_s, float) and isinstance(end_s, float) and 0 <= start_s <= end_s < math.inf

"""What a corpus is and what was done to it, at a glance: from the tables of videos, runs and errors."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from vidray.report.clips import Clips
from vidray.store import Store
from vidray.store.accounts import WARNED, by_kind, failures, retried
from vidray.store.layout import PROBE_TABLE, duplicates_of
from vidray.store.remedies import retry_command

BINS = 24
RANKED = 12
TERMS = 60
RUNS = 50
GROUPS = 60
MEMBERS = 12

_STOP_WORDS = (
    "a about after all also am an and any are as at back be because been being but by can could did do does don down "
    "even for from get go going got had has have he her here him his how i if in into is it its just know like ll "
    "made make me more my no not now of off oh okay on one only or other our out over own re really right said say "
    "see she should so some such take than that the their them then there these they thing think this those time to "
    "too two up us ve very want was way we well were what when where which who why will with would yeah yes you your "
    "der die das und ist nicht ich sie wir ein eine zu den mit es auf le la les et de des un une est que en pas pour "
    "el los las y del se por con una"
)
STOP_WORDS = frozenset(_STOP_WORDS.split())
"""Words that say nothing of what a clip is about."""

WORD = re.compile(r"[^\W\d_][\w'’-]+")


def histogram(values: npt.NDArray[Any], *, bins: int = BINS) -> dict[str, Any]:
    """How numbers are distributed: least, most, counts in bins of equal width, and how many there are none of."""
    known = values[np.isfinite(values)].astype(np.float64)
    if not len(known):
        return {"low": 0.0, "high": 0.0, "bins": [], "none": len(values)}
    low, high = float(known.min()), float(known.max())
    counts = np.histogram(known, bins=bins, range=(low, high))[0] if high > low else np.array([len(known)])
    return {"low": low, "high": high, "bins": counts.tolist(), "none": len(values) - len(known)}


def ranked(values: Iterable[object], *, most: int = RANKED) -> list[list[object]]:
    """The most frequent values with their counts; what is missing is called "none"."""
    counts = Counter("none" if value is None else str(value) for value in values)
    kept: list[list[object]] = [[name, count] for name, count in counts.most_common(most)]
    rest = sum(counts.values()) - sum(count for _, count in counts.most_common(most))
    return [*kept, ["others", rest]] if rest else kept


def corpus(store: Store, clips: Clips) -> dict[str, Any]:
    """What the videos are: all of them, also where clips are a sample."""
    names = ["duration_s", "fps", "width", "height", "video_codec", "audio_codec", "size_bytes", "corpus"]
    read = [store.read("videos", part, names) for part in store.parts("clips")]
    videos = pa.concat_tables(read, promote_options="permissive") if read else pa.table({n: [] for n in names})
    seconds = _floats(videos["duration_s"])
    sizes = zip(videos["width"].to_pylist(), videos["height"].to_pylist(), strict=True)
    failed = store.count(PROBE_TABLE)
    return {
        "videos": videos.num_rows,
        "unreadable": failed,
        "hours": float(np.nansum(seconds)) / 3600,
        "bytes": int(np.nansum(_floats(videos["size_bytes"]))),
        "clips": clips.total,
        "corpora": [name for name in videos["corpus"].unique().to_pylist() if name],
        "durations": histogram(seconds),
        "frame_rates": ranked(f"{fps:.5g}" for fps in videos["fps"].to_pylist() if fps),
        "resolutions": ranked(f"{width} × {height}" for width, height in sizes if width and height),
        "codecs": ranked(videos["video_codec"].to_pylist()),
        "audio": ranked(videos["audio_codec"].to_pylist()),
    }


def _floats(column: pa.ChunkedArray) -> npt.NDArray[np.float64]:
    return np.asarray(column.cast(pa.float64()).to_numpy(), np.float64)


def tables(store: Store) -> list[dict[str, Any]]:
    """What each extractor has done."""
    clips = store.count("clips")
    found = []
    for name in store.tables("features"):
        done, failed = (store.count(f"{kind}/{name}") for kind in ("features", "errors"))
        missing = max(0, clips - done - failed)
        extractor = (store.spec(name) or {}).get("extractor", name)
        found.append({"name": name, "extractor": extractor, "done": done, "failed": failed, "missing": missing})
    return found


def runs(store: Store) -> list[dict[str, Any]]:
    """What runs did and how fast, the latest first."""
    found = []
    for name in sorted(store.folder.sizes("runs"), reverse=True)[:RUNS]:
        try:
            record = json.loads(store.folder.read_bytes(name))
        except ValueError:
            continue
        counts = record.get("counts") or {}
        asked = record.get("extractors")
        found.append(
            {
                "id": name.removeprefix("runs/").removesuffix(".json"),
                "at": record.get("started_at"),
                "tables": list(asked) if isinstance(asked, Mapping) else [],
                "what": str(record.get("kind") or record.get("command") or ("extract" if asked else "")),
                "error": record.get("error"),
                **{key: counts.get(key) for key in ("done", "failed", "video_s", "wall_s", "x_realtime")},
            }
        )
    return found


def troubles(store: Store) -> dict[str, Any]:
    """What failed and what warned, by kind, and the command that tries again."""
    kinds = by_kind(list(failures(store.url)))
    told = [
        {
            "table": kind.table,
            "stage": kind.stage,
            "kind": kind.kind,
            "count": kind.count,
            "uri": kind.first.uri,
            "start_s": kind.first.start_s,
            "end_s": kind.first.end_s,
            "message": kind.first.message,
        }
        for kind in kinds
    ]
    failed = [one for one in told if one["stage"] != WARNED]
    return {
        "failed": failed,
        "warned": [one for one in told if one["stage"] == WARNED],
        "again": retry_command(store.url, retried(store.url, kinds)) if failed else None,
    }


def words(rows: Mapping[str, pa.Table]) -> list[dict[str, Any]]:
    """What is said and written, by table: the terms of most clips, languages, and minutes of speech."""
    found = []
    for table, joined in rows.items():
        if not table.startswith("features/"):
            continue
        told: dict[str, Any] = {"table": table.removeprefix("features/")}
        if "text" in joined.column_names and pa.types.is_string(joined.schema.field("text").type):
            texts = [text for text in joined["text"].to_pylist() if text]
            told |= {"clips": len(texts), "terms": _terms(texts)}
        if "language" in joined.column_names:
            told["languages"] = ranked(value for value in joined["language"].to_pylist() if value)
        seconds = _seconds_of_speech(joined)
        if seconds is not None:
            told["minutes"] = seconds / 60
        if len(told) > 1:
            found.append(told)
    return found


def _terms(texts: Sequence[str]) -> list[list[object]]:
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update({word.lower() for word in WORD.findall(text)} - STOP_WORDS)
    return [[word, count] for word, count in counts.most_common(TERMS)]


def _seconds_of_speech(joined: pa.Table) -> float | None:
    if "segments" not in joined.column_names:
        return None
    kind = joined.schema.field("segments").type
    if not (pa.types.is_list(kind) and {"start_s", "end_s"} <= {field.name for field in kind.value_type}):
        return None
    flat = [chunk.flatten() for chunk in joined["segments"].chunks]
    spans = [(one.field("end_s").to_numpy(False) - one.field("start_s").to_numpy(False)) for one in flat]
    return float(sum(np.nansum(span) for span in spans))


def duplicates(store: Store, clips: Clips) -> list[dict[str, Any]]:
    """Groups of near-duplicates, `duplicates/<name>`: the largest first, members by the numbers of their clips."""
    found = []
    for name in store.tables("duplicates"):
        table = duplicates_of(name)
        parts = store.parts(table)
        if not parts:
            continue
        columns = ["group_id", "clip_id", "video_id", "uri", "start_s", "end_s", "score", "keep"]
        columns = [column for column in columns if column in store.columns(table, parts[0])]
        rows = pa.concat_tables([store.read(table, part, columns) for part in parts]).to_pylist()
        groups: dict[object, list[dict[str, Any]]] = {}
        for row in rows:
            groups.setdefault(row["group_id"], []).append(row)
        largest = [_by_turns(group) for group in sorted(groups.values(), key=len, reverse=True)[:GROUPS]]
        wanted = {row["clip_id"] for group in largest for row in group[:MEMBERS]}
        number_of = {clip: number for number, clip in enumerate(clips.ids.to_pylist()) if clip in wanted}
        found.append(
            {
                "name": name,
                "groups": len(groups),
                "clips": len(rows),
                "largest": [
                    {
                        "id": group[0]["group_id"],
                        "of": len(group),
                        "members": [_member(row, number_of) for row in group[:MEMBERS]],
                    }
                    for group in largest
                ],
            }
        )
    return found


def _by_turns(group: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The first rows of all videos, then the second, ...: so that those that are shown are of as many as there are."""
    seen: Counter[object] = Counter()
    turns = []
    for row in group:
        turns.append(seen[row.get("video_id")])
        seen[row.get("video_id")] += 1
    return [group[at] for at in sorted(range(len(group)), key=turns.__getitem__)]


def _member(row: Mapping[str, Any], number_of: Mapping[str, int]) -> dict[str, Any]:
    told = {key: row.get(key) for key in ("uri", "start_s", "end_s", "score", "keep")}
    return {**told, "video": row.get("video_id"), "clip": number_of.get(row["clip_id"])}

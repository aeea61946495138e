"""Clips as tasks of Label Studio, with what was found and said in them; its own export is what `vidray import` takes.

A task's `data` has the clip's id, its video with its span, and the texts of tables; labels are a task's `predictions`:
https://labelstud.io/guide/tasks, https://labelstud.io/guide/predictions.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from typing import Any, BinaryIO

import pyarrow as pa

from vidray.errors import UsageError
from vidray.exports.protocol import ExportSummary, Format, first_columns, writing
from vidray.store import IDENTITY, Store
from vidray.store.layout import features_of

CHOICES, VIDEO = "label", "video"
"""What the labeling interface has to call its `<Choices>` and its `<Video>`."""


def export_tasks(store: Store, table: str, path: str) -> ExportSummary:
    """Write a task for each clip of the plan, pre-labeled by a table.

    Args:
        store: With a plan.
        table: `labels/<name>`, a table of features that has `labels`, or `clips` for tasks without labels.
        path: Path or URL of the file.

    Raises UsageError for a table that has no labels of clips, and StoreError.
    """
    if table != "clips":
        there = first_columns(store, table)
        if not (
            {"clip_id", "label", "score"} <= there if table.startswith("labels/") else {"clip_id", "labels"} <= there
        ):
            raise UsageError(
                f"{store.url}/{table} has no labels of clips; give labels/NAME, a table of classes, or clips"
            )
    with writing(path) as file:
        return ExportSummary(path=path, rows=_write(store, table, file), unit="tasks")


def _write(store: Store, table: str, file: BinaryIO) -> int:
    spoken = [name for name in store.tables("features") if _has_text(store, name)]
    count = 0
    file.write(b"[")
    for part in store.parts("clips"):
        found = _labels(store, table, part)
        texts = {name: _texts(store, name, part) for name in spoken}
        for clip in store.read("clips", part, IDENTITY.names).to_pylist():
            said = {name: texts[name].get(clip["clip_id"], "") for name in spoken}
            task = _task(clip, said, table, found.get(clip["clip_id"], []))
            file.write((b",\n" if count else b"\n") + json.dumps(task).encode())
            count += 1
    file.write(b"]\n")
    return count


def _task(clip: dict[str, Any], said: dict[str, str], table: str, labels: list[tuple[str, float]]) -> dict[str, Any]:
    # a player plays this span of the video: https://www.w3.org/TR/media-frags/
    video = f"{clip['uri']}#t={clip['start_s']:g},{clip['end_s']:g}"
    task: dict[str, Any] = {"data": {**said, **clip, "video": video}}
    if labels:
        names = [label for label, _ in labels]
        result = {"from_name": CHOICES, "to_name": VIDEO, "type": "choices", "value": {"choices": names}}
        task["predictions"] = [{"model_version": table, "score": max(score for _, score in labels), "result": [result]}]
    return task


def _has_text(store: Store, name: str) -> bool:
    parts = store.parts(features_of(name))
    schema = store.schema(features_of(name), parts[0]) if parts else pa.schema([])
    return "text" in schema.names and pa.types.is_string(schema.field("text").type)


def _texts(store: Store, name: str, part: int) -> dict[str, str]:
    if part not in store.parts(features_of(name)):
        return {}
    rows = store.read(features_of(name), part, ["clip_id", "text"]).to_pylist()
    return {row["clip_id"]: row["text"] or "" for row in rows}


def _labels(store: Store, table: str, part: int) -> dict[str, list[tuple[str, float]]]:
    """The labels of each clip of a part with their scores, the best first."""
    found: dict[str, list[tuple[str, float]]] = defaultdict(list)
    for clip, label, score in _scored(store, table, part):
        found[clip].append((label, round(float(score), 6)))
    return {clip: sorted(labels, key=lambda one: -one[1]) for clip, labels in found.items()}


def _scored(store: Store, table: str, part: int) -> Iterator[tuple[str, str, float]]:
    if table == "clips" or part not in store.parts(table):
        return
    if table.startswith("labels/"):
        for row in store.read(table, part, ["clip_id", "label", "score"]).to_pylist():
            yield row["clip_id"], row["label"], row["score"]
        return
    for row in store.read(table, part, ["clip_id", "labels"]).to_pylist():
        for one in row["labels"] or ():
            yield row["clip_id"], one["label"], one["score"]


FORMATS = (Format(name="label-studio", holds="tasks to label", write=export_tasks),)

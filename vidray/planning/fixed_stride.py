"""Clips of a fixed length at a fixed stride."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from vidray.arguments import check_number
from vidray.errors import UsageError
from vidray.media import TIME_SLACK_S, Clip, Span, Video

SHORTEST_CLIP_S = 0.1
"""What is left at the end of a video and shorter than this belongs to the clip before it."""


@dataclass(frozen=True)
class FixedStride:
    """Clips [0, length), [stride, stride + length), ... of a video; the last one ends at its end."""

    length_s: float = 10.0
    stride_s: float | None = None

    def __post_init__(self) -> None:
        check_number(length_s=self.length_s)
        if self.stride_s is not None:
            check_number(stride_s=self.stride_s)
        if not SHORTEST_CLIP_S <= self.length_s < float("inf"):
            raise UsageError(f"clip length must be at least {SHORTEST_CLIP_S} s, got {self.length_s}")
        if self.stride_s is not None and not SHORTEST_CLIP_S <= self.stride_s < float("inf"):
            raise UsageError(f"stride must be at least {SHORTEST_CLIP_S} s, got {self.stride_s}")

    @property
    def config(self) -> dict[str, Any]:
        stride_s = self.length_s if self.stride_s is None else self.stride_s
        return {"planner": "fixed_stride", "clip_length_s": self.length_s, "stride_s": stride_s}

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> FixedStride:
        """The planner that a store was planned with."""
        return cls(config["clip_length_s"], config["stride_s"])

    def spans(self, duration_s: float, cuts_s: Sequence[float] = ()) -> list[Span]:
        """The spans of a video that lasts `duration_s` seconds, wherever it cuts; at least one."""
        stride_s = self.length_s if self.stride_s is None else self.stride_s
        spans: list[Span] = []
        for index in range(max(1, int(duration_s / stride_s) + 1)):
            start_s = round(index * stride_s, 6)
            if spans and (spans[-1][1] >= duration_s or duration_s - start_s < SHORTEST_CLIP_S):
                break
            end_s = min(round(start_s + self.length_s, 6), duration_s)
            spans.append((start_s, end_s))
        first_s, last_s = spans[-1]
        if 0 < duration_s - last_s < SHORTEST_CLIP_S:
            spans[-1] = (first_s, duration_s)
        return spans


def clip_id(video_id: str, start_s: float, end_s: float) -> str:
    """32 hexadecimal digits from the video and the span, to the microsecond."""
    key = f"{video_id}\0{round(start_s * 1e6)}\0{round(end_s * 1e6)}"
    return hashlib.blake2b(key.encode(), digest_size=16).hexdigest()


def with_spans_cut(video: Video, duration_s: float) -> Video:
    """The video with a manifest's spans cut at its end, each once; one that begins behind it stays, and fails."""
    cut = [(start_s, min(end_s, duration_s) if start_s < duration_s else end_s) for start_s, end_s in video.spans]
    first = {span: place for place, span in reversed(list(enumerate(cut)))}
    places = sorted(first.values())
    metadata = tuple(video.metadata[place] for place in places) if video.spans else video.metadata
    return replace(video, spans=tuple(cut[place] for place in places), metadata=metadata)


def outside(spans: Sequence[Span], holes: Sequence[Span]) -> list[Span]:
    """The spans that do not lie in a hole; at least the first one, as every video has a clip."""
    kept = [span for span in spans if not any(start_s <= span[0] and span[1] <= end_s for start_s, end_s in holes)]
    return kept or list(spans[:1])


def clips_of(video: Video, planned: Sequence[Span], cuts_s: Sequence[float] | None = None) -> list[Clip]:
    """The clips of one video in order of time: a manifest's own spans as they stand there, else the planner's.

    Where somebody looked for cuts, `cuts_s` says at which clips a shot begins; the first one begins with the video.
    """
    spans = list(video.spans) or planned
    return [
        Clip(
            clip_id=clip_id(video.video_id, start_s, end_s),
            video_id=video.video_id,
            uri=video.uri,
            clip_index=index,
            start_s=start_s,
            end_s=end_s,
            starts_shot=None if cuts_s is None else _is_among(start_s, (0.0, *cuts_s)),
        )
        for index, (start_s, end_s) in enumerate(spans)
    ]


def _is_among(time_s: float, times_s: Sequence[float]) -> bool:
    return any(abs(time_s - other_s) <= TIME_SLACK_S for other_s in times_s)

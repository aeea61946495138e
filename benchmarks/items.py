"""Samples as extractors are given them, for benchmarks that call an extractor's function by itself."""

from __future__ import annotations

from typing import Any

from vidray.media import Clip, ClipInput


def item_of(frames: Any) -> ClipInput:
    """A clip of some frames."""
    clip = Clip(clip_id="c", video_id="v", uri="v", clip_index=0, start_s=0.0, end_s=1.0)
    return ClipInput(clip=clip, values={"frames": frames})

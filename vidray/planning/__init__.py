"""Planners: how a video becomes clips, and how clips become units of work."""

from vidray.planning.fixed_stride import FixedStride, clip_id, clips_of
from vidray.planning.shots import Shots
from vidray.planning.units import Block, Part, Slice, blocks_of, parts_of, slices_of

Planner = FixedStride | Shots

__all__ = [
    "Block",
    "FixedStride",
    "Part",
    "Planner",
    "Shots",
    "Slice",
    "blocks_of",
    "clip_id",
    "clips_of",
    "parts_of",
    "slices_of",
]

"""Planners: how a video becomes clips, and how clips become units of work."""

from vidray.planners.shots import Shots
from vidray.planners.stride import FixedStride, clip_id, clips_of
from vidray.planners.units import Block, Part, Slice, blocks_of, parts_of, slices_of

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

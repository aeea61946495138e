"""Planners: how a video becomes clips, and how clips become units of work. A new planner is one file, or a user's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vidray.errors import UsageError
from vidray.media import Span, VideoInfo
from vidray.planning.fixed_stride import FixedStride, clip_id, clips_of, outside, with_spans_cut
from vidray.planning.protocol import FramesOf, Planner, Survey, survey_of
from vidray.planning.shots import Shots
from vidray.planning.units import Block, Part, Slice, blocks_of, parts_of, slices_of
from vidray.plugins import (
    built,
    entry_points_of,
    import_class,
    known_options,
    load_entry,
    parsed_options,
    split_options,
)

__all__ = [
    "Block",
    "FixedStride",
    "FramesOf",
    "Part",
    "Planner",
    "Shots",
    "Slice",
    "Survey",
    "blocks_of",
    "clip_id",
    "clips_of",
    "cut_alike",
    "outside",
    "parts_of",
    "planner_of",
    "resolve_planner",
    "slices_of",
    "survey_of",
    "with_spans_cut",
]

GROUP = "vidray.planners"
"""The group of entry points by which packages bring planners."""

_BUILT_IN: Mapping[str, Any] = {"fixed_stride": FixedStride, "shots": Shots}
"""By what `config` calls them."""


def planner_of(config: Mapping[str, Any]) -> Planner:
    """The planner that a store was planned with, by what the store keeps of it.

    Raises UsageError for one that does not come with vidray: a store does not decide what is imported.
    """
    kind = config.get("planner", "fixed_stride")
    if kind not in _BUILT_IN:
        raise UsageError(
            f"the store was planned by '{kind}', not by vidray: name it with --planner, or a query's span with --at"
        )
    planner: Planner = _BUILT_IN[kind].of(config)
    return planner


def resolve_planner(text: str) -> Planner:
    """The planner of `module:Class` or of an installed package's entry point, with options behind a `?`.

    Raises UsageError: there is none, it has no such option, or it is no planner.
    """
    name, typed = split_options(text)
    entry = entry_points_of(GROUP).get(name)
    if entry is None and ":" not in name:
        there = ", ".join(entry_points_of(GROUP)) or "none"
        raise UsageError(f"there is no planner '{name}'; installed packages bring {there}, module:Class names your own")
    cls = import_class(name) if entry is None else load_entry(entry)
    fields = known_options(cls)
    unknown = next((option for option in typed if option not in fields), None)
    if unknown is not None:
        raise UsageError(f"'{text}': no option {unknown}; it has {', '.join(sorted(fields)) or 'none'}")
    planner = built(cls, text, parsed_options(typed, fields, f"'{text}'"))
    if not isinstance(planner, Planner):
        raise UsageError(f"'{text}' is no planner: it needs `config` and `spans(duration_s, cuts_s)`")
    return planner


def cut_alike(config: Mapping[str, Any], info: VideoInfo, frames_of: FramesOf) -> list[Span]:
    """The spans of another video, cut as a store's own videos are. Raises as `planner_of`, and DecodeError."""
    planner = planner_of(config)
    survey = survey_of(planner)
    if survey is None:
        return planner.spans(info.duration_s)
    survey.check()
    found = [number for piece in survey.pieces(info) for number in survey.look(info, *piece, frames_of)]
    return planner.spans(info.duration_s, survey.cuts_s(info, found))

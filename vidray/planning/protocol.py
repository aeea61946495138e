"""What a planner is: from a video's duration, and what was seen of it where that matters, to the spans of its clips."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol, runtime_checkable

from vidray.media import Sampling, Span, VideoInfo

FramesOf = Callable[[Sampling, float, float], Any]
"""The samples of a span of the video at hand; None where it has no frame there. Raises DecodeError."""


@runtime_checkable
class Planner(Protocol):
    """How videos become clips: a frozen, picklable description.

    `config` is what a store keeps, and what tells it from others: plain JSON values, with its own name under `planner`.
    An optional attribute `survey` is a `Survey`: a pass over each video's frames whose findings `spans` is given.
    """

    @property
    def config(self) -> dict[str, Any]: ...

    def spans(self, duration_s: float, cuts_s: Sequence[float] = ()) -> list[Span]:
        """The spans of a video that lasts so many seconds and cuts at these times, ascending; at least one."""
        ...


@runtime_checkable
class Survey(Protocol):
    """A pass over a video's frames before it is planned, in pieces that run anywhere on the cluster.

    What a piece finds does not depend on who looks at its neighbours: so a long video is many tasks, and is planned
    alike however they are spread.
    """

    def check(self) -> None:
        """Refuse where this machine cannot do it: MissingExtraError, WeightsError."""
        ...

    def pieces(self, info: VideoInfo) -> Sequence[tuple[int, int]]:
        """The pieces of a video as runs [first, stop) of steps of its own; none where there is nothing to be seen."""
        ...

    def look(self, info: VideoInfo, first: int, stop: int, frames_of: FramesOf) -> Iterable[int]:
        """What is found in one piece, as numbers that ascend; DecodeError ends the piece with what was found so far."""
        ...

    def cuts_s(self, info: VideoInfo, found: Sequence[int]) -> list[float]:
        """The times that the findings of all pieces mean, ascending."""
        ...


def survey_of(planner: Planner) -> Survey | None:
    """The pass over the frames that a planner needs; None where it needs none."""
    survey: Survey | None = getattr(planner, "survey", None)
    return survey

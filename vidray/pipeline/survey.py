"""The pass over videos' frames that a planner may need, in pieces that run anywhere on the cluster."""

from __future__ import annotations

import contextlib
import itertools
import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from vidray.errors import ClusterError, DecodeError, UsageError
from vidray.media import Video, VideoInfo
from vidray.pipeline.trouble import raise_as_said, reason_of
from vidray.pipeline.waiting import first_of
from vidray.planning import FramesOf, Survey
from vidray.sandbox import Sandbox, frames_of
from vidray.storage import is_answering


@dataclass(frozen=True)
class Piece:
    """Steps [first, stop) of one video, as its survey counts them."""

    video: Video
    info: VideoInfo
    first: int
    stop: int


@dataclass(frozen=True)
class Findings:
    """What looking at a piece found.

    Attributes:
        numbers: As the survey gave them.
        failure: Why it was not looked at to its end.
        is_given_up: Whether what failed costs too much to be tried with the video's other pieces.
    """

    numbers: tuple[int, ...]
    failure: str | None = None
    is_given_up: bool = False


def find_cuts(
    videos: Sequence[Video], infos: Sequence[object], survey: Survey
) -> tuple[list[list[float]], list[tuple[str, str]]]:
    """The times at which each video cuts, and (URI, why) of those that were not, or not wholly, looked at.

    Videos without a frame, with spans of their own, or that could not be probed have no cuts. A damaged stretch has
    none either: its clips are there to fail one by one. A video on which the decoder crashes, hangs or grows has none
    at all, and is not tried any further. Runs inside a Ray task.
    """
    import ray

    pieces = [piece for video, info in zip(videos, infos, strict=True) for piece in _pieces(video, info, survey)]
    job = ray.remote(num_cpus=1, max_retries=3)(look_at)
    at_once = 2 * max(1, int(ray.cluster_resources().get("CPU", 1)))
    found: dict[str, list[int]] = {}
    failures: dict[str, str] = {}
    given_up: set[str] = set()
    waiting = (piece for piece in pieces if piece.video.video_id not in given_up)
    running = {job.remote(piece, survey): piece for piece in itertools.islice(waiting, at_once)}
    while running:
        try:
            finished = first_of(list(running), doing="looking where videos cut")
        except TimeoutError as e:
            raise ClusterError(str(e)) from e
        piece = running.pop(finished)
        running |= {job.remote(more, survey): more for more in itertools.islice(waiting, 1)}
        try:
            seen: Findings = ray.get(finished)
        except ray.exceptions.RayError as e:
            raise_as_said(e)
            raise ClusterError(f"looking where videos cut failed on the cluster: {reason_of(e)}") from e
        found.setdefault(piece.video.video_id, []).extend(seen.numbers)
        if seen.failure is not None:
            failures[piece.video.uri] = seen.failure
        if seen.is_given_up:
            given_up.add(piece.video.video_id)
    whole = found.keys() - given_up
    cuts = [
        survey.cuts_s(info, found[video.video_id]) if isinstance(info, VideoInfo) and video.video_id in whole else []
        for video, info in zip(videos, infos, strict=True)
    ]
    return cuts, sorted(failures.items())


def _pieces(video: Video, info: object, survey: Survey) -> Iterator[Piece]:
    if isinstance(info, VideoInfo) and not video.spans:
        for first, stop in survey.pieces(info):
            yield Piece(video, info, first, stop)


def look_at(piece: Piece, survey: Survey) -> Findings:
    """Look at one piece.

    Raises ClusterError for what is no fault of the video: a storage that does not answer, a node without the weights.
    """
    try:
        survey.check()
    except UsageError as e:
        raise ClusterError(f"the node {socket.gethostname()} cannot look for shots: {e}") from e
    found: list[int] = []
    with contextlib.closing(Sandbox()) as sandbox:
        try:
            frames: FramesOf = frames_of(sandbox, piece.video.uri, piece.info)
            for number in survey.look(piece.info, piece.first, piece.stop, frames):
                found.append(number)
        except DecodeError as e:
            if e.kind == "unreadable" and not is_answering(piece.video.uri):
                raise ClusterError(f"{e.message}; the storage of the corpus seems to be gone: run again later") from e
            return Findings(tuple(found), e.message, is_given_up=e.kind != "corrupt")
    return Findings(tuple(found))

"""Which boxes of successive frames are of one thing: ByteTrack, by the library `trackers`.

Zhang et al. 2022, "ByteTrack: Multi-Object Tracking by Associating Every Detection Box". The wheel asks for the OpenCV
that opens windows, which is the same module as the one that does not: it is installed without its requirements, and
supervision, which it passes boxes in, with the extra `track`. Both are imported where a tracker is made.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np
import numpy.typing as npt

from vidray.errors import MissingExtraError

EXTRA = "track"
PACKAGE = "trackers"
PACKAGE_VERSION = "2.6.1"

SCALE = 1000.0
"""What the filter takes a frame's sides for, in pixels: its noise is in pixels of a usual frame."""

LOST_S = 2.0
"""So long something may be hidden and is still the same: a second, and what a detector misses around it."""

BUFFER_RATE = 30.0
"""The library counts what may be lost in frames of a thirtieth of a second."""

LEAST_OVERLAP = 0.1
"""Intersection over union of a box and where its track should be; the library's own."""

Boxes = npt.NDArray[np.float64]
"""(N, 4): x0, y0, x1, y1 as parts of the frame's sides."""


class BoxTracker:
    """Gives the boxes of one kind of thing the numbers of their tracks, frame by frame in order of time.

    Boxes with a score of `start_score` or more begin tracks; lesser ones only go on with one, as the paper says.
    Frames without a box may be left out.
    """

    def __init__(self, *, rate: float, start_score: float) -> None:
        """Raises as `check_installed`; `rate` is the usual number of frames a second."""
        check_installed()
        from trackers import ByteTrackTracker

        self._tracker: Any = ByteTrackTracker(
            lost_track_buffer=round(LOST_S * BUFFER_RATE),
            frame_rate=rate,
            track_activation_threshold=start_score,
            minimum_consecutive_frames=1,
            minimum_iou_threshold=LEAST_OVERLAP,
            high_conf_det_threshold=start_score,
        )
        # A number is given when a track is born, not at its second box as the library does.
        self._born: dict[int, tuple[Any, int]] = {}

    def update(self, time_s: float, boxes: Boxes, scores: Sequence[float]) -> list[int | None]:
        """The number of each box's track, from 0; None for a box that is in no track."""
        import supervision

        given = supervision.Detections(
            xyxy=np.asarray(boxes, np.float64) * SCALE,
            confidence=np.asarray(scores, np.float64),
            data={"place": np.arange(len(scores))},
        )
        known = set(map(id, self._tracker.tracks))
        answer = self._tracker.update(given, timestamp=time_s)
        places, ids = answer.data["place"].tolist(), answer.tracker_id.tolist()
        found: list[int | None] = [None] * len(scores)
        by_id = {track.tracker_id: self._born[id(track)][1] for track in self._tracker.tracks if id(track) in known}
        for place, number in zip(places, ids, strict=True):
            found[place] = by_id[number] if number >= 0 else None
        # Boxes that begin a track come last, in the order of the tracks that they begin.
        new = [track for track in self._tracker.tracks if id(track) not in known]
        for place, track in zip(places[len(places) - len(new) :], new, strict=True):
            found[place] = len(self._born)
            # held for good, so that no later track has its identity
            self._born[id(track)] = (track, len(self._born))
        return found


def is_installed() -> bool:
    """Whether boxes can be tracked here."""
    return all(find_spec(name) is not None for name in ("trackers", "supervision", "cv2", "deprecate", "scipy"))


def check_installed() -> None:
    """Raises MissingExtraError where trackers, which asks for another OpenCV, or what it needs is not installed."""
    if not is_installed():
        raise MissingExtraError("tracks", EXTRA, f"{PACKAGE}=={PACKAGE_VERSION}")

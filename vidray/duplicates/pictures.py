"""The pictures of a store's videos, evenly in time, from its `phash` table: hashes in memory, pictures on disk."""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import IO, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from vidray.duplicates.alignment import SIDE, Pictures, within
from vidray.store import Store
from vidray.store.layout import features_of

Ints = npt.NDArray[np.int64]
Box = tuple[float, float, float, float]
Spans = npt.NDArray[np.float64]

READ_ROWS = 256
DEFAULT_STEP_S = 0.25
WHOLE_FRAME = (0.0, 0.0, 1.0, 1.0)
COLUMNS = ("clip_id", "video_id", "uri", "start_s", "end_s", "hash_times_s", "content")


@dataclass(frozen=True, eq=False)
class Video:
    """A video that has hashes.

    Attributes:
        video_id: Its id.
        uri: Where it is.
        part: Of the plan.
        clip_ids: Of its clips with hashes, by their start.
        spans_s: float64 (clips, 2), where these start and end.
        start_s: When its first picture is on display.
        step_s: From one picture to the next.
        clips: int64 (T,), the clip that each picture is of, by its place.
        hashes: uint64 (T,).
        taken: int64 (T,), which of all clips' pictures, one clip after the other, each is.
        content: Share of the frames' area within borders, of the clips together.
    """

    video_id: str
    uri: str
    part: int
    clip_ids: tuple[str, ...]
    spans_s: Spans
    start_s: float
    step_s: float
    clips: Ints
    hashes: npt.NDArray[np.uint64]
    taken: Ints
    content: float

    def window(self, clip: int) -> slice:
        """Where a clip's pictures are."""
        places = np.flatnonzero(self.clips == clip)
        return slice(int(places[0]), int(places[-1]) + 1) if len(places) else slice(0, 0)

    def span_s(self, first: int, last: int) -> tuple[float, float]:
        """From when the first picture stands to when the last one has gone."""
        end_s = min(self.start_s + last * self.step_s, float(self.spans_s[:, 1].max()))
        return self.start_s + first * self.step_s, end_s


def read_videos(store: Store, table: str) -> list[Video]:
    """All videos of a store that have hashes, in plan order."""
    found: list[Video] = []
    for part in store.parts(features_of(table)):
        rows = store.read(features_of(table), part, [*COLUMNS, "hashes"]).sort_by("start_s")
        ids = rows["video_id"].to_pylist()
        by_video: dict[str, list[int]] = {}
        for place, video_id in enumerate(ids):
            by_video.setdefault(video_id, []).append(place)
        found += [_video(rows.take(places), part) for places in by_video.values()]
    return [video for video in found if len(video.hashes)]


def _video(rows: pa.Table, part: int) -> Video:
    plain = {name: rows[name].to_pylist() for name in (*COLUMNS, "hashes")}
    lengths = [len(values or []) for values in plain["hash_times_s"]]
    times_s = np.array([at for values in plain["hash_times_s"] for at in values or []], np.float64)
    hashes = np.array([value for values in plain["hashes"] for value in values or []], np.uint64)
    clips = np.repeat(np.arange(len(lengths)), lengths)
    boxes = [box for box in plain["content"] if box is not None]
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in boxes]
    step_s = _step_s(times_s, clips)
    taken = _evenly(times_s, step_s)
    return Video(
        video_id=plain["video_id"][0],
        uri=plain["uri"][0],
        part=part,
        clip_ids=tuple(plain["clip_id"]),
        spans_s=np.array([plain["start_s"], plain["end_s"]], np.float64).T,
        start_s=float(times_s.min(initial=np.inf)),
        step_s=step_s,
        clips=clips[taken],
        hashes=hashes[taken],
        taken=taken,
        content=float(np.mean(areas)) if areas else 1.0,
    )


def _step_s(times_s: Spans, clips: Ints) -> float:
    """From one picture of a clip to the next."""
    steps = np.diff(times_s)[np.diff(clips) == 0]
    return float(np.median(steps)) if len(steps) else DEFAULT_STEP_S


def _evenly(times_s: Spans, step_s: float) -> Ints:
    """Which picture stands nearest to each of evenly spaced moments: clips begin where they do, and may overlap."""
    if not len(times_s):
        return np.empty(0, np.int64)
    order = np.argsort(times_s, kind="stable")
    ordered = times_s[order]
    moments = ordered[0] + step_s * np.arange(round((ordered[-1] - ordered[0]) / step_s) + 1)
    behind = np.clip(np.searchsorted(ordered, moments), 1, max(1, len(ordered) - 1))
    before = behind - 1
    behind = np.minimum(behind, len(ordered) - 1)
    is_before = moments - ordered[before] <= ordered[behind] - moments
    return np.asarray(order[np.where(is_before, before, behind)], np.int64)


class PictureFile:
    """The pictures of some videos in a temporary file, so that memory does not grow with the store.

    A context manager.
    """

    def __init__(self, store: Store, table: str, videos: Collection[Video]) -> None:
        self._file: IO[bytes] = tempfile.TemporaryFile(prefix="vidray-pictures-")  # noqa: SIM115
        self._places: dict[str, tuple[int, int]] = {}
        self._boxes: dict[str, list[tuple[slice, Box]]] = {}
        wanted = {video.video_id: video for video in videos}
        written = 0
        for part in sorted({video.part for video in videos}):
            for video, rows in _by_video(store, table, part, wanted):
                pictures, boxes = _pictures(video, rows)
                self._file.write(pictures.tobytes())
                self._places[video.video_id] = written, len(pictures)
                self._boxes[video.video_id] = boxes
                written += len(pictures)
        self._file.flush()
        self._all: npt.NDArray[np.uint8] = np.empty((0, SIDE, SIDE), np.uint8)
        if written:
            self._all = np.memmap(self._file, np.uint8, "r").reshape(-1, SIDE, SIDE)

    def __enter__(self) -> PictureFile:
        return self

    def __exit__(self, *_: object) -> None:
        del self._all
        self._file.close()

    def of(self, video: Video) -> Pictures:
        """All pictures of a video."""
        first, count = self._places[video.video_id]
        whole = self._all[first : first + count]
        boxes = self._boxes[video.video_id]
        if not boxes:
            return Pictures(whole=whole, content=whole)
        content = np.array(whole)
        for place, box in boxes:
            content[place] = within(whole[place], box)
        return Pictures(whole=whole, content=content)


def _by_video(
    store: Store, table: str, part: int, wanted: dict[str, Video]
) -> Iterator[tuple[Video, list[dict[str, Any]]]]:
    """The rows of each wanted video of a part, once it is read to its end: rows of a video lie together."""
    held: dict[str, list[dict[str, Any]]] = {}
    columns = ["clip_id", "video_id", "lumas", "content", "hash_times_s"]
    for rows in store.stream(features_of(table), part, columns, rows=READ_ROWS):
        plain = rows.to_pylist()
        here = {row["video_id"] for row in plain}
        for video_id in [video_id for video_id in held if video_id not in here]:
            yield wanted[video_id], held.pop(video_id)
        for row in plain:
            if row["video_id"] in wanted:
                held.setdefault(row["video_id"], []).append(row)
    yield from ((wanted[video_id], found) for video_id, found in held.items())


def _pictures(video: Video, rows: list[dict[str, Any]]) -> tuple[npt.NDArray[np.uint8], list[tuple[slice, Box]]]:
    """The pictures of a video's moments, and the borders of its clips, where they have some."""
    by_clip = {row["clip_id"]: row for row in rows}
    held = [by_clip[clip_id]["lumas"] or [] for clip_id in video.clip_ids]
    pictures = np.frombuffer(b"".join(b"".join(lumas) for lumas in held), np.uint8).reshape(-1, SIDE, SIDE)
    boxes: list[tuple[slice, Box]] = []
    for place, clip_id in enumerate(video.clip_ids):
        window = video.window(place)
        if window.stop > window.start:
            x0, y0, x1, y1 = by_clip[clip_id]["content"]
            if (x0, y0, x1, y1) != WHOLE_FRAME:
                boxes.append((window, (x0, y0, x1, y1)))
    return pictures[video.taken], boxes

"""What is written in frames, by rapidocr with the PP-OCR networks that its wheel carries."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import SequenceMatcher
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from vidray.errors import MissingExtraError, UsageError
from vidray.extractors.protocol import Answer, ExtractFn, ModelInfo
from vidray.media import ClipInput, FrameRate, Frames, Resize
from vidray.models.batching import check_fps
from vidray.models.weights import packaged_file, sha256_of

NAME = "ocr"
PACKAGE = "rapidocr"
PACKAGE_VERSION = "3.10.0"
MODELS = (
    "rapidocr/models/PP-OCRv6_det_small.onnx",
    "rapidocr/models/PP-OCRv6_rec_small.onnx",
    "rapidocr/models/ch_ppocr_mobile_v2.0_cls_mobile.onnx",
)
RESIZE = Resize(size=720, longest=1280)
"""Small print of a video in 1080p is still 10 pixels high then, which is what the network needs."""

SAME_TEXT = 0.8
"""Share of letters in common, from which on two readings at one place are one line: noise changes a letter or two."""
SAME_PLACE = 0.5
"""Intersection over union of two boxes of one line, which stands still."""

LINES_TYPE = pa.list_(
    pa.struct(
        [
            pa.field("start_s", pa.float64()),
            pa.field("end_s", pa.float64()),
            pa.field("text", pa.string()),
            pa.field("score", pa.float32()),
            *(pa.field(side, pa.float32()) for side in ("x0", "y0", "x1", "y1")),
        ]
    )
)


@dataclass(frozen=True, kw_only=True)
class Line:
    """A line of text that stands at one place for a while; sides are shares of the frame's."""

    start_s: float
    end_s: float
    text: str
    score: float
    x0: float
    y0: float
    x1: float
    y1: float


@dataclass(frozen=True, kw_only=True)
class Ocr:
    """The lines of text that are seen in a clip.

    A line that stands in several frames is one, from the first of them until one step behind the last; its text is the
    reading with the best score. One that goes on past the clip is in each of these clips, cut to it.

    Attributes:
        fps: How many frames a second are read; of those that are alike to the last bit, one.
        min_score: What a line's score must be more of.
        keyframes: Whether keyframes alone are read.
    """

    name: ClassVar[str] = NAME
    version: ClassVar[str] = "1"
    schema: ClassVar[pa.Schema] = pa.schema([("text", pa.string()), ("lines", LINES_TYPE)])

    fps: float = 1.0
    min_score: float = 0.5
    keyframes: bool = False

    def __post_init__(self) -> None:
        check_fps(self.fps)
        if not 0 <= self.min_score <= 1:
            raise UsageError(f"min_score must be >= 0 and <= 1, got {self.min_score:g}")

    @property
    def inputs(self) -> Mapping[str, FrameRate]:
        """Frames of 1280x720 at most."""
        return {"frames": FrameRate(fps=self.fps, resize=RESIZE, keyframes=self.keyframes)}

    @property
    def weights_record(self) -> Mapping[str, str]:
        """Where the weights come from, and the sha256 of their sha256s."""
        hashes = "".join(sha256_of(str(path)) for path in _files())
        return {"source": f"{PACKAGE}=={PACKAGE_VERSION}", "sha256": hashlib.sha256(hashes.encode()).hexdigest()}

    def load(self, device: str) -> ExtractFn:
        """Load the networks, on the CPU. Raises MissingExtraError."""
        engine = _engine(self.min_score)

        def extract(items: Sequence[ClipInput]) -> Answer:
            lines = [self._lines(engine, item) for item in items]
            return {
                "text": ["\n".join(line.text for line in some) for some in lines],
                "lines": [[vars(line) for line in some] for some in lines],
            }

        return extract

    def _lines(self, engine: Any, item: ClipInput) -> list[Line]:
        frames: Frames = item["frames"]
        found: list[list[Line]] = []
        last: npt.NDArray[np.uint8] | None = None
        for time_s, frame in zip(frames.times_s.tolist(), frames.frames, strict=True):
            end_s = min(item.clip.end_s, time_s + 1 / self.fps)
            if last is not None and np.array_equal(frame, last):
                found.append([replace(line, start_s=time_s, end_s=end_s) for line in found[-1]])
            else:
                found.append(_read(engine, frame, max(time_s, item.clip.start_s), end_s))
            last = frame
        return joined(found)


def joined(frames: Sequence[Sequence[Line]]) -> list[Line]:
    """Lines over the frames of one clip, or the clips of one video, in order of time: what stands is one line."""
    found: list[Line] = []
    standing: list[int] = []
    for lines in frames:
        seen: list[int] = []
        for line in lines:
            place = next((one for one in standing if one not in seen and is_same(found[one], line)), None)
            if place is None:
                found.append(line)
                seen.append(len(found) - 1)
            else:
                best = max(found[place], line, key=lambda one: one.score)
                found[place] = replace(best, start_s=found[place].start_s, end_s=line.end_s)
                seen.append(place)
        standing = seen
    return sorted(found, key=lambda line: (line.start_s, round(line.y0, 2), line.x0))


def is_same(one: Line, other: Line) -> bool:
    """Whether two readings are of one line."""
    width = min(one.x1, other.x1) - max(one.x0, other.x0)
    height = min(one.y1, other.y1) - max(one.y0, other.y0)
    shared = max(0.0, width) * max(0.0, height)
    areas = sum((line.x1 - line.x0) * (line.y1 - line.y0) for line in (one, other))
    is_there = shared > SAME_PLACE * (areas - shared)
    return is_there and SequenceMatcher(None, one.text, other.text, autojunk=False).ratio() >= SAME_TEXT


def _read(engine: Any, frame: npt.NDArray[np.uint8], start_s: float, end_s: float) -> list[Line]:
    height, width = frame.shape[:2]
    if not frame.any():
        return []
    answer = engine(np.ascontiguousarray(frame[:, :, ::-1]))  # it takes OpenCV's order, blue first
    if answer.boxes is None:
        return []
    lines = []
    for corners, text, score in zip(answer.boxes, answer.txts, answer.scores, strict=True):
        sides = (np.asarray(corners, np.float64) / (width, height)).clip(0, 1)
        (x0, y0), (x1, y1) = sides.min(0).tolist(), sides.max(0).tolist()
        if text.strip():
            lines.append(
                Line(start_s=start_s, end_s=end_s, text=text.strip(), score=float(score), x0=x0, y0=y0, x1=x1, y1=y1)
            )
    return lines


def _engine(min_score: float) -> Any:
    _files()
    import logging

    from rapidocr import RapidOCR

    params = {
        "Global.text_score": min_score,
        "Global.log_level": "critical",
        "EngineConfig.onnxruntime.intra_op_num_threads": 1,
        "EngineConfig.onnxruntime.inter_op_num_threads": 1,
    }
    engine = RapidOCR(params=params)
    logging.getLogger("RapidOCR").setLevel(logging.CRITICAL)
    return engine


def _files() -> list[Path]:
    found = [packaged_file(PACKAGE, path) for path in MODELS]
    if not _is_installed():
        raise MissingExtraError(NAME, "ocr")
    return [path for path in found if path is not None]


def _is_installed() -> bool:
    there = all(packaged_file(PACKAGE, path) is not None for path in MODELS)
    return there and find_spec("onnxruntime") is not None and find_spec("rapidocr") is not None


EXTRACTOR = Ocr


def info() -> ModelInfo:
    """What `vidray models` says of this extractor."""
    return ModelInfo(
        name=NAME,
        kind="text",
        dim=None,
        inputs="frames of 1280x720 at most",
        weights=f"in the wheel {PACKAGE}=={PACKAGE_VERSION}",
        licence="Apache-2.0",
        available=_is_installed(),
    )

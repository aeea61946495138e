"""Faces by MTCNN, with the weights that the wheel `facenet-pytorch` carries.

Zhang et al. 2016, "Joint Face Detection and Alignment using Multitask Cascaded Convolutional Networks". The wheel asks
for a torch that is long gone, and runs with ours: it is installed without its requirements. torch is imported where the
networks are built.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from vidray.errors import MissingExtraError, UsageError
from vidray.extractors.columns import LABELS_TYPE
from vidray.extractors.protocol import Answer, ExtractFn, ModelInfo
from vidray.extractors.vision.regions import COUNTS_TYPE, DETECTIONS_TYPE, Box, detection_columns
from vidray.extractors.vision.torchvision_import import torchvision_models
from vidray.media import ClipInput, FrameRate, Frames, Resize
from vidray.models.batching import check_fps
from vidray.models.weights import packaged_file, sha256_of

NAME = "faces"
LABEL = "face"
PACKAGE = "facenet-pytorch"
PACKAGE_VERSION = "2.6.0"
EXTRA = "faces"
WEIGHTS = "facenet_pytorch/data/onet.pt"
"""Of the last of its three networks, which has the say; the wheel's version pins the other two."""

RESIZE = Resize(size=720, longest=1280)
SMALLEST_FACE = 20
"""Pixels of the shorter side of a face, as frames are decoded; the wheel's own default."""

LANDMARKS_TYPE = pa.list_(pa.list_(pa.float32(), 10))


@dataclass(frozen=True, kw_only=True)
class Faces:
    """Where faces are in a clip's frames, and how many there are at once.

    `landmarks` has, for each of the `detections`, x and y of the eyes, the nose and the corners of the mouth, left to
    right as seen, as parts of the frame's width and height.

    Attributes:
        fps: Frames a second.
        keyframes: Whether keyframes alone are looked at, at most `fps` a second.
        min_score: Faces with a higher probability are kept.
    """

    name: ClassVar[str] = NAME
    version: ClassVar[str] = "1"
    schema: ClassVar[pa.Schema] = pa.schema(
        [
            ("detections", DETECTIONS_TYPE),
            ("labels", LABELS_TYPE),
            ("counts", COUNTS_TYPE),
            ("landmarks", LANDMARKS_TYPE),
        ]
    )

    fps: float = 2.0
    keyframes: bool = False
    min_score: float = 0.9

    def __post_init__(self) -> None:
        check_fps(self.fps)
        if not 0 <= self.min_score < 1:
            raise UsageError(f"min_score must be in [0, 1), got {self.min_score}")

    @property
    def inputs(self) -> Mapping[str, FrameRate]:
        """Frames of 1280x720 at most."""
        return {"frames": FrameRate(fps=self.fps, resize=RESIZE, keyframes=self.keyframes)}

    @property
    def weights_record(self) -> Mapping[str, str]:
        """Where the weights come from, and their sha256."""
        _check_installed()
        path = packaged_file(PACKAGE, WEIGHTS)
        return {"source": f"{PACKAGE}=={PACKAGE_VERSION}", "sha256": sha256_of(str(path))}

    def load(self, device: str) -> ExtractFn:
        """Build the three networks. Raises MissingExtraError."""
        _check_installed()
        torchvision_models()  # which the wheel would import with torch's compiler
        from facenet_pytorch import MTCNN

        network = MTCNN(keep_all=True, select_largest=False, min_face_size=SMALLEST_FACE, device=device).eval()

        def extract(items: Sequence[ClipInput]) -> Answer:
            clips: list[Frames] = [item["frames"] for item in items]
            boxes: list[list[Box]] = []
            landmarks: list[list[list[float]]] = []
            for clip in clips:
                found = [
                    (box, points)
                    for time_s, frame in zip(clip.times_s.tolist(), clip.frames, strict=True)
                    for box, points in _faces(network, frame, time_s)
                    if box.score > self.min_score
                ]
                boxes.append([box for box, _ in found])
                landmarks.append([points for _, points in found])
            return detection_columns(boxes) | {"landmarks": pa.array(landmarks, LANDMARKS_TYPE)}

        return extract


EXTRACTOR = Faces


def info() -> ModelInfo:
    """What `vidray models` says of this extractor."""
    return ModelInfo(
        name=NAME,
        kind="detection",
        dim=None,
        inputs="frames of 1280x720 at most",
        weights=f"in the wheel {PACKAGE}=={PACKAGE_VERSION}",
        licence="MIT",
        available=_is_installed(),
    )


def _faces(network: Any, frame: npt.NDArray[np.uint8], time_s: float) -> list[tuple[Box, list[float]]]:
    """The faces of one frame, best first. Frames go one by one: boxes of a batch are not free of each other."""
    height, width = frame.shape[:2]
    if min(height, width) <= SMALLEST_FACE:
        return []
    boxes, scores, points = network.detect(frame, landmarks=True)
    if boxes is None:
        return []
    sides = np.array([width, height], np.float32)
    corners = (np.asarray(boxes, np.float32).reshape(-1, 2, 2) / sides).clip(0, 1).reshape(-1, 4).tolist()
    marks = (np.asarray(points, np.float32) / sides).reshape(-1, 10).tolist()
    return [
        (Box(time_s=time_s, label=LABEL, score=float(score), x0=x0, y0=y0, x1=x1, y1=y1), mark)
        for (x0, y0, x1, y1), score, mark in zip(corners, scores, marks, strict=True)
    ]


def _is_installed() -> bool:
    return packaged_file(PACKAGE, WEIGHTS) is not None and find_spec("facenet_pytorch") is not None


def _check_installed() -> None:
    if not _is_installed():
        # the wheel asks for an old torch
        raise MissingExtraError(NAME, EXTRA, f"{PACKAGE}=={PACKAGE_VERSION}")

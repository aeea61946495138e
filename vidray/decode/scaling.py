"""From a decoded frame to the frame that a network sees: colour, size, rotation, crop.

Colour and size are two steps on purpose. Scaling RGB bilinearly gives what torchvision and PIL give; scaling straight
from YUV does not, and embeddings drift by as much as a percent.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from av.filter import Graph
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation, VideoReformatter

from vidray.decode.hdr import needs_mapping, to_sdr
from vidray.media import Resize

Pixels = npt.NDArray[np.uint8]

_UNKNOWN_MATRICES = {
    3: "3 (reserved)", 8: "YCgCo", 10: "BT.2020 constant luminance", 11: "ST 2085", 12: "chromaticity-derived",
    13: "chromaticity-derived constant luminance", 14: "ICtCp", 15: "IPT-C2", 16: "YCgCo-Re", 17: "YCgCo-Ro",
}  # fmt: skip
"""ITU-T H.273's matrices that FFmpeg's scaler does not know."""

_SANE_ASPECT = 16
"""Pixels more oblong than this are a damaged header."""


@dataclass(frozen=True)
class Geometry:
    """How coded frames become displayed ones.

    Attributes:
        height: Of the displayed frame, with square pixels.
        width: Likewise.
        transposed: Rows become columns, before the flips.
        flip_x: Columns are mirrored.
        flip_y: Rows are mirrored.
    """

    height: int
    width: int
    transposed: bool = False
    flip_x: bool = False
    flip_y: bool = False

    @property
    def rotation(self) -> int:
        """Degrees clockwise; a mirrored frame counts as its rotation alone."""
        if self.transposed:
            return 90 if self.flip_x else 270
        return 180 if self.flip_y else 0

    def oriented(self, coded: Pixels) -> Pixels:
        """A coded frame, (H, W, 3), turned for display."""
        turned = coded.transpose(1, 0, 2) if self.transposed else coded
        turned = turned[:, ::-1] if self.flip_x else turned
        return turned[::-1] if self.flip_y else turned


def geometry_of(frame: VideoFrame, aspect: float) -> Geometry:
    """From a first frame and its pixels' width / height."""
    transposed, flip_x, flip_y = _orientation(frame)
    if not 1 / _SANE_ASPECT <= aspect <= _SANE_ASPECT:
        aspect = 1.0
    width, height = max(1, round(frame.width * aspect)), frame.height
    if transposed:
        width, height = height, width
    return Geometry(height, width, transposed, flip_x, flip_y)


def _orientation(frame: VideoFrame) -> tuple[bool, bool, bool]:
    side_data: Any = frame.side_data
    matrix = side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return False, False, False
    # A point (x, y) is displayed at (x * m0 + y * m3, x * m1 + y * m4).
    m = np.frombuffer(bytes(matrix), dtype=np.int32)[:9].astype(np.int64)
    if abs(m[1]) + abs(m[3]) > abs(m[0]) + abs(m[4]):
        return True, bool(m[3] < 0), bool(m[1] < 0)
    return False, bool(m[0] < 0), bool(m[4] < 0)


def pixels_of(frame: VideoFrame) -> str:
    """In words how a frame's pixels are coded, for messages."""
    matrix = _UNKNOWN_MATRICES.get(frame.colorspace)
    return f"the pixel format {frame.format.name}" + (f" with the colour matrix {matrix}" if matrix else "")


def target_size(resize: Resize | None, height: int, width: int) -> tuple[int, int]:
    """(height, width) after scaling, before the crop."""
    return (height, width) if resize is None else resize.scaled(height, width)


class Scaler:
    """Turns frames of one video into displayed frames; keeps FFmpeg's scaling contexts between them."""

    def __init__(self, geometry: Geometry) -> None:
        self.geometry = geometry
        self._to_rgb = VideoReformatter()
        self._bilinear: dict[tuple[int, int], VideoReformatter] = {}
        self._bicubic: dict[tuple[int, ...], Graph] = {}

    def rgb(self, frame: VideoFrame) -> VideoFrame:
        """The whole coded frame as rgb24: what `frame.to_ndarray(format="rgb24")` converts to. Alpha is dropped.

        HDR and wide gamut are converted to SDR in BT.709.
        """
        if needs_mapping(frame):
            return to_sdr(frame, self._to_rgb)
        return self._to_rgb.reformat(frame, format="rgb24", threads=1)

    def frame(self, rgb: VideoFrame, resize: Resize | None) -> Pixels:
        """uint8 (H, W, 3): scaled, turned for display, cut out; C-contiguous."""
        height, width = target_size(resize, self.geometry.height, self.geometry.width)
        coded = (width, height) if self.geometry.transposed else (height, width)
        scaled = self._scaled(rgb, coded, resize)
        turned = self.geometry.oriented(scaled)
        if resize is not None and resize.crop is not None:
            turned = center_crop(turned, resize.crop)
        return np.ascontiguousarray(turned)

    def _scaled(self, rgb: VideoFrame, size: tuple[int, int], resize: Resize | None) -> Pixels:
        if (rgb.height, rgb.width) == size:
            return _pixels(rgb)
        height, width = size
        if resize is not None and not resize.antialias:
            if resize.interpolation != "bilinear":
                raise ValueError("Resize without antialias must be bilinear, got bicubic: set antialias=True")
            return bilinear_without_antialias(_pixels(rgb), height, width)
        if resize is not None and resize.interpolation == "bicubic":
            return self._by_graph(rgb, height, width)
        scaler = self._bilinear.setdefault(size, VideoReformatter())
        return _pixels(
            scaler.reformat(
                rgb, width=width, height=height, format="rgb24", interpolation=Interpolation.BILINEAR, threads=1
            )
        )

    def _by_graph(self, rgb: VideoFrame, height: int, width: int) -> Pixels:
        key = (rgb.height, rgb.width, height, width)
        if key not in self._bicubic:
            self._bicubic[key] = _bicubic_graph(*key)
        graph = self._bicubic[key]
        plain = VideoFrame.from_ndarray(_pixels(rgb), format="rgb24")
        graph.push(plain)
        out = graph.pull()
        assert isinstance(out, VideoFrame)
        return _pixels(out)


def _bicubic_graph(height: int, width: int, to_height: int, to_width: int) -> Graph:
    """Catmull-Rom (a = -0.5), as PIL and torchvision with antialias; FFmpeg's own default is another cubic."""
    graph = Graph()
    source = graph.add("buffer", f"width={width}:height={height}:pix_fmt=rgb24:time_base=1/1:pixel_aspect=1/1")
    scale = graph.add("scale", f"{to_width}:{to_height}:flags=bicubic:param0=0:param1=0.5")
    sink = graph.add("buffersink")
    source.link_to(scale)
    scale.link_to(sink)
    graph.configure()
    return graph


def _pixels(rgb: VideoFrame) -> Pixels:
    return np.asarray(rgb.to_ndarray(), dtype=np.uint8)


def center_crop(frame: Pixels, crop: tuple[int, int]) -> Pixels:
    """torchvision's `center_crop`: black around a frame that is smaller than the crop."""
    height, width = crop
    short_y, short_x = max(0, height - frame.shape[0]), max(0, width - frame.shape[1])
    if short_y or short_x:
        top, left = short_y // 2, short_x // 2
        frame = np.pad(frame, ((top, short_y - top), (left, short_x - left), (0, 0)))
    top = round((frame.shape[0] - height) / 2.0)
    left = round((frame.shape[1] - width) / 2.0)
    return frame[top : top + height, left : left + width]


def bilinear_without_antialias(frame: Pixels, height: int, width: int) -> Pixels:
    """Four neighbours, half-pixel centres, rounded half to even: `torch.nn.functional.interpolate` on bytes."""
    y0, y1, wy = _neighbours(frame.shape[0], height)
    x0, x1, wx = _neighbours(frame.shape[1], width)
    left, right = 1 - wx[None, :, None], wx[None, :, None]
    above = frame[y0[:, None], x0] * left + frame[y0[:, None], x1] * right
    below = frame[y1[:, None], x0] * left + frame[y1[:, None], x1] * right
    out = above * (1 - wy)[:, None, None] + below * wy[:, None, None]
    return np.rint(out).astype(np.uint8)


def _neighbours(size: int, to_size: int) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], npt.NDArray[np.float32]]:
    at = np.maximum((np.arange(to_size, dtype=np.float32) + np.float32(0.5)) * np.float32(size / to_size) - 0.5, 0)
    low = np.minimum(at.astype(np.intp), size - 1)
    return low, np.minimum(low + 1, size - 1), (at - low).astype(np.float32)

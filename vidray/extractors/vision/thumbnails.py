"""What is needed to look at a clip without its file: a poster and a storyboard of small tiles, as WebP. No network."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from vidray.errors import UsageError
from vidray.extractors.protocol import Answer, ExtractFn, ModelInfo
from vidray.media import ClipInput, Frames, FrameSpread, Resize
from vidray.models.batching import check_fps
from vidray.steps.frames.bt709 import LUMA

NAME = "thumbnails"

POSTER_SIDE = 480
TILE_SIDE = 160
"""The longer sides in pixels."""

MOST_TILES = 25
MOST_COLUMNS = 5

LEAST_CONTRAST = 8.0
"""Of luma in [0, 255]: a frame that is flatter, such as a black or white one, tells nothing of its clip."""

EFFORT = 1
"""libwebp's `method`, 0 to 6: 4, the usual one, takes twice the time and saves a tenth of the bytes."""


@dataclass(frozen=True, kw_only=True)
class Thumbnails:
    """A poster of a clip, and a storyboard: about a tile a second, 25 at most, row by row in one image.

    The poster is the frame in the middle of those that are looked at, or the one with the most contrast where that one
    is flat. Frames are turned as they are displayed and have square pixels; they are shrunk, never enlarged.

    Attributes:
        fps: Tiles a second, of clips that are not too long.
        quality: Of WebP, 1 to 100.
    """

    name: ClassVar[str] = NAME
    version: ClassVar[str] = "1"
    schema: ClassVar[pa.Schema] = pa.schema(
        [
            ("poster", pa.binary()),
            ("storyboard", pa.binary()),
            ("tile_times_s", pa.list_(pa.float64())),
            ("tile_width", pa.int32()),
            ("tile_height", pa.int32()),
            ("columns", pa.int32()),
        ]
    )
    """`poster` and `storyboard` as WebP, and what it takes to find a tile: its size, the columns, and the times."""

    fps: float = 1.0
    quality: int = 60

    def __post_init__(self) -> None:
        check_fps(self.fps)
        if not 1 <= self.quality <= 100:
            raise UsageError(f"quality must be in 1 to 100, got {self.quality}")

    @property
    def inputs(self) -> Mapping[str, FrameSpread]:
        """Frames of the poster's size, spread over the clip."""
        resize = Resize(size=POSTER_SIDE, longest=POSTER_SIDE)
        return {"frames": FrameSpread(fps=self.fps, most=MOST_TILES, resize=resize)}

    def load(self, device: str) -> ExtractFn:
        """The function; the same on all devices, on the CPU."""

        def extract(items: Sequence[ClipInput]) -> Answer:
            rows = [self._of(item["frames"]) for item in items]
            return {name: [row[name] for row in rows] for name in self.schema.names}

        return extract

    def _of(self, frames: Frames) -> dict[str, Any]:
        tiles = [_shrunk(frame, TILE_SIDE) for frame in frames.frames]
        columns = min(MOST_COLUMNS, len(tiles))
        height, width = tiles[0].shape[:2]
        return {
            "poster": _webp(frames.frames[_poster(tiles)], self.quality),
            "storyboard": _webp(_grid(tiles, columns), self.quality),
            "tile_times_s": frames.times_s.tolist(),
            "tile_width": width,
            "tile_height": height,
            "columns": columns,
        }


def _poster(tiles: Sequence[npt.NDArray[np.uint8]]) -> int:
    """Which frame tells most of a clip: the middle one, or the one with the most contrast where that is flat."""
    contrast = [float((tile @ LUMA).std()) for tile in tiles]
    middle = len(tiles) // 2
    return middle if contrast[middle] >= LEAST_CONTRAST else int(np.argmax(contrast))


def _shrunk(frame: npt.NDArray[np.uint8], side: int) -> npt.NDArray[np.uint8]:
    """A frame whose longer side is at most so many pixels."""
    from PIL import Image

    height, width = frame.shape[:2]
    factor = min(1.0, side / max(height, width))
    size = max(1, round(width * factor)), max(1, round(height * factor))
    return np.asarray(Image.fromarray(frame).resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0))


def _grid(tiles: Sequence[npt.NDArray[np.uint8]], columns: int) -> npt.NDArray[np.uint8]:
    """Tiles row by row in one image; what is left of the last row is black."""
    height, width = tiles[0].shape[:2]
    rows = -(-len(tiles) // columns)
    image = np.zeros((rows * height, columns * width, 3), np.uint8)
    for place, tile in enumerate(tiles):
        top, left = place // columns * height, place % columns * width
        image[top : top + height, left : left + width] = tile
    return image


def _webp(image: npt.NDArray[np.uint8], quality: int) -> bytes:
    from PIL import Image

    held = io.BytesIO()
    Image.fromarray(image).save(held, "WEBP", quality=quality, method=EFFORT)
    return held.getvalue()


EXTRACTOR = Thumbnails


def info() -> ModelInfo:
    """What `vidray models` says of this extractor."""
    return ModelInfo(
        name=NAME,
        kind="image",
        dim=None,
        inputs=f"frames of {POSTER_SIDE} pixels on the longer side, about one a second",
        weights="none",
        licence="none needed",
        available=True,
    )

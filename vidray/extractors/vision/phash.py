"""What copies are found by: small pictures of a clip four times a second, and a perceptual hash of each. No network.

The hash is ImageHash's `phash`, bit for bit: of the luma at 32 x 32 pixels, the 8 x 8 lowest coefficients of its DCT,
each compared with their median (N. Krawetz, "Looks Like It", 2011). Flat borders are cut away before. Copies are seldom
sampled at the same moments: so a picture is the mean of half a second, which a shift of an eighth changes little.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from vidray.extractors.protocol import Answer, ExtractFn, ModelInfo
from vidray.media import ClipInput, FrameRate, Resize
from vidray.models.batching import check_fps

NAME = "phash"

SIDE = 32
"""Of the picture that is hashed, in pixels."""

LOW = 8
"""How many of the lowest frequencies count, in each direction."""

RESIZE = Resize(size=128)
"""Frames come in this size: four pixels to one of the hashed picture, so that a border is found to a quarter of one."""

SAMPLES = 2
"""Frames to a picture's step; its mean goes over as many before and behind it again."""

FLAT_SPREAD = 4.0
"""Of luma in [0, 255]: so far the pixels of a border's line may lie from its median, through compression. White walls
deviate by more."""

FLAT_PIXELS = 0.98
"""This share of them; the rest may be noise at the edge."""

LEAST_CONTRAST = 6.0
"""A frame whose luma deviates less is flat all over, and tells nothing of borders."""

LEAST_CONTENT = 0.3
"""What is left between borders is this share of each side at least; else they are a dark scene and no borders."""

Luma = npt.NDArray[np.uint8]
Box = tuple[int, int, int, int]


@dataclass(frozen=True, kw_only=True)
class PHash:
    """Small pictures of a clip and their hashes, at a rate of their own, whatever `--fps` says.

    - `hash_times_s`: when each picture is on display; it stands for the quarter of a second from there.
    - `hashes`: 64 bits a picture, the first coefficient in the highest bit: copies differ in few, others in about half.
    - `lumas`: 32 x 32 pixels a picture, row by row, of the whole frame.
    - `content`: x0, y0, x1, y1 of what is within flat borders, which is what is hashed, in [0, 1] of the frame.

    Attributes:
        per_second: Pictures a second.
    """

    name: ClassVar[str] = NAME
    version: ClassVar[str] = "1"
    schema: ClassVar[pa.Schema] = pa.schema(
        [
            ("hash_times_s", pa.list_(pa.float64())),
            ("hashes", pa.list_(pa.uint64())),
            ("lumas", pa.list_(pa.binary(SIDE * SIDE))),
            ("content", pa.list_(pa.float32(), 4)),
        ]
    )
    """A list of each, as long as there are pictures; and the content's place, which is one for a clip."""

    per_second: float = 4.0

    def __post_init__(self) -> None:
        check_fps(self.per_second, "per_second")

    @property
    def inputs(self) -> Mapping[str, FrameRate]:
        """Small frames at a constant rate, several to a picture."""
        return {"frames": FrameRate(fps=SAMPLES * self.per_second, resize=RESIZE)}

    def load(self, device: str) -> ExtractFn:
        """The function; the same on all devices, on the CPU."""

        def extract(items: Sequence[ClipInput]) -> Answer:
            rows = [pictures(item["frames"].times_s, item["frames"].frames) for item in items]
            return {name: [row[name] for row in rows] for name in self.schema.names}

        return extract


def pictures(times_s: npt.NDArray[np.float64], frames: npt.NDArray[np.uint8]) -> dict[str, Any]:
    """The columns of one clip, from its frames: uint8 (T, H, W, 3)."""
    luma = lumas(frames)
    x0, y0, x1, y1 = content_box(luma[::SAMPLES])
    height, width = luma.shape[1:]
    around = SAMPLES // 2
    steps = range(0, len(luma), SAMPLES)
    means = [np.rint(luma[max(0, at - around) : at + SAMPLES + around].mean(axis=0)).astype(np.uint8) for at in steps]
    content = np.stack([shrunk(mean[y0:y1, x0:x1]) for mean in means])
    whole = content if (x0, y0, x1, y1) == (0, 0, width, height) else np.stack([shrunk(mean) for mean in means])
    return {
        "hash_times_s": times_s[::SAMPLES].tolist(),
        "hashes": phashes(content).tolist(),
        "lumas": [picture.tobytes() for picture in whole],
        "content": [x0 / width, y0 / height, x1 / width, y1 / height],
    }


def lumas(frames: npt.NDArray[np.uint8]) -> Luma:
    """The luma of frames by ITU-R BT.601, as PIL has it: uint8 (T, H, W, 3) -> uint8 (T, H, W)."""
    from PIL import Image

    return np.stack([np.asarray(Image.fromarray(frame).convert("L")) for frame in frames])


def shrunk(luma: Luma) -> Luma:
    """One frame as it is hashed: uint8 (H, W) -> uint8 (32, 32), by PIL's Lanczos filter."""
    from PIL import Image

    return np.asarray(Image.fromarray(luma).resize((SIDE, SIDE), Image.Resampling.LANCZOS))


def phashes(small: Luma) -> npt.NDArray[np.uint64]:
    """ImageHash's `phash` of frames: uint8 (T, 32, 32) -> uint64 (T,)."""
    steps = np.arange(SIDE)
    cosines = 2 * np.cos(np.pi * (2 * steps[None, :] + 1) * steps[:LOW, None] / (2 * SIDE))
    low = (cosines @ small.astype(np.float64) @ cosines.T).reshape(len(small), LOW * LOW)
    bits = low > np.median(low, axis=1, keepdims=True)
    return np.packbits(bits, axis=1).view(">u8")[:, 0].astype(np.uint64)


def content_box(frames: Luma) -> Box:
    """x0, y0, x1, y1 in pixels of what is within borders that are flat, and the same in all frames: (T, H, W)."""
    height, width = frames.shape[1:]
    whole = 0, 0, width, height
    busy = frames[frames.std(axis=(1, 2)) > LEAST_CONTRAST].astype(np.float32)
    if not len(busy):
        return whole
    y0, y1 = _between_bars(busy)
    if y1 - y0 < LEAST_CONTENT * height:
        return whole
    x0, x1 = _between_bars(busy[:, y0:y1].transpose(0, 2, 1))
    return whole if x1 - x0 < LEAST_CONTENT * width else (x0, y0, x1, y1)


def _between_bars(lines: npt.NDArray[np.float32]) -> tuple[int, int]:
    """The first line, and the one behind the last, that are no border's: (T, lines, pixels of a line)."""
    middle = np.median(lines, axis=2)
    near = (np.abs(lines - middle[:, :, None]) < FLAT_SPREAD).mean(axis=2).min(axis=0) >= FLAT_PIXELS
    flat = near & (np.ptp(middle, axis=0) < FLAT_SPREAD)
    level = middle.mean(axis=0)

    def bar(order: slice) -> int:
        is_bar = (flat & (np.abs(level - level[order][0]) < FLAT_SPREAD))[order]
        return len(is_bar) if is_bar.all() else int(np.argmin(is_bar))

    first, last = bar(slice(None)), len(level) - bar(slice(None, None, -1))
    # the line at a border's edge is of both
    return first + (first > 0), last - (last < len(level))


EXTRACTOR = PHash


def info() -> ModelInfo:
    """What `vidray models` says of this extractor."""
    return ModelInfo(
        name=NAME,
        kind="image",
        dim=None,
        inputs=f"frames whose shorter side is {RESIZE.size}, eight a second",
        weights="none",
        licence="none needed",
        available=True,
    )

"""Hashes are ImageHash's, borders are cut away, and pictures say when they are on display."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from scipy.fftpack import dct

from vidray.errors import UsageError
from vidray.extractors import resolve
from vidray.extractors.vision.phash import PHash, content_box, lumas, phashes, pictures, shrunk
from vidray.testing import check_extractor


def image(seed: int, size: tuple[int, int] = (90, 160)) -> np.ndarray:
    """Coarse blobs, as of a scene: uint8 (H, W, 3)."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8)
    return np.asarray(Image.fromarray(coarse).resize(size[::-1], Image.Resampling.BICUBIC))


def image_hash(frame: np.ndarray) -> int:
    """ImageHash 4.3.2's `phash`, as its source has it."""
    pixels = np.asarray(Image.fromarray(frame).convert("L").resize((32, 32), Image.Resampling.LANCZOS))
    low = dct(dct(pixels, axis=0), axis=1)[:8, :8]
    return int("".join("1" if bit else "0" for bit in (low > np.median(low)).ravel()), 2)


def bits(one: int, other: int) -> int:
    return (one ^ other).bit_count()


@pytest.mark.parametrize("seed", range(5))
def test_hashes_are_those_of_imagehash(seed: int) -> None:
    frame = image(seed)
    (found,) = phashes(shrunk(lumas(frame[None])[0])[None]).tolist()
    assert found == image_hash(frame)
    assert bits(found, image_hash(image(seed + 100))) > 16


@pytest.mark.parametrize("colour", [(0, 0, 0), (255, 255, 255), (30, 60, 120)])
@pytest.mark.parametrize(("high", "wide"), [(20, 0), (0, 30), (12, 16)])
def test_borders_change_nothing(colour: tuple[int, int, int], high: int, wide: int) -> None:
    frames = np.stack([image(seed) for seed in range(4)])
    framed = np.empty((4, 90 + 2 * high, 160 + 2 * wide, 3), np.uint8)
    framed[:] = colour
    framed[:, high : high + 90, wide : wide + 160] = frames
    x0, y0, x1, y1 = content_box(lumas(framed))
    # a line at a border's edge goes with it
    assert (x0, y0) == (wide + (wide > 0), high + (high > 0))
    assert (x1, y1) == (wide + 160 - (wide > 0), high + 90 - (high > 0))
    times_s = np.arange(4) / 8
    one, other = pictures(times_s, frames), pictures(times_s, framed)
    assert one["content"] == [0, 0, 1, 1]
    assert all(bits(a, b) <= 8 for a, b in zip(one["hashes"], other["hashes"], strict=True))


def test_a_dark_scene_has_no_borders() -> None:
    dark = np.zeros((4, 90, 160, 3), np.uint8)
    dark[:, 40:50, 70:90] = 200
    assert content_box(lumas(dark)) == (0, 0, 160, 90)
    assert content_box(lumas(np.zeros((4, 90, 160, 3), np.uint8))) == (0, 0, 160, 90)


def test_a_picture_is_the_mean_about_its_quarter_of_a_second() -> None:
    frames = np.stack([np.full((90, 160, 3), level, np.uint8) for level in (0, 10, 20, 30, 40)])
    found = pictures(np.arange(5) / 8, frames)
    assert found["hash_times_s"] == [0.0, 0.25, 0.5]
    assert [set(picture) for picture in found["lumas"]] == [{10}, {25}, {35}]


def test_the_extractor_keeps_its_promises() -> None:
    check_extractor(PHash())
    assert resolve("phash?per_second=2", fps=9) == PHash(per_second=2.0)
    with pytest.raises(UsageError, match="per_second must be > 0 and <= 10000, got 0"):
        PHash(per_second=0)

"""Posters and storyboards show the clip: its frames in order, turned, with its colours, at the times that they say."""

from __future__ import annotations

import io

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from synthetic_media import synthetic, written

from vidray.errors import UsageError
from vidray.extractors import resolve
from vidray.extractors.vision.thumbnails import MOST_TILES, Thumbnails
from vidray.media import Clip, ClipInput, Frames, FrameSpread
from vidray.sandbox import Sandbox, frames_of
from vidray.testing import check_extractor, read_frame_number


def item(frames: Frames) -> ClipInput:
    clip = Clip(clip_id="c", video_id="v", uri="v.mp4", clip_index=0, start_s=0.0, end_s=1.0)
    return ClipInput(clip=clip, values={"frames": frames})


def row(frames: Frames) -> dict:
    extractor = Thumbnails()
    return pa.table(extractor.load("cpu")([item(frames)]), schema=extractor.schema).to_pylist()[0]


def image(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def tiles(found: dict) -> list[np.ndarray]:
    board, width, height = image(found["storyboard"]), found["tile_width"], found["tile_height"]
    places = [divmod(place, found["columns"]) for place in range(len(found["tile_times_s"]))]
    return [board[r * height : (r + 1) * height, c * width : (c + 1) * width] for r, c in places]


def flat(*levels: int) -> Frames:
    frames = np.stack([np.full((90, 160, 3), level, np.uint8) for level in levels])
    return Frames(times_s=np.arange(len(levels), dtype=float), frames=frames)


@pytest.mark.parametrize("rotation", [0, 90])
def test_tiles_are_the_frames_on_display_at_their_times(tmp_path, rotation):
    path = written(tmp_path, "v.mp4", synthetic(frames=100, fps=10, width=320, height=192, rotation=rotation))
    sampling = Thumbnails().inputs["frames"]
    sandbox = Sandbox()
    try:
        frames = frames_of(sandbox, str(path), sandbox.probe(str(path)))(sampling, 2.0, 9.5)
    finally:
        sandbox.close()
    found = row(frames)
    shown = [np.rot90(tile, rotation // 90) for tile in tiles(found)]
    assert [read_frame_number(tile) for tile in shown] == [20, 30, 40, 50, 60, 70, 80, 90]
    assert found["tile_times_s"] == [2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0]
    assert max(found["tile_width"], found["tile_height"]) == 160
    assert read_frame_number(np.rot90(image(found["poster"]), rotation // 90)) == 60
    assert image(found["poster"]).shape[:2] == ((192, 320) if not rotation else (320, 192))


def test_a_flat_poster_gives_way_to_a_frame_with_contrast():
    frames = flat(0, 0, 0, 0)
    frames.frames[3, :, :80] = 255
    assert image(row(frames)["poster"]).std() > 100
    assert image(row(flat(200, 0, 0))["poster"]).max() < 210


def test_colours_and_sizes_survive():
    frames = Frames(times_s=np.zeros(1), frames=np.full((1, 90, 160, 3), (200, 40, 90), np.uint8))
    found = row(frames)
    assert np.abs(image(found["poster"]).astype(int) - (200, 40, 90)).max() <= 6
    assert (found["tile_width"], found["tile_height"], found["columns"]) == (160, 90, 1)
    small = row(Frames(times_s=np.zeros(1), frames=np.zeros((1, 6, 8, 3), np.uint8)))
    assert image(small["poster"]).shape == (6, 8, 3)


def test_a_long_clip_has_no_more_tiles_than_it_may():
    times = FrameSpread(fps=1.0, most=MOST_TILES).times_s(10.0, 110.0)
    assert len(times) == MOST_TILES
    assert (times[0], times[1], times[-1]) == (10.0, 14.0, 106.0)
    assert list(FrameSpread(fps=1.0, most=MOST_TILES).times_s(10.0, 12.5)) == [10.0, 11.0, 12.0]


def test_it_keeps_the_contract_and_refuses_what_cannot_be_meant():
    check_extractor(Thumbnails())
    assert resolve("thumbnails?quality=80&fps=2") == Thumbnails(fps=2.0, quality=80)
    with pytest.raises(UsageError, match="quality must be in 1 to 100, got 0"):
        Thumbnails(quality=0)

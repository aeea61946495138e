"""Frames as a network wants them: size, crop, rotation, pixels, colours."""

from __future__ import annotations

import io
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from media_files import packaged
from synthetic_media import FRAMES, info_of, one, read, synthetic, written
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as transforms

from vidray.decode import read_image
from vidray.media import (
    FrameRate,
    Frames,
    FrameWindows,
    Resize,
)
from vidray.testing import numbered_frame, read_frame_number


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("media")


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
def test_rotation(folder: Path, rotation: int) -> None:
    path = written(folder, f"rotated{rotation}.mp4", synthetic(frames=5, rotation=rotation))
    info = info_of(path)
    upright = rotation in (0, 180)
    assert info.rotation == rotation
    assert (info.width, info.height) == ((160, 96) if upright else (96, 160))
    for resize, size in (
        (None, (info.height, info.width)),
        (Resize(size=48), (48, 80) if upright else (80, 48)),
        (Resize(size=(50, 70)), (50, 70)),
    ):
        frame = one(path, FrameRate(fps=1, resize=resize)).frames[0]
        assert frame.shape == (*size, 3)
        coded = np.rot90(frame, rotation // 90)  # counter-clockwise: undoes it
        assert read_frame_number(coded) == 0


def test_pixels_that_are_not_square(folder: Path) -> None:
    path = written(folder, "oblong.mp4", synthetic(frames=5, pixel_aspect=Fraction(3, 2)))
    info = info_of(path)
    assert (info.width, info.height) == (240, 96)
    assert one(path, FrameRate(fps=1)).frames.shape == (1, 96, 240, 3)
    assert one(path, FrameRate(fps=1, resize=Resize(size=48))).frames.shape == (1, 48, 120, 3)


@pytest.mark.parametrize("name", ["h264.mp4", "full-range.mp4", "h264-10bit.mp4", "argb.mov", "vp9-alpha.webm"])
def test_black_and_white_are_black_and_white(folder: Path, name: str) -> None:
    frames = one(written(folder, name, FRAMES[name]), FrameRate(fps=1)).frames
    assert np.quantile(frames, 0.1) <= 3
    assert np.quantile(frames, 0.95) >= 252


def test_colours_are_what_the_library_converts(folder: Path) -> None:
    path = packaged("bigbuckbunny.mp4")
    with av.open(str(path)) as container:
        expected = next(container.decode(video=0)).to_ndarray(format="rgb24")
    assert np.array_equal(one(path, FrameRate(fps=1)).frames[0], expected)


MODES = [("bilinear", True), ("bicubic", True), ("bilinear", False)]


@pytest.mark.parametrize(("interpolation", "antialias"), MODES)
@pytest.mark.parametrize(
    ("size", "crop"), [(256, (224, 224)), ((128, 171), (112, 112)), (40, (64, 64)), (800, None), ((77, 301), (80, 91))]
)
def test_resizing_equals_torchvision(size: Any, crop: Any, interpolation: Any, antialias: bool) -> None:
    resize = Resize(size=size, crop=crop, interpolation=interpolation, antialias=antialias)
    plain, resized = FrameRate(fps=2), FrameRate(fps=2, resize=resize)
    (decoded,) = read(packaged("bikes.mp4"), [plain, resized], [(2.0, 3.0)])
    whole, got = decoded.samples[plain], decoded.samples[resized]
    assert isinstance(whole, Frames)
    assert isinstance(got, Frames)
    expected = transforms.resize(
        torch.from_numpy(whole.frames).permute(0, 3, 1, 2),
        [size] if isinstance(size, int) else list(size),
        InterpolationMode(interpolation),
        antialias=antialias,
    )
    if crop is not None:
        expected = transforms.center_crop(expected, list(crop))
    difference = np.abs(expected.permute(0, 2, 3, 1).numpy().astype(int) - got.frames.astype(int))
    assert difference.mean() < (0.05 if antialias else 0.001)
    assert difference.max() <= (16 if antialias else 1)


def test_bicubic_without_antialias_is_refused() -> None:
    with pytest.raises(ValueError, match="antialias=True"):
        Resize(size=8, interpolation="bicubic", antialias=False)


def image_file(format_: str) -> io.BytesIO:
    file = io.BytesIO()
    codec, pix_fmt = {"png": ("png", "rgb24"), "jpeg": ("mjpeg", "yuvj420p"), "gif": ("gif", "rgb8")}[format_]
    frame = av.VideoFrame.from_ndarray(numbered_frame(77, 96, 160), format="rgb24").reformat(format=pix_fmt)
    encoder: Any = av.CodecContext.create(codec, "w")
    encoder.width, encoder.height, encoder.pix_fmt, encoder.time_base = 160, 96, pix_fmt, Fraction(1, 25)
    if format_ == "gif":
        with av.open(file, "w", format="gif") as container:
            stream: Any = container.add_stream("gif", rate=10)
            stream.width, stream.height, stream.pix_fmt = 160, 96, pix_fmt
            container.mux([*stream.encode(frame), *stream.encode(None)])
    else:
        file.write(b"".join(bytes(p) for p in [*encoder.encode(frame), *encoder.encode(None)]))
    file.seek(0)
    return file


@pytest.mark.parametrize("format_", ["png", "jpeg", "gif"])
def test_a_still_frame_is_a_clip_of_one(format_: str) -> None:
    raw = read_image(image_file(format_), "x", Resize(size=48))
    assert raw.frames.shape == (1, 48, 80, 3)
    assert [read_frame_number(frame) for frame in raw.frames] == [77]
    assert read_image(image_file(format_), "x", None).frames.shape == (1, 96, 160, 3)


def test_a_reader_decodes_each_frame_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from vidray.decode import scaling

    converted = []
    plain = scaling.Scaler.rgb
    monkeypatch.setattr(scaling.Scaler, "rgb", lambda self, frame: converted.append(frame.pts) or plain(self, frame))
    path = written(folder, "h264.mp4", FRAMES["h264.mp4"])
    sizes = [FrameRate(fps=10), FrameRate(fps=5, resize=Resize(size=48)), FrameWindows(frames=5, fps=10)]
    read(path, sizes, [(0.0, 0.5), (0.5, 1.0)])
    assert len(converted) == len(set(converted)) == 10

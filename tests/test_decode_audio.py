"""Laws of decoding sound, on a sweep whose value at each time is known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.stream import Disposition
from synthetic_media import DENSE, PICTURES, SOUND, SPARSE, info_of, one, read, same_bytes, spans, synthetic, written

from vidray.media import (
    Audio,
    Decoded,
    Sound,
)
from vidray.testing import Sweep, SyntheticVideo, numbered_picture, sweep


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("media")


SOUNDS: dict[str, tuple[SyntheticVideo, float]] = {
    "aac.mp4": (synthetic(frames=75, sound=Sweep()), 0.0),
    "aac.mov": (synthetic(frames=75, sound=Sweep(sample_rate=44_100)), 0.0),
    "aac.ts": (synthetic(frames=75, sound=Sweep(sample_rate=44_100)), 0.0),
    "aac.mkv": (synthetic(frames=75, sound=Sweep()), 0.001),
    "aac.flv": (synthetic(frames=75, sound=Sweep(sample_rate=44_100)), 0.001),
    "mono8k.mp4": (synthetic(frames=75, sound=Sweep(sample_rate=8_000, layout="mono")), 0.0),
    "ac3.ts": (synthetic(frames=75, sound=Sweep(codec="ac3")), 0.0),
    "mp2.mpg": (synthetic(frames=75, codec="mpeg2video", sound=Sweep(codec="mp2")), 0.0),
    "mp3.mkv": (synthetic(frames=75, sound=Sweep(codec="libmp3lame")), 0.001),
    "opus.webm": (synthetic(frames=75, codec="libvpx", b_frames=0, sound=Sweep(codec="libopus")), 0.001),
    "7.1.mkv": (synthetic(frames=75, sound=Sweep(codec="flac", layout="7.1")), 0.001),
    "flac.mkv": (synthetic(frames=75, sound=Sweep(codec="flac")), 0.001),
    "pcm24.mov": (synthetic(frames=75, sound=Sweep(codec="pcm_s24le")), 0.0),
    "u8.avi": (synthetic(frames=75, codec="mpeg4", b_frames=0, sound=Sweep(codec="pcm_u8")), 0.0),
    "alone.m4a": (synthetic(frames=0, sound=Sweep(length_s=3.0)), 0.0),
    "alone.mp3": (synthetic(frames=0, sound=Sweep(codec="libmp3lame", length_s=3.0)), 0.0),
    "alone.wav": (synthetic(frames=0, sound=Sweep(codec="pcm_s16le", length_s=3.0)), 0.0),
    "alone.flac": (synthetic(frames=0, sound=Sweep(codec="flac", length_s=3.0)), 0.0),
    "alone.ogg": (synthetic(frames=0, sound=Sweep(codec="libopus", length_s=3.0)), 0.0),
    "later.mp4": (synthetic(frames=75, sound=Sweep(start_s=1.25, length_s=1.0)), 0.001),
    "later.ts": (synthetic(frames=75, sound=Sweep(start_s=1.25, length_s=1.0)), 0.0),
}


def shift_of(samples: np.ndarray, times_s: np.ndarray, rate: int) -> float:
    """By how much sound lags behind its times, in seconds, by the best match."""
    steps = range(-40, 41)
    errors = [float(np.abs(samples - sweep(times_s - step / rate)).mean()) for step in steps]
    assert min(errors) < 0.03
    return steps[int(np.argmin(errors))] / rate


@pytest.mark.parametrize("rate", [16_000, 44_100, 48_000])
@pytest.mark.parametrize("name", SOUNDS)
def test_sound_is_where_it_belongs(folder: Path, name: str, rate: int) -> None:
    video, rounding_s = SOUNDS[name]
    path = written(folder, name, video)
    sampling, clips = Audio(sample_rate=rate), spans(3.0)
    cut = read(path, [sampling], clips)
    assert all(decoded.warning is None for decoded in cut)
    pieces = [decoded.samples[sampling] for decoded in cut]
    sound = np.concatenate(
        [
            piece.samples if isinstance(piece, Sound) else np.zeros(round((clip[1] - clip[0]) * rate), dtype=np.float32)
            for piece, clip in zip(pieces, clips, strict=True)
        ]
    )
    assert video.sound is not None
    times_s = np.arange(len(sound)) / rate
    ends_s = video.sound.start_s + (video.sound.length_s or 3.0)
    heard = (times_s > video.sound.start_s + 0.05) & (times_s < ends_s - 0.05)
    assert abs(shift_of(sound[heard], times_s[heard], rate)) <= rounding_s
    silent = (times_s < video.sound.start_s - 0.05) | (times_s > ends_s + 0.05)
    assert np.abs(sound[silent]).max(initial=0.0) < 1e-3


@pytest.mark.parametrize("name", SOUNDS)
def test_clips_joined_are_the_whole(folder: Path, name: str) -> None:
    path = written(folder, name, SOUNDS[name][0])
    (whole,) = read(path, [SOUND], [(0.0, 3.0)])
    sound = whole.samples[SOUND]
    assert isinstance(sound, Sound)
    for clip, decoded in zip(spans(3.0), read(path, [SOUND], spans(3.0)), strict=True):
        piece = decoded.samples[SOUND]
        first, last = round(clip[0] * 16_000), round(clip[1] * 16_000)
        expected = sound.samples[first:last]
        got = piece.samples if isinstance(piece, Sound) else np.zeros_like(expected)
        # AAC fills bands with noise, each time anew, so that not even the same samples decoded twice are alike.
        assert np.abs(got - expected).max() < 0.005


@pytest.mark.parametrize("name", SOUNDS)
def test_sound_is_the_same_bytes_in_any_order(folder: Path, name: str) -> None:
    path = written(folder, name, SOUNDS[name][0])
    clips = spans(3.0)
    alone = read(path, [SOUND], clips)
    assert all(map(same_bytes, alone, read(path, [SOUND], clips[::-1])[::-1]))
    with_pictures = read(path, [SPARSE, SOUND], clips[::-1])[::-1]
    for a, b in zip(alone, with_pictures, strict=True):
        assert same_bytes(a, Decoded({SOUND: b.samples[SOUND]}, b.warning))


def test_several_rates_in_one_pass(folder: Path) -> None:
    path = written(folder, "aac.mp4", SOUNDS["aac.mp4"][0])
    rates = [Audio(sample_rate=rate) for rate in (8_000, 16_000, 48_000)]
    (decoded,) = read(path, rates, [(0.5, 1.5)])
    for sampling in rates:
        sound = decoded.samples[sampling]
        assert isinstance(sound, Sound)
        assert sound.samples.shape == (sampling.sample_rate,)
        assert sound.samples.dtype == np.float32
        times_s = 0.5 + np.arange(sampling.sample_rate) / sampling.sample_rate
        assert abs(shift_of(sound.samples, times_s, sampling.sample_rate)) == 0


def test_no_sound_is_none_and_sound_that_is_over_too(folder: Path) -> None:
    assert one(written(folder, "h264.mp4", PICTURES["h264.mp4"]), SOUND) is None
    later = written(folder, "later.mp4", SOUNDS["later.mp4"][0])
    assert one(later, SOUND, 0.0, 1.0) is None
    assert one(later, SOUND, 2.5, 3.0) is None
    assert isinstance(one(later, SOUND, 1.0, 2.0), Sound)


def test_sound_alone_has_no_pictures(folder: Path) -> None:
    path = written(folder, "alone.m4a", SOUNDS["alone.m4a"][0])
    info = info_of(path)
    assert (info.fps, info.width, info.height, info.video_codec) == (None, None, None, None)
    assert (info.audio_codec, info.sample_rate) == ("aac", 48_000)
    assert info.duration_s == pytest.approx(3.0, abs=0.03)
    assert one(path, DENSE) is None


def test_cover_art_is_no_picture(folder: Path) -> None:
    path = folder / "cover.mp4"
    with av.open(str(path), "w") as container:
        sound: Any = container.add_stream("aac", rate=48_000, layout="mono")
        cover: Any = container.add_stream("mjpeg", rate=1)
        cover.width, cover.height, cover.pix_fmt = 64, 64, "yuvj420p"
        cover.disposition = Disposition.attached_pic
        picture = av.VideoFrame.from_ndarray(numbered_picture(1, 64, 64), format="rgb24").reformat(format="yuvj420p")
        container.mux(cover.encode(picture))
        container.mux(cover.encode(None))
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 48_000), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 48_000
        container.mux(sound.encode(frame))
        container.mux(sound.encode(None))
    info = info_of(path)
    assert info.video_codec is None
    assert one(path, DENSE) is None
    assert isinstance(one(path, SOUND), Sound)

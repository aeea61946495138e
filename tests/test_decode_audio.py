"""Laws of decoding audio, on a sweep whose value at each time is known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.stream import Disposition
from synthetic_media import (
    AUDIO,
    DENSE,
    FRAMES,
    SPARSE,
    Seen,
    info_of,
    one,
    read,
    same_bytes,
    spans,
    synthetic,
    written,
)

from vidray.media import Audio, AudioSamples
from vidray.testing import Sweep, SyntheticVideo, numbered_frame, sweep


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("media")


AUDIOS: dict[str, tuple[SyntheticVideo, float]] = {
    "aac.mp4": (synthetic(frames=75, audio=Sweep()), 0.0),
    "aac.mov": (synthetic(frames=75, audio=Sweep(sample_rate=44_100)), 0.0),
    "aac.ts": (synthetic(frames=75, audio=Sweep(sample_rate=44_100)), 0.0),
    "aac.mkv": (synthetic(frames=75, audio=Sweep()), 0.001),
    "aac.flv": (synthetic(frames=75, audio=Sweep(sample_rate=44_100)), 0.001),
    "mono8k.mp4": (synthetic(frames=75, audio=Sweep(sample_rate=8_000, layout="mono")), 0.0),
    "ac3.ts": (synthetic(frames=75, audio=Sweep(codec="ac3")), 0.0),
    "mp2.mpg": (synthetic(frames=75, codec="mpeg2video", audio=Sweep(codec="mp2")), 0.0),
    "mp3.mkv": (synthetic(frames=75, audio=Sweep(codec="libmp3lame")), 0.001),
    "opus.webm": (synthetic(frames=75, codec="libvpx", b_frames=0, audio=Sweep(codec="libopus")), 0.001),
    "7.1.mkv": (synthetic(frames=75, audio=Sweep(codec="flac", layout="7.1")), 0.001),
    "flac.mkv": (synthetic(frames=75, audio=Sweep(codec="flac")), 0.001),
    "pcm24.mov": (synthetic(frames=75, audio=Sweep(codec="pcm_s24le")), 0.0),
    "u8.avi": (synthetic(frames=75, codec="mpeg4", b_frames=0, audio=Sweep(codec="pcm_u8")), 0.0),
    "alone.m4a": (synthetic(frames=0, audio=Sweep(length_s=3.0)), 0.0),
    "alone.mp3": (synthetic(frames=0, audio=Sweep(codec="libmp3lame", length_s=3.0)), 0.0),
    "alone.wav": (synthetic(frames=0, audio=Sweep(codec="pcm_s16le", length_s=3.0)), 0.0),
    "alone.flac": (synthetic(frames=0, audio=Sweep(codec="flac", length_s=3.0)), 0.0),
    "alone.ogg": (synthetic(frames=0, audio=Sweep(codec="libopus", length_s=3.0)), 0.0),
    "later.mp4": (synthetic(frames=75, audio=Sweep(start_s=1.25, length_s=1.0)), 0.001),
    "later.ts": (synthetic(frames=75, audio=Sweep(start_s=1.25, length_s=1.0)), 0.0),
}


def shift_of(samples: np.ndarray, times_s: np.ndarray, rate: int) -> float:
    """By how much audio lags behind its times, in seconds, by the best match."""
    steps = range(-40, 41)
    errors = [float(np.abs(samples - sweep(times_s - step / rate)).mean()) for step in steps]
    assert min(errors) < 0.03
    return steps[int(np.argmin(errors))] / rate


@pytest.mark.parametrize("rate", [16_000, 44_100, 48_000])
@pytest.mark.parametrize("name", AUDIOS)
def test_audio_is_where_it_belongs(folder: Path, name: str, rate: int) -> None:
    video, rounding_s = AUDIOS[name]
    path = written(folder, name, video)
    sampling, clips = Audio(sample_rate=rate), spans(3.0)
    cut = read(path, [sampling], clips)
    assert all(decoded.warning is None for decoded in cut)
    pieces = [decoded.samples[sampling] for decoded in cut]
    audio = np.concatenate(
        [
            piece.samples
            if isinstance(piece, AudioSamples)
            else np.zeros(round((clip[1] - clip[0]) * rate), dtype=np.float32)
            for piece, clip in zip(pieces, clips, strict=True)
        ]
    )
    assert video.audio is not None
    times_s = np.arange(len(audio)) / rate
    ends_s = video.audio.start_s + (video.audio.length_s or 3.0)
    heard = (times_s > video.audio.start_s + 0.05) & (times_s < ends_s - 0.05)
    assert abs(shift_of(audio[heard], times_s[heard], rate)) <= rounding_s
    silent = (times_s < video.audio.start_s - 0.05) | (times_s > ends_s + 0.05)
    assert np.abs(audio[silent]).max(initial=0.0) < 1e-3


@pytest.mark.parametrize("name", AUDIOS)
def test_clips_joined_are_the_whole(folder: Path, name: str) -> None:
    path = written(folder, name, AUDIOS[name][0])
    (whole,) = read(path, [AUDIO], [(0.0, 3.0)])
    audio = whole.samples[AUDIO]
    assert isinstance(audio, AudioSamples)
    for clip, decoded in zip(spans(3.0), read(path, [AUDIO], spans(3.0)), strict=True):
        piece = decoded.samples[AUDIO]
        first, last = round(clip[0] * 16_000), round(clip[1] * 16_000)
        expected = audio.samples[first:last]
        got = piece.samples if isinstance(piece, AudioSamples) else np.zeros_like(expected)
        # AAC fills bands with noise, each time anew, so that not even the same samples decoded twice are alike.
        assert np.abs(got - expected).max() < 0.005


@pytest.mark.parametrize("name", AUDIOS)
def test_audio_is_the_same_bytes_in_any_order(folder: Path, name: str) -> None:
    path = written(folder, name, AUDIOS[name][0])
    clips = spans(3.0)
    alone = read(path, [AUDIO], clips)
    assert all(map(same_bytes, alone, read(path, [AUDIO], clips[::-1])[::-1]))
    with_frames = read(path, [SPARSE, AUDIO], clips[::-1])[::-1]
    for a, b in zip(alone, with_frames, strict=True):
        assert same_bytes(a, Seen({AUDIO: b.samples[AUDIO]}, b.warning))


def test_several_rates_in_one_pass(folder: Path) -> None:
    path = written(folder, "aac.mp4", AUDIOS["aac.mp4"][0])
    rates = [Audio(sample_rate=rate) for rate in (8_000, 16_000, 48_000)]
    (decoded,) = read(path, rates, [(0.5, 1.5)])
    for sampling in rates:
        audio = decoded.samples[sampling]
        assert isinstance(audio, AudioSamples)
        assert audio.samples.shape == (sampling.sample_rate,)
        assert audio.samples.dtype == np.float32
        times_s = 0.5 + np.arange(sampling.sample_rate) / sampling.sample_rate
        assert abs(shift_of(audio.samples, times_s, sampling.sample_rate)) == 0


def test_no_audio_is_none_and_audio_that_is_over_too(folder: Path) -> None:
    assert one(written(folder, "h264.mp4", FRAMES["h264.mp4"]), AUDIO) is None
    later = written(folder, "later.mp4", AUDIOS["later.mp4"][0])
    assert one(later, AUDIO, 0.0, 1.0) is None
    assert one(later, AUDIO, 2.5, 3.0) is None
    assert isinstance(one(later, AUDIO, 1.0, 2.0), AudioSamples)


def test_audio_alone_has_no_frames(folder: Path) -> None:
    path = written(folder, "alone.m4a", AUDIOS["alone.m4a"][0])
    info = info_of(path)
    assert (info.fps, info.width, info.height, info.video_codec) == (None, None, None, None)
    assert (info.audio_codec, info.sample_rate) == ("aac", 48_000)
    assert info.duration_s == pytest.approx(3.0, abs=0.03)
    assert one(path, DENSE) is None


def test_cover_art_is_no_frame(folder: Path) -> None:
    path = folder / "cover.mp4"
    with av.open(str(path), "w") as container:
        audio: Any = container.add_stream("aac", rate=48_000, layout="mono")
        cover: Any = container.add_stream("mjpeg", rate=1)
        cover.width, cover.height, cover.pix_fmt = 64, 64, "yuvj420p"
        cover.disposition = Disposition.attached_pic
        frame = av.VideoFrame.from_ndarray(numbered_frame(1, 64, 64), format="rgb24").reformat(format="yuvj420p")
        container.mux(cover.encode(frame))
        container.mux(cover.encode(None))
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 48_000), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 48_000
        container.mux(audio.encode(frame))
        container.mux(audio.encode(None))
    info = info_of(path)
    assert info.video_codec is None
    assert one(path, DENSE) is None
    assert isinstance(one(path, AUDIO), AudioSamples)

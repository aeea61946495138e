"""Synthetic videos are what they claim: numbers that can be read, audio whose value is known."""

from __future__ import annotations

import os
from pathlib import Path

import av
import numpy as np
import pytest

from vidray.testing import Sweep, SyntheticVideo, numbered_frame, read_frame_number, sweep, write_video


@pytest.mark.parametrize("number", [0, 1, 77, 1000, 4095])
@pytest.mark.parametrize("size", [(96, 160), (33, 47), (224, 224)])
def test_a_number_is_read_as_it_was_drawn(number: int, size: tuple[int, int]) -> None:
    frame = numbered_frame(number, *size)
    assert frame.shape == (*size, 3)
    assert read_frame_number(frame) == number
    noise = np.random.default_rng(0).integers(-60, 60, frame.shape)
    assert read_frame_number(np.clip(frame.astype(int) + noise, 0, 255).astype(np.uint8)) == number


def test_a_frame_that_is_broken_or_turned_is_told() -> None:
    frame = numbered_frame(23, 96, 160)
    with pytest.raises(ValueError, match="broken"):
        read_frame_number(frame[::-1])
    with pytest.raises(ValueError, match="broken"):
        read_frame_number(np.zeros((96, 160, 3), dtype=np.uint8))


def test_no_encoder_changes_the_priority_of_what_comes_after_it(tmp_path: Path) -> None:
    before = os.sched_getscheduler(0), os.sched_getparam(0)
    write_video(tmp_path / "v.mkv", SyntheticVideo(codec="libsvtav1", frames=2, b_frames=0))
    assert (os.sched_getscheduler(0), os.sched_getparam(0)) == before


def test_numbers_have_a_range() -> None:
    with pytest.raises(ValueError, match="4096"):
        numbered_frame(4096, 96, 160)


def test_a_video_has_the_frames_and_the_audio_that_were_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "v.mkv"
    write_video(path, SyntheticVideo(frames=30, fps=10, gop=5, audio=Sweep(codec="pcm_s16le", sample_rate=16_000)))
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
    assert [read_frame_number(frame.to_ndarray(format="rgb24")) for frame in frames] == list(range(30))
    assert [frame.time for frame in frames] == pytest.approx([n / 10 for n in range(30)], abs=0.001)
    keys = [number for number, frame in enumerate(frames) if frame.key_frame]
    assert keys[0] == 0
    assert np.diff([*keys, 30]).max() <= 5
    with av.open(str(path)) as container:
        audio = np.concatenate([frame.to_ndarray().reshape(-1, 2)[:, 0] for frame in container.decode(audio=0)])
    np.testing.assert_allclose(audio / 32768, sweep(np.arange(48_000) / 16_000), atol=1e-3)

"""A short campaign of the referee: vidray at random spans against FFmpeg from start to end."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.campaigns import referee
from vidray.testing import Sweep, SyntheticVideo, write_video


@pytest.mark.slow
def test_random_spans_are_what_ffmpeg_decodes_from_start_to_end(tmp_path: Path) -> None:
    found = referee.run(referee.made_files(tmp_path), spans=140, seed=5)
    assert found["broken"] == []
    assert found["files"] >= 60
    assert found["frames"] > 300
    assert found["samples"] > 1_000_000


def test_the_referee_sees_what_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.mkv"
    write_video(path, SyntheticVideo(audio=Sweep(codec="flac")))
    assert referee.run([path], spans=5, seed=1)["broken"] == []
    whole = referee.truth_of(path)
    wrong = referee.Truth(
        starts_s=whole.starts_s,
        frames=[*whole.frames[1:], whole.frames[0]],
        audio=np.roll(whole.audio, 500),
        rate=whole.rate,
        is_exact=True,
    )
    monkeypatch.setattr(referee, "truth_of", lambda path: wrong)
    broken = referee.run([path], spans=5, seed=1)["broken"]
    assert any("frame" in line for line in broken)
    assert any("audio" in line for line in broken)

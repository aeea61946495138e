"""The demo's own video: made once, listed beside the packaged ones, as long as its recording, seen and heard."""

from __future__ import annotations

from pathlib import Path

import pytest

from vidray import demo_words
from vidray.decode import probe
from vidray.demo import demo_corpus


def test_the_spoken_video_is_made_once_and_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    listed = Path(demo_words.with_spoken_video(demo_corpus()))
    *packaged, made = map(Path, listed.read_text().splitlines())
    assert {path.name for path in packaged} >= {"bigbuckbunny.mp4", "bikes.mp4"}
    assert made.name == demo_words.NAME
    with made.open("rb") as file:
        info = probe(file, str(made))
    assert info.duration_s == pytest.approx(demo_words.LENGTH_S, abs=0.2)
    assert (info.width, info.height, info.audio_codec) == (640, 360, "aac")
    written_at = made.stat().st_mtime_ns
    assert demo_words.with_spoken_video(demo_corpus()) == str(listed)
    assert made.stat().st_mtime_ns == written_at

"""Classes of audio over time: spans are where the audio is, whatever the clips."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from spoken import RATE, librivox, not_speech, silence
from test_speech import cut

from vidray.extractors.audio.events import AudioEvents


@pytest.fixture(scope="module")
def recording() -> Any:
    speech = np.concatenate([samples for samples, _ in librivox()[:2]])[: 9 * RATE]
    return np.concatenate([speech, silence(6.0), not_speech("music", 9.0)])


@pytest.fixture(scope="module")
def extract() -> Any:
    return AudioEvents().load("cpu")


def spans(row: dict[str, Any], label: str) -> list[tuple[float, float]]:
    """The spans of a class over all clips, joined where they adjoin."""
    found: list[tuple[float, float]] = []
    for event in (event for clip in row["events"] for event in clip if event["label"] == label):
        if found and abs(found[-1][1] - event["start_s"]) < 1e-6:
            found[-1] = found[-1][0], event["end_s"]
        else:
            found.append((event["start_s"], event["end_s"]))
    return found


def test_spans_are_where_the_audio_is(recording: Any, extract: Any):
    row = extract(cut(recording, [(0.0, 24.0)], AudioEvents()))
    ((start_s, end_s),) = [span for span in spans(row, "Speech") if span[1] - span[0] > 2]
    assert start_s <= 1.0
    assert 8.0 <= end_s <= 10.0
    ((start_s, end_s),) = spans(row, "Silence")
    assert 9.0 <= start_s <= 10.6
    assert 14.0 <= end_s <= 15.4
    assert row["silence_share"][0] == pytest.approx((end_s - start_s) / 24, abs=1e-6)
    music = spans(row, "Music")
    assert music
    assert min(start for start, _ in music) >= 14.0
    assert row["music_share"][0] > 0.2


def test_spans_are_the_same_however_a_video_is_cut(recording: Any, extract: Any):
    whole = extract(cut(recording, [(0.0, 24.0)], AudioEvents()))
    clips = [(0.0, 5.0), (5.0, 10.3), (10.3, 20.0), (20.0, 24.0)]
    parts = extract(cut(recording, clips, AudioEvents()))
    for label in ("Speech", "Music", "Silence"):
        assert np.allclose(spans(parts, label), spans(whole, label), atol=1e-6)
    for clip, (start_s, end_s) in zip(
        parts["events"], [(0.0, 5.0), (5.0, 10.3), (10.3, 20.0), (20.0, 24.0)], strict=True
    ):
        assert all(start_s <= event["start_s"] < event["end_s"] <= end_s for event in clip)

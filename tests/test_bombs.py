"""Every bomb costs bounded time and memory, is planned in bounded rows or refused, and harms no other file."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from clip_inputs import read_samples

from tests.campaigns.media_bombs import BOMBS
from vidray.errors import DecodeError, ProbeError
from vidray.media import Audio, AudioSamples, FrameRate, Frames, Resize, longest_s
from vidray.planning import FixedStride
from vidray.sandbox import Limits, Sandbox, process
from vidray.testing import Sweep, SyntheticVideo, write_video

pytestmark = pytest.mark.slow

FRAMES = FrameRate(fps=2.0, resize=Resize(size=(36, 64)))
AUDIO = Audio(sample_rate=8000)
LIMITS = Limits(probe_s=2.0, clip_s=2.0, idle_factor=3.0, memory_bytes=512 << 20, wasted_s=10.0)
PATIENT = replace(LIMITS, probe_s=60.0, clip_s=60.0)
"""Of what is to be decoded: on a machine with much to do, that takes longer."""
KINDS = {"crashed", "timeout", "memory", "not_media", "no_stream", "unsupported", "corrupt", "empty"}
CLIP_S = 10.0

HONEST = {
    "weeks_by_headers.mp4": 2.0,
    "weeks_in_flac.flac": 2.0,
    "centuries_in_ogg.ogg": 2.0,
    "centuries_in_matroska.mkv": 2.0,
    "far_headers.mp4": 2.0,
    "far_timestamps.mkv": 2.0,
    "negative_timestamps.mkv": 2.0,
    "a_day_of_nothing.mkv": 0.08,
    "late_last_packet.mkv": 0.08,
    "stray_timestamp.ts": 2.0,
}
"""Bombs that hold good media, and how long it lasts by its packets."""


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("good") / "good.mp4"
    write_video(path, SyntheticVideo(frames=25, audio=Sweep(length_s=1.0)))
    return str(path)


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with contextlib.closing(Sandbox(LIMITS)) as sandbox:
        yield sandbox


@pytest.fixture
def peaks(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The largest resident size that the sandbox has seen, last."""
    seen = [0]
    look = process.Child.status

    def status(child: process.Child) -> process.Status:
        found = look(child)
        seen.append(max(seen[-1], found.resident_bytes))
        return found

    monkeypatch.setattr(process.Child, "status", status)
    return seen


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_costs_its_own_rows(name, sandbox, good, peaks, tmp_path):
    path = tmp_path / name
    BOMBS[name](path)
    sandbox.limits = PATIENT if name in HONEST else LIMITS
    began = time.monotonic()
    refused = None
    try:
        info = sandbox.probe(str(path))
    except ProbeError as e:
        refused = e
    if refused is not None:
        assert refused.kind in KINDS
        assert name not in HONEST
    else:
        assert 0 <= info.duration_s <= longest_s(os.path.getsize(path))
        assert name not in HONEST or info.duration_s == pytest.approx(HONEST[name], abs=0.1)
        spans = FixedStride(CLIP_S).spans(info.duration_s)
        size = (info.height or 0, info.width or 0)
        for span in dict.fromkeys((spans[0], spans[-1])):
            for found in read_samples(sandbox, str(path), [FRAMES, AUDIO], *span, size).samples.values():
                assert not isinstance(found, DecodeError) or found.kind in KINDS
                assert name not in HONEST or not isinstance(found, DecodeError)
    assert time.monotonic() - began < 120
    # it is looked at every twentieth of a second
    assert peaks[-1] < LIMITS.memory_bytes + (512 << 20)
    sandbox.limits = PATIENT
    found = read_samples(sandbox, good, [FRAMES, AUDIO], 0.0, 1.0, (96, 160)).samples
    assert isinstance(found[FRAMES], Frames)
    assert isinstance(found[AUDIO], AudioSamples)


def test_a_duration_that_the_packets_deny_is_theirs(sandbox, tmp_path):
    """Beside each other: what is measured where the headers lie, and what is refused where the packets do."""
    for name, refused in (("weeks_by_headers.mp4", False), ("year_long_gif.gif", True)):
        path = Path(tmp_path / name)
        BOMBS[name](path)
        if refused:
            # its fifty thousand packets are counted before it is refused, which takes a busy machine more than 2 s
            with (
                contextlib.closing(Sandbox(PATIENT)) as patient,
                pytest.raises(ProbeError, match=r"claims to last 9102 h; of .* no more than 31.9 h are"),
            ):
                patient.probe(str(path))
        else:
            assert sandbox.probe(str(path)).duration_s == pytest.approx(2.0, abs=0.1)

"""Quality columns: frames and sounds whose numbers are known by definition."""

from __future__ import annotations

import contextlib
import itertools
import math
from dataclasses import replace

import av
import numpy as np
import pytest
from media_files import packaged

from vidray.extractors import resolve
from vidray.extractors.inputs import samplings_of
from vidray.extractors.quality import AUDIO_COLUMNS, FRAME_COLUMNS, SAMPLE_RATE, Quality, loudness
from vidray.media import AudioSamples, Clip, ClipInput, Frames
from vidray.sandbox import Sandbox
from vidray.testing import check_extractor


def flat_frames(*levels: float, height: int = 64, width: int = 96) -> Frames:
    """Flat frames, half a second apart, of these levels of 255."""
    frames = np.stack([np.full((height, width, 3), level, np.uint8) for level in levels])
    return Frames(times_s=np.arange(len(levels)) / 2, frames=frames)


def tone(amplitude: float, *, hz: float = 997.0, length_s: float = 10.0) -> AudioSamples:
    times_s = np.arange(round(length_s * SAMPLE_RATE)) / SAMPLE_RATE
    return AudioSamples(
        samples=(amplitude * np.sin(2 * np.pi * hz * times_s)).astype(np.float32), sample_rate=SAMPLE_RATE
    )


def clip_of(frames: Frames | None, audio: AudioSamples | None) -> ClipInput:
    clip = Clip(clip_id="c", video_id="v", uri="v.mp4", clip_index=0, start_s=0.0, end_s=10.0)
    return ClipInput(clip=clip, values={"frames": frames, "audio": audio})


def measured(*, frames: Frames | None = None, audio: AudioSamples | None = None) -> dict[str, float | None]:
    columns = Quality().load("cpu")([clip_of(frames, audio)])
    return {name: values[0] for name, values in columns.items()}


def measured_from(path: str, length_s: float, size: tuple[int, int]) -> dict[str, float | None]:
    extractor = resolve("quality", fps=4.0)
    with contextlib.closing(Sandbox()) as sandbox:
        requests = {name: sampling.request(0.0, length_s) for name, sampling in samplings_of(extractor).items()}
        found = sandbox.read(path, list(requests.values()), 0.0, length_s, size).samples
    raw = {name: found[request] for name, request in requests.items()}
    frames, audio = (
        None if raw[name] is None else sampling.collect(raw[name], 0.0, length_s)
        for name, sampling in samplings_of(extractor).items()
    )
    columns = extractor.load("cpu")([clip_of(frames, audio)])
    return {name: values[0] for name, values in columns.items()}


def test_the_extractor_keeps_the_contract():
    check_extractor(Quality(fps=0.1))


def test_a_flat_frame_has_its_luma_and_nothing_else():
    found = measured(frames=flat_frames(51, 51, 51))
    assert found["brightness"] == pytest.approx(0.2, abs=1e-6)
    assert [found[name] for name in ("contrast", "sharpness", "motion", "letterbox_share")] == pytest.approx(
        [0] * 4, abs=1e-6
    )
    assert (found["black_share"], found["frozen_share"], found["longest_frozen_s"]) == (0, 1, 1)
    assert [found[name] for name in AUDIO_COLUMNS] == [None] * len(AUDIO_COLUMNS)


def test_colours_weigh_as_bt709_says():
    frames = np.zeros((3, 8, 8, 3), np.uint8)
    for channel in range(3):
        frames[channel, ..., channel] = 255
    shares = [measured(frames=Frames(times_s=np.zeros(1), frames=frames[i : i + 1]))["brightness"] for i in range(3)]
    assert shares == pytest.approx([0.2126, 0.7152, 0.0722], abs=1e-6)


def test_contrast_and_sharpness_of_a_board_are_known():
    board = np.indices((64, 64)).sum(0) % 2 * 255
    frames = Frames(times_s=np.zeros(1), frames=np.repeat(board[None, ..., None], 3, -1).astype(np.uint8))
    found = measured(frames=frames)
    assert found["contrast"] == pytest.approx(0.5, abs=1e-6)
    # the four neighbours of each pixel are its opposites: the Laplacian is 4 * 255 or -4 * 255
    assert found["sharpness"] == pytest.approx((4 * 255) ** 2, rel=1e-5)
    assert found["motion"] is None


def test_black_and_frozen_runs_are_measured():
    found = measured(frames=flat_frames(0, 0, 0, 100, 150, 150, 0, 200))
    assert (found["black_share"], found["longest_black_s"]) == (0.5, 1.5)
    assert found["frozen_share"] == pytest.approx(3 / 7)
    assert found["longest_frozen_s"] == 1.0
    steps = [0, 0, 100, 50, 0, 150, 200]
    assert found["motion"] == pytest.approx(sum(steps) / 7 / 255, abs=1e-6)


def test_bars_count_whatever_black_frames_come_between():
    frames = flat_frames(120, 0, 80).frames.copy()
    frames[[0, 2], :8] = 0
    frames[[0, 2], -8:] = 3
    found = measured(frames=Frames(times_s=np.arange(3) / 2, frames=frames))
    assert found["letterbox_share"] == pytest.approx(16 / 64)
    assert measured(frames=flat_frames(0, 0))["letterbox_share"] is None


def test_bars_are_found_after_encoding(tmp_path):
    path = str(tmp_path / "bars.mp4")
    with av.open(str(packaged("bikes.mp4"))) as source, av.open(path, "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "28"})
        stream.width, stream.height, stream.pix_fmt = 640, 360, "yuv420p"
        for frame in itertools.islice(source.decode(video=0), 60):
            boxed = np.zeros((360, 640, 3), np.uint8)
            boxed[44 : 44 + 272] = frame.to_ndarray(format="rgb24")
            container.mux(stream.encode(av.VideoFrame.from_ndarray(boxed, format="rgb24")))
        container.mux(stream.encode(None))
    assert measured_from(path, 2.4, (360, 640))["letterbox_share"] == pytest.approx(88 / 360, abs=0.02)
    assert measured_from(str(packaged("bikes.mp4")), 2.4, (272, 640))["letterbox_share"] == 0


@pytest.mark.parametrize("amplitude", [1.0, 0.1])
def test_loudness_of_the_standards_own_tone(amplitude):
    """ITU-R BS.1770-4: a full-scale sine of 997 Hz in one channel reads -3.01 LKFS."""
    found = measured(audio=tone(amplitude))
    level = 20 * math.log10(amplitude)
    assert found["loudness_lufs"] == pytest.approx(-3.01 + level, abs=0.02)
    assert found["rms_dbfs"] == pytest.approx(-3.01 + level, abs=0.01)
    assert found["peak_dbfs"] == pytest.approx(level, abs=0.01)
    assert [found[name] for name in FRAME_COLUMNS] == [None] * len(FRAME_COLUMNS)


def test_loudness_is_gated_and_blocks_do_not_show():
    """EBU Tech 3341, test 3: -36, -23 and -36 dBFS in turn read -23 LUFS, here of one channel 3.01 lower."""
    levels = [(10.0, -36.0), (60.0, -23.0), (10.0, -36.0)]
    parts = [tone(10 ** (level / 20), hz=1000.0, length_s=length_s).samples for length_s, level in levels]
    assert loudness(AudioSamples(samples=np.concatenate(parts), sample_rate=SAMPLE_RATE)) == pytest.approx(
        -26.01, abs=0.1
    )


def test_deep_tones_count_less():
    deep, middle = (loudness(tone(0.5, hz=hz)) for hz in (25.0, 1000.0))
    assert deep is not None
    assert middle is not None
    assert middle - deep > 8


def test_silence_is_silent():
    found = measured(audio=AudioSamples(samples=np.zeros(SAMPLE_RATE, np.float32), sample_rate=SAMPLE_RATE))
    assert (found["loudness_lufs"], found["rms_dbfs"], found["peak_dbfs"]) == (-70, -120, -120)
    assert (found["silence_share"], found["longest_silence_s"]) == (1, 1)
    half = tone(0.5, length_s=2.0).samples.copy()
    half[: SAMPLE_RATE // 2] = 0
    found = measured(audio=AudioSamples(samples=half, sample_rate=SAMPLE_RATE))
    assert found["silence_share"] == 0.25
    assert found["longest_silence_s"] == pytest.approx(0.5)
    assert measured(audio=replace(tone(0.5), samples=half[:100]))["loudness_lufs"] is None


def test_a_real_clip_has_all_columns_from_one_pass():
    found = measured_from(str(packaged("bigbuckbunny.mp4")), 5.0, (720, 1280))
    assert None not in found.values()
    assert 0.2 < found["brightness"] < 0.8
    assert found["black_share"] == 0
    assert -60 < found["loudness_lufs"] < found["peak_dbfs"] < 0

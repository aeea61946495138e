"""Laws of decoding frames, on synthetic videos whose frames say when they are."""

from __future__ import annotations

import gc
import io
import itertools
from collections.abc import Mapping
from pathlib import Path

import av
import numpy as np
import pytest
from media_files import packaged
from synthetic_media import (
    AUDIO,
    DENSE,
    FAR,
    FRAMES,
    SPARSE,
    WINDOWS,
    X264_REFRESH,
    Seen,
    info_of,
    numbers,
    one,
    read,
    same_bytes,
    seen,
    shown_at,
    spans,
    synthetic,
    true_times,
    written,
)

from vidray.decode import VideoReader
from vidray.errors import DecodeError
from vidray.media import (
    FrameRate,
    Frames,
    FrameWindows,
    Sampling,
)
from vidray.testing import Sweep


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("media")


@pytest.mark.parametrize("name", FRAMES)
def test_the_frame_on_display_is_exact_at_every_time(folder: Path, name: str) -> None:
    video = FRAMES[name]
    path = written(folder, name, video)
    times = true_times(video, name)
    clips = [clip for clip in spans(info_of(path).duration_s) if clip[0] <= times[-1]]
    for clip, decoded in zip(clips, read(path, [DENSE, WINDOWS], clips), strict=True):
        assert decoded.warning is None
        dense = decoded.samples[DENSE]
        assert isinstance(dense, Frames)
        assert numbers(dense) == shown_at(times, dense.times_s)
        inside = np.minimum(WINDOWS.times_s(*clip), clip[1] - 2e-6)
        assert numbers(decoded.samples[WINDOWS]) == shown_at(times, inside)


@pytest.mark.parametrize("name", FRAMES)
def test_random_access_gives_the_same_bytes(folder: Path, name: str) -> None:
    path = written(folder, name, FRAMES[name])
    samplings = [DENSE, WINDOWS, SPARSE, AUDIO]
    clips = spans(info_of(path).duration_s)
    in_order = read(path, samplings, clips)
    backwards = read(path, samplings, clips[::-1])[::-1]
    alone = [read(path, samplings, [clip])[0] for clip in clips]
    assert all(map(same_bytes, in_order, backwards))
    assert all(map(same_bytes, in_order, alone))


@pytest.mark.parametrize("name", FRAMES)
def test_sparse_times_are_exact_whatever_is_skipped(folder: Path, name: str) -> None:
    video = FRAMES[name]
    path = written(folder, name, video)
    frames = one(path, SPARSE, 0.0, info_of(path).duration_s)
    assert numbers(frames) == shown_at(true_times(video, name), frames.times_s)


def test_the_open_gops_above_are_open(folder: Path) -> None:
    for name in ("h264-open.mp4", "hevc-open.mp4", "mpeg2.ts"):
        with av.open(str(written(folder, name, FRAMES[name]))) as container:
            packets = [p for p in container.demux(video=0) if p.pts is not None]
        keys = [i for i, packet in enumerate(packets) if packet.is_keyframe and i]
        assert any(packets[i + 1].pts < packets[i].pts for i in keys if i + 1 < len(packets)), name


def test_a_long_gop_is_not_decoded_again_for_each_clip(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(folder, "long-gop.mp4", synthetic(frames=250, gop=250))
    with path.open("rb") as file, VideoReader(file, "v", audio=False) as reader:
        seeks = []
        seek = type(reader._tracks.source).seek
        monkeypatch.setattr(type(reader._tracks.source), "seek", lambda *a: seeks.append(a[2]) or seek(*a))
        for clip in spans(10.0, 2.0):
            seen(reader, [FrameRate(fps=2)], clip)
    assert seeks == []


def test_far_clips_are_reached_by_seeking(folder: Path) -> None:
    path = written(folder, "far.mov", FAR)

    class Counting(io.BytesIO):
        count = 0

        def read(self, size: int | None = -1, /) -> bytes:
            data = super().read(size)
            self.count += len(data)
            return data

    file = Counting(path.read_bytes())
    with VideoReader(file, "v", audio=False) as reader:
        assert numbers(seen(reader, [FrameRate(fps=1)], (19.0, 20.0)).samples[FrameRate(fps=1)]) == [475]
    assert file.count < path.stat().st_size / 2


EDITED = synthetic(start_s=-0.52, container_options={"avoid_negative_ts": "disabled"})


def test_an_edit_list_hides_the_first_frames(folder: Path) -> None:
    path = written(folder, "edited.mp4", EDITED)
    for clip, decoded in zip(spans(1.4), read(path, [DENSE], spans(1.4)), strict=True):
        frames = decoded.samples[DENSE]
        assert isinstance(frames, Frames)
        assert numbers(frames) == [13 + n for n in shown_at(np.arange(37) / 25, frames.times_s)], clip


def test_frames_that_are_over_are_left_out_or_repeated(folder: Path) -> None:
    path = written(folder, "short-frame.mp4", synthetic(frames=25, audio=Sweep(length_s=3.0)))
    assert info_of(path).duration_s == pytest.approx(3.0, abs=0.03)
    (decoded,) = read(path, [DENSE, WINDOWS], [(0.7, 1.4)])
    frames, windows = decoded.samples[DENSE], decoded.samples[WINDOWS]
    assert isinstance(frames, Frames)
    assert frames.times_s[-1] == pytest.approx(0.98)
    assert numbers(windows)[-1] == 24
    assert decoded.warning is None
    assert set(read(path, [DENSE, WINDOWS], [(2.0, 3.0)])[0].samples.values()) == {None}


def test_windows_do_not_look_into_the_next_clip(folder: Path) -> None:
    path = written(folder, "h264.mp4", FRAMES["h264.mp4"])
    windows = one(path, FrameWindows(frames=16, fps=10), 0.4, 0.8)
    assert windows.frames.shape == (1, 16, 96, 160, 3)
    assert max(numbers(windows)) == 19
    np.testing.assert_allclose(windows.times_s[0], 0.4 + np.arange(16) / 10)


def remuxed(path: Path, to: Path, options: Mapping[str, str]) -> Path:
    with av.open(str(path)) as source, av.open(str(to), "w", options=dict(options)) as target:
        streams = {s.index: target.add_stream_from_template(s) for s in source.streams}
        for packet in source.demux():
            if packet.dts is not None:
                packet.stream = streams[packet.stream.index]
                target.mux(packet)
    return to


def test_durations_come_from_headers_or_from_the_last_packets(folder: Path) -> None:
    for name in ("h264.mp4", "h264-open.ts", "mpeg2.mpg", "h264.h264", "late.ts", "late.mkv", "h264.avi", "vp9.webm"):
        assert info_of(written(folder, name, FRAMES[name])).duration_s == pytest.approx(2.0, abs=0.002), name
    live = remuxed(folder / "vp9.webm", folder / "live.webm", {"live": "1"})
    with av.open(str(live)) as container:
        assert container.duration is None
    assert info_of(live).duration_s == pytest.approx(2.0, abs=0.002)
    times = true_times(FRAMES["vp9.webm"], "live.webm")
    frames = one(live, DENSE, 1.1, 1.8)
    assert numbers(frames) == shown_at(times, frames.times_s)


def test_what_the_headers_say(folder: Path) -> None:
    info = info_of(written(folder, "ntsc.mp4", FRAMES["ntsc.mp4"]))
    assert info.fps == pytest.approx(30000 / 1001)
    assert (info.width, info.height, info.rotation) == (160, 96, 0)
    assert (info.video_codec, info.audio_codec, info.sample_rate) == ("h264", None, None)
    real = info_of(packaged("bigbuckbunny.mp4"))
    assert (real.width, real.height, real.audio_codec, real.sample_rate) == (1280, 720, "aac", 48_000)
    assert real.duration_s == pytest.approx(5.312)


def test_pairs_of_samplings_agree_with_each_alone(folder: Path) -> None:
    path = written(folder, "h264.mov", FRAMES["h264.mov"])
    samplings: list[Sampling] = [DENSE, WINDOWS, AUDIO, SPARSE]
    together = read(path, samplings, spans(2.0))
    for sampling, (index, clip) in itertools.product(samplings, enumerate(spans(2.0))):
        alone = Seen({sampling: one(path, sampling, *clip)}, None)
        assert same_bytes(alone, Seen({sampling: together[index].samples[sampling]}, None))


KEYFRAMES = FrameRate(fps=2, keyframes=True)


NO_KEYFRAMES = (".h264", ".avi", ".m2v", ".mpg", "-refresh.mp4")
"""Files whose keyframes have no times, or are no frames by themselves."""


@pytest.mark.parametrize("name", [name for name in FRAMES if not name.endswith(NO_KEYFRAMES)])
def test_keyframes_come_at_their_own_times(folder: Path, name: str) -> None:
    path = written(folder, name, FRAMES[name])
    times = true_times(FRAMES[name], name)
    clips = spans(info_of(path).duration_s)
    for clip, decoded in zip(clips, read(path, [KEYFRAMES, DENSE], clips), strict=True):
        assert decoded.warning is None
        found = decoded.samples[KEYFRAMES]
        if found is None:
            continue
        assert isinstance(found, Frames)
        assert numbers(found) == shown_at(times, found.times_s)
        assert found.times_s[-1] < clip[1]
        assert len(set(np.floor((found.times_s - clip[0] + 1e-6) * 2))) == len(found.times_s)
        assert same_bytes(Seen({DENSE: decoded.samples[DENSE]}, None), read(path, [DENSE], [clip])[0])


def test_a_clip_without_a_keyframe_has_the_one_before_it(folder: Path) -> None:
    path = written(folder, "gops.mp4", synthetic(frames=250, gop=100, options={"x264-params": "scenecut=0"}))
    clips = [(0.0, 1.0), (1.0, 2.0), (3.0, 9.0), (9.0, 10.0)]
    answers = [decoded.samples[KEYFRAMES] for decoded in read(path, [KEYFRAMES], clips)]
    assert [found.times_s.tolist() for found in answers if isinstance(found, Frames)] == [
        [0.0],
        [0.0],
        [4.0, 8.0],
        [8.0],
    ]


def test_keyframes_of_a_file_without_times_are_refused(folder: Path) -> None:
    path = written(folder, "h264.h264", FRAMES["h264.h264"])
    error = read(path, [KEYFRAMES], [(0.0, 1.0)])[0].samples[KEYFRAMES]
    assert isinstance(error, DecodeError)
    assert (error.kind, "--keyframes" in error.message) == ("unsupported", True)


def test_keyframes_that_are_no_frames_by_themselves_cost_their_own_sampling_only(folder: Path) -> None:
    path = written(folder, "refresh.mp4", synthetic(frames=100, options=X264_REFRESH))
    first, later = read(path, [KEYFRAMES, DENSE], [(0.0, 1.0), (3.0, 4.0)])
    assert isinstance(first.samples[KEYFRAMES], Frames)
    error = later.samples[KEYFRAMES]
    assert isinstance(error, DecodeError)
    assert (error.kind, "--keyframes" in error.message) == ("unsupported", True)
    assert same_bytes(Seen({DENSE: later.samples[DENSE]}, None), read(path, [DENSE], [(3.0, 4.0)])[0])


@pytest.mark.parametrize("name", ["h264.mp4", "h264-open.mkv", "h264-10bit.mp4", "hevc-open.mp4", "hevc-closed.mkv"])
def test_what_nothing_wanted_refers_to_is_not_decoded(folder: Path, name: str) -> None:
    path = written(folder, name, FRAMES[name])
    with path.open("rb") as file, VideoReader(file, "v", audio=False) as reader:
        frames = reader._tracks.frames
        assert frames is not None
        seen(reader, [FrameRate(fps=2)], (0.0, 2.0))
        sparse = frames.decoded
    with path.open("rb") as file, VideoReader(file, "v", audio=False) as reader:
        frames = reader._tracks.frames
        assert frames is not None
        seen(reader, [DENSE], (0.0, 2.0))
        assert sparse < 0.8 * frames.decoded


def test_a_closed_reader_leaves_no_container_and_no_decoder_behind() -> None:
    path = packaged("bikes.mp4")

    def left() -> list[str]:
        kinds = (av.container.InputContainer, av.CodecContext)
        types = map(type, gc.get_objects())  # `isinstance` would ask proxies among them
        return [kind.__name__ for kind in types if issubclass(kind, kinds)]

    gc.collect()
    gc.disable()
    try:
        before = left()
        with path.open("rb") as file, VideoReader(file, str(path)) as reader:
            seen(reader, [DENSE, AUDIO], (0.0, 1.0))
            assert len(left()) > len(before)
        del reader
        assert left() == before
    finally:
        gc.enable()

"""What is damaged, hostile or no video at all: the rest of a file still counts, and nothing else is opened."""

from __future__ import annotations

import io
import itertools
import pickle
import socket
import wave
from collections.abc import Iterator, Sequence
from pathlib import Path

import av
import numpy as np
import pytest
from synthetic_media import (
    AUDIO,
    DENSE,
    FAR,
    FRAMES,
    SPARSE,
    WINDOWS,
    info_of,
    numbers,
    read,
    seen,
    shown_at,
    spans,
    synthetic,
    true_times,
    written,
)

from vidray.decode import VideoReader, probe, read_image
from vidray.errors import DecodeError, ProbeError
from vidray.media import Audio, AudioSamples, FrameRate, FrameRequest, Frames, Sampling, Windows
from vidray.testing import Sweep


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("media")


def spoilt(path: Path, stream: str, numbers_: Sequence[int]) -> io.BytesIO:
    """The file with some packets of a stream filled with noise."""
    data = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        packets = [p for p in container.demux(**{stream: 0}) if p.pts is not None]
    noise = np.random.default_rng(0)
    for number in numbers_:
        packet = packets[number]
        assert packet.pos is not None
        data[packet.pos : packet.pos + packet.size] = noise.bytes(packet.size)
    return io.BytesIO(bytes(data))


def test_a_bad_packet_costs_its_own_frame(folder: Path) -> None:
    path = written(folder, "png.mov", synthetic(codec="png", pix_fmt="rgb24", b_frames=0))
    decoded = read(spoilt(path, "video", [30, 31]), [FrameRate(fps=25)], [(0.0, 1.0), (1.0, 2.0)])
    first, second = (numbers(d.samples[FrameRate(fps=25)]) for d in decoded)
    assert first == list(range(25))
    assert second == [*range(25, 30), 29, 29, *range(32, 50)]
    assert [d.warning for d in decoded] == [None, "2 packets of its frames could not be decoded, first at 1.200 s"]


def test_what_others_read_behind_a_request_is_no_warning_of_it(folder: Path) -> None:
    """One frame at the start, alone and beside all frames of a clip that is damaged or cut off behind it."""
    png = written(folder, "png.mov", synthetic(codec="png", pix_fmt="rgb24", b_frames=0))
    mkv = written(folder, "h264-open.mkv", FRAMES["h264-open.mkv"]).read_bytes()
    cases = {
        "packets of its frames": spoilt(png, "video", [30, 31]),
        "the file ends at": io.BytesIO(mkv[: len(mkv) * 6 // 10]),
    }
    first = FrameRequest(times_s=(0.1,), end_s=2.0)
    every = FrameRequest(times_s=tuple(i / 25 for i in range(50)), end_s=2.0)
    for text, file in cases.items():
        for requests in ([first], [first, every]):
            file.seek(0)
            with VideoReader(file, "memory://x") as reader:
                warnings = reader.read(requests, 0.0, 2.0).warnings
            assert first not in warnings
            assert every not in requests or text in warnings[every]


def test_after_a_bad_packet_the_next_keyframe_is_whole(folder: Path) -> None:
    path = written(folder, "h264.mp4", FRAMES["h264.mp4"])
    file = spoilt(path, "video", [27])
    clips = [(0.0, 0.9), (0.9, 1.4), (1.44, 2.0)]
    before, within, after = read(file, [FrameRate(fps=25)], clips)
    assert numbers(before.samples[FrameRate(fps=25)]) == list(range(23))
    assert numbers(after.samples[FrameRate(fps=25)]) == list(range(36, 50))
    assert (before.warning, after.warning) == (None, None)
    assert within.warning is not None
    assert "could not be decoded" in within.warning
    assert isinstance(within.samples[FrameRate(fps=25)], Frames)


def test_a_clip_whose_frames_are_all_bad_fails_and_its_audio_does_not(folder: Path) -> None:
    path = written(folder, "png-sound.mov", synthetic(codec="png", pix_fmt="rgb24", b_frames=0, audio=Sweep()))
    file = spoilt(path, "video", range(50))
    with pytest.raises(DecodeError) as raised:
        VideoReader(file, "v", audio=False)
    assert raised.value.kind == "corrupt"
    (decoded,) = read(spoilt(path, "audio", range(30, 80)), [DENSE, AUDIO], [(1.0, 1.3)])
    error = decoded.samples[AUDIO]
    assert isinstance(error, DecodeError)
    assert (error.kind, error.at_s) == ("corrupt", 1.0)
    assert isinstance(decoded.samples[DENSE], Frames)


@pytest.mark.parametrize(("stream", "damaged"), [("video", DENSE), ("audio", AUDIO)])
def test_damage_is_said_of_what_it_is_of_whatever_is_read_with_it(folder: Path, stream: str, damaged: Sampling) -> None:
    path = written(folder, "png-sound.mov", synthetic(codec="png", pix_fmt="rgb24", b_frames=0, audio=Sweep()))
    file, span = spoilt(path, stream, range(28, 33)), (0.5, 1.5)
    requests = [sampling.request(*span) for sampling in (DENSE, AUDIO)]
    with VideoReader(file, "v") as reader:
        together = reader.read(requests, *span)
    assert list(together.warnings) == [damaged.request(*span)]
    for sampling in (DENSE, AUDIO):
        (alone,) = read(file, [sampling], [span])
        assert alone.warning == together.warnings.get(sampling.request(*span))


def test_damaged_frames_are_no_error_of_a_clip_after_the_last_sound(folder: Path) -> None:
    short = synthetic(codec="png", pix_fmt="rgb24", b_frames=0, audio=Sweep(length_s=1.0))
    file = spoilt(written(folder, "short-sound.mov", short), "video", [30])
    (decoded,) = read(file, [DENSE, AUDIO], [(1.1, 1.9)])
    assert decoded.samples[AUDIO] is None


def test_a_mix_that_loses_a_channel_is_said_to_who_hears_the_mix(folder: Path) -> None:
    request = Audio(16_000, channels="all").request(0.0, 1.0)
    mix = Audio(16_000).request(0.0, 1.0)
    samples = np.random.default_rng(0).normal(0, 0.1, 32_000).clip(-1, 1)
    path = folder / "opposite.wav"
    with wave.open(str(path), "wb") as file:
        file.setparams((2, 2, 16_000, 0, "NONE", ""))
        file.writeframes((np.stack([samples, -samples], axis=1) * 32_767).astype("<i2").tobytes())
    with path.open("rb") as opened, VideoReader(opened, "a") as reader:
        warnings = reader.read([request, mix], 0.0, 1.0).warnings
    assert list(warnings) == [mix]


@pytest.mark.parametrize("name", ["cut.mp4", "cut.mkv", "cut.flv"])
def test_a_file_that_is_cut_off(folder: Path, name: str) -> None:
    video = synthetic(
        frames=150, audio=Sweep(), container_options={"movflags": "faststart"} if name.endswith("mp4") else {}
    )
    data = written(folder, name, video).read_bytes()
    file = io.BytesIO(data[: len(data) * 6 // 10])
    assert probe(file, name).duration_s == pytest.approx(6.0, abs=0.05)
    clips = spans(6.0, 1.0)
    decoded = read(file, [DENSE, WINDOWS, AUDIO], clips)
    for clip, got in zip(clips[:3], decoded[:3], strict=True):
        frames = got.samples[DENSE]
        assert isinstance(frames, Frames), clip
        assert numbers(frames) == shown_at(true_times(video, name), frames.times_s)
        assert got.warning is None
    for clip, got in zip(clips[4:], decoded[4:], strict=True):
        for error in got.samples.values():
            assert isinstance(error, DecodeError)
            assert (error.kind, error.at_s) == ("corrupt", clip[0])
            assert "the file ends at 3." in error.message
    assert decoded[3].warning is not None
    assert "the file ends at 3." in decoded[3].warning
    for sampling in (DENSE, AUDIO):
        (alone,) = read(file, [sampling], [clips[3]])
        assert "the file ends at 3." in str(alone.warning)
    backwards = read(file, [DENSE], clips[::-1])[::-1]
    assert [str(d.samples[DENSE]) if d.samples[DENSE] is None else type(d.samples[DENSE]) for d in backwards] == [
        Frames,
        Frames,
        Frames,
        Frames,
        DecodeError,
        DecodeError,
    ]


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"", "empty"),
        (b"These are my holiday notes.\n" * 200, "not_media"),
        (np.random.default_rng(0).bytes(200_000), "not_media"),
        (bytes(200_000), "not_media"),
        (b"\0\0\0\x20ftypisom" + bytes(100), "corrupt"),
        (b"\x1aE\xdf\xa3" + bytes(100), "corrupt"),
    ],
)
def test_what_is_no_video_is_refused(data: bytes, kind: str) -> None:
    with pytest.raises(ProbeError) as probed:
        probe(io.BytesIO(data), "memory://x")
    with pytest.raises(DecodeError) as opened:
        VideoReader(io.BytesIO(data), "memory://x")
    assert (probed.value.kind, opened.value.kind) == (kind, kind)
    assert "Errno" not in str(probed.value)
    assert str(pickle.loads(pickle.dumps(probed.value))) == str(probed.value)


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)
        yield server


PLAYLISTS = {
    "hls": "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{url}\n#EXT-X-ENDLIST\n",
    "hls-file": "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{path}\n#EXT-X-ENDLIST\n",
    "concat": "ffconcat version 1.0\nfile {path}\n",
    "concat-url": "ffconcat version 1.0\nfile {url}\n",
    "dash": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011"><BaseURL>{url}</BaseURL></MPD>',
    "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\nc=IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\n",
}


@pytest.mark.parametrize("name", PLAYLISTS)
def test_a_playlist_is_refused_and_nothing_is_opened(folder: Path, listener: socket.socket, name: str) -> None:
    other = written(folder, "h264.ts", FRAMES["h264.ts"])
    port = listener.getsockname()[1]
    text = PLAYLISTS[name].format(url=f"http://127.0.0.1:{port}/x.ts", path=other)
    with pytest.raises(ProbeError) as refused:
        probe(io.BytesIO(text.encode()), "memory://x")
    assert refused.value.kind in ("unsupported", "not_media")
    with pytest.raises(TimeoutError):
        listener.accept()


def test_encrypted_files_are_refused_by_name(folder: Path) -> None:
    scheme = {"encryption_scheme": "cenc-aes-ctr", "encryption_key": "0" * 32, "encryption_kid": "1" * 32}
    path = written(folder, "secret.mp4", synthetic(container_options=scheme))
    with pytest.raises(ProbeError, match=r"h264.*encrypted") as refused:
        info_of(path)
    assert refused.value.kind == "unsupported"


class Failing(io.BytesIO):
    broken = False

    def read(self, size: int | None = -1, /) -> bytes:
        if self.broken:
            raise OSError("connection reset by peer")
        return super().read(size)


def test_storage_that_fails_is_told_apart_and_may_recover(folder: Path) -> None:
    path = written(folder, "far.mov", FAR)
    file = Failing(path.read_bytes())
    sampling = FrameRate(fps=5)
    with VideoReader(file, "memory://x") as reader:
        assert isinstance(seen(reader, [sampling, AUDIO], (0.0, 1.0)).samples[sampling], Frames)
        file.broken = True
        for error in seen(reader, [sampling, AUDIO], (10.0, 11.0)).samples.values():
            assert isinstance(error, DecodeError)
            assert error.kind == "unreadable"
            assert "connection reset by peer" in error.message
        file.broken = False
        assert numbers(seen(reader, [sampling, AUDIO], (10.0, 11.0)).samples[sampling]) == [250, 255, 260, 265, 270]
    file.broken = True
    with pytest.raises(ProbeError) as refused:
        probe(file, "memory://x")
    assert refused.value.kind == "unreadable"


@pytest.mark.parametrize("data", [b"", b"no frame" * 99, PLAYLISTS["hls"].encode()])
def test_an_image_that_is_none_is_refused(data: bytes) -> None:
    with pytest.raises(DecodeError):
        read_image(io.BytesIO(data), "x", FrameRate(fps=1))


@pytest.mark.parametrize("name", ["h264.mov", "h264.ts", "h264-open.mkv", "mpeg4.avi", "vp8.webm", "mpeg2.mpg"])
def test_spoilt_bytes_anywhere_only_ever_give_decode_errors(folder: Path, name: str) -> None:
    whole = written(folder, name, FRAMES[name]).read_bytes()
    noise = np.random.default_rng(7)
    survived = 0
    for _ in range(12):
        data = bytearray(whole)
        at, length = int(noise.integers(len(data))), int(noise.integers(1, 1500))
        data[at : at + length] = noise.bytes(min(length, len(data) - at))
        try:
            probe(io.BytesIO(bytes(data)), "memory://x")
            decoded = read(io.BytesIO(bytes(data)), [SPARSE, WINDOWS, AUDIO], [(0.7, 1.4), (0.0, 0.7), (1.4, 2.0)])
        except (ProbeError, DecodeError):
            continue
        survived += 1
        for samples in itertools.chain.from_iterable(d.samples.values() for d in decoded):
            assert samples is None or isinstance(samples, Frames | Windows | AudioSamples | DecodeError)
    assert survived > 3

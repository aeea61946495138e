"""Laws of decoding files as people have them: all that a file holds is seen and heard, in its place, or it is said."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.stream import Disposition
from av.video.reformatter import VideoReformatter
from dolby import write_dolby
from field_media import Media, Track, every, heard_hz, ladder, silence, tone, write_media
from synthetic_media import info_of, numbers, one, read, same_bytes, spans

from vidray.decode.hdr import needs_mapping, to_sdr
from vidray.errors import DecodeError, ProbeError
from vidray.media import Audio, AudioSamples, FrameRate, Frames
from vidray.planning import FixedStride, outside
from vidray.testing import SyntheticVideo, write_video

AUDIO = Audio(sample_rate=16_000)
EACH = FrameRate(fps=10)
HDR = Path(__file__).parent / "media" / "hdr10_white.mp4"
TWO_EDITS = Path(__file__).parent / "media" / "two_edits.mp4"
TENTHS = every(0.1, 0, 30)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("media")


def heard(path: Path, start_s: float, end_s: float) -> np.ndarray:
    audio = one(path, AUDIO, start_s, end_s)
    assert isinstance(audio, AudioSamples), audio
    return audio.samples


def seconds_heard(path: Path, length_s: int) -> list[float]:
    """The frequency of each second, each read by itself, the last first."""
    clips = [(n + 0.1, n + 0.9) for n in range(length_s)][::-1]
    found = [decoded.samples[AUDIO] for decoded in read(path, [AUDIO], clips)]
    assert all(isinstance(audio, AudioSamples) for audio in found)
    return [round(heard_hz(audio.samples, 16_000)) for audio in found[::-1]]


def level(samples: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(samples))))


def loud_then_silent(times_s: np.ndarray) -> np.ndarray:
    noise = np.random.default_rng(1).normal(size=len(times_s))
    return np.where(times_s < 20, 0.2 * noise, 0.0)


def silent_then_loud(times_s: np.ndarray) -> np.ndarray:
    return np.where(times_s < 20, 0.0, loud_then_silent(times_s - 20))


# --- lengths ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("signal", [loud_then_silent, silent_then_loud])
@pytest.mark.parametrize(
    ("name", "codec"), [("a.aac", "aac"), ("a.mp3", "libmp3lame"), ("a.ac3", "ac3"), ("a.ogg", "libopus")]
)
def test_a_length_is_what_the_packets_say(folder: Path, name: str, codec: str, signal: Any) -> None:
    track = Track(signal=signal, length_s=40, codec=codec, layout="stereo")
    path = write_media(folder / f"{signal.__name__}-{name}", Media(tracks=[track], options=MP3_WITHOUT_HEADER))
    assert info_of(path).duration_s == pytest.approx(40, abs=0.15)
    loud = [level(heard(path, n, n + 1)) > 0.02 for n in range(40)]
    assert loud == [bool((n < 20) == (signal is loud_then_silent)) for n in range(40)]


MP3_WITHOUT_HEADER = {"write_xing": "0"}


def test_mp3s_joined_are_counted_whole(folder: Path) -> None:
    first = write_media(folder / "1.mp3", Media(tracks=[Track(signal=tone(500), codec="libmp3lame", length_s=8)]))
    second = write_media(
        folder / "2.mp3", Media(tracks=[Track(signal=tone(900), codec="libmp3lame", length_s=8, sample_rate=44_100)])
    )
    path = folder / "joined.mp3"
    path.write_bytes(first.read_bytes() + second.read_bytes())
    assert info_of(path).duration_s == pytest.approx(16, abs=0.2)
    assert [round(heard_hz(heard(path, n, n + 0.8), 16_000)) for n in (2, 6, 10, 14)] == [500, 500, 900, 900]


# --- recordings joined -----------------------------------------------------------------------------------------------


JOINED = {
    "joined.ts": ("libx264", "aac"),
    "joined.mpg": ("mpeg2video", "mp2"),
    "joined.mp4": ("libx264", "aac"),
    "joined.mkv": ("libx264", "aac"),
    "joined.avi": ("mpeg4", "libmp3lame"),
    "joined.flv": ("libx264", "aac"),
    "live.mkv": ("libx264", "aac"),
}


@pytest.mark.parametrize("name", JOINED)
def test_recordings_joined_are_one_behind_the_other(folder: Path, name: str) -> None:
    codec, audio = JOINED[name]
    pieces = []
    for number, (first, hertz) in enumerate([(0, 440.0), (100, 880.0), (200, 1200.0)]):
        track = Track(signal=tone(hertz), length_s=6, codec=audio)
        frames = Media(
            times_s=every(0.1, 0, 6), codec=codec, tracks=[track], first_number=first, b_frames=0,
            options={"live": "1"} if name == "live.mkv" else {},
        )  # fmt: skip
        pieces.append(write_media(folder / f"{number}-{name}", frames).read_bytes())
    path = folder / name
    path.write_bytes(b"".join(pieces))
    duration_s = info_of(path).duration_s
    assert duration_s == pytest.approx(18, abs=0.4)
    clips = [(0.0, 5.9), (5.9, 6.5), (6.5, 12.0), (12.4, duration_s)]
    forward = read(path, [EACH, AUDIO], clips)
    assert all(map(same_bytes, forward, read(path, [EACH, AUDIO], clips[::-1])[::-1]))
    alone = [read(path, [EACH, AUDIO], [clip])[0] for clip in clips]
    assert all(map(same_bytes, forward, alone))
    seen = [n for decoded in forward for n in numbers(decoded.samples[EACH])]
    assert seen == sorted(seen)
    assert {n // 100 for n in seen} == {0, 1, 2}
    assert len(set(seen)) >= 174
    for decoded, hertz in zip(forward, (440, None, 880, 1200), strict=True):
        audio_, frames_ = decoded.samples[AUDIO], decoded.samples[EACH]
        assert isinstance(audio_, AudioSamples)
        assert isinstance(frames_, Frames)
        if hertz is not None:
            assert round(heard_hz(audio_.samples, 16_000)) == hertz
    assert [decoded.warning is not None for decoded in forward] == [False, True, False, False]
    assert "another begins" in str(forward[1].warning)


def test_a_chained_ogg_is_heard_to_its_end(folder: Path) -> None:
    links = [
        write_media(folder / f"{n}.ogg", Media(tracks=[Track(signal=tone(hertz), length_s=6, codec="libopus")]))
        for n, hertz in enumerate((500, 900))
    ]
    path = folder / "chained.ogg"
    path.write_bytes(b"".join(link.read_bytes() for link in links))
    assert info_of(path).duration_s == pytest.approx(12, abs=0.1)
    assert [round(heard_hz(heard(path, n, n + 0.8), 16_000)) for n in (1, 4, 7, 10)] == [500, 500, 900, 900]


def noisy(signal: Callable[[np.ndarray], np.ndarray]) -> Callable[[np.ndarray], np.ndarray]:
    """What cannot be made small."""
    dice = np.random.default_rng(1)
    return lambda times_s: signal(times_s) + 0.05 * dice.normal(size=len(times_s))


@pytest.mark.parametrize("length_s", [6, 40])
def test_flacs_joined_are_heard_to_their_end(folder: Path, length_s: int) -> None:
    """Also where a part alone is more than is looked through without a reason."""
    parts = []
    for number, hertz in enumerate((500.0, 900.0)):
        track = Track(signal=noisy(tone(hertz)), length_s=length_s, codec="flac", sample_rate=48_000)
        parts.append(write_media(folder / f"{number}-{length_s}.flac", Media(tracks=[track])).read_bytes())
    path = folder / f"joined-{length_s}.flac"
    path.write_bytes(b"".join(parts))
    assert (len(parts[0]) > 1 << 20) == (length_s == 40)
    assert info_of(path).duration_s == pytest.approx(2 * length_s, abs=0.1)
    places = [0.2, 0.7, 1.2, 1.7]
    heard_at = [round(heard_hz(heard(path, n * length_s, n * length_s + 0.8), 16_000)) for n in places]
    assert heard_at == [500, 500, 900, 900]


def test_what_another_decoder_would_need_is_left_out_and_said(folder: Path) -> None:
    first = write_media(folder / "a.ts", Media(times_s=every(0.1, 0, 4), codec="libx264"))
    second = write_media(folder / "b.ts", Media(times_s=every(0.1, 0, 4), codec="mpeg2video"))
    path = folder / "unlike.ts"
    path.write_bytes(first.read_bytes() + second.read_bytes())
    assert info_of(path).duration_s == pytest.approx(4, abs=0.2)
    (decoded,) = read(path, [EACH], [(2.0, info_of(path).duration_s)])
    assert "left out" in str(decoded.warning)


# --- gaps ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("b_frames", [0, 2])
@pytest.mark.parametrize("codec", ["libx264", "mpeg4"])
@pytest.mark.parametrize("name", ["gap.avi", "gap.mp4", "gap.mkv", "gap.ts"])
def test_the_frame_before_a_gap_stands_until_its_end(folder: Path, name: str, codec: str, b_frames: int) -> None:
    times_s = [*every(0.1, 0, 5), *every(0.1, 12, 20)]
    path = write_media(folder / f"{codec}-{b_frames}-{name}", Media(times_s=times_s, codec=codec, b_frames=b_frames))
    shown = [n for clip in spans(20.0, 4.0) for n in numbers(one(path, EACH, *clip))]
    wanted = np.searchsorted(times_s, np.arange(200) / 10 + 1e-6, side="right") - 1
    assert shown == wanted.tolist()


@pytest.mark.parametrize("name", ["slept.mp4", "slept.mkv", "slept.avi"])
def test_hours_without_a_recording_are_a_hole(folder: Path, name: str) -> None:
    path = write_media(
        folder / name, Media(times_s=[*every(0.1, 0, 5), *every(0.1, 3600, 3605)], codec="mpeg4", b_frames=0)
    )
    info = info_of(path)
    assert info.duration_s == pytest.approx(3605, abs=0.2)
    (hole,) = info.holes
    assert hole == pytest.approx((4.9, 3600), abs=0.15)
    planned = outside(FixedStride(10.0).spans(info.duration_s), info.holes)
    assert [start_s for start_s, _ in planned] == [0.0, 3600.0]
    (decoded,) = read(path, [FrameRate(fps=1)], [planned[0]])
    assert "no frame from the last of this clip until 3600" in str(decoded.warning)


@pytest.mark.parametrize("name", ["slides.mp4", "slides.mkv"])
def test_slides_with_audio_have_no_hole(folder: Path, name: str) -> None:
    path = write_media(folder / name, Media(times_s=[0.0, 100.0, 200.0, 300.0], tracks=[Track(length_s=310)]))
    assert info_of(path).holes == ()


@pytest.mark.parametrize(("name", "codec"), [("slept.ts", "libx264"), ("slept.mpg", "mpeg2video")])
def test_a_clock_that_leaps_ahead_is_counted_on(folder: Path, name: str, codec: str) -> None:
    parts = [
        Media(times_s=every(0.1, start_s, start_s + 6), codec=codec, b_frames=0, first_number=first)
        for start_s, first in ((0, 0), (3600, 60))
    ]
    pieces = [write_media(folder / f"{n}-{name}", part).read_bytes() for n, part in enumerate(parts)]
    path = folder / name
    path.write_bytes(b"".join(pieces))
    assert info_of(path).duration_s == pytest.approx(12, abs=0.3)
    seen = [n for d in read(path, [EACH], spans(12.0, 4.0)) for n in numbers(d.samples[EACH])]
    assert len(set(seen)) >= 116


def test_a_clock_that_jumps_about_costs_one_row(folder: Path) -> None:
    rng = np.random.default_rng(3)
    data = bytearray(write_media(folder / "sane.ts", Media(times_s=TENTHS, b_frames=0)).read_bytes())
    at = 0
    while (at := data.find(b"\0\0\1\xe0", at)) >= 0:
        if data[at + 7] & 0x80:
            for place in (at + 9, at + 14)[: 1 + bool(data[at + 7] & 0x40)]:
                stamp = int(rng.integers(1 << 33))
                data[place : place + 5] = bytes(
                    [data[place] & 0xF1 | (stamp >> 30 & 7) << 1, stamp >> 22 & 255, stamp >> 14 & 254 | 1]
                ) + bytes([stamp >> 7 & 255, stamp << 1 & 254 | 1])
        at += 4
    path = folder / "random.ts"
    path.write_bytes(data)
    with pytest.raises(ProbeError, match="timestamps are damaged"):
        info_of(path)


# --- audio and frames far apart --------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", ["frames first", "audio first"])
@pytest.mark.parametrize("name", ["apart.mkv", "apart.ts", "apart.mp4"])
def test_what_lies_far_behind_is_found(folder: Path, name: str, order: str) -> None:
    media = Media(times_s=TENTHS, tracks=[Track(length_s=30)], order=order)
    path = write_media(folder / f"{order}-{name}", media)
    assert info_of(path).duration_s == pytest.approx(30, abs=0.1)
    assert seconds_heard(path, 30) == [400 + 20 * n for n in range(30)]
    clips = spans(30.0, 5.0)
    both = read(path, [EACH, AUDIO], clips)
    assert [n for decoded in both for n in numbers(decoded.samples[EACH])] == list(range(300))
    assert all(map(same_bytes, both, read(path, [EACH, AUDIO], clips[::-1])[::-1]))


@pytest.mark.parametrize("name", ["late.mkv", "late.ts", "late.mp4"])
def test_audio_that_begins_late_or_is_over_is_none_and_no_error(folder: Path, name: str) -> None:
    path = write_media(folder / name, Media(times_s=every(0.1, 0, 40), tracks=[Track(start_s=15, length_s=5)]))
    found = [one(path, AUDIO, start_s + 0.1, end_s - 0.1) for start_s, end_s in spans(40.0, 5.0)]
    assert [audio is None for audio in found] == [True] * 3 + [False] + [True] * 4
    assert round(heard_hz(heard(path, 16.1, 16.9), 16_000)) == 720


# --- edit lists ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("brand", [b"isom", b"qt  "])
def test_what_an_edit_list_cuts_out_is_neither_seen_nor_heard(folder: Path, brand: bytes) -> None:
    """Media 0 to 5 s, then 12 to 20 s: 400 + 20 x second Hz, and luma 16 + number of the frame."""
    path = folder / f"edits-{brand.decode().strip()}.mp4"
    path.write_bytes(TWO_EDITS.read_bytes().replace(b"ftypisom", b"ftyp" + brand, 1))
    assert seconds_heard(path, 13) == [*range(400, 500, 20), *range(640, 800, 20)]
    # on both sides of the cut
    assert round(heard_hz(heard(path, 4.5, 4.98), 16_000)) == pytest.approx(480, abs=1)
    assert round(heard_hz(heard(path, 5.01, 5.5), 16_000)) == pytest.approx(640, abs=1)
    seen = [
        round(float(frame.mean()) * 219 / 255)
        for decoded in read(path, [EACH], spans(13.0, 1.3)[::-1])[::-1]
        for frame in decoded.samples[EACH].frames
    ]
    assert np.abs(np.array(seen) - [*range(50), *range(120, 200)]).max() <= 1


def test_keyframes_of_a_cut_stretch_are_not_seen(folder: Path) -> None:
    keyframes = FrameRate(fps=10, keyframes=True)
    found = [d.samples[keyframes] for d in read(TWO_EDITS, [keyframes], spans(13.0, 1.3))]
    frames = [frame for samples in found if isinstance(samples, Frames) for frame in samples.frames]
    numbers_ = [round(float(frame.mean()) * 219 / 255) for frame in frames]
    assert numbers_
    assert not [n for n in numbers_ if 52 < n < 118]


# --- several tracks --------------------------------------------------------------------------------------------------


A, B = tone(700), tone(1100)


def tones(path: Path) -> set[int]:
    """The tones of 700 and 1100 Hz that are heard."""
    audio = heard(path, 1.0, 3.0)
    spectrum = np.abs(np.fft.rfft(audio)) / len(audio)
    return {hertz for hertz in (700, 1100) if spectrum[2 * hertz] > 0.01}


@pytest.mark.parametrize("name", ["tracks.mp4", "tracks.mkv", "tracks.ts"])
@pytest.mark.parametrize(
    ("tracks", "wanted", "said"),
    [
        ([Track(signal=silence), Track(signal=A)], {700}, "1 + 2 of 2"),
        ([Track(signal=A), Track(signal=B)], {700, 1100}, "1 + 2 of 2"),
        ([Track(signal=A, layout="stereo"), Track(signal=B, layout="stereo")], {700}, "1 of 2"),
        ([Track(signal=silence, layout="stereo"), Track(signal=B, layout="stereo")], {1100}, "2 of 2"),
        ([Track(signal=A, language="deu"), Track(signal=B, language="eng")], {700}, "1 (deu) of 2"),
        ([Track(signal=A, disposition=Disposition.comment), Track(signal=B)], {1100}, "2 of 2"),
    ],
)
def test_speech_is_heard_whichever_track_it_is_on(
    folder: Path, name: str, tracks: list[Track], wanted: set[int], said: str
) -> None:
    if name != "tracks.mkv" and any(track.disposition for track in tracks):
        pytest.skip("this container has no such flag")
    path = write_media(folder / name, Media(times_s=every(0.1, 0, 4), tracks=[replace(t, length_s=4) for t in tracks]))
    assert tones(path) == wanted
    assert info_of(path).audio_tracks == said


def test_one_may_choose_the_track(folder: Path) -> None:
    tracks = [Track(signal=A, language="deu", length_s=4), Track(signal=B, language="eng", length_s=4)]
    path = write_media(folder / "chosen.mkv", Media(times_s=every(0.1, 0, 4), tracks=tracks))
    for choice, hertz in ((1, 700), (2, 1100), ("eng", 1100), ("auto", 700)):
        audio = one(path, Audio(sample_rate=16_000, track=choice), 1.0, 2.0)
        assert round(heard_hz(audio.samples, 16_000)) == hertz
    both = [Audio(sample_rate=16_000, track=2), AUDIO]
    clips = [(0.0, 1.0), (2.0, 3.0), (1.0, 2.0)]
    for decoded in read(path, both, clips):
        assert [round(heard_hz(decoded.samples[s].samples, 16_000)) for s in both] == [1100, 700]
    for choice in (3, "fra"):
        error = one(path, Audio(sample_rate=16_000, track=choice), 1.0, 2.0)
        assert isinstance(error, DecodeError)
        assert "there is no audio track" in error.message


@pytest.mark.parametrize(("name", "codec"), [("all.mkv", "flac"), ("all.mp4", "aac")])
def test_all_channels_come_each_by_itself(folder: Path, name: str, codec: str) -> None:
    def sides(times_s: np.ndarray) -> np.ndarray:
        return np.stack([A(times_s), B(times_s)])

    stereo = write_media(folder / name, Media(tracks=[Track(signal=sides, layout="stereo", codec=codec, length_s=4)]))
    tracks = [Track(signal=signal, codec=codec, length_s=4) for signal in (A, B)]
    apart = write_media(folder / f"apart-{name}", Media(tracks=tracks))
    every_one = Audio(sample_rate=16_000, channels="all")
    for path in (stereo, apart):
        (decoded,) = read(path, [every_one, AUDIO], [(1.0, 2.0)])
        planes, mono = decoded.samples[every_one].samples, decoded.samples[AUDIO].samples
        assert planes.shape == (2, 16_000)
        assert [round(heard_hz(plane, 16_000)) for plane in planes] == [700, 1100]
        assert np.abs(planes.mean(axis=0) - mono).max() < 1e-4


@pytest.mark.parametrize(("name", "codec"), [("lost.mkv", "flac"), ("lost.wav", "pcm_s16le")])
def test_channels_that_a_mix_would_lose_are_said(folder: Path, name: str, codec: str) -> None:
    def antiphase(times_s: np.ndarray) -> np.ndarray:
        return np.stack([A(times_s), -A(times_s)])

    def centre_only(times_s: np.ndarray) -> np.ndarray:
        return np.stack([A(times_s) * (channel == 2) for channel in range(6)])

    def one_side(times_s: np.ndarray) -> np.ndarray:
        return np.stack([A(times_s), silence(times_s)])

    cases = [(antiphase, "stereo", True), (centre_only, "5.1", True), (one_side, "stereo", False)]
    for signal, layout, is_lost in cases:
        track = Track(signal=signal, layout=layout, codec=codec, length_s=4)
        path = write_media(folder / f"{signal.__name__}-{name}", Media(tracks=[track]))
        (decoded,) = read(path, [AUDIO], [(1.0, 2.0)])
        assert ("quieter than the loudest" in str(decoded.warning)) == is_lost


# --- colours and rates -----------------------------------------------------------------------------------------------


def test_reference_white_of_hdr_is_white() -> None:
    frames = one(HDR, FrameRate(fps=1), 0.0, 2.0)
    assert isinstance(frames, Frames)
    assert int(frames.frames.min()) >= 250


@pytest.mark.parametrize(
    ("transfer", "codes"), [(16, {0.0: 0, 0.58: 255, 0.38: 108}), (18, {0.0: 0, 0.75: 255, 1.0: 255})]
)
def test_hdr_is_mapped_by_light(transfer: int, codes: dict[float, int]) -> None:
    """BT.2408: PQ of 0.38 is the grey card, 26 cd/m2: (26 / 203) ** (1 / 2.4) of SDR's range."""
    for value, wanted in codes.items():
        coded = np.full((64, 64, 3), round(value * 65535), np.uint16)
        rgb = av.VideoFrame.from_ndarray(coded, format="rgb48le")
        frame = rgb.reformat(format="yuv444p12le", dst_colorspace="BT2020")
        frame.color_trc, frame.color_primaries, frame.colorspace = transfer, 9, 9
        assert needs_mapping(frame)
        assert np.abs(to_sdr(frame, VideoReformatter()).to_ndarray()[32, 32].astype(int) - wanted).max() <= 4


def test_wide_gamut_keeps_greys_and_the_hue() -> None:
    coded = np.zeros((64, 64, 3), np.uint16)
    coded[:, :32] = 30_000
    coded[:, 32:] = (40_000, 8_000, 8_000)
    frame = av.VideoFrame.from_ndarray(coded, format="rgb48le").reformat(format="yuv444p12le", dst_colorspace="BT2020")
    frame.color_trc, frame.color_primaries, frame.colorspace = 14, 9, 9
    out = to_sdr(frame, VideoReformatter()).to_ndarray().astype(int)
    assert np.ptp(out[32, 5]) <= 3
    assert out[32, 5, 0] == pytest.approx(30_000 / 257, abs=3)
    assert out[32, 60, 0] > 40_000 / 257
    assert out[32, 60, 1] < 8_000 / 257 + 3


@pytest.mark.parametrize(("profile", "is_said"), [(0, True), (1, False)])
def test_colours_of_dolby_vision_alone_are_said(folder: Path, profile: int, is_said: bool) -> None:
    """Profile 5 says 0 in its frames' metadata; 8, which builds on HDR10, says 1."""
    path = folder / f"dolby-{profile}.hevc"
    write_dolby(path, profile)
    (decoded,) = read(path, [EACH], [(0.0, 0.5)])
    assert isinstance(decoded.samples[EACH], Frames)
    assert ("colours of Dolby Vision alone" in str(decoded.warning)) == is_said


def test_what_cannot_be_converted_says_why(folder: Path) -> None:
    path = folder / "ycgco.mp4"
    write_video(path, SyntheticVideo(frames=10, options={"x264-params": "colormatrix=YCgCo"}))
    error = one(path, FrameRate(fps=1), 0.0, 0.4)
    assert isinstance(error, DecodeError)
    assert (error.kind, "the colour matrix YCgCo" in error.message) == ("unsupported", True)


def test_the_rate_is_what_a_person_would_name(folder: Path) -> None:
    path = folder / "pal.dv"
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("dvvideo", rate=25)
        stream.width, stream.height, stream.pix_fmt = 720, 576, "yuv420p"
        for number in range(25):
            frame = av.VideoFrame.from_ndarray(np.zeros((576, 720, 3), np.uint8), format="rgb24")
            frame = frame.reformat(format="yuv420p")
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    assert info_of(path).fps == 25
    audio_first = Media(times_s=every(0.1, 0, 12), tracks=[Track(length_s=12)], order="audio first")
    assert info_of(write_media(folder / "rate.ts", audio_first)).fps == pytest.approx(10)
    fast = folder / "fast.mp4"
    write_video(fast, SyntheticVideo(frames=480, fps=960, b_frames=0))
    assert info_of(fast).fps == pytest.approx(960)


# --- parameters that change ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "codec", "layouts"),
    [
        ("x.mp3", "libmp3lame", ("stereo", "mono")),
        ("x.aac", "aac", ("mono", "stereo")),
        ("x.ac3", "ac3", ("5.1", "mono")),
    ],
)
def test_a_tone_stays_clean_where_the_rate_and_channels_change(
    folder: Path, name: str, codec: str, layouts: tuple[str, str]
) -> None:
    parts = []
    for number, (rate, layout) in enumerate(zip((44_100, 48_000), layouts, strict=True)):
        track = Track(signal=tone(500), length_s=5, codec=codec, sample_rate=rate, layout=layout)
        parts.append(write_media(folder / f"{number}-{name}", Media(tracks=[track], options=MP3_WITHOUT_HEADER)))
    path = folder / name
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    clips = spans(10.0, 0.9)
    forward, backward = read(path, [AUDIO], clips), read(path, [AUDIO], clips[::-1])[::-1]
    assert all(map(same_bytes, forward, backward))
    for decoded, (start_s, end_s) in zip(forward, clips, strict=True):
        audio = decoded.samples[AUDIO]
        assert isinstance(audio, AudioSamples)
        inside = not (start_s < 0.1 or end_s > 9.9 or start_s - 0.1 < 5 < end_s + 0.15)
        if inside:
            assert round(heard_hz(audio.samples, 16_000)) == 500
            assert noise_of(audio.samples, 500) < 0.03


def noise_of(samples: np.ndarray, hertz: float) -> float:
    """What is left of a tone without it, as a share."""
    times_s = np.arange(len(samples)) / 16_000
    waves = np.stack([np.sin(2 * np.pi * hertz * times_s), np.cos(2 * np.pi * hertz * times_s)], axis=1)
    fitted, *_ = np.linalg.lstsq(waves, samples, rcond=None)
    return level(samples - waves @ fitted) / level(samples)


def test_the_ladder_is_the_truth() -> None:
    assert round(heard_hz(ladder(7 + np.arange(16_000) / 16_000).astype(np.float32), 16_000)) == 540

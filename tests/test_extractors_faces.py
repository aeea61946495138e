"""Faces are found where they are, and nowhere else."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import metadata

import av
import numpy as np
import pytest
import torch
from clip_inputs import items
from media_files import packaged

from vidray.errors import UsageError
from vidray.extractors import describe, resolve, restore
from vidray.extractors.vision.faces import Faces
from vidray.media import Frames
from vidray.models import weights as weights_files
from vidray.testing import check_extractor


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Threads that wait for each other crawl where other processes keep the cores busy."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def clip_of(name: str, step: int) -> Frames:
    with av.open(str(packaged(name))) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)][::step]
    return Frames(times_s=np.arange(len(frames), dtype=np.float64), frames=np.stack(frames))


def test_a_mans_face_is_found_in_every_frame():
    clip = clip_of("carphone_pristine.mp4", 30)
    columns = {name: value.to_pylist()[0] for name, value in Faces().load("cpu")(items([clip])).items()}
    assert [face["time_s"] for face in columns["detections"]] == clip.times_s.tolist()
    assert columns["counts"] == [{"label": "face", "count": 1}]
    assert columns["labels"][0]["score"] > 0.99
    for face, landmarks in zip(columns["detections"], columns["landmarks"], strict=True):
        assert face["label"] == "face"
        # he sits left of the middle, in the upper half: a fifth to two thirds of the width
        assert 0.15 < face["x0"] < face["x1"] < 0.7
        assert 0.2 < face["y0"] < face["y1"] < 0.75
        xs, ys = landmarks[::2], landmarks[1::2]
        assert all(face["x0"] < x < face["x1"] for x in xs)
        assert all(face["y0"] < y < face["y1"] for y in ys)
        left_eye, right_eye, nose, left_mouth, right_mouth = zip(xs, ys, strict=True)
        assert left_eye[0] < right_eye[0]
        assert max(left_eye[1], right_eye[1]) < nose[1] < min(left_mouth[1], right_mouth[1])


def test_two_riders_in_a_street_are_found_and_nothing_else():
    """Every tenth frame; a suited rider comes close in the second shot, one with a helmet stands in the third."""
    (faces,) = Faces().load("cpu")(items([clip_of("bikes.mp4", 10)]))["detections"].to_pylist()
    middles = {face["time_s"]: ((face["x0"] + face["x1"]) / 2, (face["y0"] + face["y1"]) / 2) for face in faces}
    assert len(middles) == len(faces)
    assert set(middles) == {3, 4, 8, 11, 12, 13}
    assert all(0.4 < middles[time_s][0] < 0.82 and middles[time_s][1] < 0.3 for time_s in (3, 4, 8, 11, 12, 13))


def test_a_rabbit_has_one_where_it_shows_and_a_meadow_has_none():
    """The cartoon's rabbit has a face too, in the second of these frames; in the others it turns away."""
    columns = Faces().load("cpu")(items([clip_of("bigbuckbunny.mp4", 24)]))
    (faces,) = columns["detections"].to_pylist()
    assert 1.0 in {face["time_s"] for face in faces}
    assert all(0.25 < face["x0"] < face["x1"] < 0.75 and 0.05 < face["y0"] < face["y1"] < 0.75 for face in faces)


def test_the_extractor_keeps_the_contract():
    check_extractor(Faces(fps=0.05))


def test_frames_smaller_than_a_face_have_none():
    dot = Frames(times_s=np.zeros(1), frames=np.full((1, 8, 300, 3), 128, np.uint8))
    assert Faces().load("cpu")(items([dot]))["detections"].to_pylist() == [[]]


def test_it_goes_by_its_name_and_can_be_rebuilt():
    extractor = resolve("faces", fps=1.0)
    assert extractor == Faces(fps=1.0)
    assert resolve("faces", min_score=0.8) == Faces(min_score=0.8)
    assert describe(restore(describe(extractor))) == describe(extractor)


def test_without_the_wheel_the_remedy_is_named(monkeypatch):
    def missing(name: str) -> None:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(weights_files, "distribution", missing)
    with pytest.raises(UsageError, match="pip install --no-deps facenet-pytorch==2"):
        Faces().load("cpu")

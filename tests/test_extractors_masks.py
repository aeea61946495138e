"""People's masks by the packaged network, and classes' areas and steadiness over time, on masks that are known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from clip_inputs import items
from media_files import packaged

from vidray.errors import MissingExtraError, UsageError, WeightsError
from vidray.extractors import describe, resolve
from vidray.extractors.vision import person_mask
from vidray.extractors.vision.regions import read_run_lengths, run_lengths
from vidray.extractors.vision.regions_over_time import RegionsOverTime
from vidray.media import Clip, ClipInput, Frames
from vidray.testing import check_extractor

packaged_network = pytest.mark.skipif(not person_mask._is_installed(), reason="the wheel has no build for this Python")


@pytest.fixture(scope="module")
def frames() -> np.ndarray:
    """A man in a car, as large as the network wants it, and black."""
    with av.open(str(packaged("carphone_pristine.mp4"))) as container:
        shown = [frame.to_ndarray(format="rgb24", width=256, height=256) for frame in container.decode(video=0)]
    return np.stack([shown[10], shown[40], np.zeros_like(shown[0])])


@packaged_network
def test_people_are_masked_where_the_network_says(frames):
    from ai_edge_litert.interpreter import Interpreter

    network = Interpreter(model_path=person_mask._file(), num_threads=1)
    network.allocate_tensors()
    wanted = []
    for frame in frames:
        network.set_tensor(network.get_input_details()[0]["index"], (frame[None] / 255).astype(np.float32))
        network.invoke()
        wanted.append(network.get_tensor(network.get_output_details()[0]["index"])[0, :, :, 0] > 0.5)
    clip = Frames(times_s=np.arange(3) / 2, frames=frames)
    columns = resolve("person_mask", masks=True).load("cpu")(items([clip]))
    (masks,), (areas,) = columns["masks"].to_pylist(), columns["areas"].to_pylist()
    assert [one["time_s"] for one in masks] == [0.0, 0.5]
    for one, area, mask in zip(masks, areas, wanted, strict=False):
        np.testing.assert_array_equal(read_run_lengths(one["counts"], 256, 256), mask)
        assert area["area"] == pytest.approx(mask.mean())
        # he fills the middle of the lower half, and is not above his head
        assert mask[200:, 110:150].mean() > 0.9
        assert mask[:20].mean() < 0.1


@packaged_network
def test_the_network_keeps_the_contract():
    check_extractor(person_mask.PersonMask(fps=0.5, masks=True))


@packaged_network
def test_a_file_serves_as_the_package_does(frames, tmp_path):
    path = tmp_path / "mine.tflite"
    path.write_bytes(Path(person_mask._file()).read_bytes())
    clip = Frames(times_s=np.arange(3) / 2, frames=frames)
    named, packaged_one = (resolve(name).load("cpu")(items([clip])) for name in (f"person_mask@{path}", "person_mask"))
    assert named["areas"] == packaged_one["areas"]
    assert describe(resolve(f"person_mask@{path}"))["weights"] == {
        "source": str(path),
        "sha256": person_mask.FILE_SHA256,
    }
    path.write_bytes(b"no network")
    with pytest.raises(WeightsError, match="no network that LiteRT runs"):
        resolve(f"person_mask@{path}").load("cpu")


@packaged_network
def test_what_is_missing_is_said_with_its_remedy(monkeypatch):
    assert describe(resolve("person_mask"))["weights"]["sha256"] == person_mask.FILE_SHA256
    monkeypatch.setattr(person_mask, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"vidray\[masks\]"):
        resolve("person_mask").load("cpu")
    monkeypatch.setattr(person_mask, "PACKAGE", "no-such-package")
    with pytest.raises(UsageError, match="pip install --no-deps"):
        resolve("person_mask").load("cpu")


def square(time_s: float, label: str, left: int, width: int) -> dict[str, Any]:
    """A mask of 10 x 20 pixels, set in some columns."""
    mask = np.zeros((10, 20), bool)
    mask[:, left : left + width] = True
    size = {"height": 10, "width": 20}
    return {"time_s": time_s, "label": label, "score": 1.0, **size, "counts": run_lengths(mask)}


def row_of(masks: list[dict[str, Any]] | None) -> dict[str, Any]:
    clip = Clip(clip_id="c", video_id="v", uri="v.mp4", clip_index=0, start_s=10.0, end_s=12.0)
    columns = RegionsOverTime().load("cpu")([ClipInput(clip=clip, values={"regions": {"masks": masks}})])
    return {name: values[0] for name, values in columns.items()}


def test_areas_are_means_over_the_frames_of_each_second():
    row = row_of(
        [square(10.0, "dog", 0, 4), square(10.5, "dog", 0, 8), square(10.5, "cat", 0, 2), square(11.0, "dog", 0, 20)]
    )
    found = [(one["second_s"], one["label"], one["area"]) for one in row["areas_by_second"]]
    assert found == [(10.0, "cat", 0.05), (10.0, "dog", pytest.approx(0.3)), (11.0, "dog", 1.0)]


def test_stability_is_the_overlap_of_successive_masks():
    still = row_of([square(t, "dog", 3, 5) for t in (10.0, 10.5, 11.0)])
    assert still["stability"] == 1.0
    moving = row_of([square(10.0, "dog", 0, 4), square(10.5, "dog", 2, 4), square(11.0, "dog", 2, 4)])
    assert moving["stabilities"] == [{"label": "dog", "stability": pytest.approx((1 / 3 + 1) / 2)}]
    gone = row_of([square(10.0, "dog", 0, 4), square(10.0, "cat", 9, 4), square(10.5, "cat", 9, 4)])
    assert {one["label"]: one["stability"] for one in gone["stabilities"]} == {"cat": 1.0, "dog": 0.0}
    assert gone["stability"] == 0.5


def test_masks_of_one_class_in_one_frame_are_one_and_few_frames_have_no_stability():
    row = row_of([square(10.0, "dog", 0, 4), square(10.0, "dog", 2, 6)])
    assert row["areas_by_second"] == [{"second_s": 10.0, "label": "dog", "area": pytest.approx(0.4)}]
    assert (row["stabilities"], row["stability"]) == ([{"label": "dog", "stability": None}], None)
    assert row_of([]) == row_of(None) == {"areas_by_second": [], "stabilities": [], "stability": None}


def test_regions_over_time_keep_the_contract():
    masks = [{"masks": [square(t, "dog", 0, n) for t in (12.5, 13.0)]} for n in (1, 2, 3, 4)]
    check_extractor(RegionsOverTime(), columns={"regions": masks})

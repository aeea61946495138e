"""Detection and segmentation: what torchvision itself answers, as columns."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from clip_inputs import items, sampling_of
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from media_files import packaged
from pycocotools import mask as coco
from torch import nn
from torchvision import models

from vidray.errors import UsageError, WeightsError
from vidray.extractors import catalog, describe, resolve, restore
from vidray.extractors.vision import torchvision_detection as detection
from vidray.extractors.vision import torchvision_segmentation as segmentation
from vidray.extractors.vision.regions import Box, detection_columns, run_lengths
from vidray.media import Frames
from vidray.testing import check_extractor

TOLERANCE = 1e-4
Answers = list[dict[str, torch.Tensor]]

SMALL = ["fasterrcnn_mobilenet_v3_large_320_fpn", "ssdlite320_mobilenet_v3_large"]
LARGE = ["maskrcnn_resnet50_fpn", "retinanet_resnet50_fpn_v2", "fcos_resnet50_fpn"]


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Threads that wait for each other crawl where other processes keep the cores busy."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def frames() -> np.ndarray:
    """Strips of two frames of a street: networks that want long sides of 1333 pixels have little to do."""
    with av.open(str(packaged("bikes.mp4"))) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    return np.stack([frames[10], frames[100]])[:, 120:160]


def random_model(name: str, **options: Any) -> nn.Module:
    torch.manual_seed(len(name))
    model: nn.Module = models.get_model(name, weights=None, weights_backbone=None, **options).eval()
    if hasattr(model, "transform"):
        getattr(model, "roi_heads", model).score_thresh = 0.0
    wake(model.backbone if hasattr(model, "transform") else model)
    return model


def wake(network: nn.Module) -> None:
    """Give random layers the statistics of what they see, without which deep ones answer the same for all."""
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = 1.0
    with torch.inference_mode():
        network.train()(torch.randn(2, 3, 128, 128))
    network.eval()


def saved(model: nn.Module, folder: Path) -> str:
    path = folder / "weights.pt"
    torch.save(model.state_dict(), path)
    return str(path)


def clip_of(frames: np.ndarray) -> Frames:
    return Frames(times_s=np.arange(len(frames)) / 2, frames=frames)


def reference(model: nn.Module, frames: np.ndarray) -> Answers:
    """torchvision's own way from bytes to answers."""
    with torch.inference_mode():
        tensors = [torch.from_numpy(frame.copy()).permute(2, 0, 1) for frame in frames]
        preset = models.detection.FasterRCNN_ResNet50_FPN_Weights.DEFAULT.transforms()
        answers: Answers = [model([preset(tensor)])[0] for tensor in tensors]
        return answers


def check_detections(name: str, frames: np.ndarray, folder: Path) -> tuple[dict[str, Any], Answers]:
    model = random_model(name)
    expected = reference(model, frames)
    least = float(torch.cat([answer["scores"] for answer in expected]).sort(descending=True).values[20])
    extractor = resolve(f"torchvision/{name}@{saved(model, folder)}", min_score=least, masks=name.startswith("mask"))
    columns = {key: value.to_pylist()[0] for key, value in extractor.load("cpu")(items([clip_of(frames)])).items()}
    classes = models.get_model_weights(name).DEFAULT.meta["categories"]
    height, width = frames.shape[1:3]
    sides = (width, height, width, height)
    wanted = [
        (index / 2, classes[label], score, *(corner / side for corner, side in zip(box, sides, strict=True)))
        for index, answer in enumerate(expected)
        for box, label, score in zip(*(answer[key].tolist() for key in ("boxes", "labels", "scores")), strict=True)
        if score > least
    ]
    found = [tuple(box.values()) for box in columns["detections"]]
    assert len(found) == len(wanted) == 20
    for ours, theirs in zip(found, wanted, strict=True):
        assert ours[:2] == theirs[:2]
        assert ours[2:] == pytest.approx(theirs[2:], abs=TOLERANCE)
    return columns, expected


@pytest.mark.parametrize("name", SMALL)
def test_boxes_are_those_of_torchvision(name, frames, tmp_path):
    columns, _ = check_detections(name, frames, tmp_path)
    assert {entry["label"] for entry in columns["counts"]} == {box["label"] for box in columns["detections"]}


@pytest.mark.slow
@pytest.mark.parametrize("name", LARGE)
def test_boxes_of_large_networks_are_those_of_torchvision(name, frames, tmp_path):
    columns, expected = check_detections(name, frames[:1], tmp_path)
    if not name.startswith("mask"):
        assert set(columns) == {"detections", "labels", "counts"}
        return
    assert len(columns["masks"]) == len(columns["detections"])
    for index, mask in enumerate(columns["masks"]):
        assert mask["counts"] == run_lengths((expected[0]["masks"][index, 0] >= 0.5).numpy())
    assert {area["label"] for area in columns["areas"]} <= {box["label"] for box in columns["detections"]}


@pytest.mark.parametrize("name", ["lraspp_mobilenet_v3_large", "deeplabv3_mobilenet_v3_large"])
def test_areas_and_masks_are_those_of_torchvision(name, frames, tmp_path):
    trained_with = {"aux_loss": True} if name.startswith("deeplab") else {}
    model = random_model(name, **trained_with)
    preset = models.get_model_weights(name).DEFAULT.transforms()
    extractor = resolve(f"torchvision/{name}@{saved(model, tmp_path)}", masks=True)
    assert sampling_of(extractor).resize.size == preset.resize_size[0]
    columns = {key: value.to_pylist()[0] for key, value in extractor.load("cpu")(items([clip_of(frames)])).items()}
    preset.resize_size = [frames.shape[1]]
    classes = models.get_model_weights(name).DEFAULT.meta["categories"]
    sums = dict.fromkeys(classes, 0.0)
    for index, frame in enumerate(frames):
        with torch.inference_mode():
            numbers = model(preset(torch.from_numpy(frame.copy()).permute(2, 0, 1))[None])["out"][0].argmax(0).numpy()
        assert len(np.unique(numbers)) > 1
        for number, label in enumerate(classes[1:], start=1):
            area = (numbers == number).mean()
            here = {entry["label"]: entry["area"] for entry in columns["areas"] if entry["time_s"] == index / 2}
            assert here.get(label, 0.0) == pytest.approx(area, abs=1e-6)
            sums[label] += area
            for mask in columns["masks"]:
                if (mask["time_s"], mask["label"]) == (index / 2, label):
                    assert mask["counts"] == run_lengths(numbers == number)
                    assert (mask["height"], mask["width"]) == frames.shape[1:3]
                    assert 0 < mask["score"] <= 1
    means = {entry["label"]: entry["area"] for entry in columns["mean_areas"]}
    assert means == pytest.approx({label: total / 2 for label, total in sums.items() if total}, abs=1e-6)


@pytest.mark.slow
def test_the_extractors_keep_the_contract(tmp_path):
    (tmp_path / "boxes").mkdir()
    boxes = saved(random_model(SMALL[1]), tmp_path / "boxes")
    check_extractor(resolve(f"torchvision/{SMALL[1]}@{boxes}", fps=0.05, min_score=0.05))
    areas = saved(random_model("lraspp_mobilenet_v3_large"), tmp_path)
    check_extractor(resolve(f"torchvision/lraspp_mobilenet_v3_large@{areas}", fps=0.05, masks=True))


def test_weights_of_other_classes_number_them(frames, tmp_path):
    model = random_model(SMALL[0], num_classes=3)
    extractor = resolve(f"torchvision/{SMALL[0]}@{saved(model, tmp_path)}", min_score=0.01)
    labels = {box["label"] for box in extractor.load("cpu")(items([clip_of(frames)]))["detections"].to_pylist()[0]}
    assert labels
    assert labels <= {"class 1", "class 2"}
    assert describe(restore(describe(extractor))) == describe(extractor)


@pytest.mark.parametrize("name", [SMALL[0], "ssd300_vgg16", "deeplabv3_resnet50"])
def test_weights_of_another_network_are_refused(name, tmp_path):
    weights = saved(nn.Linear(2, 2), tmp_path)
    with pytest.raises(WeightsError, match="the weights are of another network"):
        resolve(f"torchvision/{name}@{weights}").load("cpu")


def test_sizes_and_class_tensors_are_those_of_the_models():
    with torch.device("meta"):
        for name in [*SMALL, "fcos_resnet50_fpn", "retinanet_resnet50_fpn"]:
            model = models.get_model(name, weights=None, weights_backbone=None)
            resize, transform = detection.recipe(name).resize, model.transform
            if transform.fixed_size:
                assert resize.size == transform.fixed_size
            else:
                assert (resize.size, resize.longest) == (transform.min_size[-1], transform.max_size)
            tensor, repeats = detection.CLASS_TENSORS.get(name.split("_")[0], detection.BOX_PREDICTOR)
            assert model.state_dict()[tensor].shape[0] == repeats * len(detection.recipe(name).classes)


@pytest.mark.parametrize(
    ("height", "width", "seen"),
    [(1080, 1920, (749, 1333)), (1920, 1080, (1333, 749)), (720, 1280, (720, 1280)), (1080, 1440, (800, 1066))],
)
def test_frames_are_decoded_no_larger_than_the_network_works_with(height, width, seen):
    resize = sampling_of(resolve("torchvision/fasterrcnn_resnet50_fpn")).resize
    assert resize.scaled(height, width) == seen
    transform = models.detection.transform.GeneralizedRCNNTransform(800, 1333, [0.0] * 3, [1.0] * 3)
    theirs = transform.resize(torch.zeros(3, height, width))[0].shape[1:]
    ours = transform.resize(torch.zeros(3, *seen))[0].shape[1:]
    assert theirs == ours


def test_somebody_who_stays_counts_once():
    def person(time_s: float, label: str = "person") -> Box:
        return Box(time_s=time_s, label=label, score=0.9 - time_s / 100, x0=0, y0=0, x1=1, y1=1)

    stays = [person(time_s / 2) for time_s in range(30)]
    pair = [person(1.0), person(1.0), person(2.0), person(3.0, "car")]
    columns = {name: value.to_pylist() for name, value in detection_columns([stays, pair, []]).items()}
    assert columns["counts"] == [
        [{"label": "person", "count": 1}],
        [{"label": "person", "count": 2}, {"label": "car", "count": 1}],
        [],
    ]
    assert [[entry["label"] for entry in labels] for labels in columns["labels"]] == [["person"], ["person", "car"], []]
    assert columns["labels"][0][0]["score"] == pytest.approx(0.9)


@given(arrays(np.bool_, st.tuples(st.integers(1, 40), st.integers(1, 90))))
def test_run_lengths_are_those_of_pycocotools(mask):
    assert run_lengths(mask) == coco.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"].decode()


def test_the_catalogue_lists_them_by_kind():
    kinds = {info.name: info.kind for info in catalog()}
    for kind, family in (("detection", detection), ("segmentation", segmentation)):
        assert {f"torchvision/{name}" for name in family.model_names()} <= {n for n, k in kinds.items() if k == kind}


def test_masks_of_a_model_without_masks_are_refused():
    with pytest.raises(UsageError, match="gives no masks; maskrcnn"):
        resolve("torchvision/fasterrcnn_resnet50_fpn", masks=True)

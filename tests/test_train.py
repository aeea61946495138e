"""Training on Ray: what stands in the store afterwards, and what is refused before anything starts."""

from __future__ import annotations

import csv
import hashlib
import json

import numpy as np
import pytest
import ray
from labeled_stores import rows_of, write_csv, write_store
from ray.exceptions import RayTaskError

import vidray
from vidray.cli import main
from vidray.errors import ClusterError, UsageError
from vidray.labels.annotations import labeled_clips, read_annotations
from vidray.pipeline.train import _gather, _raise_cause, _with_families

CLASSES = ("cat", "dog", "gnu")


def made_up(videos: int) -> np.ndarray:
    """Two clips a video, all of one class; the last video's features are missing."""
    rng = np.random.default_rng(0)
    truth = np.arange(2 * videos) // 2 % len(CLASSES)
    vectors = 2 * np.eye(len(CLASSES), 6)[truth] + 0.3 * rng.standard_normal((2 * videos, 6))
    vectors[-2:] = np.nan
    return vectors.astype(np.float32)


@pytest.fixture
def store(tmp_path):
    return write_store(tmp_path / "store", made_up(31), clips_a_video=2, parts=3)


@pytest.fixture
def labels(tmp_path) -> str:
    """A line a video, for all but every fifth one."""
    videos = [video for video in range(31) if video % 5]
    return write_csv(tmp_path / "labels.csv", "uri,label", [f"/media/{v}.mp4,{CLASSES[v % 3]}" for v in videos])


@pytest.mark.parametrize(
    ("lines", "options", "message"),
    [
        (["/media/0.mp4,cat", "/media/3.mp4,cat"], [], "only one class, 'cat'"),
        (["/media/0.mp4,cat", "/media/1.mp4,dog"], [], "'cat' is in 1 of the store's videos, and 5 folds need it in 5"),
        (["/media/0.mp4,a", "/media/1.mp4,a", "/media/2.mp4,b", "/media/3.mp4,b"], [], "or use --folds 2"),
        (["/media/0.mp4,cat", "/media/0.mp4,dog"], [], "clip 'clip00000' is labeled cat and dog"),
        (["/media/99.mp4,cat"], [], "no clip of"),
        (["/media/0.mp4,cat"], ["--head", "gru"], "-x efficientnet_lite0 --per-frame --as NAME"),
        (["/media/0.mp4,cat"], ["--head", "gru", "-x", "net"], "CORPUS {store} -x efficientnet_lite0 --per-frame"),
        (["/media/0.mp4,cat"], ["-x", "resnet"], "no table of 'resnet'"),
        (["/media/0.mp4,cat"], ["--folds", "1"], "folds must be at least 2, got 1"),
        (["/media/0.mp4,cat"], ["--seed", "-1"], "seed must be in 0 to 4294967295, got -1"),
    ],
)  # fmt: skip
def test_what_no_head_can_be_trained_on_is_refused_before_ray_starts(
    store, tmp_path, monkeypatch, capsys, lines, options, message
):
    monkeypatch.setattr(ray, "init", lambda **_: pytest.fail("Ray was started"))
    path = write_csv(tmp_path / "labels.csv", "uri,label", lines)
    assert main(["train", store.url, path, "--head", "linear", "--name", "mine", *options]) == 2
    error = capsys.readouterr().err
    assert message.format(store=store.url) in error
    assert error.count("\n") == 1
    assert not store.folder.exists("heads/mine/config.json")


@pytest.mark.parametrize("name", ["犬", "my pets", "../x", "_x", ""])
def test_a_name_that_no_directory_can_have_as_it_is_is_refused(store, labels, capsys, name):
    calls = (
        ["train", store.url, labels, "--head", "linear"],
        ["import", store.url, labels],
        ["label", store.url, "head"],
    )
    for call in calls:
        assert main([*call, "--name", name]) == 2
        error = capsys.readouterr().err
        assert "a name must be of A-Z, a-z, 0-9, '.', '_' and '-', a letter or digit first" in error
        assert error.count("\n") == 1
    assert not store.tables("labels")


def test_parts_and_batches_without_labeled_clips_are_passed_over(tmp_path):
    vectors = np.ones((2600, 2), np.float32)
    vectors[1300:] = np.nan
    store = write_store(tmp_path / "store", vectors, parts=2)
    lines = [f"clip{n:05d},{CLASSES[n % 2]}" for n in (0, 1, 2, 3, 2000)]
    path = write_csv(tmp_path / "few.csv", "clip_id,label", lines)
    clips = _with_families(store, labeled_clips(store, read_annotations(path), path), print)
    (rows, classes, *_), examples = _gather(store.url, "net", "embedding", clips, 2)
    assert rows["clip_id"].to_pylist() == [f"clip{n:05d}" for n in range(4)]
    assert classes.tolist() == [0, 1, 0, 1]
    assert examples.clips.frames.tolist() == [[1, 1]] * 4


def test_a_fault_of_a_task_is_one_line():
    with pytest.raises(ClusterError, match=r"^training failed on the cluster: ValueError: this and that$"):
        _raise_cause(RayTaskError("fit", "Traceback", ValueError("this\n  and that")))
    with pytest.raises(UsageError, match=r"^too few$"):
        _raise_cause(RayTaskError("fit", "Traceback", UsageError("too few")))


@pytest.fixture
def cluster():
    ray.init(address="local", num_cpus=8, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


@pytest.mark.slow
def test_a_head_is_trained_and_labels_the_rest(cluster, store, labels, tmp_path, capsys):
    assert main(["train", store.url, labels, "--head", "linear", "--name", "pets", "--json"]) == 0
    summary = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (summary["clips"], summary["videos"], summary["without_features"]) == (48, 24, 0)
    assert summary["classes"] == list(CLASSES)
    assert summary["metrics"]["accuracy"] == 1.0
    config = json.loads(store.folder.read_bytes("heads/pets/config.json"))
    model = store.folder.read_bytes("heads/pets/model.safetensors")
    assert config["sha256"] == hashlib.sha256(model).hexdigest()
    assert config["spec"] == store.spec("net")
    lines = list(csv.DictReader(store.folder.read_bytes("heads/pets/predictions.csv").decode().splitlines()))
    folds = {}
    for line in lines:
        assert folds.setdefault(line["video_id"], line["fold"]) == line["fold"]
        assert line["predicted"] == line["label"]
    assert set(folds.values()) == set("01234")
    assert b"48 labeled clips of 24 videos" in store.folder.read_bytes("heads/pets/card.md")

    assert vidray.label(store.url, vidray.open_head(store.url, "pets"), name="pets", top=1).labeled == 60
    found = rows_of(store, "labels/pets", "clip_id", "label")
    assert found == [(f"clip{n:05d}", CLASSES[n // 2 % 3]) for n in range(60)]

    vidray.train(store.url, labels, name="again", head="linear", folds=3)
    assert store.folder.read_bytes("heads/again/model.safetensors") == model

    lines = [f"/media/{video}.mp4,{CLASSES[video % 3]}" for video in (0, 30, 1, 4, 2, 5)]
    few = write_csv(tmp_path / "few.csv", "uri,label", lines)
    with pytest.raises(UsageError, match="without the clips that features/net lacks, a class is in 1 videos"):
        vidray.train(store.url, few, name="few", folds=2)

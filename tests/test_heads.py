"""Trained heads: honest figures, splits by video, nothing but cached features, and suggestions worth following."""

from __future__ import annotations

import json
import tracemalloc
import warnings
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pyarrow as pa
import pytest
import safetensors.torch
import torch
from appearances import FPS, FRAMES, write_appearances
from clip_inputs import items, sampling_of
from labeled_stores import TABLE, rows_of, write_store
from sklearn.metrics import average_precision_score, f1_score

from vidray.cli import main
from vidray.decode import VideoReader
from vidray.errors import SpecMismatchError, StoreError, UsageError
from vidray.extractors.columns import mean_of_parts
from vidray.extractors.vision.efficientnet import EfficientNetLite0
from vidray.labels import training
from vidray.labels.cards import confusion_svg
from vidray.labels.examples import Ragged, vectors_of
from vidray.labels.heads import open_head, suggest, write_head
from vidray.labels.imports import import_labels
from vidray.labels.labeling import label
from vidray.labels.metrics import measure
from vidray.labels.networks import GruNetwork, LinearNetwork, from_tensors, predict, to_safetensors
from vidray.labels.suggestions import choose, uncertainty
from vidray.labels.training import Examples, fit, splits
from vidray.media import Resize


def predictions(clips: int, classes: int, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """True classes and probabilities that are better than chance, with ties among them."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, classes, clips)
    scores = rng.dirichlet(np.ones(classes), clips)
    scores[::5] = scores[0]
    scores[np.arange(clips), truth] += 0.3
    return truth, scores / scores.sum(axis=1, keepdims=True)


def blobs(classes: int, videos: int, clips_a_video: int, *, dim: int = 8) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Vectors about a centre a class: (N, dim), their classes and videos."""
    rng = np.random.default_rng(0)
    video = np.repeat(np.arange(videos), clips_a_video)
    truth = video % classes
    centres = 3 * rng.standard_normal((classes, dim))
    return (centres[truth] + rng.standard_normal((len(truth), dim))).astype(np.float32), truth, video


def single(vectors: np.ndarray, truth: np.ndarray, video: np.ndarray) -> Examples:
    return Examples(Ragged(vectors, np.ones(len(vectors), np.int64)), truth, video, int(truth.max()) + 1)


def test_metrics_are_those_of_scikit_learn():
    truth, scores = predictions(300, 3)
    found = measure(truth, scores, np.arange(300) // 3)
    predicted = scores.argmax(axis=1)
    assert found.accuracy.value == pytest.approx((predicted == truth).mean())
    assert found.macro_f1.value == pytest.approx(f1_score(truth, predicted, average="macro"))
    for number, estimate in enumerate(found.average_precision):
        assert estimate.value == pytest.approx(average_precision_score(truth == number, scores[:, number]))
        assert estimate.low < estimate.value < estimate.high
    assert found.confusion.sum() == 300
    assert found.confusion[1, 2] == ((truth == 1) & (predicted == 2)).sum()


def test_many_classes_take_little_memory_and_one_without_clips_has_no_figure():
    truth, scores = predictions(100, 199)
    scores = np.concatenate([scores, np.zeros((100, 1))], axis=1)
    tracemalloc.start()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = measure(truth, scores, np.arange(100))
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak_bytes < 30e6
    assert np.isnan(found.average_precision[199].value)
    assert np.isnan(found.average_precision[199].high)
    assert found.accuracy.low <= found.accuracy.value == np.trace(found.confusion) / 100


def test_clips_of_one_video_do_not_narrow_an_interval():
    truth, scores = predictions(60, 2)
    alone = measure(truth, scores, np.arange(60))
    repeated = measure(truth.repeat(20), scores.repeat(20, axis=0), np.arange(60).repeat(20))
    assert repeated.accuracy == alone.accuracy
    assert repeated.macro_f1 == alone.macro_f1


def test_a_video_is_never_on_both_sides():
    examples = single(*blobs(3, 30, 4))
    held_out = []
    for train, test in splits(examples, 5, seed=1):
        assert not set(examples.videos[train]) & set(examples.videos[test])
        assert set(examples.classes[train]) == {0, 1, 2}
        held_out += test.tolist()
    assert sorted(held_out) == list(range(120))


@pytest.mark.parametrize("kind", ["linear", "gru"])
def test_a_head_learns_and_the_same_seed_gives_the_same_head(kind, monkeypatch):
    monkeypatch.setattr(training, "EPOCHS", 40)
    examples = single(*blobs(2, 24, 1))
    train, test = splits(examples, 2, seed=0)[0]
    one, other = (fit(kind, examples.take(train), seed=3).network for _ in range(2))
    assert to_safetensors(one) == to_safetensors(other)
    found = predict(one, examples.clips.take(test))
    assert (found.argmax(axis=1) == examples.classes[test]).mean() > 0.9
    np.testing.assert_allclose(found.sum(axis=1), 1)


def test_features_are_of_the_rows_that_have_some():
    column = pa.list_(pa.list_(pa.float16(), 2))
    values = [[[9, 9]], None, [[1, 2], [3, 4]], [], [[5, float("nan")], [6, 6]], [[7, 8]]]
    rows = pa.table({"frame_embeddings": pa.array(values, column)}).slice(1)
    clips, usable = vectors_of(rows, "frame_embeddings")
    assert usable.tolist() == [False, True, False, False, True]
    assert clips.lengths.tolist() == [2, 1]
    assert clips.frames.tolist() == [[1, 2], [3, 4], [7, 8]]
    flat = pa.table({"embedding": pa.array([[0, 0], [1, 2], None, [3, 4]], pa.list_(pa.float32(), 2))}).slice(1)
    clips, usable = vectors_of(flat, "embedding")
    assert (clips.frames.tolist(), usable.tolist()) == ([[1, 2], [3, 4]], [True, False, True])


@pytest.mark.parametrize("column", ["embedding", "frame_embeddings"])
def test_where_no_row_has_features_there_are_none(tmp_path, column):
    vectors = np.full((2, 3), np.nan, np.float32)
    store = write_store(tmp_path / "store", vectors, frames=2)
    rows = store.read(f"features/{TABLE}", 0)
    for some in (rows, rows.slice(0, 0)):
        clips, usable = vectors_of(some, column)
        assert (len(clips), usable.tolist()) == (0, [False] * len(some))


def test_the_confusions_are_fullest_where_most_clips_are_and_names_are_texts():
    drawing = ElementTree.fromstring(confusion_svg(np.array([[9, 1], [0, 5]]), ["cats", "<dogs> \x01&"]))
    space = "{http://www.w3.org/2000/svg}"
    cells = {
        one.find(f"{space}title").text: float(one.get("opacity")) for one in drawing.iter(f"{space}rect") if len(one)
    }
    assert cells == {
        "cats taken for cats: 9 (90%)": 0.9,
        "cats taken for <dogs> \ufffd&: 1 (10%)": 0.1,
        "<dogs> \ufffd& taken for <dogs> \ufffd&: 5 (100%)": 1.0,
    }
    texts = [one.text for one in drawing.iter(f"{space}text")]
    assert texts.count("cats") == texts.count("<dogs> \ufffd&") == 2
    assert {"9", "1", "5"} <= set(texts)


def keep_head(store, network, classes: list[str], kind: str = "linear", *, spec: dict | None = None) -> None:
    config = {"network": kind, "classes": classes, "features": TABLE, "spec": spec or store.spec(TABLE)}
    files = {"predictions.csv": b"clip_id\nclip00000\n"}
    write_head(store, "mine", model=to_safetensors(network), config=config, files=files)


def axes_head(dim: int, classes: int) -> LinearNetwork:
    """Takes a clip for the class of its largest number."""
    network = LinearNetwork(dim, classes)
    network.out.weight.data = 5 * torch.eye(classes, dim)
    network.out.bias.data.zero_()
    return network


@pytest.fixture
def store(tmp_path):
    """Six clips of three videos; the second has no features, the fourth could be either."""
    vectors = np.array([[1, 0], [np.nan, 0], [0, 1], [0.5, 0.5], [1, 0], [0.2, 0.8]], np.float32)
    return write_store(tmp_path / "store", vectors, clips_a_video=2, parts=2, frames=3)


def test_a_head_labels_from_features_alone(store):
    keep_head(store, axes_head(2, 2), ["x", "y"])
    summary = label(store.url, open_head(store.url, "mine"), name="mine", top=1)
    assert (summary.labeled, summary.clips) == (5, 6)
    found = rows_of(store, "labels/mine", "clip_id", "label", "source")
    assert [row[:2] for row in found if row[0] != "clip00003"] == [
        ("clip00000", "x"), ("clip00002", "y"), ("clip00004", "x"), ("clip00005", "y")]  # fmt: skip
    assert {row[2] for row in found} == {"head"}
    (score,) = [row[1] for row in rows_of(store, "labels/mine", "clip_id", "score") if row[0] == "clip00002"]
    assert score == pytest.approx(1 / (1 + np.exp(-5)))


def test_parts_without_features_and_batches_without_new_clips_are_passed_over(tmp_path):
    vectors = np.array([[1, 0], [np.nan, 0]], np.float32)
    store = write_store(tmp_path / "store", vectors, parts=2)
    keep_head(store, axes_head(2, 2), ["x", "y"])
    head = open_head(store.url, "mine")
    assert label(store.url, head, name="mine").labeled == 1
    # the only clip with features is one that the head was trained on
    assert suggest(store.url, head, count=2) == []


def test_labels_of_another_heads_name_are_refused_with_a_way_out(store):
    keep_head(store, axes_head(2, 2), ["x", "y"])
    store.write_labels_spec("mine", {"kind": "head", "features": "other", "whole": True})
    with pytest.raises(SpecMismatchError, match=r"train the head under another name: vidray train .* --name NAME"):
        label(store.url, open_head(store.url, "mine"), name="mine")


def test_a_recurrent_head_comes_back_as_it_was(store):
    network = GruNetwork(2, 2, 3, hidden=5).eval()
    network.projection.data.uniform_()
    clips = Ragged(np.random.default_rng(0).standard_normal((6, 2)), np.array([1, 2, 3]))
    again = from_tensors("gru", safetensors.torch.load(to_safetensors(network)))
    np.testing.assert_array_equal(predict(again, clips), predict(network, clips))
    keep_head(store, network, ["x", "y", "z"], "gru")
    assert label(store.url, open_head(store.url, "mine"), name="mine").labeled == 5


def test_a_head_is_refused_on_other_features(store):
    keep_head(store, axes_head(2, 2), ["x", "y"], spec={**store.spec(TABLE), "weights": {"sha256": "abc"}})
    with pytest.raises(
        SpecMismatchError, match=r"features/net is not what heads/mine was trained on.*-x net --head linear --name mine"
    ):
        open_head(store.url, "mine")


@pytest.mark.parametrize("damage", ["config", "model", "classes", "half"])
def test_a_damaged_head_is_not_opened(store, damage):
    keep_head(store, axes_head(2, 2), ["x", "y", "z"] if damage == "classes" else ["x", "y"])
    if damage == "config":
        store.folder.write_bytes("heads/mine/config.json", b"{}")
    if damage == "model":
        store.folder.write_bytes("heads/mine/model.safetensors", to_safetensors(axes_head(2, 2))[:-8])
    if damage == "half":
        store.folder.remove("heads/mine/model.safetensors")
    with pytest.raises(StoreError, match="heads/mine is damaged; train it again"):
        open_head(store.url, "mine")


def test_a_head_that_is_not_there_is_named(store):
    with pytest.raises(UsageError, match=r"no head 'other', there is none; train it: vidray train"):
        open_head(store.url, "other")


def test_suggestions_are_uncertain_new_and_of_many_videos(store, tmp_path, capsys):
    keep_head(store, axes_head(2, 2), ["x", "y"])
    head = open_head(store.url, "mine")
    # the first clip was trained on, the second has no features
    assert [clip.clip_id for clip in suggest(store.url, head, count=2)] == ["clip00003", "clip00005"]
    assert {clip.clip_id for clip in suggest(store.url, head, count=9)} == {f"clip{n:05d}" for n in (2, 3, 4, 5)}
    labels = tmp_path / "labels.csv"
    labels.write_text("clip_id,label\nclip00003,x\n")
    import_labels(store.url, str(labels), name="mine")
    assert main(["label", store.url, "head", "--name", "mine", "--suggest", "2", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert store.read("labels/mine", 0).num_rows == 1
    assert [clip["clip_id"] for clip in answer["suggestions"]] == ["clip00005", "clip00002"]


def test_what_is_alike_is_suggested_once():
    probabilities = np.array([[0.5, 0.5], [0.51, 0.49], [0.45, 0.55], [0.99, 0.01]])
    vectors = np.array([[1, 0], [1, 0.01], [0, 1], [-1, 0]], np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    assert choose(uncertainty(probabilities), vectors, np.arange(4), 2).tolist() == [0, 2]
    assert choose(uncertainty(probabilities), vectors, np.array([0, 1, 0, 0]), 2).tolist() == [0, 1]


@pytest.mark.slow
def test_a_recurrent_head_tells_the_order_of_two_appearances(tmp_path):
    """40 labeled clips, 200 of other videos; the mean over frames cannot tell, the sequence can."""
    rng = np.random.default_rng(0)
    extractor = EfficientNetLite0(fps=FPS, per_frame=True)
    orders = np.arange(240) % 2
    samples = [
        read(write_appearances(tmp_path / f"{number}.mov", "ab" if order else "ba", rng), extractor)
        for number, order in enumerate(orders)
    ]
    extract = extractor.load("cpu")
    columns = [extract(items(samples[first : first + 10])) for first in range(0, 240, 10)]
    tables = [pa.table({"frame_embeddings": c["frame_embeddings"]}) for c in columns]
    frames = np.concatenate([vectors_of(table, "frame_embeddings")[0].frames for table in tables])
    lengths = np.full(240, FRAMES)
    means = mean_of_parts(frames.astype(np.float32), lengths)
    np.testing.assert_allclose(means, np.concatenate([c["embedding"] for c in columns]), atol=1e-2)
    accuracy = {}
    for kind, clips in (("linear", Ragged(means, np.ones(240, np.int64))), ("gru", Ragged(frames, lengths))):
        examples = Examples(clips, orders, np.arange(240), 2)
        labeled = rng.permutation(240)[:40]
        others = np.setdiff1d(np.arange(240), labeled)
        found = predict(fit(kind, examples.take(labeled), seed=0).network, examples.clips.take(others))
        accuracy[kind] = (found.argmax(axis=1) == orders[others]).mean()
    assert accuracy["gru"] >= 0.95
    assert 0.35 <= accuracy["linear"] <= 0.65


def read(path: Path, extractor: EfficientNetLite0):
    """Half as high and wide as the network is used to: these things are large, and it is four times as fast."""
    sampling = replace(sampling_of(extractor), resize=Resize(size=112))
    request = sampling.request(0.0, FRAMES / FPS)
    with path.open("rb") as file, VideoReader(file, str(path), audio=False) as reader:
        answer = reader.read([request], 0.0, FRAMES / FPS).samples[request]
    return sampling.collect(answer, 0.0, FRAMES / FPS)

"""Heads on words: they learn what only the order of words tells, come back as they were, and label and suggest."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import safetensors.torch
from labeled_stores import clip_row

from vidray.labels.examples import Ragged, vectors_of
from vidray.labels.head import Head
from vidray.labels.heads import open_head, suggest
from vidray.labels.labeling import label
from vidray.labels.networks import TEXT_UNITS, TextNetwork, from_tensors, predict, to_safetensors
from vidray.labels.suggestions import directions
from vidray.labels.training import Examples, fit, splits
from vidray.labels.word_examples import vocabulary, words_of
from vidray.pipeline import train
from vidray.store import CLIPS, IDENTITY, VIDEOS, Store, features_schema

FILLERS = "now here again today there often slowly quickly soon later still once maybe only just then"
VIDEOS_MADE, CLIPS_A_VIDEO = 60, 6


def ordered(clips: int, *, seed: int = 0) -> tuple[list[str], np.ndarray]:
    """Texts of the same words, and whether the dog comes before the cat."""
    generator = np.random.default_rng(seed)
    texts, classes = [], generator.integers(2, size=clips)
    for is_first in classes:
        words = [str(word) for word in generator.choice(FILLERS.split(), 8)]
        places = np.sort(generator.choice(10, 2, replace=False))
        for place, word in zip(places, ("dog", "cat") if is_first else ("cat", "dog"), strict=True):
            words.insert(int(place), word)
        texts.append(" ".join(words))
    return texts, classes.astype(np.int64)


def examples_of(texts: list[str], classes: np.ndarray) -> Examples:
    clips, usable = vectors_of(pa.table({"text": texts}), "text")
    assert usable.all()
    return Examples(clips, classes, np.arange(len(texts)) // CLIPS_A_VIDEO, 2)


def bags(examples: Examples) -> Examples:
    """The mean of one vector a word: what a head without an order could see."""
    frames = directions(examples.clips)
    return Examples(Ragged(frames, np.ones(len(frames), np.int64)), examples.classes, examples.videos, examples.count)


def accuracy(kind: str, examples: Examples) -> float:
    train_on, test = splits(examples, 3, seed=0)[0]
    assert not set(examples.videos[train_on]) & set(examples.videos[test])
    network = fit(kind, examples.take(train_on), seed=0).network
    found = predict(network, examples.clips.take(test)).argmax(axis=1)
    return float((found == examples.classes[test]).mean())


@pytest.mark.slow
def test_the_order_of_words_is_learned_where_their_mean_tells_nothing():
    examples = examples_of(*ordered(VIDEOS_MADE * CLIPS_A_VIDEO))
    assert accuracy("text", examples) >= 0.95
    assert accuracy("text-lstm", examples) >= 0.95
    assert 0.3 <= accuracy("linear", bags(examples)) <= 0.7


def test_texts_are_words_and_null_and_empty_ones_have_none():
    assert words_of("The dog's house: 3 rooms, NO cats!") == ["the", "dog's", "house", "3", "rooms", "no", "cats"]
    rows = pa.table({"text": pa.array(["a b", None, "", "b", "..."])}).slice(0)
    clips, usable = vectors_of(rows, "text")
    assert usable.tolist() == [True, False, False, True, False]
    assert clips.lengths.tolist() == [2, 1]
    assert clips.frames[1] == clips.frames[2] != clips.frames[0]
    assert vectors_of(rows.slice(1, 2), "text")[1].tolist() == [False, False]


def test_the_vocabulary_holds_what_texts_share():
    texts = [np.array(some) for some in ([5, 1, 1], [1, 9, 7], [9, 4])]
    assert vocabulary(texts, 10).tolist() == [1, 9]
    assert vocabulary(texts, 1).tolist() == [1]
    assert vocabulary([np.array([3]), np.array([2])], 10).tolist() == [2, 3]


@pytest.mark.parametrize("kind", TEXT_UNITS)
def test_a_text_head_comes_back_as_it_was_and_takes_words_that_it_never_saw(kind: str):
    clips, _ = vectors_of(pa.table({"text": ["the dog ran", "a cat", "zebra crossing"]}), "text")
    network = TextNetwork(4, 3, hidden=5, unit=TEXT_UNITS[kind]).eval()
    network.vocabulary.copy_(safetensors_words(clips)[:4])
    again = from_tensors(kind, safetensors.torch.load(to_safetensors(network)))
    found = predict(again, clips)
    np.testing.assert_array_equal(found, predict(network, clips))
    np.testing.assert_allclose(found.sum(axis=1), 1)
    alone = predict(network, clips.between(1, 2))
    np.testing.assert_allclose(found[1:2], alone, atol=1e-6)


def safetensors_words(clips: Ragged):
    import torch

    return torch.from_numpy(np.unique(clips.frames))


def text_store(folder: Path, texts: list[str | None]) -> Store:
    """A store whose clips, six a video, have these texts in the table `said`."""
    store = Store(str(folder))
    store.write_config({"clip_length_s": 10.0})
    schema = pa.schema([("text", pa.string())])
    clips = [clip_row(row, CLIPS_A_VIDEO, 0) for row in range(len(texts))]
    videos = [
        {"video_id": f"v{number}", "uri": f"/media/{number}.mp4"} for number in range(-(-len(texts) // CLIPS_A_VIDEO))
    ]
    store.write("clips", 0, pa.Table.from_pylist(clips, CLIPS), CLIPS)
    store.write("videos", 0, pa.Table.from_pylist(videos, VIDEOS), VIDEOS)
    rows = pa.Table.from_pylist(clips).select(IDENTITY.names)
    rows = rows.append_column("text", pa.array(texts, pa.string()))
    rows = rows.append_column("decode_warning", pa.nulls(len(clips), pa.string()))
    store.write("features/said", 0, rows, features_schema(schema))
    store.write_spec("said", {"name": "said", "columns": [["text", "string"]], "inputs": {}})
    return store


@pytest.mark.slow
def test_a_text_head_is_trained_labels_the_rest_and_says_what_to_label_next(tmp_path: Path):
    import ray

    labeled, more = 60, 12
    texts, classes = ordered(labeled + more, seed=2)
    said = ["the wheat harvest", "a football match"]
    texts = [f"{said[number]} {text}" for number, text in zip(classes, texts, strict=True)]
    store = text_store(tmp_path / "store", [*texts[:-1], None])
    file = tmp_path / "labels.csv"
    names = ("farm", "sport")
    lines = [f"clip{row:05d},{names[number]}" for row, number in enumerate(classes[:labeled])]
    file.write_text("\n".join(["clip_id,label", *lines]) + "\n")
    ray.init(address="local", num_cpus=8, include_dashboard=False, log_to_driver=False)
    try:
        summary = train(store.url, str(file), name="topic", head="text", folds=2)
    finally:
        ray.shutdown()
    assert (summary.network, summary.clips, summary.features) == ("text", labeled, "said")
    assert summary.metrics["accuracy"] >= 0.9
    config = json.loads(store.folder.read_bytes("heads/topic/config.json"))
    assert config["baseline"]["accuracy"] >= 0.9
    card = store.folder.read_bytes("heads/topic/card.md").decode()
    assert "| accuracy of a linear head on the texts' embeddings, in the same folds | " in card
    head = open_head(store.url, "topic")
    assert isinstance(head, Head)
    assert label(store.url, head, name="topic", top=1).labeled == labeled + more - 1
    rows = store.read("labels/topic", 0).to_pylist()
    assert [row["label"] for row in rows] == [names[number] for number in classes[:-1]]
    suggested = suggest(store.url, head, count=2)
    assert len({one.uri for one in suggested}) == 2, "one a video, of those that nobody labeled"

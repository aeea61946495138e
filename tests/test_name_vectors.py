"""Shipped names and their vectors are those of the packages that they were taken from."""

import subprocess
import sys

import numpy as np
from torchvision.models import ResNet50_Weights

from vidray.labels import imagenet, name_vectors
from vidray.labels.name_vectors import shipped_names, vectors_of
from vidray.models.sentences import embed_sentences


def test_imagenets_names_are_torchvisions():
    assert imagenet.class_names() == ResNet50_Weights.DEFAULT.meta["categories"]


def test_every_class_name_is_shipped_with_its_vector():
    names = shipped_names()
    assert sorted(name_vectors._shipped()) == names
    some = names[::97]
    np.testing.assert_allclose(vectors_of(some), embed_sentences(some), atol=2e-3)
    assert np.sum(vectors_of(some) * embed_sentences(some), axis=1).min() > 0.9998


def test_a_name_that_is_not_shipped_is_embedded():
    names = ["a name of nobody's", "Speech", "a name of nobody's"]
    np.testing.assert_allclose(vectors_of(names), embed_sentences(names), atol=2e-3)
    assert vectors_of([]).shape == (0, 384)


def test_vectors_of_another_model_are_not_used(monkeypatch):
    monkeypatch.setattr(name_vectors, "MADE_BY", "another")
    name_vectors._shipped.cache_clear()
    try:
        np.testing.assert_allclose(vectors_of(["Speech"]), embed_sentences(["Speech"]), atol=1e-6)
    finally:
        name_vectors._shipped.cache_clear()


def test_scoring_a_text_by_names_loads_neither_torch_nor_torchvision():
    code = """
import sys
import pyarrow as pa
from vidray.labels.class_names import ClassNames
rows = pa.table({"labels": [[{"label": "Chihuahua", "score": 0.5}]]})
assert ClassNames("t", ("a dog",), "frame").scores(rows)[0, 0] > 0.2
print(*sorted({"torch", "torchvision", "ray"} & set(sys.modules)))
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == []

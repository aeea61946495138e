"""Labelers on rows of features: what networks found, and texts against it."""

import tracemalloc

import numpy as np
import pyarrow as pa
import pytest

from vidray.errors import MissingExtraError, UsageError
from vidray.extractors.columns import LABELS_TYPE
from vidray.labels import Classes, Labeler, zero_shot
from vidray.labels.audioset import MAKER_OF
from vidray.labels.class_names import ClassNames
from vidray.labels.imagenet import kinds
from vidray.labels.ranking import ranked_rows
from vidray.models import sentences
from vidray.models.sentences import embed_sentences

FRAMES = {"columns": [["embedding", "x"], ["labels", "x"]], "sampling": {"kind": "FrameRate", "fps": 2.0}}
AUDIOS = {**FRAMES, "sampling": {"kind": "Audio", "sample_rate": 16_000}}


def found(*clips: dict[str, float] | None) -> pa.Table:
    rows = [None if clip is None else [{"label": k, "score": v} for k, v in clip.items()] for clip in clips]
    return pa.table({"labels": pa.array(rows, LABELS_TYPE)})


def test_classes_are_the_column_as_it_stands():
    labeler = Classes(features="yamnet")
    assert isinstance(labeler, Labeler)
    labels = labeler.label(found({"Speech": 0.75, "Music": 0.5}, None, {}))
    assert labels == [[("Speech", 0.75), ("Music", 0.5)], [], []]


def test_sentences_are_embedded_as_by_the_reference():
    """Cosines and values as sentence-transformers' own model gives them."""
    vectors = embed_sentences(["a dog", "traffic on a busy street at night", "x"])
    assert vectors.shape == (3, 384)
    np.testing.assert_allclose(vectors[0, :4], [-0.01436903, 0.00066643, 0.03359586, 0.09020114], atol=1e-5)
    cosines = vectors @ vectors.T
    np.testing.assert_allclose(cosines[np.triu_indices(3, 1)], [0.03961857, 0.13619047, 0.10455751], atol=1e-5)
    np.testing.assert_allclose(np.diag(cosines), 1, atol=1e-5)
    assert embed_sentences([]).shape == (0, 384)


def test_a_text_does_not_depend_on_its_neighbours_or_on_case():
    alone = embed_sentences(["golden retriever"])[0]
    among = embed_sentences(["Golden Retriever", "a much longer text about something else altogether"])[0]
    np.testing.assert_allclose(alone, among, atol=1e-5)


def test_without_the_extra_it_is_named(monkeypatch):
    monkeypatch.setattr(sentences, "packaged_file", lambda package, path: None)
    sentences._loaded.cache_clear()
    with pytest.raises(MissingExtraError, match=r"vidray\[text\]"):
        embed_sentences(["a dog"])


def test_every_audio_has_one_maker_and_is_a_class_of_yamnet():
    from vidray.extractors.audio.yamnet import class_names

    assert MAKER_OF.keys() <= set(class_names())
    assert MAKER_OF["Moo"] == "cow"
    assert kinds()["Chihuahua"] == kinds()["Mexican hairless"] == "dog"
    assert kinds()["timber wolf"] == "wild dog"
    assert kinds()["warplane"] == "airplane"


WORDS = {
    "a dog": {"Chihuahua": 0.6, "toy terrier": 0.2},
    "a photo of a car": {"sports car": 0.5, "convertible": 0.3},
    "bird": {"robin": 0.4, "goldfinch": 0.3, "brambling": 0.1},
    "musical instrument": {"cello": 0.7},
    "fruit": {"Granny Smith": 0.9},
}


def test_each_text_fits_its_own_clip_best():
    labeler = zero_shot("x", FRAMES, WORDS)
    scores = labeler.scores(found(*WORDS.values()))
    assert (scores.argmax(axis=0) == np.arange(len(WORDS))).all()
    assert (scores.argmax(axis=1) == np.arange(len(WORDS))).all()
    assert (np.diag(scores) > 0.5).all()
    assert (scores[~np.eye(len(WORDS), dtype=bool)] < 0.3).all()
    assert [ranked[0][0] for ranked in labeler.label(found(*WORDS.values()))] == list(WORDS)


def test_scores_rise_with_the_probability_and_none_is_left_without_classes():
    labeler = ClassNames("x", ("tiger", "traffic jam"), "frame")
    rows = found({"tiger": 0.1}, {"tiger": 0.9}, None, {})
    scores = labeler.scores(rows)
    assert scores.shape == (4, 2)
    assert scores.dtype == np.float32
    assert 0 < scores[0, 0] < scores[1, 0] <= 1
    assert (scores[2:] == 0).all()
    assert list(labeler.label(rows))[2] == []
    # the batch that a row is in says nothing about it
    np.testing.assert_array_equal(labeler.scores(rows.slice(1, 1))[0], scores[1])


def test_clips_are_ranked_by_what_their_classes_mean_together():
    labeler = ClassNames("x", ("a sailing boat", "a dog"), "frame")
    agreeing = {"schooner": 0.2, "catamaran": 0.2, "yawl": 0.2, "trimaran": 0.2}
    astray = {"schooner": 0.2, "Chihuahua": 0.2, "teapot": 0.2, "bagel": 0.2}
    rows = found(astray, agreeing, None, {})
    ranking = labeler.ranking_scores(rows)
    assert ranking.shape == (4, 2)
    assert ranking.dtype == np.float32
    assert ranking[1, 0] > labeler.scores(rows)[1, 0] > ranking[0, 0]
    assert ranking[0, 1] > ranking[1, 1]
    assert (ranking[2:] == 0).all()
    np.testing.assert_array_equal(labeler.ranking_scores(rows.slice(1, 1))[0], ranking[1])
    boxes = ClassNames("x", ("a dog",), "object")
    things = found({"dog": 0.9}, {"car": 0.8})
    np.testing.assert_array_equal(boxes.ranking_scores(things), boxes.scores(things))


def test_the_labels_of_a_batch_are_not_all_held_at_once():
    scores = np.random.default_rng(0).random((400, 500), dtype=np.float32)
    tracemalloc.start()
    best = [row[0] for row in ranked_rows([str(n) for n in range(500)], scores, pa.chunked_array([[True] * 400]))]
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert best == [
        (str(place), pytest.approx(row[place])) for place, row in zip(scores.argmax(1), scores, strict=True)
    ]
    assert peak_bytes < 10 * scores.shape[0] * scores.shape[1]


def test_audios_are_known_by_who_makes_them():
    heard = {"a cow": {"Moo": 0.6}, "people talking": {"Speech": 0.9}, "a dog barking": {"Bark": 0.7}}
    labeler = zero_shot("x", AUDIOS, heard)
    assert [ranked[0][0] for ranked in labeler.label(found(*heard.values()))] == list(heard)


@pytest.mark.parametrize(
    ("prompts", "spec", "reason"),
    [
        ([], FRAMES, "not empty"),
        (["a dog", " "], FRAMES, "not empty"),
        (["x" * 1001], FRAMES, "at most"),
        (["a dog"], {"columns": [["embedding", "x"]]}, "no classes and no text model"),
    ],
)
def test_texts_that_cannot_be_compared_are_refused(prompts, spec, reason):
    with pytest.raises(UsageError, match=reason):
        zero_shot("x", spec, prompts)


def test_a_text_given_twice_counts_once():
    assert zero_shot("x", FRAMES, ["a  dog", "cat", "a dog "]).prompts == ("a dog", "cat")

"""Texts against the classes of a whole store: exact, filtered, and from the command line. No media is there at all."""

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from class_tables import COLUMNS, write_class_store

import vidray
from vidray.cli import main
from vidray.errors import UsageError
from vidray.extractors.columns import LABELS_TYPE
from vidray.labels.class_names import ClassNames
from vidray.labels.imagenet import class_names
from vidray.labels.labeling import zero_shot_labeler
from vidray.models.sentences import embed_sentences
from vidray.planning import FixedStride
from vidray.retrieval.by_text import best_clips
from vidray.retrieval.fused import is_about_audio
from vidray.store import Store, features_schema

FRAMES = [
    {"Chihuahua": 0.6, "toy terrier": 0.2},
    {"sports car": 0.7},
    None,
    {"beagle": 0.3, "basset": 0.2},
    {"cello": 0.9},
    {},
    {"beagle": 0.3, "basset": 0.2},
    {"tabby": 0.5},
]
AUDIOS = [None, {"Vehicle": 0.5}, {"Bark": 0.8}, None, {"Cello": 0.9}, None, None, {"Meow": 0.4}]


@pytest.fixture
def store(tmp_path):
    return write_class_store(tmp_path / "store", frames=FRAMES, sounds=AUDIOS, parts=2)


def ids(result):
    return [hit.clip_id for hit in result.hits]


def test_the_clips_that_a_text_fits_best_come_first(store):
    result = vidray.search(store.url, text="a dog", k=3)
    assert ids(result) == ["c000000", "c000003", "c000006"]
    assert result.extractor == "frames"
    best = result.hits[0]
    assert (best.uri, best.start_s, best.end_s) == ("/videos/0.mp4", 0.0, 10.0)
    assert result.hits[1].score == result.hits[2].score > 0.25
    rows = store.read("features/frames", 0)
    scores = ClassNames("frames", ("a dog",), "frame").ranking_scores(rows)[:, 0]
    np.testing.assert_allclose([best.score, result.hits[1].score], scores[[0, 3]])
    assert {(hit.modality, hit.extractor) for hit in result.hits} == {("frames", "frames")}
    assert len(vidray.search(store.url, text="a dog", extractor="frames", k=100).hits) == 7
    assert len(vidray.search(store.url, text="a dog", k=100).hits) == 8


def test_the_best_of_many_are_those_of_all_ranked(tmp_path, monkeypatch):
    """Clips that cannot be among the best are passed over; the others are the same, ties in plan order."""
    random = np.random.default_rng(0)
    names = class_names()
    frames = [dict(zip(random.choice(names, 5), random.random(5) ** 4, strict=True)) for _ in range(300)] + [{}, None]
    store = write_class_store(tmp_path / "store", frames=frames * 2, sounds=[None] * 604, parts=2)
    labeler = ClassNames("frames", ("a dog",), "frame")
    rows = pa.concat_tables([store.read("features/frames", part) for part in store.parts("features/frames")])
    rows = rows.filter(rows["labels"].is_valid())
    scores = labeler.ranking_scores(rows)[:, 0]
    order = np.argsort(-scores, kind="stable")[:20]
    looked_at = []
    agreement = ClassNames._agreement
    monkeypatch.setattr(
        ClassNames,
        "_agreement",
        lambda self, counts, *found: looked_at.append(len(counts)) or agreement(self, counts, *found),
    )
    monkeypatch.setattr("vidray.retrieval.by_text.READ_ROWS", 50)
    found = best_clips(store, labeler, 20, None, together=True)
    assert found["clip_id"].to_pylist() == rows["clip_id"].take(pa.array(order)).to_pylist()
    np.testing.assert_array_equal(found["score"].to_numpy(), scores[order])
    assert sum(looked_at) < len(rows)


def test_a_class_name_that_is_not_shipped_is_embedded_once(tmp_path, monkeypatch):
    frames = [{"folding a napkin": 0.9, "grooming a dog": 0.1 * (i % 9)} for i in range(100)]
    store = write_class_store(tmp_path / "store", frames=frames, sounds=[None] * 100, parts=2)
    embedded = []

    def counted(texts):
        embedded.extend(texts)
        return embed_sentences(texts)

    monkeypatch.setattr("vidray.labels.name_vectors.embed_sentences", counted)
    monkeypatch.setattr("vidray.retrieval.by_text.READ_ROWS", 10)
    found = best_clips(store, ClassNames("frames", ("a dog",), "frame"), 3, None, together=True)
    assert len(found) == 3
    assert sorted(embedded) == ["folding a napkin", "grooming a dog"]


def test_every_hit_is_found_by_the_modality_that_knows_it_best(store):
    found = {hit.clip_id: (hit.modality, hit.extractor) for hit in vidray.search(store.url, text="a dog", k=4).hits}
    assert found == {
        "c000000": ("frames", "frames"),
        "c000002": ("audio", "sounds"),
        "c000003": ("frames", "frames"),
        "c000006": ("frames", "frames"),
    }
    barking = vidray.search(store.url, text="a dog barking", k=1)
    assert (ids(barking), barking.hits[0].modality, barking.extractor) == (["c000002"], "audio", "sounds")
    assert barking.notes == ()
    videos = vidray.search(store.url, text="a dog barking", by="video", k=1).hits
    assert [(hit.uri, hit.modality, hit.extractor) for hit in videos] == [("/videos/1.mp4", "audio", "sounds")]


def test_a_clip_is_found_once_by_its_best_score(store):
    cello = vidray.search(store.url, text="a cello", k=8)
    assert ids(cello)[0] == "c000004"
    assert len(set(ids(cello))) == len(cello.hits) == 8
    assert [hit.score for hit in cello.hits] == sorted((hit.score for hit in cello.hits), reverse=True)


def test_a_modality_can_be_asked_alone(store):
    heard = vidray.search(store.url, text="a dog", modality="audio", k=1)
    assert (ids(heard), heard.hits[0].modality) == (["c000002"], "audio")
    seen = vidray.search(store.url, text="a dog barking", modality="frames", k=8)
    assert {hit.modality for hit in seen.hits} == {"frames"}
    alone = vidray.search(store.url, text="a dog barking", extractor="frames", k=8)
    assert [hit.score for hit in seen.hits] == [hit.score for hit in alone.hits]


@pytest.mark.parametrize(
    ("text", "is_heard"),
    [
        ("a dog barking", True),
        ("piano music", True),
        ("wind noise", True),
        ("people clapping", True),
        ("tree bark", True),
        ("someone sings", True),
        ("a wedding ring", True),
        ("a dog on a skateboard", False),
        ("a window", False),
        ("boats on a river", False),
        ("city traffic", False),
        ("yoga", False),
        ("kingfisher", False),
    ],
)
def test_words_of_sound_are_known_by_how_they_begin(text, is_heard):
    assert is_about_audio(text) == is_heard


def test_what_is_heard_only_vaguely_is_not_put_before_what_is_seen(tmp_path):
    """Music is a little like anything that one may do to it."""
    store = write_class_store(
        tmp_path / "store",
        frames=[{"web site": 0.2}, {"Chihuahua": 0.1, "scooter": 0.1}],
        sounds=[{"Rock music": 0.9, "Music": 0.9}, None],
    )
    best = vidray.search(store.url, text="a dog on a skateboard", k=1).hits[0]
    assert (best.clip_id, best.modality) == ("c000001", "frames")


def test_a_text_that_no_clip_fits_is_said_to_fit_none(store):
    nothing = vidray.search(store.url, text="tax law", extractor="frames", k=1)
    assert nothing.hits[0].score < 0.1
    score = nothing.hits[0].score
    said = f"no clip is likely to be of 'tax law' (the best scores {score:.2f}): frames may have no such class"
    assert nothing.notes == (said,)


def test_a_filter_keeps_its_clips_only(store):
    result = vidray.search(store.url, text="a dog", where="start_s >= 10 AND width = 64", k=2)
    assert ids(result)[0] == "c000003"
    assert all(hit.start_s == 10 for hit in result.hits)
    assert vidray.search(store.url, text="a dog", where="start_s > 100").hits == []
    with pytest.raises(UsageError, match="where 'no_such > 1'"):
        vidray.search(store.url, text="a dog", where="no_such > 1")


def test_a_manifests_score_is_not_the_hits(store):
    for part in store.parts("clips"):
        clips = store.read("clips", part)
        scored = clips.append_column("score", pa.array([3.0 + 10 * part] * len(clips)))
        store.write("clips", part, scored, scored.schema)
    found = vidray.search(store.url, text="a dog", where="score > 10").hits
    assert {hit.clip_id for hit in found} == set(store.read("clips", 1)["clip_id"].to_pylist())
    with pytest.raises(UsageError, match='column "scores" not found'):
        vidray.search(store.url, text="a dog", where="scores > 10")


def test_what_cannot_be_asked_is_said(store, tmp_path):
    with pytest.raises(UsageError, match="must have a word"):
        vidray.search(store.url, text=" ")
    with pytest.raises(UsageError, match="k must be at least 1"):
        vidray.search(store.url, text="a dog", k=0)
    with pytest.raises(UsageError, match="no table of 'resnet'"):
        vidray.search(store.url, text="a dog", extractor="resnet")
    with pytest.raises(UsageError, match="no vidray store there"):
        vidray.search(str(tmp_path / "missing"), text="a dog")
    empty = Store(str(tmp_path / "empty"))
    empty.write_config(FixedStride().config)
    with pytest.raises(UsageError, match="there are no features yet"):
        vidray.search(empty.url, text="a dog")


def test_detected_objects_answer_beside_classes(tmp_path):
    """What is small in the frame is no class of it, but has a box."""
    store = write_class_store(tmp_path / "store", frames=FRAMES)
    boxes = {
        "name": "boxes",
        "columns": [["detections", "x"], ["labels", "x"]],
        "sampling": {"kind": "FrameRate", "fps": 2.0},
    }
    store.folder.write_bytes("features/boxes/_spec.json", json.dumps(boxes).encode())
    detected = [None] * 8
    detected[1] = [{"label": "person", "score": 0.9}, {"label": "dog", "score": 0.95}]
    detected[5] = [{"label": "boat", "score": 0.8}]
    rows = store.read("features/frames", 0).drop_columns("labels")
    rows = rows.append_column("labels", pa.array(detected, LABELS_TYPE))
    store.write("features/boxes", 0, rows, features_schema(COLUMNS))
    dog = vidray.search(store.url, text="a dog", k=2).hits
    assert [(hit.clip_id, hit.extractor, hit.modality) for hit in dog] == [
        ("c000001", "boxes", "frames"),
        ("c000000", "frames", "frames"),
    ]
    assert dog[0].score > 0.5
    boats = vidray.search(store.url, text="boat", k=1)
    assert (ids(boats), boats.extractor) == (["c000005"], "boxes")
    assert boats.hits[0].score == pytest.approx(0.8, abs=0.01)
    assert vidray.class_labeler(store.url).features == "frames"
    assert vidray.zero_shot_labeler(store.url, ["a dog"]).features == "frames"
    assert vidray.search(store.url, text="a dog", extractor="boxes").extractor == "boxes"


def test_a_text_that_labels_nothing_says_its_best_score(store, capsys):
    arguments = ["label", store.url, "zero-shot", "-x", "frames", "--threshold", "0.9", "--prompts", "a dog", "a cat"]
    assert main(arguments) == 0
    best = {text: vidray.search(store.url, text=text, extractor="frames", k=1).hits[0].score for text in arguments[-2:]}
    error = capsys.readouterr().err
    for text, score in best.items():
        assert f"'{text}' labels no clip: its best score is {score:.2f}, the threshold 0.9" in error
    assert main([*arguments[:6], "0.3", *arguments[7:]]) == 0
    assert "labels no clip" not in capsys.readouterr().err
    many = [f"dog {n}" for n in range(14)]
    assert main([*arguments[:8], *many]) == 0
    error = capsys.readouterr().err
    assert error.count("labels no clip: its best") == 10
    assert "4 more texts label no clip; their best score is 0." in error


def test_label_and_search_from_the_command_line(store, tmp_path, capsys):
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("a dog\n\na cat\n")
    arguments = ["label", store.url, "zero-shot", "--prompts-file", str(prompts), "--threshold", "0.4", "--json"]
    assert main(arguments) == 0
    assert json.loads(capsys.readouterr().out) == {
        "name": "zero-shot-frames",
        "features": "frames",
        "clips": 8,
        "labeled": 4,
        "human": 0,
        "without_features": 0,
        "labels": 4,
    }
    rows = [row for part in (0, 1) for row in store.read("labels/zero-shot-frames", part).to_pylist()]
    assert [(row["clip_id"], row["label"]) for row in rows] == [
        ("c000000", "a dog"), ("c000003", "a dog"), ("c000006", "a dog"), ("c000007", "a cat"),
    ]  # fmt: skip
    spec = store.labels_spec("zero-shot-frames")
    assert spec["settings"]["prompts"] == ["a dog", "a cat"]
    assert main(["label", store.url, "classes", "-x", "sounds", "--name", "heard", "--top", "1"]) == 0
    assert "labeled 4 of 8 clips from sounds" in capsys.readouterr().err
    assert main(["search", store.url, "--text", "a cat", "-k", "1", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["query"], answer["extractor"]) == ({"text": "a cat"}, "frames")
    assert [hit["clip_id"] for hit in answer["hits"]] == ["c000007"]


def test_zero_shot_keeps_ten_labels_of_a_clip_unless_told(store):
    arguments = ["label", store.url, "zero-shot", "-x", "frames", "--prompts", *(f"dog {n}" for n in range(12))]
    for given, kept in (([], 10), (["--top", "12"], 12)):
        assert main([*arguments, *given]) == 0
        rows = store.read("labels/zero-shot-frames", 0).to_pylist()
        assert [row["clip_id"] for row in rows].count("c000000") == kept


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["classes"], "frames, sounds have classes; say which, with -x NAME"),
        (["zero-shot", "--prompts", ""], "prompts must be one or more texts that are not empty"),
        (["zero-shot", "--prompts-file", "/no/such/file"], "/no/such/file: no text file that can be read"),
        (["classes", "-x", "sounds", "--name", "../x"], "a letter or digit first"),
    ],
)
def test_wrong_usage_is_one_line_and_status_2(store, capsys, arguments, reason):
    assert main(["label", store.url, *arguments]) == 2
    error = capsys.readouterr().err
    assert reason in error
    assert error.count("\n") == 1
    assert store.tables("labels") == []


def test_prompts_that_say_nothing_are_refused_before_it_is_asked_which_table(store):
    shutil.copytree(Path(store.url) / "features" / "frames", Path(store.url) / "features" / "others")
    with pytest.raises(UsageError, match="say which"):
        zero_shot_labeler(store.url, ["a dog"])
    with pytest.raises(UsageError, match="prompts must be"):
        zero_shot_labeler(store.url, [""])


@pytest.mark.parametrize("text", ["", "  "])
def test_a_text_without_a_word_is_refused(store, capsys, text):
    assert main(["search", store.url, "--text", text]) == 2
    assert capsys.readouterr().err == "vidray: a text to look for must have a word in it, got none\n"

"""Texts against the classes of a whole store: exact, filtered, and from the command line. No media is there at all."""

import json

import numpy as np
import pytest
from class_tables import COLUMNS, write_class_store

import vidray
from vidray.cli import main
from vidray.errors import UsageError
from vidray.labels.class_names import ClassNames
from vidray.store import features_schema

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
    assert result.hits[1].score == result.hits[2].score > 0.3
    rows = store.read("features/frames", 0)
    scores = ClassNames("frames", ("a dog",), "frame").scores(rows)[:, 0]
    np.testing.assert_allclose([best.score, result.hits[1].score], scores[[0, 3]])
    assert len(vidray.search(store.url, text="a dog", k=100).hits) == 7


def test_what_is_seen_or_heard_answers_whichever_knows_better(store):
    seen = vidray.search(store.url, text="a dog", k=1)
    assert (ids(seen), seen.extractor) == (["c000000"], "frames")
    assert seen.notes == ("answered by what is seen; for what is heard: -x sounds",)
    barking = vidray.search(store.url, text="barking", k=1)
    assert (ids(barking), barking.extractor) == (["c000002"], "sounds")
    assert barking.notes == ("answered by what is heard; for what is seen: -x frames",)
    heard = vidray.search(store.url, text="a dog barking", extractor="sounds", k=1)
    assert (ids(heard), heard.notes) == (["c000002"], ())


def test_a_text_that_no_clip_fits_is_said_to_fit_none(store):
    nothing = vidray.search(store.url, text="tax law", extractor="frames", k=1)
    assert nothing.hits[0].score < 0.1
    assert nothing.notes == ("no clip is likely to be of 'tax law': the network of frames may have no such class",)


def test_a_filter_keeps_its_clips_only(store):
    result = vidray.search(store.url, text="a dog", where="start_s >= 10 AND width = 64", k=2)
    assert ids(result)[0] == "c000003"
    assert all(hit.start_s == 10 for hit in result.hits)
    assert vidray.search(store.url, text="a dog", where="start_s > 100").hits == []
    with pytest.raises(UsageError, match="where 'no_such > 1'"):
        vidray.search(store.url, text="a dog", where="no_such > 1")


def test_what_cannot_be_asked_is_said(store, tmp_path):
    with pytest.raises(UsageError, match="not empty"):
        vidray.search(store.url, text=" ")
    with pytest.raises(UsageError, match="k must be at least 1"):
        vidray.search(store.url, text="a dog", k=0)
    with pytest.raises(UsageError, match="no table of 'resnet'"):
        vidray.search(store.url, text="a dog", extractor="resnet")
    with pytest.raises(UsageError, match="there are no features yet"):
        vidray.search(str(tmp_path / "empty"), text="a dog")


def test_a_detector_has_no_classes_unless_it_is_named(tmp_path):
    store = write_class_store(tmp_path / "store", frames=FRAMES)
    boxes = {"name": "boxes", "columns": [["detections", "x"], ["labels", "x"]], "sampling": {"kind": "FrameRate"}}
    store.folder.write_bytes("features/boxes/_spec.json", json.dumps(boxes).encode())
    store.write("features/boxes", 0, store.read("features/frames", 0), features_schema(COLUMNS))
    assert vidray.search(store.url, text="a dog").extractor == "frames"
    assert vidray.class_labeler(store.url).features == "frames"
    assert vidray.zero_shot_labeler(store.url, ["a dog"]).features == "frames"
    assert vidray.search(store.url, text="a dog", extractor="boxes").extractor == "boxes"


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

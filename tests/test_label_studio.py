"""Label Studio's tasks: what goes out has the clips with what is known of them, what comes back is people's labels."""

from __future__ import annotations

import json

import pytest
from report_stores import HOSTILE, clip_id, labels_of, write_report_store

import vidray
from vidray.errors import UsageError
from vidray.store import Store


@pytest.fixture
def store(tmp_path) -> Store:
    return write_report_store(tmp_path / "store", 12, with_thumbnails=False)


def tasks(store: Store, table: str, path) -> list[dict]:
    summary = vidray.export(store.url, table, path, to="label-studio")
    found = json.loads(path.read_text())
    assert summary.rows == len(found) == 12
    return found


def answered(task: dict, *choices: str, **more: object) -> dict:
    """A task as Label Studio exports it once a person has chosen."""
    value = {"from_name": "label", "to_name": "video", "type": "choices", "value": {"choices": list(choices)}}
    return {"id": 7, **task, "annotations": [{"id": 1, "was_cancelled": False, **more, "result": [value]}]}


def test_a_task_has_the_clip_its_span_its_words_and_what_was_found(store, tmp_path):
    found = tasks(store, "features/classes", tmp_path / "tasks.json")
    six = found[6]["data"]
    assert (six["clip_id"], six["start_s"], six["end_s"]) == (clip_id(6), 20.0, 30.0)
    assert six["video"] == f"/media/{HOSTILE}#t=20,30"
    assert six["speech"] == "Hello <i>world</i> number 6"
    for number, task in enumerate(found):
        chosen = [one["result"][0]["value"]["choices"] for one in task.get("predictions", [])]
        assert chosen == ([labels_of(number)] if labels_of(number) else [])
    assert not any("predictions" in task for task in tasks(store, "clips", tmp_path / "bare.json"))


def test_what_people_chose_comes_back_and_no_guess_does(store, tmp_path):
    found = tasks(store, "features/classes", tmp_path / "tasks.json")
    back = [answered(found[2], "bird", "dog house"), answered(found[3], "wrong", was_cancelled=True), *found[4:]]
    (tmp_path / "back.json").write_text(json.dumps(back))
    assert vidray.import_labels(store.url, tmp_path / "back.json", name="mine").labels == 2
    out = vidray.export(store.url, "labels/mine", tmp_path / "mine.json", to="label-studio")
    held = {
        task["data"]["clip_id"]: task.get("predictions") for task in json.loads((tmp_path / "mine.json").read_text())
    }
    assert out.rows == 12
    assert {clip for clip, labels in held.items() if labels} == {clip_id(2)}
    assert sorted(held[clip_id(2)][0]["result"][0]["value"]["choices"]) == ["bird", "dog house"]


@pytest.mark.parametrize("label", ["bird", {"choices": ["bird"]}])
def test_the_short_export_is_taken_too(store, tmp_path, label):
    (tmp_path / "min.json").write_text(json.dumps([{"clip_id": clip_id(1), "video": "x", "label": label, "id": 3}]))
    vidray.import_labels(store.url, tmp_path / "min.json", name="mine")
    (row,) = store.read("labels/mine", 0).to_pylist()
    assert (row["clip_id"], row["label"], row["source"]) == (clip_id(1), "bird", "human")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[{"data": {"video": "x"}}]', r"task 1: no clip_id in its data"),
        ('[{"data": {"clip_id": "a"}}]', r"no choice of a person in any of its 1 tasks"),
        ("[1]", r"task 1: no clip_id"),
        ("[{", r"neither CSV nor JSON"),
    ],
)
def test_what_is_no_export_is_refused(store, tmp_path, text, said):
    (tmp_path / "l.json").write_text(text)
    with pytest.raises(UsageError, match=said):
        vidray.import_labels(store.url, tmp_path / "l.json", name="mine")


def test_a_table_without_labels_is_refused(store, tmp_path):
    with pytest.raises(UsageError, match="has no labels of clips"):
        vidray.export(store.url, "features/quality", tmp_path / "x.json", to="label-studio")

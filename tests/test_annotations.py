"""People's labels: which clips a line is of, and that they stand above a model's whatever is run afterwards."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pytest
from labeled_stores import TABLE, rows_of, write_csv, write_store

import vidray
from vidray.cli import main
from vidray.corpus import Listing
from vidray.errors import StoreError, UsageError
from vidray.exports.export import export
from vidray.labels.annotations import labeled_clips, read_annotations
from vidray.labels.imports import import_labels, undo_import
from vidray.labels.labeling import label
from vidray.media import Video
from vidray.pipeline.plan import settle_changes
from vidray.pipeline.progress import Progress
from vidray.store import Store
from vidray.store.lease import OF_LABELS, Lease


@dataclass(frozen=True)
class Same:
    """Says the same of every clip."""

    says: str = "model"
    kind: str = "same"
    features: str = TABLE
    columns: tuple[str, ...] = ("embedding",)

    def spec(self):
        return {"says": self.says}

    def label(self, rows):
        return [[(self.says, 0.9)]] * len(rows)


@pytest.fixture
def store(tmp_path):
    """Two parts, three videos of four clips of ten seconds."""
    return write_store(tmp_path / "store", np.ones((12, 4), np.float32), clips_a_video=4, parts=2)


def meant(store, tmp_path, header: str, *rows: str) -> list[tuple]:
    path = write_csv(tmp_path / "labels.csv", header, rows)
    found = labeled_clips(store, read_annotations(path), path).to_pylist()
    return [(int(row["clip_id"][4:]), row["label"]) for row in found]


@pytest.mark.parametrize(
    ("span", "clips"),
    [
        ((0, 10), [0]),
        ((2, 4), [0]),  # a short event
        ((9, 11), [0, 1]),  # half of it here, half there
        ((9, 12), [1]),
        ((0, 40), [0, 1, 2, 3]),
        ((4, 27), [0, 1, 2]),
        ((6, 24), [1]),  # less than half of clips 0 and 2
    ],
)
def test_a_span_is_of_the_clips_that_share_half_of_the_shorter_one(store, tmp_path, span, clips):
    line = f"/media/0.mp4,{span[0]},{span[1]},x"
    assert meant(store, tmp_path, "uri,start_s,end_s,label", line) == [(clip, "x") for clip in clips]


def test_lines_are_of_clips_or_of_videos(store, tmp_path):
    assert meant(store, tmp_path, "label,clip_id,other", "b,clip00009,1", "a,clip00002,", "a,clip00002,2") == [
        (2, "a"),
        (9, "b"),
    ]
    assert meant(store, tmp_path, "uri,label", "/media/1.mp4,a", "file:///media/1.mp4,b")[:3] == [
        (4, "a"),
        (4, "b"),
        (5, "a"),
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("clip_id,label\nnosuch,b\n", "meant by line 2: clip 'nosuch'"),
        ("uri,label\n" + "/other.mp4,a\n" * 5, "line 4: '/other.mp4'; and 2 more lines"),
        ("uri,start_s,end_s,label\n/media/0.mp4,50,60,a\n", "'/media/0.mp4' at 50-60 s"),
        ("uri,start_s,end_s,label\n/media/0.mp4,9,5,a\n", "line 2: must be seconds, 0 <= start_s < end_s, got '9' and"),
        ("uri,start_s,end_s,label\n/media/0.mp4,,5,a\n", "line 2: must be seconds"),
        ("clip_id,label\nclip00001,\n", "line 2: no label"),
        ("clip_id,uri,label\n,,a\n", "line 2: neither a clip_id nor a uri"),
        ("clip,label\nclip00001,a\n", "must have the columns clip_id,label or uri,label or"),
        ("", "has none"),
        ("clip_id,label\n", "no labels in it"),
        ("clip_id,label\nclip00001," + "x" * 200_000, "cannot be read as CSV"),
    ],
)  # fmt: skip
def test_a_line_that_means_no_clip_is_named(store, tmp_path, capsys, content, message):
    path = tmp_path / "labels.csv"
    path.write_text(content)
    assert main(["import", store.url, str(path), "--name", "mine"]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not store.parts("labels/mine")


def test_lines_of_no_clip_are_left_out_and_named(store, tmp_path, capsys):
    lines = ["clip00001,a", *(f"gone{n},b" for n in range(4))]
    path = write_csv(tmp_path / "labels.csv", "clip_id,label", lines)
    assert main(["import", store.url, path, "--name", "mine"]) == 0
    said = capsys.readouterr().err
    assert "left out 4 of 5 labels" in said
    assert "line 3: clip 'gone0'; line 4: clip 'gone1'; line 5: clip 'gone2'; and 1 more lines" in said
    assert rows_of(store, "labels/mine", "clip_id", "label") == [("clip00001", "a")]


def test_labels_of_retired_videos_are_counted(store, tmp_path):
    path = write_csv(tmp_path / "labels.csv", "clip_id,label", ["clip00001,a", "clip00001,b", "clip00006,a"])
    import_labels(store.url, path, name="mine")
    label(store.url, Same(), name="mine")
    changed = Video(video_id="v", uri="/media/0.mp4", size_bytes=1, fingerprint="new")
    listing = Listing(corpus="/media", is_whole=True, videos=(changed,))
    said = io.StringIO()
    settle_changes(store, listing, Progress(said), refresh=True)
    assert said.getvalue().splitlines() == [
        "of 1 video, 2 labels that people gave are removed with the rows; import what is true of the new ones",
    ]


def test_labels_that_are_no_text_are_refused(tmp_path):
    path = tmp_path / "labels.csv"
    path.write_bytes(b"clip_id,label\nx,\xff\xfe\n")
    with pytest.raises(UsageError, match="not UTF-8"):
        read_annotations(str(path))


def test_people_stand_above_a_model_in_any_order(store, tmp_path):
    path = write_csv(tmp_path / "labels.csv", "clip_id,label", ["clip00001,cat", "clip00001,dog", "clip00006,cat"])
    label(store.url, Same(), name="before")
    for name in ("before", "after"):
        summary = import_labels(store.url, path, name=name)
        assert (summary.clips, summary.labels) == (2, 3)
    again = Same(says="another")
    for name in ("before", "after"):
        assert label(store.url, again, name=name).human == 2
        found = rows_of(store, f"labels/{name}", "clip_id", "label", "score", "source")
        people = [row for row in found if row[3] == "human"]
        assert people == [(clip, says, 1.0, "human") for clip, says in
                          [("clip00001", "cat"), ("clip00001", "dog"), ("clip00006", "cat")]]  # fmt: skip
        others = [row for row in found if row[3] != "human"]
        assert [row[0] for row in others] == [f"clip{n:05d}" for n in range(12) if n not in (1, 6)]
        assert {row[1] for row in others} == {"another"}


def test_a_table_is_listed_once_however_many_parts_it_has(tmp_path, monkeypatch):
    store = write_store(tmp_path / "store", np.ones((12, 4), np.float32), parts=6)
    path = write_csv(tmp_path / "labels.csv", "clip_id,label", [f"clip{n:05d},cat" for n in range(12)])
    listed = []
    parts = Store.parts
    monkeypatch.setattr(Store, "parts", lambda store, table: (listed.append(table), parts(store, table))[1])
    for write in (lambda: import_labels(store.url, path, name="mine"), lambda: label(store.url, Same(), name="mine")):
        listed.clear()
        write()
        assert listed.count("labels/mine") == 1


@pytest.mark.parametrize("labeler_finished", [True, False])
def test_labels_are_not_whole_while_some_are_taken_in(store, tmp_path, monkeypatch, labeler_finished):
    path = write_csv(tmp_path / "labels.csv", "clip_id,label", ["clip00001,cat"])
    label(store.url, Same(), name="model")
    store.write_labels_spec("model", {**store.labels_spec("model"), "whole": labeler_finished})
    with monkeypatch.context() as patched:
        patched.setattr("vidray.labels.imports.write_labels", lambda *_, **__: 1 / 0)
        for name in ("model", "mine"):
            with pytest.raises(ZeroDivisionError):
                import_labels(store.url, path, name=name)
            assert store.labels_spec(name)["whole"] is False
    store.write_labels_spec("model", {**store.labels_spec("model"), "whole": labeler_finished})
    for name, whole in (("model", labeler_finished), ("mine", True)):
        import_labels(store.url, path, name=name)
        assert store.labels_spec(name)["whole"] is whole


def test_a_later_import_replaces_only_the_clips_that_it_names(store, tmp_path):
    first = write_csv(tmp_path / "1.csv", "clip_id,label", ["clip00001,cat", "clip00006,cat"])
    second = write_csv(tmp_path / "2.csv", "clip_id,label", ["clip00006,dog", "clip00007,dog"])
    import_labels(store.url, first, name="mine")
    import_labels(store.url, second, name="mine")
    found = rows_of(store, "labels/mine", "clip_id", "label")
    assert found == [("clip00001", "cat"), ("clip00006", "dog"), ("clip00007", "dog")]
    assert store.parts("labels/mine") == store.parts("clips")
    videos = rows_of(store, "video_labels/mine", "video_id", "label", "score", "source")
    assert videos == [("v0", "cat", 0.25, "human"), ("v1", "dog", 0.5, "human")]


def test_what_is_exported_can_be_imported(store, tmp_path):
    label(store.url, Same(says='a "b", c\nd'), name="model")
    path = str(tmp_path / "out" / "labels.csv")
    assert export(store.url, "labels/model", path, to="csv").rows == 12
    vidray.import_labels(store.url, path, name="mine", any_source=True)
    names = ["clip_id", "label"]
    assert rows_of(store, "labels/mine", *names) == rows_of(store, "labels/model", *names)


def test_an_exported_table_gives_its_peoples_labels_back_and_no_guess(store, tmp_path):
    label(store.url, Same(), name="mine")
    path = write_csv(tmp_path / "people.csv", "clip_id,label", ["clip00001,dog", "clip00007,cat"])
    import_labels(store.url, path, name="mine")
    export(store.url, "labels/mine", str(tmp_path / "all.csv"), to="csv")
    said: list[str] = []
    summary = import_labels(store.url, str(tmp_path / "all.csv"), name="other", say=said.append)
    assert (summary.clips, summary.labels) == (2, 2)
    assert "left out 10 labels that a model gave (10 of same); --any-source takes them too" in said[0]
    assert sorted(rows_of(store, "labels/other", "clip_id", "label")) == [("clip00001", "dog"), ("clip00007", "cat")]
    assert import_labels(store.url, str(tmp_path / "all.csv"), name="every", any_source=True).labels == 12
    guesses = write_csv(tmp_path / "guesses.csv", "clip_id,label,source", ["clip00001,dog,same"])
    with pytest.raises(UsageError, match=r"no label of a person, only a model's \(1 of same\); --any-source"):
        import_labels(store.url, guesses, name="never")
    assert store.labels_spec("never") is None


def test_an_import_is_undone_and_the_one_before_it_too(store, tmp_path):
    label(store.url, Same(), name="mine")
    states = [rows_of(store, "labels/mine", "clip_id", "label", "source")]
    for labels in (["clip00001,dog", "clip00002,dog"], ["clip00001,cat", "clip00009,cat"]):
        import_labels(store.url, write_csv(tmp_path / "l.csv", "clip_id,label", labels), name="mine")
        states.append(rows_of(store, "labels/mine", "clip_id", "label", "source"))
    assert len({str(state) for state in states}) == 3
    for state in states[1::-1]:
        undo_import(store.url, name="mine")
        assert rows_of(store, "labels/mine", "clip_id", "label", "source") == state
    with pytest.raises(UsageError, match="labels/mine: no import that could be undone"):
        undo_import(store.url, name="mine")


def test_undoing_the_import_that_made_labels_leaves_none(store, tmp_path, capsys):
    path = write_csv(tmp_path / "l.csv", "clip_id,label", ["clip00001,dog"])
    assert main(["import", store.url, path, "--name", "mine"]) == 0
    assert main(["import", store.url, "--name", "mine", "--undo"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"1 label of 1 clip in {store.url}/labels/mine",
        f"undone: as before the import, there is no {store.url}/labels/mine",
    ]
    assert (store.tables("labels"), store.tables("video_labels")) == ([], [])
    assert main(["import", store.url, "--name", "mine"]) == 2
    assert main(["import", store.url, path, "--name", "mine", "--undo"]) == 2


def test_what_undoing_gives_back_is_said(store, tmp_path, capsys):
    for lines in (["clip00001,dog", "clip00001,cat", "clip00002,dog"], ["clip00001,bird", "clip00003,bird"]):
        path = write_csv(tmp_path / "l.csv", "clip_id,label", lines)
        assert main(["import", store.url, path, "--name", "mine"]) == 0
    capsys.readouterr()
    assert main(["import", store.url, "--name", "mine", "--undo"]) == 0
    place = f"{store.url}/labels/mine"
    assert capsys.readouterr().out == f"undone: as before the import, 2 clips of {place}: 2 labels\n"
    assert main(["import", store.url, "--name", "mine", "--undo"]) == 0
    assert capsys.readouterr().out == f"undone: as before the import, there is no {place}\n"
    assert main(["import", store.url, "--name", "mine", "--undo"]) == 2
    assert capsys.readouterr().err == f"vidray: {place}: no import that could be undone\n"


@pytest.mark.parametrize("uri", ["0.mp4", "media/0.mp4", "./media/0.mp4", "/media/0.mp4"])
def test_a_video_is_meant_by_its_last_steps(store, tmp_path, uri):
    assert {clip for clip, _ in meant(store, tmp_path, "uri,label", f"{uri},dog")} == {0, 1, 2, 3}


def test_a_name_that_two_videos_have_is_refused_with_both(store, tmp_path):
    videos = store.read("videos", 0)
    twins = pa.array(["/media/0.mp4", "/other/0.mp4"][: len(videos)])
    store.write("videos", 0, videos.set_column(1, "uri", twins), videos.schema)
    with pytest.raises(UsageError, match=r"'0.mp4' \(is it /media/0.mp4 or /other/0.mp4\?\)"):
        meant(store, tmp_path, "uri,label", "0.mp4,dog")


def test_a_wrong_uri_shows_what_one_looks_like(store, tmp_path):
    with pytest.raises(UsageError, match=r"'elsewhere\.mp4'; a URI of the store looks like '/media/0\.mp4'"):
        meant(store, tmp_path, "uri,label", "elsewhere.mp4,dog")


def test_people_label_while_an_extraction_runs(store, tmp_path):
    path = write_csv(tmp_path / "l.csv", "clip_id,label", ["clip00001,dog"])
    with Lease(store.folder, say=print):
        assert import_labels(store.url, path, name="mine").labels == 1
    with Lease(store.folder, say=print, of=OF_LABELS), pytest.raises(StoreError, match="/labels is being written by"):
        import_labels(store.url, path, name="mine")

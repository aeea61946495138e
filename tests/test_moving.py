"""An archive that moved: nothing is computed again, and every table says where the files are now."""

from __future__ import annotations

import os
import shutil

import pyarrow as pa
import pytest

import vidray
from vidray import moving
from vidray.cli import main
from vidray.corpus import list_corpus
from vidray.errors import UsageError
from vidray.media import UNSEEN
from vidray.pipeline import plan
from vidray.pipeline.plan import known_uris
from vidray.planning import FixedStride
from vidray.store import ERRORS, IDENTITY, Store, features_schema
from vidray.store.changes import find_changes
from vidray.testing import SyntheticVideo, write_video

COLUMNS = pa.schema([("embedding", pa.list_(pa.float32(), 2))])


@pytest.fixture
def moved(tmp_path):
    """A store with a table, labels and an index of two videos, whose folder is another one now, with new times."""
    old, new = tmp_path / "old", tmp_path / "new" / "place"
    (old / "deep").mkdir(parents=True)
    for name in ("a.mp4", "deep/b.mp4"):
        write_video(old / name, SyntheticVideo(fps=10, frames=40))
    store = Store(str(tmp_path / "store"))
    plan(str(old), store.url, planner=FixedStride(2.0))
    store.write_spec("net", {"name": "net", "columns": [["embedding", str(COLUMNS.field(0).type)]]})
    clips = store.read("clips", 0, IDENTITY.names)
    values = pa.array([[1.0, float(i)] for i in range(len(clips))], COLUMNS.field(0).type)
    rows = clips.append_column("embedding", values).append_column("decode_warning", pa.nulls(len(clips), pa.string()))
    store.write("errors/net", 0, ERRORS.empty_table(), ERRORS)
    store.write("features/net", 0, rows, features_schema(COLUMNS))
    (tmp_path / "l.csv").write_text(f"uri,label\n{old}/a.mp4,dog\n")
    vidray.import_labels(store.url, str(tmp_path / "l.csv"), name="mine")
    vidray.build_index(store.url, extractor="net")
    new.parent.mkdir()
    shutil.move(old, new)
    os.utime(new / "a.mp4", (1.0, 1.0))
    return store, old, new


def uris(store: Store, table: str) -> set[str]:
    return {uri for part in store.parts(table) for uri in store.read(table, part, ["uri"])["uri"].to_pylist()}


def test_what_moved_is_known_where_it_is_and_is_not_planned_again(moved, capsys):
    store, old, new = moved
    before = store.read("features/net", 0)
    assert main(["move", store.url, str(old), str(new)]) == 0
    out, err = capsys.readouterr()
    assert "2 videos moved" in out
    assert "index/net named the old place and is removed" in err
    tables = ("videos", "clips", "features/net")
    assert [uris(store, table) for table in tables] == [{f"{new}/a.mp4", f"{new}/deep/b.mp4"}] * 3
    assert uris(store, "labels/mine") == uris(store, "video_labels/mine") == {f"{new}/a.mp4"}
    after = store.read("features/net", 0)
    assert after.drop_columns("uri").equals(before.drop_columns("uri"))
    listing = list_corpus(str(new))
    assert listing.corpus == store.read("videos", 0)["corpus"][0].as_py()
    assert known_uris(store) == {video.uri for video in listing.videos}
    changes = find_changes(store, listing)
    assert (changes.changed, changes.deleted) == (frozenset(), frozenset())
    assert main(["verify", store.url]) == 0
    assert store.tables("index") == []


def test_a_move_that_was_killed_is_ended_by_the_next_run(moved, monkeypatch):
    store, old, new = moved
    whole = Store.write

    def stops(self, table, *arguments):
        if table == "clips":
            raise OSError("no space left on device")
        return whole(self, table, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Store, "write", stops)
        with pytest.raises(OSError, match="no space"):
            vidray.move(store.url, str(old), str(new))
    assert uris(store, "clips") != uris(store, "features/net")
    plan(str(new), store.url, planner=FixedStride(2.0))
    assert uris(store, "clips") == uris(store, "features/net") == {f"{new}/a.mp4", f"{new}/deep/b.mp4"}
    assert len(store.parts("clips")) == 1


def test_files_that_are_not_the_same_or_not_there_are_told(moved, capsys):
    store, old, new = moved
    (new / "a.mp4").write_bytes(b"another")
    (new / "deep" / "b.mp4").unlink()
    assert main(["move", store.url, str(old), str(new)]) == 0
    err = capsys.readouterr().err
    assert "1 of 2 videos: no such file at the new place" in err
    assert "1 of 2 videos: another size at the new place; extract --refresh" in err
    assert len(find_changes(store, list_corpus(str(new))).changed) == 1


def test_a_prefix_of_whole_steps_that_no_video_has_is_refused(moved):
    store, old, new = moved
    with pytest.raises(UsageError, match="is the old place and the new one"):
        vidray.move(store.url, f"{old}/", str(old))
    for wrong in (str(old)[:-1], str(old / "nowhere")):
        with pytest.raises(UsageError, match=f"no video of it is under .*; its videos are as {old}/a.mp4"):
            vidray.move(store.url, wrong, str(new))


def test_a_place_that_has_none_of_the_files_is_refused_unless_it_is_meant(moved, capsys, monkeypatch):
    store, old, new = moved
    before = uris(store, "clips")
    assert main(["move", store.url, str(old), str(new / "mistyped")]) == 2
    error = capsys.readouterr().err
    assert f"none of 2 videos is at the new place, the first would be {new}/mistyped/a.mp4; nothing was moved" in error
    assert uris(store, "clips") == before
    assert store.intents.renaming() is None
    with monkeypatch.context() as patch:
        looked_at: list[str] = []
        patch.setattr(moving, "LOOKED_AT", 1)
        patch.setattr(moving, "look_up", lambda uri: looked_at.append(uri) or (None, UNSEEN))
        with pytest.raises(UsageError, match="none of 1 of 2 videos is at the new place"):
            vidray.move(store.url, str(old), str(new / "mistyped"))
    assert looked_at == [f"{new}/mistyped/a.mp4"]
    assert main(["move", store.url, str(old), "/elsewhere", "--unseen"]) == 0
    assert "2 of 2 videos: no such file at the new place" in capsys.readouterr().err
    assert uris(store, "clips") == {"/elsewhere/a.mp4", "/elsewhere/deep/b.mp4"}

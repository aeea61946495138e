"""A manifest that grew is taken in: new spans are new clips, rows that exist are copied, a kill loses nothing."""

from __future__ import annotations

import importlib
import shutil
from pathlib import Path

import pyarrow as pa
import pytest
from extractors_for_tests import FailsOnDark, MeanColour

from vidray.labels.imports import import_labels
from vidray.pipeline import Progress, extract, plan
from vidray.planning import FixedStride
from vidray.store import ERRORS, IDENTITY, Store, features_schema
from vidray.store.intents import Intents
from vidray.store.staging import Staging
from vidray.store.verification import verify
from vidray.testing import SyntheticVideo, write_video

PLANNED = ["a.mp4,,,x,", "b.mp4,0,1,y,", "c.mp4,,,z,"]
GROWN = ["a.mp4,1,1.5,x,", "b.mp4,0,1,y,1", "b.mp4,2,2.5,new,2", "b.mp4,0.5,99,late,3", "c.mp4,,,zz,"]
CLIPS = {
    ("a.mp4", 0.0, 2.0, "x"), ("a.mp4", 2.0, 4.0, "x"), ("a.mp4", 1.0, 1.5, "x"),
    ("b.mp4", 0.0, 1.0, "y"), ("b.mp4", 2.0, 2.5, "new"), ("b.mp4", 0.5, 4.0, "late"),
    ("c.mp4", 0.0, 2.0, "zz"), ("c.mp4", 2.0, 4.0, "zz"),
}  # fmt: skip
COLUMNS = pa.schema([("embedding", pa.list_(pa.float32(), 1))])


@pytest.fixture(scope="module")
def media(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("growth") / "corpus"
    folder.mkdir()
    for name in ("a.mp4", "b.mp4", "c.mp4"):
        write_video(folder / name, SyntheticVideo(fps=10, frames=40))
    return folder


def manifest_of(media, lines) -> str:
    rows = [f"{media}/{line}" for line in lines]
    (media.parent / "m.csv").write_text("\n".join(["uri,start_s,end_s,tag,rank", *rows, ""]))
    return str(media.parent / "m.csv")


@pytest.fixture(scope="module")
def made(media, tmp_path_factory) -> Path:
    """A store of three videos, of which b has spans of its own, with two tables of all clips."""
    folder = tmp_path_factory.mktemp("made") / "store"
    plan(manifest_of(media, PLANNED), str(folder), planner=FixedStride(2.0))
    made = Store(str(folder))
    for name in ("first", "second"):
        made.write_spec(name, {"name": name})
        clips = made.read("clips", 0, IDENTITY.names)
        values = pa.array([[float(i)] for i in range(len(clips))], COLUMNS.field(0).type)
        rows = clips.append_column("embedding", values)
        rows = rows.append_column("decode_warning", pa.nulls(len(clips), pa.string()))
        made.write(f"errors/{name}", 0, ERRORS.empty_table(), ERRORS)
        made.write(f"features/{name}", 0, rows, features_schema(COLUMNS))
    return folder


@pytest.fixture
def store(made, tmp_path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "store"))


@pytest.fixture
def grow(store, media):
    """Plan a manifest of these lines into the store."""

    def grow(lines, **options) -> None:
        plan(manifest_of(media, lines), str(store), planner=FixedStride(2.0), **options)

    return grow


def rows(store, table, *columns):
    source = Store(str(store))
    found = [row for part in source.parts(table) for row in source.read(table, part).to_pylist()]
    return [tuple(Path(row[c]).name if c == "uri" else row.get(c) for c in columns) for row in found]


def test_what_another_run_planned_while_this_one_listed_is_not_planned_again(media, tmp_path, monkeypatch):
    store = str(tmp_path / "store")
    planning = importlib.import_module("vidray.pipeline.plan")
    listed = planning.list_corpus

    def slowly(*arguments, **options):
        monkeypatch.setattr(planning, "list_corpus", listed)
        plan(str(media), store)
        return listed(*arguments, **options)

    plan(str(media / "a.mp4"), store)
    monkeypatch.setattr(planning, "list_corpus", slowly)
    plan(str(media), store)
    assert sorted(rows(store, "videos", "uri")) == [("a.mp4",), ("b.mp4",), ("c.mp4",)]
    assert verify(store).is_whole


def test_a_column_that_is_text_stays_text(media, tmp_path):
    """Who runs again, as a remedy says, need not say again that a column of digits is text."""
    store, manifest = str(tmp_path / "store"), tmp_path / "codes.csv"
    manifest.write_text(f"uri,code,rank\n{media}/a.mp4,17,1\n")
    plan(str(manifest), store, text_columns=["code"])
    manifest.write_text(f"uri,code,rank\n{media}/a.mp4,17,1\n{media}/b.mp4,1.50,2\n")
    for options in ({}, {"refresh": True}):
        plan(str(manifest), store, **options)
        assert rows(store, "videos", "code", "rank") == [("17", 1), ("1.50", 2)]
    assert Store(store).metadata().names == ["code", "rank"]


def texts(store, table="features/first"):
    return {str(row) for row in rows(store, table, "clip_id", "embedding")}


def test_new_spans_become_clips_and_every_table_keeps_its_rows(store, grow, capsys):
    before = texts(store)
    grow(GROWN, progress=Progress())
    assert set(rows(store, "clips", "uri", "start_s", "end_s", "tag")) == CLIPS
    assert sorted(rows(store, "clips", "uri", "clip_index")) == [
        (name, index) for name, count in (("a.mp4", 3), ("b.mp4", 3), ("c.mp4", 2)) for index in range(count)
    ]
    said = capsys.readouterr().err
    assert "2 planned videos got 3 new clips by new spans of the manifest" in said
    assert "metadata of 5 rows of planned videos and clips is the manifest's now" not in said
    assert texts(store) == texts(store, "features/second") == before
    found = verify(str(store))
    assert (found.missing, found.duplicated, found.orphaned) == (6, 0, 0)
    assert Store(str(store)).staging.grown("first") == {1}


def test_no_block_holds_clips_that_are_there_and_new_ones(store, grow):
    known = {clip_id for (clip_id,) in rows(store, "clips", "clip_id")}
    grow(GROWN)
    blocks: dict[tuple, set[bool]] = {}
    for clip_id, part, block in rows(store, "clips", "clip_id", "part", "block"):
        blocks.setdefault((part, block), set()).add(clip_id in known)
    assert all(len(kinds) == 1 for kinds in blocks.values())


def test_a_folder_that_was_planned_takes_in_spans_and_metadata_of_a_manifest(media, tmp_path):
    plan(str(media), str(tmp_path / "store"), planner=FixedStride(2.0))
    plan(manifest_of(media, GROWN), str(tmp_path / "store"), planner=FixedStride(2.0), refresh=True)
    clips = set(rows(tmp_path / "store", "clips", "uri", "start_s", "end_s", "tag"))
    assert {("b.mp4", 2.0, 2.5, "new"), ("b.mp4", 0.0, 2.0, None), ("c.mp4", 0.0, 2.0, "zz")} <= clips
    assert len(clips) == 10


def test_a_refresh_says_what_it_took_in_with_counts_that_add_up(tmp_path, capsys):
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    for name in ("a.mp4", "b.mp4", "c.mp4"):
        write_video(corpus / name, SyntheticVideo(fps=10, frames=20))
    (corpus / "no.mp4").write_bytes(b"no video")

    def refresh(**options) -> str:
        plan(str(corpus), str(tmp_path / "store"), refresh=True, progress=Progress(), **options)
        return next(line for line in capsys.readouterr().err.splitlines() if line.startswith("refreshed"))

    assert refresh() == "refreshed: 4 videos listed = 0 as before + 4 new + 0 changed; 0 gone"
    write_video(corpus / "d.mp4", SyntheticVideo(fps=10, frames=20))
    write_video(corpus / "b.mp4", SyntheticVideo(fps=10, frames=30))
    (corpus / "a.mp4").unlink()
    assert refresh() == "refreshed: 4 videos listed = 2 as before + 1 new + 1 changed; 1 gone, rows kept"
    assert refresh(prune=True).endswith("; 1 gone, rows removed")
    assert refresh(limit=1) == "refreshed: 1 video listed = 1 as before + 0 new + 0 changed"


def test_a_refresh_says_which_files_of_a_manifest_are_not_there(tmp_path, capsys):
    for name in ("a.mp4", "b.mp4"):
        write_video(tmp_path / name, SyntheticVideo(fps=10, frames=20))
    (tmp_path / "m.txt").write_text("a.mp4\nb.mp4\nnever.mp4\n")
    said = []
    for _ in range(2):
        plan(str(tmp_path / "m.txt"), str(tmp_path / "store"), refresh=True, progress=Progress())
        said.append(next(line for line in capsys.readouterr().err.splitlines() if line.startswith("refreshed")))
        (tmp_path / "b.mp4").unlink(missing_ok=True)
    # a list of files says nothing of spans
    assert said == [
        "refreshed: 3 videos listed = 0 as before + 3 new + 0 changed; 0 gone",
        "refreshed: 3 videos listed = 3 as before (1 not to be seen now, rows kept) + 0 new + 0 changed; 0 gone",
    ]
    assert len(rows(tmp_path / "store", "clips", "uri")) == 2


def test_a_refresh_counts_spans_and_metadata(store, grow, capsys):
    grow([*GROWN, "b.mp4,3,4,newest,4"], refresh=True, progress=Progress())
    said = capsys.readouterr().err
    assert (
        "refreshed: 3 videos listed = 3 as before + 0 new + 0 changed; 0 gone; 4 new clips in 2 planned videos" in said
    )
    assert "got 4 new clips" not in said
    assert "1 span of the manifest went past the end of the video, and ends there" in said
    grow(GROWN, refresh=True, progress=Progress())
    assert "0 new clips in 0 planned videos by new spans; metadata of 0 rows changed" in capsys.readouterr().err


def test_metadata_that_changed_is_written_down_and_the_rest_kept(store, grow, capsys):
    grow(["c.mp4,,,later,7"], progress=Progress())
    assert ("c.mp4", "later", 7) in rows(store, "videos", "uri", "tag", "rank")
    tags = set(rows(store, "clips", "uri", "tag"))
    assert tags == {("a.mp4", "x"), ("b.mp4", "y"), ("c.mp4", "later")}
    assert "metadata of 3 rows of planned videos and clips is the manifest's now" in capsys.readouterr().err


def test_the_same_manifest_again_writes_nothing(store, grow):
    grow(GROWN)
    before = {path: path.stat().st_mtime_ns for path in sorted(store.rglob("part-*"))}
    grow(GROWN)
    assert {path: path.stat().st_mtime_ns for path in sorted(store.rglob("part-*"))} == before


def test_labels_move_with_their_clips(store, grow, tmp_path):
    clip_id = next(clip_id for clip_id, uri in rows(store, "clips", "clip_id", "uri") if uri == "a.mp4")
    (tmp_path / "labels.csv").write_text(f"clip_id,label\n{clip_id},dog\n")
    import_labels(str(store), str(tmp_path / "labels.csv"), name="mine")
    grow(GROWN)
    assert rows(store, "labels/mine", "clip_id", "label", "source") == [(clip_id, "dog", "human")]
    assert Store(str(store)).parts("labels/mine") == Store(str(store)).parts("video_labels/mine") == [0, 1]


class Killed(BaseException):
    pass


def kill_at(monkeypatch, step: int):
    """Every write, removal and mark counts as one step; the last one allowed is the step before."""
    count = iter(range(step))
    steps = {
        Store: ("write", "remove", "write_config", "write_made_from"),
        Staging: ("mark_grown", "begin_derived"),
        Intents: ("write_move", "clear"),
    }
    for owner, name in ((owner, name) for owner, names in steps.items() for name in names):
        whole = getattr(owner, name)

        def stepped(self, *arguments, whole=whole, **options):
            if next(count, None) is None:
                raise Killed
            return whole(self, *arguments, **options)

        monkeypatch.setattr(owner, name, stepped)


@pytest.mark.parametrize("step", range(1, 18))
def test_a_move_that_is_killed_is_undone_or_ended_by_the_next_run(store, grow, step):
    before = texts(store)
    with pytest.MonkeyPatch.context() as patch:
        kill_at(patch, step)
        with pytest.raises(Killed):
            grow(GROWN)
    # at no moment is there a row less
    assert before <= texts(store)
    grow(GROWN)
    assert texts(store) == texts(store, "features/second") == before
    found = verify(str(store))
    assert (found.missing, found.duplicated, found.orphaned) == (6, 0, 0)
    assert set(rows(store, "clips", "uri", "start_s", "end_s", "tag")) == CLIPS
    assert Store(str(store)).intents.moving() is None
    assert Store(str(store)).staging.grown("second") == {1}


def test_a_part_that_lacks_clips_lacks_them_still_when_a_video_of_it_is_retired(store, grow):
    grow(GROWN)
    grow([line for line in GROWN if "a.mp4" not in line], prune=True)
    assert verify(str(store)).missing == 4
    assert Store(str(store)).staging.grown("first") == {1}


@pytest.mark.slow
def test_only_new_clips_are_computed_and_failures_are_tried_again_only_when_asked(media, tmp_path):
    def run(lines, **options):
        manifest = manifest_of(media, lines)
        extractors = [MeanColour(), FailsOnDark(limit=255.0)]
        return extract(manifest, str(tmp_path / "store"), extractors=extractors, planner=FixedStride(2.0), **options)

    run(["a.mp4,0,1,,"])
    colours = rows(tmp_path / "store", "features/mean_colour", "clip_id", "embedding")
    summary = run(["a.mp4,0,1,,", "a.mp4,1,2,,"])
    assert (summary.done, summary.failed, summary.skipped) == (1, 1, 2)
    assert colours[0] in rows(tmp_path / "store", "features/mean_colour", "clip_id", "embedding")
    summary = run(["a.mp4,0,1,,", "a.mp4,1,2,,", "a.mp4,2,3,,"], retry_failed=True)
    assert (summary.done, summary.failed, summary.skipped) == (1, 3, 2)
    assert verify(str(tmp_path / "store")).is_whole

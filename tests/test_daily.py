"""What people ask of a store day by day: what there is, what failed, and that something goes."""

from __future__ import annotations

import io
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
from labeled_stores import TABLE, rows_of, write_store

import vidray
from vidray.cli import main
from vidray.corpus import Listing, list_corpus
from vidray.errors import ClusterError, StoreError, UsageError
from vidray.extractors import listed
from vidray.extractors.registry import resolve, slug, table_of
from vidray.extractors.spec import describe
from vidray.index.where import rows_where
from vidray.media import Clip, Video
from vidray.pipeline.cluster import Cluster
from vidray.pipeline.plan import settle_changes
from vidray.pipeline.progress import Progress
from vidray.pipeline.record import Summary
from vidray.store import ERRORS, IDENTITY, PROBE, PROBE_ERRORS, Store
from vidray.store.lease import Lease
from vidray.store.remedies import retry_command
from vidray.testing import SyntheticVideo, write_video


@pytest.fixture
def store(tmp_path) -> Store:
    """Two parts, three videos of four clips; clip 11 failed, and one video could not be read."""
    made = write_store(tmp_path / "store", np.eye(12, 6, dtype=np.float32) + 1, clips_a_video=4, parts=2)
    features = made.read(f"features/{TABLE}", 1)
    last = features.slice(len(features) - 1)
    failure = {"stage": "decode", "kind": "corrupt", "message": "no frame | at all"}
    row = {**last.select(IDENTITY.names).to_pylist()[0], **failure}
    for part in (0, 1):
        made.write(f"errors/{TABLE}", part, pa.Table.from_pylist([row] if part else [], ERRORS), ERRORS)
    made.write(f"features/{TABLE}", 1, features.slice(0, len(features) - 1), features.schema)
    broken = {"video_id": "vx", "uri": "/media/x.mp4", "stage": "probe", "kind": "not_media", "message": "no media"}
    for part in (0, 1):
        rows = pa.Table.from_pylist([broken] if part else [], PROBE_ERRORS)
        made.write(f"errors/{PROBE}", part, rows, PROBE_ERRORS)
    return made


def test_status_says_what_there_is_what_is_missing_and_who_writes(store, capsys):
    other = store.read(f"features/{TABLE}", 0)
    store.write_spec("other", {"name": "other"})
    store.write("features/other", 0, other, other.schema)
    store.write("errors/other", 0, ERRORS.empty_table(), ERRORS)
    with Lease(store.folder, say=print):
        found = vidray.status(store.url)
        assert main(["status", store.url]) == 0
    tables = {table.name: (table.done, table.failed, table.missing, table.index) for table in found.tables}
    assert tables == {TABLE: (11, 1, 0, "none"), "other": (len(other), 0, 12 - len(other), "none")}
    assert (found.clips, found.videos, found.videos_failed) == (12, 3, 1)
    assert "the store: process" in found.held_by[0]
    told = capsys.readouterr().out
    assert "3 videos (1 unreadable)" in told
    assert f"features/{TABLE}: 11 clips, 1 failed, written just now, no index" in told
    assert vidray.status(store.url).held_by == ()


def test_status_lists_heads(store, capsys):
    store.folder.write_bytes("heads/pets/card.json", b"{}")
    assert vidray.status(store.url).heads == ("pets",)
    assert main(["status", store.url]) == 0
    assert "\nheads/pets\n" in capsys.readouterr().out


def test_what_is_made_of_texts_names_what_gives_texts(tmp_path, capsys):
    (tmp_path / "a.mp4").write_bytes(b"")
    assert main(["extract", str(tmp_path), str(tmp_path / "store"), "-x", "sentiment"]) == 2
    told = capsys.readouterr().err
    assert "extract one first, such as -x moonshine or -x whisper or -x ocr" in told


def test_who_died_while_writing_is_not_said_to_write(store, capsys):
    held = Lease(store.folder, say=print)
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    content = {**json.loads(held._content()), "pid": gone.pid, "process_started": "1", "token": "another"}
    store.folder.write_bytes("_lease.json", json.dumps(content).encode())
    assert vidray.status(store.url).held_by == ()
    content["machine"] = "elsewhere"
    store.folder.write_bytes("_lease.json", json.dumps(content).encode())
    assert f"the store: process {gone.pid} on " in vidray.status(store.url).held_by[0]


def test_status_follows_the_index(store):
    vidray.build_index(store.url, extractor=TABLE)
    assert vidray.status(store.url).tables[0].index == "current"
    rows = store.read(f"features/{TABLE}", 0)
    store.write(f"features/{TABLE}", 0, rows.slice(1), rows.schema)
    assert vidray.status(store.url).tables[0].index == "behind"


def test_status_says_in_words_how_an_index_stands(store, capsys):
    def told() -> str:
        assert main(["status", store.url]) == 0
        return next(line for line in capsys.readouterr().out.splitlines() if line.startswith(f"features/{TABLE}: "))

    assert told().endswith(", written just now, no index")
    vidray.build_index(store.url, extractor=TABLE)
    assert told().endswith(", written just now, indexed")
    (lists,) = (Path(store.url) / "index" / TABLE).rglob("lists.bin")
    lists.write_bytes(b"damaged")
    assert f"; run vidray index {store.url} -x {TABLE} --rebuild" in told()


def test_a_filter_by_labels_says_where_labels_come_from(store, capsys):
    vidray.build_index(store.url, extractor=TABLE)
    search = ["search", store.url, "--clip", "clip00001", "--where", "label = 'dog'"]
    assert main(search) == 2
    error = capsys.readouterr().err
    assert 'column "label" not found (there are no labels yet: vidray label or vidray import)' in error
    assert error.count("\n") == 1


def test_errors_are_told_by_kind_with_the_command_that_tries_again(store, capsys):
    videos = store.read("videos", 0)
    corpora = pa.array(["/media"] * len(videos), pa.string())
    videos = videos.set_column(videos.column_names.index("corpus"), "corpus", corpora)
    store.write("videos", 0, videos, videos.schema)
    assert main(["errors", store.url]) == 0
    out, err = capsys.readouterr()
    assert out.splitlines() == [
        "videos: 1 video: probe not_media, as /media/x.mp4: no media",
        f"{TABLE}: 1 clip: decode corrupt, as /media/2.mp4 at 30-40 s: no frame | at all",
    ]
    assert f"try again: vidray extract /media {store.url} -x {TABLE} --retry-failed" in err
    assert main(["errors", store.url, "--to", "csv"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "table,stage,kind,uri,start_s,end_s,message",
        ",probe,not_media,/media/x.mp4,,,no media",
        f"{TABLE},decode,corrupt,/media/2.mp4,30.0,40.0,no frame | at all",
    ]


def test_where_a_video_cannot_be_read_all_tables_are_named(store, capsys):
    videos = store.read("videos", 0)
    corpora = pa.array(["/media"] * len(videos), pa.string())
    store.write("videos", 0, videos.set_column(videos.column_names.index("corpus"), "corpus", corpora), videos.schema)
    store.write_spec("quality", describe(resolve("quality")))
    errors = store.read(f"errors/{TABLE}", 0)
    assert main(["errors", store.url]) == 0
    named = f"vidray extract /media {store.url} -x {TABLE} -x quality --retry-failed"
    assert f"try again: {named}" in capsys.readouterr().err
    store.write(f"errors/{TABLE}", 0, errors.slice(0, 0), errors.schema)
    assert main(["errors", store.url]) == 0
    assert f"try again: {named}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("typed", "table"),
    [
        ("quality", "quality"),
        ("thumbnails", "small"),
        ("quality?fps=0.5&frames=denoise,noise:sigma=0.1", "it"),
        ("sentiment?of=what-they-say", "sentiment"),
    ],
)
def test_what_tries_again_is_what_made_the_table_as_a_shell_takes_it(tmp_path, typed, table):
    made = write_store(tmp_path / "a store", np.eye(4, 6, dtype=np.float32))
    videos = made.read("videos", 0)
    corpora = pa.array(["/media/it's $(mine)"] * len(videos), pa.string())
    videos = videos.set_column(videos.column_names.index("corpus"), "corpus", corpora)
    made.write("videos", 0, videos, videos.schema)
    wanted = describe(resolve(typed))
    made.write_spec(table, wanted)
    command = retry_command(made.url, [table])
    assert command is not None
    *head, named, again = shlex.split(command)
    assert head == ["vidray", "extract", "/media/it's $(mine)", made.url, "-x"]
    assert describe(resolve(named)) == wanted
    assert (table_of(named) or slug(resolve(named).name)) == table
    assert again == "--retry-failed"


def test_what_a_store_names_is_not_imported_to_say_how_it_is_tried_again(store):
    videos = store.read("videos", 0)
    corpora = pa.array(["/media"] * len(videos), pa.string())
    videos = videos.set_column(videos.column_names.index("corpus"), "corpus", corpora)
    store.write("videos", 0, videos, videos.schema)
    store.write_spec(
        "theirs", {"name": "mine", "extractor": "no_such_module:Mine", "settings": {"size": 3, "of": None}}
    )
    command = retry_command(store.url, ["theirs"])
    assert command is not None
    assert shlex.split(command)[5] == "no_such_module:Mine?size=3&of=none&name=theirs"


def test_warnings_are_among_the_errors_and_counted_by_verify(store, capsys):
    rows = store.read(f"features/{TABLE}", 0)
    warned = pa.array(["half of it"] + [None] * (len(rows) - 1), pa.string())
    rows = rows.set_column(rows.column_names.index("decode_warning"), "decode_warning", warned)
    store.write(f"features/{TABLE}", 0, rows, rows.schema)
    found = [failure for failure in vidray.failures(store.url) if failure.stage == "warning"]
    assert [(failure.uri, failure.message) for failure in found] == [("/media/0.mp4", "half of it")]
    main(["verify", store.url])
    assert "1 video cannot be read, 1 clip with a decode warning: vidray errors" in capsys.readouterr().err


def test_drop_removes_a_table_with_all_that_is_its_own(store, capsys):
    vidray.build_index(store.url, extractor=TABLE)
    assert main(["drop", store.url, TABLE]) == 2
    assert "nobody is there to be asked: say --yes" in capsys.readouterr().err
    assert store.tables("features") == [TABLE]
    assert main(["drop", store.url, TABLE, "--yes"]) == 0
    told = capsys.readouterr()
    assert f"removes features/{TABLE}, errors/{TABLE}, index/{TABLE}" in told.err
    assert [store.tables(kind) for kind in ("features", "errors", "index", "_staging")] == [[], [], [], []]
    (record,) = (Path(store.url) / "runs").iterdir()
    assert json.loads(record.read_text())["dropped"] == f"features/{TABLE}"
    with pytest.raises(UsageError, match=f"no table '{TABLE}'; there are none"):
        vidray.drop(store.url, TABLE)


def test_drop_of_labels_leaves_the_features(store, tmp_path):
    (tmp_path / "l.csv").write_text("clip_id,label\nclip00001,dog\n")
    vidray.import_labels(store.url, str(tmp_path / "l.csv"), name="mine")
    vidray.drop(store.url, "labels/mine")
    assert (store.tables("labels"), store.tables("video_labels"), store.tables("features")) == ([], [], [TABLE])


def test_drop_waits_for_no_run(store):
    with Lease(store.folder, say=print), pytest.raises(StoreError, match="is being written by process"):
        vidray.drop(store.url, TABLE)
    assert store.tables("features") == [TABLE]


def listing_of(*videos: int) -> Listing:
    kept = [Video(video_id=f"v{v}", uri=f"/media/{v}.mp4", size_bytes=1, fingerprint="unseen") for v in videos]
    return Listing(corpus="/media", is_whole=True, videos=tuple(kept))


def with_corpus(store: Store) -> None:
    for part in store.parts("videos"):
        rows = store.read("videos", part)
        for name, value in (("corpus", "/media"), ("status", "ok"), ("fingerprint", "unseen")):
            column = pa.array([value] * len(rows), pa.string())
            rows = rows.set_column(rows.column_names.index(name), name, column)
        store.write("videos", part, rows, rows.schema)


def test_what_is_pruned_is_said_written_down_and_never_found(store, capsys):
    with_corpus(store)
    vidray.build_index(store.url, extractor=TABLE)
    query = rows_of(store, f"features/{TABLE}", "clip_id", "uri")
    kept = next(clip_id for clip_id, uri in query if uri == "/media/0.mp4")
    assert len(vidray.search(store.url, clip=kept, k=20).hits) == 10
    labels = Path(store.url).parent / "labels.csv"
    labels.write_text("uri,start_s,end_s,label\n/media/1.mp4,0,10,dog\n/media/2.mp4,0,10,dog\n")
    vidray.import_labels(store.url, labels, name="mine")
    settle_changes(store, listing_of(0, 2), Progress(), prune=True)
    said = capsys.readouterr().err
    assert "of 1 video, 1 label that people gave is removed with the rows\n" in said
    assert "removed all rows of 1 video: /media/1.mp4" in said
    assert f"vidray index {store.url} -x {TABLE}" in said.replace("\n", " ")
    found = vidray.search(store.url, clip=kept, k=20).hits
    assert {hit.uri for hit in found} == {"/media/0.mp4", "/media/2.mp4"}
    records = [json.loads(path.read_text()) for path in (Path(store.url) / "runs").iterdir()]
    assert [record["uris"] for record in records if "pruned" in record] == [["/media/1.mp4"]]
    main(["verify", store.url])
    assert f"index/{TABLE}: lags behind its table" in capsys.readouterr().err
    settle_changes(store, listing_of(), Progress(quiet=True), prune=True)
    with pytest.raises(UsageError, match="has no clips any more"):
        vidray.search(store.url, clip=kept)


def test_a_table_in_which_every_clip_failed_is_status_1(store, capsys):
    from vidray.cli.failures import say_nothing_done

    assert say_nothing_done(store.url, [TABLE]) == 0
    for part in store.parts("clips"):
        identity = store.read("clips", part, IDENTITY.names).to_pylist()
        rows = [{**row, "stage": "extract", "kind": "extractor", "message": "too dark"} for row in identity]
        store.write(f"errors/{TABLE}", part, pa.Table.from_pylist(rows, ERRORS), ERRORS)
        features = store.read(f"features/{TABLE}", part)
        store.write(f"features/{TABLE}", part, features.slice(0, 0), features.schema)
    assert say_nothing_done(store.url, [TABLE]) == 1
    assert f"nothing could be done for {TABLE}: all of its 12 clips failed: too dark" in capsys.readouterr().err


def test_a_corpus_of_which_nothing_can_be_read_is_status_1(tmp_path, capsys):
    (tmp_path / "corpus").mkdir()
    for name in ("a.mp4", "b.mp4"):
        (tmp_path / "corpus" / name).write_bytes(b"no video")
    assert main(["plan", str(tmp_path / "corpus"), str(tmp_path / "store")]) == 1
    assert "nothing could be done: none of 2 videos can be read" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments", [["verify"], ["status"], ["errors"], ["search", "--clip", "x"], ["search", "--text", "x"],
                  ["index", "-x", "net"], ["drop", "net"], ["label", "classes"], ["move", "/a", "/b"],
                  ["duplicates"], ["report", "-o", "out"], ["browse"], ["export", "frames", "-o", "out"]],
)  # fmt: skip
@pytest.mark.parametrize(
    ("name", "what"),
    [("nowhere", "no vidray store there (no vidray.json)"), ("file", "a file, and a store is a folder")],
)
def test_a_wrong_store_is_told_alike_by_every_command(tmp_path, capsys, arguments, name, what):
    command, *options = arguments
    (tmp_path / "file").write_bytes(b"")
    assert main([command, str(tmp_path / name), *options]) == 2
    assert capsys.readouterr().err == f"vidray: {tmp_path / name}: {what}\n"


def test_a_store_that_is_a_file_is_told(tmp_path, capsys):
    (tmp_path / "video.mp4").write_bytes(b"")
    assert main(["plan", str(tmp_path), str(tmp_path / "video.mp4")]) == 2
    assert "video.mp4: a file, and a store is a folder" in capsys.readouterr().err


def test_a_store_in_the_corpus_is_left_out_and_told(tmp_path):
    write_store(tmp_path / "store", np.ones((2, 2), np.float32))
    for place in ("a.mp4", "store/features/b.mp4"):
        (tmp_path / place).write_bytes(b"x")
    listing = list_corpus(str(tmp_path))
    assert [Path(video.uri).name for video in listing.videos] == ["a.mp4"]
    assert listing.warnings == (f"{tmp_path}/store: a vidray store in the corpus, which is left out",)


def test_models_are_filtered_by_words(capsys):
    assert main(["models", "audio", "--json"]) == 0
    names = [model["name"] for model in json.loads(capsys.readouterr().out)]
    assert "yamnet" in names
    assert "efficientnet_lite0" not in names
    assert main(["models", "nosuchmodel"]) == 1
    assert "no extractor has nosuchmodel" in capsys.readouterr().err


def test_a_search_without_hits_says_so_and_whether_the_filter_did_it(store, capsys):
    vidray.build_index(store.url, extractor=TABLE)
    capsys.readouterr()
    assert main(["search", store.url, "--clip", "clip00001", "--where", "start_s > 1000"]) == 0
    out, err = capsys.readouterr()
    assert out == ""
    assert "no clip found: the filter (--where) keeps none of them" in err


def test_a_small_dry_run_starts_no_ray(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("vidray.pipeline.cluster.Cluster.connect", lambda self: pytest.fail("Ray was started"))
    (tmp_path / "a.mp4").write_bytes(b"no video")
    assert main(["plan", str(tmp_path), "store", "--dry-run"]) == 0
    assert "unreadable    1" in capsys.readouterr().out


def test_one_of_a_kind_is_told_in_the_singular():
    said = io.StringIO()
    progress = Progress(said)
    progress.phase("probing", 1)
    progress.phase("extracting", 1_200, "clip x extractor", "clips x extractors")
    assert said.getvalue().splitlines() == ["probing 1 video", "extracting 1,200 clips x extractors"]


def test_a_clip_that_warns_in_several_tables_is_one_clip(store, capsys):
    rows = store.read(f"features/{TABLE}", 0)
    warned = pa.array(["half of it"] + [None] * (len(rows) - 1), pa.string())
    rows = rows.set_column(rows.column_names.index("decode_warning"), "decode_warning", warned)
    store.write_spec("other", {"name": "other"})
    for table in (TABLE, "other"):
        store.write(f"features/{table}", 0, rows, rows.schema)
    main(["verify", store.url])
    assert ", 1 clip with a decode warning: vidray errors" in capsys.readouterr().err


def test_what_cannot_be_read_is_tried_again_for_every_table(store):
    videos = store.read("videos", 0)
    corpora = pa.array(["/media"] * len(videos), pa.string())
    store.write("videos", 0, videos.set_column(videos.column_names.index("corpus"), "corpus", corpora), videos.schema)
    command = retry_command(store.url, [])
    assert command is not None
    assert f"-x {TABLE} --retry-failed" in command


def test_models_are_listed_without_the_libraries_that_have_them():
    code = (
        "import sys; from vidray.cli import main; assert main(['models', 'resnet50']) == 0; "
        "print([name for name in ('torch', 'torchvision', 'torchaudio') if name in sys.modules])"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "torchvision/resnet50 " in told
    assert told.splitlines()[-1] == "[]"


def test_of_other_versions_than_were_listed_the_library_is_asked(monkeypatch):
    assert listed.listed("vision.torchvision") is not None
    monkeypatch.setattr(listed, "version", lambda library: "99.0")
    assert listed.listed("vision.torchvision") is None


def test_why_ray_did_not_start_is_one_line_with_a_remedy(monkeypatch, capfd):
    def init(**options):
        os.write(2, b"Failed to start the dashboard\n")
        raise RuntimeError("The current node timed out during startup.")

    monkeypatch.setattr("ray.init", init)
    monkeypatch.setattr("ray.is_initialized", lambda: False)
    for address, remedy in ((None, "run again when the machine is less busy"), ("10.0.0.0:6379", "see that it runs")):
        with pytest.raises(ClusterError, match=f"timed out during startup.; {remedy}"):
            Cluster(address).connect()
    assert capfd.readouterr().err == ""


def test_an_index_says_in_words_what_it_left_out(tmp_path, capsys):
    from vidray.cli.index import LEFT_OUT
    from vidray.index.embeddings import REASONS

    assert LEFT_OUT.keys() == set(REASONS)
    vectors = np.eye(4, 6, dtype=np.float32)
    vectors[1], vectors[2] = np.nan, 0
    made = write_store(tmp_path / "store", vectors)
    assert main(["index", made.url, "-x", TABLE]) == 0
    told = capsys.readouterr().out
    assert "left out 2 clips: 1 without an embedding, as of no frames or no sound, 1 of zeros alone" in told
    assert "a search looks into 1 of 1 list" in told


def test_a_summary_that_stops_after_ten_says_how_to_see_the_rest(store, capsys):
    from vidray.cli.failures import say_failures

    for part in store.parts("clips"):
        identity = store.read("clips", part, IDENTITY.names).to_pylist()
        rows = [{**row, "stage": "extract", "kind": "extractor", "message": "too dark"} for row in identity]
        store.write(f"errors/{TABLE}", part, pa.Table.from_pylist(rows, ERRORS), ERRORS)
    say_failures(store.url, [TABLE])
    *named, more = capsys.readouterr().err.splitlines()
    assert named[:2] == [
        "  cannot use /media/x.mp4: no media",
        f"  cannot use /media/0.mp4 at 0 s ({TABLE}): too dark",
    ]
    assert len(named) == 10
    assert more == f"  and 3 more; all of them, by kind: vidray errors {store.url}"


@pytest.mark.parametrize(
    ("counts", "extractors", "told"),
    [
        (
            (1, 0, 1, 1, 1, 0, 0),
            1,
            "1 video (0 unreadable), 1 clip: 1 done, 0 failed, 0 skipped as done before; 2.0 s, ",
        ),
        (
            (3, 1, 113, 226, 200, 6, 20),
            2,
            "3 videos (1 unreadable), 113 clips x 2 extractors = 226: 200 done, 6 failed, 20 skipped as done before; ",
        ),
        (
            (3, 1, 9, 9, 0, 0, 9),
            1,
            "3 videos (1 unreadable), 9 clips: 0 done, 0 failed, 9 skipped as done before; 2.0 s",
        ),
    ],
)
def test_a_summary_has_counts_that_add_up(capsys, counts, extractors, told):
    from vidray.cli.extract import _say_summary

    names = ("videos", "videos_failed", "clips", "planned", "done", "failed", "skipped")
    summary = Summary(**dict(zip(names, counts, strict=True)), video_s=10.0, wall_s=2.0, startup_s=1.0, x_realtime=5.0)
    assert summary.planned == summary.done + summary.failed + summary.skipped == summary.clips * extractors
    _say_summary(summary, "store", extractors)
    said = capsys.readouterr().err
    assert said.startswith(told)
    assert said.endswith("; tables in store\n")


def test_a_manifests_dates_filter_as_dates_and_its_long_spans_are_cut_and_told(tmp_path, capsys):
    for name in ("old.mp4", "new.mp4"):
        write_video(tmp_path / name, SyntheticVideo(fps=10, frames=20))
    lines = ["uri,start_s,end_s,recorded", "old.mp4,0,1,2024-01-01", "new.mp4,1,99,2024-07-01"]
    (tmp_path / "m.csv").write_text("\n".join([*lines, ""]))
    assert main(["plan", str(tmp_path / "m.csv"), str(tmp_path / "store")]) == 0
    assert "1 span of the manifest went past the end of the video, and ends there" in capsys.readouterr().err
    made = Store(str(tmp_path / "store"))
    clips = made.read("clips", 0, IDENTITY.names)
    found = rows_where("recorded >= '2024-06-01'", clips, made.folder_of("features/none"))
    # of a video with spans only these are told apart
    assert rows_where("videos.recorded IS NULL", clips, made.folder_of("features/none")).tolist() == [0, 1]
    (kept,) = clips.take(found).to_pylist()
    assert (Path(kept["uri"]).name, kept["start_s"], kept["end_s"]) == ("new.mp4", 1.0, 2.0)


def test_an_embedding_that_is_no_number_is_a_failure():
    from vidray.pipeline.rows import _without_nan

    clips = [Clip(clip_id=f"c{n}", video_id="v", uri="/v.mp4", clip_index=n, start_s=n, end_s=n + 1) for n in range(3)]
    embedding = pa.array([[1.0, 2.0], [1.0, float("nan")], [float("inf"), 0.0]], pa.list_(pa.float32(), 2))
    inputs = SimpleNamespace(clips=clips)
    arrays, failures = _without_nan(inputs, {"embedding": embedding}, [None] * 3)
    assert [str(one) if one else None for one in failures] == [None, *["/v.mp4: its embedding is not finite"] * 2]
    assert arrays["embedding"].to_pylist() == [[1.0, 2.0], None, None]


def test_two_extractors_of_one_name_are_told_what_the_command_line_takes(tmp_path, capsys):
    twice = ["extract", str(tmp_path), str(tmp_path / "store"), "-x", "quality", "-x", "quality"]
    assert main(twice) == 2
    error = capsys.readouterr().err
    assert "give one a name of its own, as in -x 'quality?name=NAME'" in error
    assert "--as" not in error

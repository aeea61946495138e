"""A report is what the store says: every clip and value, joined by clip; what it is written to is not trampled on."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest
from report_stores import HOSTILE, LABELS, clip_id, labels_of, storyboard, values_of, write_report_store

import vidray
from vidray.errors import UsageError
from vidray.index.filter_tables import filter_tables, listed
from vidray.index.where import matching_rows
from vidray.report.clips import read_clips, spread
from vidray.report.details import plain, tidied
from vidray.report.naming import Names
from vidray.report.shards import script
from vidray.storage import Folder
from vidray.store import Store

DTYPES = {"f32": "<f4", "f64": "<f8", "i32": "<i4", "u8": "u1", "u16": "<u2", "u32": "<u4"}


def unpacked(held: dict) -> np.ndarray:
    return np.frombuffer(base64.b64decode(held["data"]), DTYPES[held["type"]])


def data(folder, name: str):
    return json.loads(values_of((folder / f"data/{name}.js").read_bytes()))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    store = write_report_store(folder / "store")
    vidray.build_index(store.url, extractor="classes")
    summary = vidray.write_report(store.url, folder / "report")
    return store, folder / "report", summary


def test_every_clip_is_there_with_its_values(made):
    _, report, summary = made
    assert (summary.clips, summary.clips_total) == (40, 40)
    core, videos = data(report, "clips/0"), data(report, "videos")
    raw = base64.b64decode(core["ids"])
    assert [raw[at * 16 : at * 16 + 16].hex() for at in range(40)] == [clip_id(number) for number in range(40)]
    folder, name = videos["names"][unpacked(core["videos"])[5]]
    assert videos["folders"][folder] + name == f"/media/{HOSTILE}"
    assert (unpacked(core["starts"])[7], unpacked(core["ends"])[7], unpacked(core["tiles"])[7]) == (30.0, 40.0, 5)
    columns = data(report, "manifest")["columns"]
    (bright,) = [number for number, column in enumerate(columns) if column["name"] == "brightness"]
    values = unpacked(data(report, f"columns/{bright}"))
    assert values.dtype == np.float32
    assert np.isnan(values[3])
    assert np.array_equal(np.delete(values, 3), np.delete(np.arange(40) / 100, 3).astype(np.float32))
    kinds = [(column["kind"], column["name"]) for column in columns]
    given = kinds.index(("labels", "labels"))
    held, names = data(report, f"columns/{given}"), data(report, f"names/{given}")
    for number in range(40):
        mine = unpacked(held["clips"]) == number
        assert sorted(names[code] for code in unpacked(held["codes"])[mine]) == sorted(labels_of(number))
    assert data(report, "details/0")[6]["features/speech"]["text"] == "Hello <i>world</i> number 6"
    boards = json.loads(values_of((report / "images/s/4.js").read_bytes()))
    assert [base64.b64decode(board) for board in boards] == [storyboard()] * 8
    posters = json.loads(values_of((report / "images/p/1.js").read_bytes()))
    assert [poster is None for poster in posters] == [False] * 16 + [True] * 8


def test_neighbours_are_those_of_the_index(made):
    _, report, _ = made
    nearest = unpacked(data(report, "neighbours/0-0")).reshape(40, -1)
    assert sorted(nearest[10][:4].tolist()) == [8, 9, 11, 12]
    assert 10 not in nearest[10]


def test_what_failed_is_told_with_the_command_that_tries_again(made):
    store, report, _ = made
    (failed,) = data(report, "manifest")["troubles"]["failed"]
    assert (failed["table"], failed["kind"], failed["count"]) == ("quality", "corrupt", 1)
    assert (
        data(report, "manifest")["troubles"]["again"] == f"vidray extract /media {store.url} -x quality --retry-failed"
    )


def test_a_column_is_named_as_a_filter_understands_it(made):
    store, report, _ = made
    folder = store.folder_of("features/quality")
    ids = store.read("clips", 0, ["clip_id", "video_id", "uri", "start_s", "end_s"])
    tables = filter_tables(folder, listed(folder))
    for column in data(report, "manifest")["columns"]:
        assert column["where"] is not None
        rows = matching_rows(f"{column['where']} IS NOT NULL", ids, tables)
        assert len(rows) or column["name"] == "audio_codec"
    assert Names(store).of("features/speech", "text") == "text"
    assert Names(store).of("features/thumbnails", "columns") == '"columns"'


def test_texts_are_data_wherever_they_stand():
    hostile = {"__proto__": "';alert(1)//", "x": "\\'</script>\u2028\n\\u0027"}
    text = script("na'me", hostile)
    assert text.count(b"\n") == 1
    assert text.isascii()
    assert json.loads(values_of(text)) == hostile
    assert b"';alert" not in text.replace(b"\\'", b"")


def test_a_sample_is_spread_over_the_plan(tmp_path):
    assert spread(5, 10).tolist() == [0, 1, 2, 3, 4]
    assert spread(0, 10).tolist() == []
    assert np.ptp(np.bincount(spread(1000, 250) // 100)) == 0
    store = write_report_store(tmp_path / "store", with_thumbnails=False)
    clips = read_clips(store, most=10)
    assert len(clips) == 10
    assert np.unique(clips.table["video_id"].to_pylist()).size == 10
    summary = vidray.write_report(store.url, tmp_path / "report", most=10)
    assert (summary.clips, summary.clips_total, summary.image_bytes) == (10, 40, 0)


def test_details_are_what_the_tables_have_in_short_decimals():
    label = pa.struct([("label", pa.string()), ("score", pa.float32())])
    listed = [[{"label": "a", "score": 0.3}, None], None, [], [{"label": None, "score": float("nan")}]]
    assert tidied(pa.array(listed, pa.list_(label))).to_pylist() == [
        [{"label": "a", "score": 0.3}, None], None, [], [{"label": None, "score": None}],
    ]  # fmt: skip
    numbers = [0.1, -12.345678, 1e30, 1e-30, 0.0, 16777216.0, None, float("inf")]
    found = tidied(pa.array(numbers, pa.float32())).to_pylist()
    assert found[:2] == [0.1, -12.34568]
    assert np.array_equal(np.array(found[:6], np.float32)[2:], np.array(numbers[2:6], np.float32))
    assert found[6:] == [None, None]
    assert tidied(pa.array([1 / 3])).to_pylist() == [1 / 3]
    assert plain([1] * 401) == {"first": [1] * 400, "of": 401}


def test_only_a_report_is_replaced(tmp_path):
    store = write_report_store(tmp_path / "store", with_thumbnails=False)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.tex").write_text("years of work")
    with pytest.raises(UsageError, match=r"holds other files \(thesis\.tex\)"):
        vidray.write_report(store.url, tmp_path / "mine")
    vidray.write_report(store.url, tmp_path / "report")
    (tmp_path / "report/data/columns/999.js").write_text("of another store")
    vidray.write_report(store.url, tmp_path / "report")
    assert not (tmp_path / "report/data/columns/999.js").exists()
    with pytest.raises(UsageError, match="no vidray store there"):
        vidray.write_report(tmp_path / "nothing", tmp_path / "other")


def test_a_store_without_clips_has_a_page_too(tmp_path):
    Store(tmp_path / "store").write_config({"planner": "fixed_stride"})
    summary = vidray.write_report(tmp_path / "store", tmp_path / "report")
    assert summary.clips == 0
    assert (tmp_path / "report/index.html").exists()


def test_it_goes_to_a_bucket(s3_bucket, tmp_path):
    store = write_report_store(tmp_path / "store", 8)
    summary = vidray.write_report(store.url, f"{s3_bucket}/report")
    there = Folder(f"{s3_bucket}/report").sizes()
    assert {"index.html", "page/main.js", "data/manifest.js", "images/p/0.js"} <= there.keys()
    assert sum(size for name, size in there.items() if name.startswith("images/")) == summary.image_bytes
    import boto3

    told = boto3.client("s3").head_object(Bucket=s3_bucket.removeprefix("s3://"), Key="report/index.html")
    assert told["ContentType"] == "text/html; charset=utf-8"


def test_the_command_says_where_the_page_is(tmp_path, repository):
    write_report_store(tmp_path / "store", 8)
    command = [sys.executable, "-m", "vidray.cli", "report", "store", "-o", "out"]
    environ = {**os.environ, "PYTHONPATH": str(repository)}
    done = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True, check=True)
    assert done.stdout == f"8 clips in {tmp_path}/out/index.html\n"
    assert LABELS[0] in (tmp_path / "out/data/manifest.js").read_text()


def test_parts_with_columns_of_their_own_are_one_table(tmp_path):
    store = write_report_store(tmp_path / "store", with_thumbnails=False)
    for table, part, column in (("videos", 0, "camera"), ("features/quality", 1, "extra")):
        rows = store.read(table, part)
        rows = rows.append_column(column, pa.array([f"of {column}"] * len(rows)))
        store.write(table, part, rows, rows.schema)
    vidray.write_report(store.url, tmp_path / "report")
    details = data(tmp_path / "report", "details/0")
    assert [clip["videos"].get("camera") for clip in details] == ["of camera"] * 20 + [None] * 20
    assert [clip.get("features/quality", {}).get("extra") for clip in details] == [None] * 20 + ["of extra"] * 20


def test_vectors_and_bytes_are_not_told_wherever_they_stand(tmp_path):
    store = write_report_store(tmp_path / "store", 8, with_thumbnails=False)
    voice = pa.struct([("start_s", pa.float64()), ("embedding", pa.list_(pa.float32(), 2))])
    columns = {
        "voices": (pa.list_(voice), [{"start_s": 1.5, "embedding": [0.25, 0.5]}]),
        "lumas": (pa.list_(pa.binary(4)), [b"abcd"]),
        "only": (pa.struct([("embedding", pa.list_(pa.float32(), 2))]), {"embedding": [0.25, 0.5]}),
    }
    for part in store.parts("features/speech"):
        rows = store.read("features/speech", part)
        for name, (kind, value) in columns.items():
            rows = rows.append_column(name, pa.array([value] * len(rows), kind))
        store.write("features/speech", part, rows, rows.schema)
    vidray.write_report(store.url, tmp_path / "report")
    told = data(tmp_path / "report", "details/0")[0]["features/speech"]
    assert told["voices"] == [{"start_s": 1.5}]
    assert not {"lumas", "only"} & told.keys()


def test_a_report_that_was_interrupted_is_written_again(tmp_path, monkeypatch):
    store = write_report_store(tmp_path / "store", 8, with_thumbnails=False)
    for _ in range(2):
        with monkeypatch.context() as patched:
            patched.setattr("vidray.report.site.write_neighbours", interrupted)
            with pytest.raises(KeyboardInterrupt):
                vidray.write_report(store.url, tmp_path / "report")
        vidray.write_report(store.url, tmp_path / "report")
        assert (tmp_path / "report/index.html").exists()


def interrupted(*arguments: object) -> None:
    raise KeyboardInterrupt

"""Remedies are commands that can be pasted: the store's own place, quoted for a shell, and what made things."""

from __future__ import annotations

import ast
import json
import re
import shlex
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from class_tables import write_class_store
from labeled_stores import TABLE, write_store

import vidray
from vidray.cli import build_parser, main
from vidray.cli.extract import run_extract
from vidray.pipeline.record import Summary
from vidray.retrieval.verification import verify
from vidray.store import CLIPS, VIDEOS, Store
from vidray.store.remedies import (
    corpora_of,
    extract_command,
    label_command,
    plan_command,
    retry_command,
    train_command,
)

PACKAGE = Path(vidray.__file__).parent
CORPORA = ("/media/it's mine", "/media/other")


@pytest.fixture
def store(tmp_path) -> Store:
    """Two parts of three clips each, of a corpus each, in a folder whose name needs quotes."""
    made = write_store(tmp_path / "my store", np.eye(6, 8, dtype=np.float32) + 1, parts=2)
    for part, corpus in enumerate(CORPORA):
        videos = made.read("videos", part)
        column = pa.array([corpus] * len(videos), pa.string())
        made.write(
            "videos", part, videos.set_column(videos.column_names.index("corpus"), "corpus", column), videos.schema
        )
    return made


def parsed(command: str) -> Namespace:
    """What vidray's own parser makes of a command that a shell has taken apart."""
    program, *words = shlex.split(command)
    assert program == "vidray"
    return build_parser().parse_args(words)


def messages() -> Iterator[tuple[str, str]]:
    """Every text of the package that is no docstring, with its file."""
    for path in PACKAGE.rglob("*.py"):
        tree = ast.parse(path.read_text())
        told = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant | ast.JoinedStr) and id(node) not in told:
                yield str(path.relative_to(PACKAGE)), ast.unparse(node)


def test_no_message_has_a_placeholder_for_the_store():
    wrong = {(path, text) for path, text in messages() if re.search(r"\bvidray \w+ (CORPUS )?STORE\b", text)}
    # of no store in particular
    assert {path for path, _ in wrong} == {"steps/improved.py"}


def test_a_command_that_fills_is_of_the_stores_corpus(store):
    asked = parsed(extract_command(store, [TABLE]))
    assert (asked.corpus, asked.store, asked.extractor) == (CORPORA[0], store.url, [TABLE])
    assert [(one.corpus, one.store) for one in map(parsed, plan_command(store).split(" && "))] == [
        (corpus, store.url) for corpus in CORPORA
    ]
    store.folder.write_bytes("videos/part-00000.parquet", b"damaged")
    assert parsed(extract_command(Store(store.url), [TABLE])).corpus == CORPORA[1]


def test_a_store_that_knows_no_corpus_says_where_one_belongs(tmp_path):
    made = write_store(tmp_path / "store", np.eye(2, 8, dtype=np.float32))
    assert extract_command(made, [TABLE]) == f"vidray extract CORPUS {made.url} -x {TABLE}"


def test_what_runs_extracted_is_the_corpus_of_a_store_that_has_lost_its_videos(store):
    for part, corpus in enumerate(CORPORA):
        store.remove("clips", part)
        store.folder.write_bytes(f"runs/2026-{part}.json", json.dumps({"corpus": corpus}).encode())
    store.folder.write_bytes("runs/2026-2.json", b"{")
    store.folder.write_bytes("runs/2026-3.json", b'{"corpus": 3}')
    # clips alone are gone: the videos say it
    assert corpora_of(store) == list(CORPORA)
    for part, _ in enumerate(CORPORA):
        store.remove("videos", part)
    assert corpora_of(store) == list(CORPORA)
    assert corpora_of(store, unreadable=True) == []


def test_an_index_that_is_not_there_has_one_remedy(store):
    vidray.build_index(store.url, extractor=TABLE)
    store.folder.remove(f"index/{TABLE}/CURRENT")
    (note,) = [note for note in verify(store.url).notes if note.startswith("index/")]
    assert note.endswith(f"no index here; run vidray index '{store.url}' -x {TABLE} --rebuild")


def test_what_verify_says_can_be_pasted(store):
    vidray.build_index(store.url, extractor=TABLE)
    rows = store.read(f"features/{TABLE}", 0)
    store.write(f"features/{TABLE}", 0, rows.slice(1), rows.schema)
    store.write("clips", 1, store.read("clips", 1).slice(0, 0), CLIPS)
    notes = verify(store.url).notes
    commands = [one for note in notes if " run " in note for one in note.partition(" run ")[2].split(" && ")]
    assert len(commands) >= 2
    assert {parsed(command).store for command in commands} == {store.url}


@pytest.mark.parametrize(
    "words",
    [
        ["zero-shot", "-x", "frames", "--threshold", "0.2", "--prompts", "a dog", "it's a cat"],
        ["classes", "-x", "sounds", "--name", "heard", "--top", "1"],
    ],
)
def test_the_command_that_made_labels_makes_them_again(tmp_path, words):
    made = write_class_store(tmp_path / "a store", frames=[{"beagle": 0.5}] * 4, sounds=[{"Bark": 0.5}] * 4)
    assert main(["label", made.url, *words]) == 0
    (name,) = made.tables("labels")
    before = made.labels_spec(name)
    command = label_command(made, name)
    assert command is not None
    vidray.drop(made.url, f"labels/{name}")
    assert main(shlex.split(command)[1:]) == 0
    assert made.labels_spec(name) == before


def test_peoples_labels_come_back_by_import(store, tmp_path):
    (tmp_path / "l.csv").write_text("clip_id,label\nclip00001,dog\n")
    vidray.import_labels(store.url, str(tmp_path / "l.csv"), name="mine")
    command = label_command(store, "mine")
    assert command == f"vidray import '{store.url}' LABELS.csv --name mine"
    assert label_command(store, "nobodys") is None


def test_status_ends_a_line_with_what_to_run(store, capsys):
    vidray.build_index(store.url, extractor=TABLE)
    rows = store.read(f"features/{TABLE}", 0)
    store.write(f"features/{TABLE}", 0, rows.slice(1), rows.schema)
    assert main(["status", store.url]) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("features/")]
    told, _, commands = line.partition("; run ")
    assert ", 1 missing, " in told
    assert told.endswith("the index lags behind")
    fill, index = map(parsed, commands.split(" && "))
    assert (fill.store, fill.extractor) == (store.url, [TABLE])
    assert (index.store, index.extractor) == (store.url, TABLE)


def test_what_cannot_be_read_is_tried_again_in_each_corpus_that_has_such(store):
    def are_failed(*parts: int) -> list[str]:
        for part in range(2):
            rows = store.read("videos", part)
            status = pa.array(["failed" if part in parts else "ok"] * len(rows), pa.string())
            store.write("videos", part, rows.set_column(rows.column_names.index("status"), "status", status), VIDEOS)
        command = retry_command(store.url, [])
        assert command is not None
        return [parsed(one).corpus for one in command.split("; ")]

    assert are_failed() == [CORPORA[0]]
    assert are_failed(1) == [CORPORA[1]]
    assert are_failed(0, 1) == [*CORPORA]


def test_status_names_what_is_staged_to_go_on_with(store, capsys):
    """Also where no table lacks a clip: what has no features yet is no table."""
    store.folder.write_bytes("_staging/quality/part-00000/block-0000.s0of1.parquet", b"")
    assert main(["status", store.url]) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("staged: 1 slice")]
    assert parsed(line.partition("to go on run ")[2]).extractor == ["quality"]


def test_a_report_without_images_says_how_it_gets_some(store, tmp_path, capsys):
    assert main(["report", store.url, "-o", str(tmp_path / "its report")]) == 0
    said, _, commands = capsys.readouterr().err.strip().partition("; run ")
    fill, again = map(parsed, commands.split(" && "))
    assert said == "no clip has an image"
    assert (fill.corpus, fill.store, fill.extractor) == (CORPORA[0], store.url, ["thumbnails"])
    assert (again.store, again.output) == (store.url, str(tmp_path / "its report"))


def test_an_extraction_says_which_indexes_lag_and_how_to_update_them(store, monkeypatch, capsys):
    monkeypatch.setattr("vidray.pipeline.name_tables", lambda named, **options: {TABLE: object()})
    monkeypatch.setattr("vidray.cli.extract._say_unused", lambda extractors, options: None)
    vidray.build_index(store.url, extractor=TABLE)
    rows = store.read(f"features/{TABLE}", 1)
    store.folder.remove_tree(f"index/{TABLE}")
    store.remove(f"features/{TABLE}", 1)
    vidray.build_index(store.url, extractor=TABLE)
    capsys.readouterr()

    def extracted(*arguments, **options):
        store.write(f"features/{TABLE}", 1, rows, rows.schema)
        return Summary(
            videos=6, videos_failed=0, clips=6, planned=6, done=3, failed=0, skipped=3, video_s=30.0, wall_s=1.0,
            startup_s=0.5, x_realtime=30.0,
        )  # fmt: skip

    monkeypatch.setattr("vidray.pipeline.extract", extracted)
    arguments = build_parser().parse_args(["extract", CORPORA[0], store.url, "-x", TABLE])
    assert run_extract(arguments) == 0
    said = capsys.readouterr().err.splitlines()
    line = f"index/{TABLE}: lags behind its table, it lacks 3 newer clips; run vidray index '{store.url}' -x {TABLE}"
    assert said[-1] == line
    assert main(["verify", store.url]) == 1
    assert line in capsys.readouterr().err.splitlines()
    assert main(shlex.split(line.partition("; run ")[2])[1:]) == 0
    capsys.readouterr()
    main(["verify", store.url])
    assert f"index/{TABLE}" not in capsys.readouterr().err


def test_a_head_is_trained_again_as_it_was(store):
    told = parsed(train_command(store.url, "mine"))
    assert (told.store, told.labels, told.head, told.extractor, told.name) == (
        store.url, "LABELS.csv", "linear", None, "mine",
    )  # fmt: skip
    told = parsed(train_command(store.url, "mine", "gru", "net"))
    assert (told.head, told.extractor) == ("gru", "net")


def test_what_goes_with_frames_is_shown_as_it_is_typed(store, tmp_path, capsys):
    assert main(["export", store.url, "clips", "--to", "csv", "--steps", "light", "-o", str(tmp_path / "x.csv")]) == 2
    told = parsed(capsys.readouterr().err.partition("frames: ")[2].strip())
    assert (told.store, told.table, told.where, told.output) == (store.url, "frames", "true", "FOLDER")

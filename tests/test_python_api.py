"""vidray in Python: what completion shows, what is taken for a path, and what answers look like."""

from __future__ import annotations

import inspect
import io
import time
from pathlib import Path

import numpy as np
import pytest
from labeled_stores import TABLE, write_csv, write_store

import vidray
from vidray.pipeline.progress import Progress, progress_of
from vidray.retrieval.hits import Hit, SearchResult


@pytest.fixture
def store(tmp_path) -> Path:
    write_store(tmp_path / "store", np.eye(6, dtype=np.float32) + 1)
    return tmp_path / "store"


def test_completion_shows_the_api_and_nothing_else():
    assert sorted(dir(vidray)) == sorted([*vidray.__all__, "__version__"])
    assert all(getattr(vidray, name) is not None for name in vidray.__all__)
    assert not [name for name in vidray.__all__ if inspect.ismodule(getattr(vidray, name))]


def test_a_path_is_taken_wherever_a_path_is(store, tmp_path):
    vidray.build_index(store, extractor=TABLE)
    assert vidray.open_index(store, extractor=TABLE).size == 6
    assert len(vidray.search(store, clip="clip00001", k=3).hits) == 3
    with pytest.raises(TypeError, match="video must be a path or URL, got int 3"):
        vidray.search(store, video=3)
    labels = Path(write_csv(tmp_path / "l.csv", "clip_id,label", ["clip00001,dog"]))
    assert vidray.import_labels(store, labels, name="mine").labels == 1
    assert vidray.export(store, "labels/mine", tmp_path / "out.csv", to="csv").rows == 1
    assert vidray.status(store).clips == vidray.verify(store).planned == 6
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    (corpus / "a.mp4").write_bytes(b"no video")
    found = vidray.plan(corpus, tmp_path / "other", progress=False)
    assert (found.videos, found.videos_failed, found.clips) == (1, 1, 0)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: vidray.plan(7, "store"), "corpus must be a path or URL, got int 7"),
        (lambda: vidray.plan(None, "store"), "corpus must be a path or URL, got NoneType None"),
        (lambda: vidray.plan("corpus", b"store"), "store must be a path or URL, got bytes b'store'"),
        (lambda: vidray.verify(["store"]), "store must be a path or URL, got list"),
        (lambda: vidray.search(7, clip="x"), "store must be a path or URL, got int 7"),
        (lambda: vidray.plan("corpus", "store", progress="yes"), "progress must be True, False or a Progress, got str"),
        (lambda: vidray.plan("corpus", "store", planner=10), "planner must be a planner, got int 10"),
        (lambda: vidray.plan("corpus", "store", planner=vidray.Shots), "planner must be a planner, got type"),
        (lambda: vidray.plan("corpus", "store", limit="3"), "limit must be a whole number, got str '3'"),
        (
            lambda: vidray.plan("corpus", "store", text_columns="id"),
            "text_columns must be a list of texts, got str",
        ),
        (lambda: vidray.extract("corpus", "store", extractors="yamnet"), "extractors must be a list, or a mapping"),
        (
            lambda: vidray.extract("corpus", "store", extractors=["quality"], device=0),
            "device must be a text, got int",
        ),
        (lambda: vidray.FixedStride("10"), "length_s must be a number, got str '10'"),
        (lambda: vidray.FixedStride(True), "length_s must be a number, got bool True"),
        (lambda: vidray.Shots(shortest_s=None), "shortest_s must be a number, got NoneType None"),
        (
            lambda: vidray.build_index("store", extractor=3),
            "extractor must be an extractor or the name of one",
        ),
        (
            lambda: vidray.open_index("store", extractor=["a"]),
            "extractor must be an extractor or the name of one",
        ),
        (lambda: vidray.train("store", "labels", name=3), "name must be a text, got int 3"),
        (lambda: vidray.train("store", "labels", name="x", folds=2.5), "folds must be a whole number, got float 2.5"),
        (lambda: vidray.suggest("store", "head", count=3), "head must be a head, from open_head, got str 'head'"),
        (lambda: vidray.zero_shot_labeler("store", "a dog"), "prompts must be a list of texts, got str 'a dog'"),
        (lambda: vidray.zero_shot_labeler("store", ["a dog", 3]), "prompts[1] must be a text, got int 3"),
    ],
)
def test_a_wrong_type_is_a_type_error_that_says_what_was_meant(call, said):
    with pytest.raises(TypeError) as error:
        call()
    assert said in str(error.value)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda store: vidray.drop(store, 7), "table must be a text, got int 7"),
        (lambda store: vidray.export(store, 7, "out.csv", to="csv"), "table must be a text, got int 7"),
        (lambda store: vidray.export(store, "clips", 7, to="csv"), "path must be a path or URL, got int 7"),
        (lambda store: vidray.import_labels(store, 7, name="mine"), "labels must be a path or URL, got int 7"),
        (lambda store: vidray.label(store, "classes"), "labeler must be a labeler, got str 'classes'"),
        (lambda store: vidray.move(store, 7, "/new"), "old must be a path or URL, got int 7"),
        (lambda store: vidray.search(store, clip=7), "clip must be a text, got int 7"),
        (lambda store: vidray.search(store, clip="clip00001", k="3"), "k must be a whole number, got str '3'"),
        (lambda store: vidray.search(store, clip="clip00001", where=3), "where must be a text, got int 3"),
    ],
)
def test_a_wrong_type_is_found_where_a_store_is_there_too(store, call, said):
    with pytest.raises(TypeError) as error:
        call(store)
    assert said in str(error.value)


def test_a_whole_number_of_numpy_is_one(store):
    vidray.build_index(store, extractor=TABLE)
    assert len(vidray.search(store, clip="clip00001", k=np.int64(3)).hits) == 3


def test_a_move_takes_paths(store):
    old = Path(vidray.search(indexed(store), clip="clip00001", k=1).hits[0].uri).parent
    moved = vidray.move(store, old, old.with_name("elsewhere"), unseen=True)
    assert moved.videos > 0
    assert moved.indexes == (TABLE,)


def indexed(store: Path) -> Path:
    vidray.build_index(store, extractor=TABLE)
    return store


def test_progress_true_shows_something_and_false_nothing(capsys):
    for progress, says in ((True, True), (False, False), (None, False)):
        progress_of(progress).say("a line")
        assert bool(capsys.readouterr().err) == says
    mine = Progress(io.StringIO())
    assert progress_of(mine) is mine


def test_hits_are_a_table_for_arrow_pandas_and_a_notebook():
    hit = Hit(clip_id="c1", uri="/media/<b>.mp4", start_s=0.0, end_s=2.0, score=0.5)
    result = SearchResult(query={"text": "x"}, extractor="net", hits=[hit], notes=("a <note>",))
    rows = result.to_pandas()
    rows["matches"] = rows["matches"].map(list)
    assert result.to_arrow().to_pylist() == rows.to_dict("records")
    assert result.to_arrow()["clip_id"].to_pylist() == ["c1"]
    html = result._repr_html_()
    assert "&lt;b&gt;" in html
    assert "a &lt;note&gt;" in html
    assert "<b>" not in html


def test_a_terminal_shows_a_bar_and_a_log_does_not(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    shown, log = Terminal(), io.StringIO()
    for stream in (shown, log):
        progress = Progress(stream)
        progress.phase("extracting", 4, "clip")
        progress.extracted(2, 1, 8.0)
        time.sleep(0.6)
        progress.close()
    assert "[###############.....] 3/4 clips" in shown.getvalue()
    assert "#" not in log.getvalue()
    assert log.getvalue() == "extracting 4 clips\n"

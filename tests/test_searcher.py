"""A searcher: one for many queries, that follows its store; hits by clip and by video, and how they came about."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from embedding_tables import clip_ids, clustered, write_table

import vidray
from vidray.cli import main
from vidray.errors import UsageError
from vidray.index import open as open_module
from vidray.retrieval import search as search_module
from vidray.retrieval.hits import Hit, video_hits
from vidray.store import Store

ROWS, DIM = 800, 16


@pytest.fixture(scope="module")
def vectors() -> np.ndarray:
    """Four clips a video, each like the next one."""
    rng = np.random.default_rng(8)
    videos = np.repeat(rng.standard_normal((ROWS // 4, DIM)), 4, axis=0)
    return (videos + 0.05 * rng.standard_normal((ROWS, DIM))).astype(np.float32)


@pytest.fixture(scope="module")
def built(tmp_path_factory, vectors) -> Path:
    root = tmp_path_factory.mktemp("store")
    write_table(root / "features" / "net", vectors, parts=2)
    (root / "features" / "net" / "_spec.json").write_text('{"name": "net"}')
    vidray.build_index(str(root), extractor="net", factory="IVF20,SQfp16")
    return root


@pytest.fixture
def store(built, tmp_path) -> str:
    return str(shutil.copytree(built, tmp_path / "store"))


def test_an_index_is_opened_once_and_again_when_it_was_built_anew(store, vectors, monkeypatch):
    opened = []
    plain = open_module._open
    monkeypatch.setattr(open_module, "_open", lambda *args, **options: opened.append(1) or plain(*args, **options))
    searcher = vidray.open_search(store)
    for row in range(20):
        assert searcher.search(vectors=vectors[row], k=1).hits[0].clip_id == clip_ids(ROWS)[row]
    assert len(opened) == 1
    write_table(Path(store) / "features" / "net", clustered(40, DIM, seed=3), first=2)
    vidray.build_index(store, extractor="net")
    monkeypatch.setattr(search_module, "LOOK_EVERY_S", 0.0)
    assert searcher.search(vectors=vectors[0], k=10**4).explanation is None
    assert len(searcher.search(vectors=vectors[0], k=10**4).hits) > ROWS - 40
    assert len(opened) == 2


def test_what_a_searcher_answers_is_what_search_answers(store, vectors):
    searcher = vidray.open_search(store)
    query = {"clip": clip_ids(ROWS)[9], "k": 5, "where": "start_s > 0"}
    assert searcher.search(**query) == vidray.search(store, **query)
    found = searcher.search(vectors=vectors[:3] * 7, k=6)
    assert found.query == {}
    assert {hit.clip_id for hit in found.hits} >= set(clip_ids(ROWS)[:3])
    assert [hit.score for hit in found.hits] == sorted((hit.score for hit in found.hits), reverse=True)


def test_hits_by_video_are_the_videos_of_the_best_clips_with_their_spans(store, vectors):
    searcher = vidray.open_search(store)
    hits = searcher.search(vectors=vectors[4], k=3, by="video").hits
    assert hits[0].uri == "/videos/1.mp4"
    assert [(span.start_s, span.end_s) for span in hits[0].spans] == [(0.0, 40.0)]
    assert (hits[0].start_s, hits[0].end_s, hits[0].clip_id) == (0.0, 40.0, clip_ids(ROWS)[4])
    assert len({hit.uri for hit in hits}) == 3
    clips = searcher.search(vectors=vectors[4], k=30).hits
    assert [hit.uri for hit in hits] == list(dict.fromkeys(hit.uri for hit in clips))[:3]
    assert [hit.score for hit in hits] == [max(clip.score for clip in clips if clip.uri == hit.uri) for hit in hits]
    everything = searcher.search(vectors=vectors[4], k=10**4, by="video").hits
    assert len(everything) == ROWS // 4


def hit(clip: str, uri: str, start_s: float, end_s: float, score: float) -> Hit:
    return Hit(clip_id=clip, uri=uri, start_s=start_s, end_s=end_s, score=score)


def test_spans_that_adjoin_or_overlap_are_one_and_others_are_not():
    hits = [
        hit("b", "x", 10.0, 20.0, 0.9), hit("e", "y", 5.0, 15.0, 0.8), hit("a", "x", 0.0, 10.0, 0.7),
        hit("c", "x", 15.0, 30.02, 0.6), hit("f", "y", 0.0, 40.0, 0.5), hit("d", "x", 30.06, 40.0, 0.4),
        hit("g", "x", 50.0, 60.0, 0.3),
    ]  # fmt: skip
    first, second = video_hits(hits, 5)
    assert [(span.start_s, span.end_s, span.score) for span in first.spans] == [(0.0, 40.0, 0.9), (50.0, 60.0, 0.3)]
    assert (first.uri, first.clip_id, first.start_s, first.end_s, first.score) == ("x", "b", 0.0, 40.0, 0.9)
    assert [(span.start_s, span.end_s) for span in second.spans] == [(0.0, 40.0)]
    assert [found.uri for found in video_hits(hits, 1)] == ["x"]


def test_an_explanation_counts_what_was_compared(store, vectors):
    searcher = vidray.open_search(store)
    assert searcher.search(vectors=vectors[0]).explanation is None
    plain = searcher.search(vectors=vectors[:2], k=3, explain=True).explanation
    assert (plain.table, plain.clips, plain.kept, plain.vectors) == ("net", ROWS, None, 2)
    assert plain.index == "IVF20,SQfp16, cosine"
    assert 0 < plain.lists < plain.of_lists == 20
    assert 0 < plain.compared < 2 * ROWS
    few = searcher.search(vectors=vectors[0], where="start_s = 0", explain=True).explanation
    assert (few.kept, few.compared, few.lists, few.exact) == (ROWS // 4, ROWS // 4, 0, True)


def test_of_the_lists_only_what_a_filter_keeps_is_counted(store, vectors, monkeypatch):
    monkeypatch.setattr("vidray.index.filters.FEW", 10)
    searcher = vidray.open_search(store)
    half = searcher.search(vectors=vectors[0], where="start_s < 20", explain=True).explanation
    assert (half.kept, half.exact) == (ROWS // 2, False)
    index = vidray.open_index(store, extractor="net")
    everywhere = index.search(vectors[0], where="start_s < 20", nprobe=20, explain=True).work
    assert (everywhere.compared, everywhere.lists, everywhere.exact) == (ROWS // 2, 20, True)
    assert half.compared < ROWS // 2


@pytest.mark.parametrize(
    ("query", "complaint"),
    [
        ({}, "give exactly one of clip, video, image, audio, text, vectors, got none"),
        ({"clip": "a", "text": "b"}, "got clip, text"),
        ({"text": "b", "at": (0, 1)}, "goes with a video only"),
        ({"clip": "clip000001", "k": 0}, "k must be at least 1, got 0"),
        ({"clip": "clip000001", "by": "shot"}, "by is clip or video"),
        ({"clip": "clip000001", "modality": "smell"}, "modality is frames or audio"),
        ({"clip": "clip000001", "extractor": "other"}, "no index of 'other', there are net"),
        ({"vectors": [1.0, 2.0]}, rf"\(Q, {DIM}\)"),
    ],
)
def test_what_cannot_be_asked_is_refused(built, query, complaint):
    with pytest.raises(UsageError, match=complaint):
        vidray.search(str(built), **query)


def test_a_modality_chooses_among_indexes(tmp_path):
    inputs = {
        "seen": {"frames": {"kind": "FrameRate", "modality": "frames"}},
        "heard": {"audio": {"kind": "Audio", "modality": "audio"}},
    }
    for name, of in inputs.items():
        write_table(tmp_path / "features" / name, clustered(40, 4))
        spec = {"name": name, "extractor": name, "inputs": of, "columns": [["embedding", "list"]]}
        (tmp_path / "features" / name / "_spec.json").write_text(json.dumps(spec))
        vidray.build_index(str(tmp_path), extractor=name)
    searcher = vidray.open_search(str(tmp_path))
    with pytest.raises(UsageError, match="heard, seen can answer this; say which, with -x NAME"):
        searcher.search(clip="clip000001")
    # what cannot be answered by any of them is said before it is asked which
    with pytest.raises(UsageError, match="no clip 'nobody' here"):
        searcher.search(clip="nobody")
    for modality, name in (("frames", "seen"), ("audio", "heard")):
        assert searcher.search(clip="clip000001", modality=modality).extractor == name
    shutil.rmtree(tmp_path / "index" / "heard")
    with pytest.raises(UsageError, match="no index of audio, there are seen"):
        searcher.search(clip="clip000001", modality="audio")


def test_of_several_indexes_the_one_that_has_the_clip_answers_and_a_file_that_is_not_there_is_said_first(tmp_path):
    frames = {"frames": {"kind": "FrameRate", "modality": "frames"}}
    for name, rows in (("few", 40), ("many", 80)):
        write_table(tmp_path / "features" / name, clustered(rows, 4))
        spec = {"name": name, "extractor": name, "inputs": frames, "columns": [["embedding", "list"]]}
        (tmp_path / "features" / name / "_spec.json").write_text(json.dumps(spec))
        vidray.build_index(str(tmp_path), extractor=name)
    searcher = vidray.open_search(str(tmp_path))
    assert searcher.search(clip="clip000079").extractor == "many"
    with pytest.raises(UsageError, match="few, many can answer this"):
        searcher.search(clip="clip000001", where="start_s > 10")
    with pytest.raises(UsageError, match="strat_s"):
        searcher.search(clip="clip000001", where="strat_s > 10")
    for kind in ("video", "image"):
        with pytest.raises(UsageError, match=r"nothing\.mp4: no such file"):
            searcher.search(**{kind: str(tmp_path / "nothing.mp4")})


def test_the_command_line_builds_finds_and_explains(store, capsys):
    assert main(["index", store, "-x", "net"]) == 0
    said = capsys.readouterr().out
    assert "indexed 800 clips of net (IVF20,SQfp16, 16 dimensions): nothing has changed" in said
    assert "recall at 10: " in said
    assert " of 10%, " in said
    arguments = ["search", store, "--clip", "clip000008", "-k", "2", "--by", "video", "--explain"]
    assert main(arguments) == 0
    found = capsys.readouterr()
    assert found.out.splitlines()[0].endswith("/videos/2.mp4  10-40 s")
    assert "by index/net: IVF20,SQfp16, cosine, 800 clips" in found.err
    assert main([*arguments, "--json"]) == 0
    answer = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert answer["hits"][0]["spans"][0]["end_s"] == 40.0
    assert answer["explanation"]["clips"] == ROWS
    assert main(["search", store, "--clip", "clip000008", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert set(answer) == {"query", "extractor", "hits"}
    assert set(answer["hits"][0]) >= {"clip_id", "uri", "start_s", "end_s", "score"}
    assert main(["index", store, "-x", "net", "--factory", "HNSW32"]) == 2


def test_labels_filter_a_search(store, vectors):
    labels = pa.table({"clip_id": clip_ids(ROWS)[:8], "label": ["dog"] * 8, "score": [0.5] * 4 + [1.0] * 4})
    Store(store).write("labels/people", 0, labels, labels.schema)
    searcher = vidray.open_search(store)
    hits = searcher.search(vectors=vectors[0], where="people.labels['dog'] > 0.7").hits
    assert {found.clip_id for found in hits} == set(clip_ids(ROWS)[4:8])

"""An index follows its table: only what changed is encoded, what went is not found, and merging changes no answer."""

from __future__ import annotations

import dataclasses
import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from embedding_tables import clip_ids, clustered, embedding_column, unit, write_table

import vidray
from vidray.errors import UsageError
from vidray.index import build as build_module
from vidray.index import build_index, following, open_index
from vidray.index.build import MOST_SEGMENTS, compaction
from vidray.index.manifest import Run, Segment

ROWS, DIM, PARTS = 3000, 24, 6
FACTORIES = ("SQfp16", "IVF40,SQfp16", "IVF40,RaBitQ")


@pytest.fixture(scope="module")
def vectors() -> np.ndarray:
    return clustered(ROWS, DIM)


@pytest.fixture
def table(tmp_path, vectors) -> Path:
    folder = tmp_path / "features" / "net"
    write_table(folder, vectors, parts=PARTS)
    return folder


@pytest.fixture
def small_segments(monkeypatch):
    """A segment a part."""
    monkeypatch.setattr("vidray.index.build.SEGMENT_BYTES", 2 * DIM * ROWS // PARTS)


def encoded(monkeypatch) -> list[str]:
    """The parts that are encoded from now on."""
    names: list[str] = []
    plain = build_module.encode

    def encode(job):
        names.extend(part.name for part in job.parts)
        return plain(job)

    monkeypatch.setattr(build_module, "encode", encode)
    return names


def newer_part(folder: Path, number: int, rows: int, seed: int) -> np.ndarray:
    vectors = clustered(rows, DIM, seed=seed)
    columns = {"clip_id": [f"new{number}-{row}" for row in range(rows)], "embedding": embedding_column(vectors, DIM)}
    pq.write_table(pa.table(columns), folder / f"part-{number:05d}.parquet")
    return vectors


def without(folder: Path, number: int, gone: set[str]) -> None:
    """What `--prune` does to a part."""
    path = folder / f"part-{number:05d}.parquet"
    rows = pq.read_table(path)
    pq.write_table(rows.filter(pa.array([clip not in gone for clip in rows["clip_id"].to_pylist()])), path)


@pytest.mark.parametrize("factory", FACTORIES)
def test_only_what_changed_is_encoded_and_what_went_is_gone(table, tmp_path, vectors, monkeypatch, factory):
    place = str(tmp_path / "i")
    build_index(str(table), place, factory=factory)
    names = encoded(monkeypatch)
    assert build_index(str(table), place).version == "v0001"
    fresh = newer_part(table, PARTS, 40, seed=9)
    gone = set(clip_ids(ROWS)[500:520])
    without(table, 1, gone)
    (table / "part-00003.parquet").unlink()
    info = build_index(str(table), place)
    assert names == ["part-00001.parquet", "part-00006.parquet"]
    assert (info.version, info.added, info.retired) == ("v0002", 520, 1000)
    index = open_index(place, verify=True)
    assert (index.size, index.stale, index.manifest.factory) == (ROWS - 520 + 40, False, factory)
    everything = set(index.search(vectors[:1], k=ROWS * 2).ids[0])
    there = set(clip_ids(ROWS)) - gone - set(clip_ids(ROWS)[1500:2000]) | {f"new{PARTS}-{row}" for row in range(40)}
    assert everything == there
    assert index.search(fresh, k=1).ids[:, 0].tolist() == [f"new{PARTS}-{row}" for row in range(40)]
    assert index.row_of(min(gone)) is None
    assert index.clips(index.search(fresh[:1], k=1).rows[0]).to_pylist()[0]["uri"] is None
    kept = index.rows_where("clip_id >= 'clip000400' AND clip_id < 'clip000600'")
    assert sorted(index.clips(kept)["clip_id"].to_pylist()) == clip_ids(ROWS)[400:500] + clip_ids(ROWS)[520:600]


def test_a_part_that_was_only_touched_is_not_encoded_again(table, tmp_path, monkeypatch):
    place = str(tmp_path / "i")
    part = table / "part-00002.parquet"
    pq.write_table(pq.read_table(part), part, compression="none", use_dictionary=False)
    build_index(str(table), place)
    names = encoded(monkeypatch)
    data = part.read_bytes()
    part.write_bytes(data)
    assert build_index(str(table), place).version == "v0001"
    assert names == []
    # as long as before, and another clip in it
    part.write_bytes(data.replace(b"clip001001", b"clip999999"))
    assert build_index(str(table), place).version == "v0002"
    assert names == ["part-00002.parquet"]


@pytest.mark.parametrize("factory", FACTORIES)
def test_a_retired_clip_is_in_no_answer_before_the_next_build_and_during_it(
    table, tmp_path, vectors, monkeypatch, factory
):
    monkeypatch.setattr(following, "LOOK_EVERY_S", 0.0)
    place = str(tmp_path / "i")
    build_index(str(table), place, factory=factory)
    index = open_index(place)
    gone = set(clip_ids(ROWS)[::7][:60])
    asked = vectors[::7][:60]
    assert set(index.search(asked, k=1).ids[:, 0]) == gone
    without(table, 0, gone)
    answers = []
    plain = build_module.measure

    def measured(*args, **options):
        answers.append(index.search(asked, k=20))
        return plain(*args, **options)

    monkeypatch.setattr(build_module, "measure", measured)
    answers += [index.search(asked, k=20), index.search(asked, k=20, where="start_s >= 0")]
    build_index(str(table), place, factory=factory)
    answers += [index.search(asked, k=20), open_index(place).search(asked, k=20)]
    assert len(answers) == 5
    for matches in answers:
        assert matches.ids.shape == (60, 20)
        assert not gone & set(matches.ids.ravel())


def test_an_index_may_be_used_without_its_table(table, tmp_path, vectors):
    build_index(str(table), str(tmp_path / "i"))
    shutil.rmtree(table)
    assert open_index(str(tmp_path / "i")).search(vectors[5], k=1).ids[0, 0] == clip_ids(ROWS)[5]
    # a table that is there, and has lost all of its clips
    table.mkdir()
    (table / "_spec.json").write_text("{}")
    assert open_index(str(tmp_path / "i")).search(vectors[5], k=1).ids.shape == (1, 0)


@pytest.mark.parametrize("factory", FACTORIES)
def test_an_appended_index_finds_what_a_rebuilt_one_finds(table, tmp_path, vectors, factory):
    place = str(tmp_path / "i")
    build_index(str(table), place, factory=factory)
    fresh = newer_part(table, PARTS, ROWS // 100, seed=3)
    appended = build_index(str(table), place, factory=factory)
    rebuilt = build_index(str(table), str(tmp_path / "j"), factory=factory)
    assert appended.rows == rebuilt.rows == ROWS + ROWS // 100
    both = np.concatenate([vectors, fresh])
    queries = both[::11]
    truth = np.argsort(-(unit(queries) @ unit(both).T), axis=1)[:, :10]
    recalls = []
    for folder in (place, str(tmp_path / "j")):
        index = open_index(folder)
        ids = np.array([*clip_ids(ROWS), *(f"new{PARTS}-{row}" for row in range(len(fresh)))], np.object_)
        found = index.search(queries, k=10).ids
        recalls.append(np.mean([len(set(a) & set(ids[b])) / 10 for a, b in zip(found, truth, strict=True)]))
    assert min(recalls) >= 0.97
    assert recalls[0] >= recalls[1] - 0.005


@pytest.mark.parametrize("factory", FACTORIES)
def test_merged_segments_are_the_bytes_of_one_made_at_once(table, tmp_path, monkeypatch, small_segments, factory):
    monkeypatch.setattr(build_module, "MOST_SEGMENTS", 4)
    merged = build_index(str(table), str(tmp_path / "merged"), factory=factory)
    monkeypatch.setattr("vidray.index.build.SEGMENT_BYTES", 2 * DIM * ROWS // 2)
    straight = build_index(str(table), str(tmp_path / "straight"), factory=factory)
    assert merged.segments == straight.segments == 2
    data = []
    for place in (tmp_path / "merged", tmp_path / "straight"):
        segments = sorted((place / "segments").iterdir())
        data.append([path.read_bytes() for s in segments for path in sorted(s.iterdir()) if path.name != "built.json"])
    # places.u64 and the rest, of both
    assert len(data[0]) == 2 * (5 if "RaBitQ" in factory else 4)
    assert data[0] == data[1]


def test_many_appends_are_compacted_and_the_dead_are_dropped(table, tmp_path, vectors):
    place = str(tmp_path / "i")
    build_index(str(table), place, factory="IVF40,SQfp16")
    for number in range(PARTS, PARTS + 2 * MOST_SEGMENTS):
        newer_part(table, number, 10, seed=number)
        info = build_index(str(table), place, factory="IVF40,SQfp16")
        assert info.segments <= MOST_SEGMENTS
        assert info.added == 10
    for number in range(3):
        (table / f"part-{number:05d}.parquet").unlink()
    info = build_index(str(table), place, factory="IVF40,SQfp16")
    assert (info.rows, info.retired) == (ROWS // 2 + 20 * MOST_SEGMENTS, ROWS // 2)
    index = open_index(place, verify=True)
    assert all(segment.clips == segment.rows for segment in index.segments)
    assert set(index.search(vectors[:1], k=2 * ROWS).ids[0]) >= set(clip_ids(ROWS)[ROWS // 2 :])
    assert {path.name for path in Path(place).glob("segments/*")} == {segment.name for segment in index.segments}


@pytest.mark.parametrize(
    "sizes", [[100], [10] * 8, [10] * 9, [10] * 80, [1000, *[10] * 8], [*[125] * 8, 1], range(1, 40)]
)
def test_compaction_keeps_the_order_and_few_segments(sizes):
    segments = [
        Segment(name=str(n), base=n, rows=size, runs=(Run(part="p", first=0, clips=size),), files={})
        for n, size in enumerate(sizes)
    ]
    groups = compaction(segments)
    assert [segment for group in groups for segment in group] == segments
    assert len(groups) <= MOST_SEGMENTS
    if len(segments) <= MOST_SEGMENTS:
        assert all(len(group) == 1 for group in groups)


def test_a_table_that_outgrew_its_centroids_or_has_another_spec_is_built_anew(table, tmp_path, monkeypatch):
    monkeypatch.setattr("vidray.index.ann.EXACT_UP_TO_CLIPS", 100)
    place = str(tmp_path / "i")
    assert build_index(str(table), place).segments == 1
    newer_part(table, PARTS, 100, seed=1)
    info = build_index(str(table), place)
    assert (info.segments, info.added) == (2, 100)
    newer_part(table, PARTS + 1, ROWS + 500, seed=2)
    info = build_index(str(table), place)
    assert (info.segments, info.added) == (1, info.rows)
    (table / "_spec.json").write_text("{}")
    assert build_index(str(table), place).added == info.rows
    assert build_index(str(table), place).added == 0
    assert build_index(str(table), place, metric="inner_product").metric == "inner_product"
    assert build_index(str(table), place).metric == "inner_product"


@pytest.mark.parametrize("factory", FACTORIES)
def test_inner_products_are_those_of_the_definition(tmp_path, factory):
    vectors = clustered(2000, DIM, seed=4) / 25
    write_table(tmp_path / "t", vectors, parts=2)
    build_index(str(tmp_path / "t"), str(tmp_path / "i"), metric="inner_product", factory=factory)
    index = open_index(str(tmp_path / "i"))
    queries = vectors[::20] * 3
    matches = index.search(queries, k=10, nprobe=2000)
    products = queries @ vectors.T
    best = -np.sort(-products, axis=1)[:, :10]
    found = np.take_along_axis(products, matches.rows, axis=1)
    scale = np.abs(best).max()
    assert np.abs(matches.scores - found).max() < 2e-3 * scale
    near = found >= best[:, -1:] - 2e-3 * scale
    assert near.mean() >= (0.999 if "RaBitQ" not in factory else 0.95)


def test_what_fp16_cannot_hold_is_left_out_of_inner_products(tmp_path):
    write_table(tmp_path / "t", np.array([[1, 0], [70000, 1], [0, 2]], np.float32))
    info = build_index(str(tmp_path / "t"), str(tmp_path / "i"), metric="inner_product")
    assert (info.rows, info.left_out["too_large"]) == (2, 1)
    assert build_index(str(tmp_path / "t"), str(tmp_path / "j")).rows == 3
    with pytest.raises(UsageError, match="metric is cosine or inner_product, got 'l2'"):
        build_index(str(tmp_path / "t"), str(tmp_path / "i"), metric="l2")


def backwards(work, jobs):
    done = [work(job) for job in reversed(jobs)]
    return done[::-1]


def at_once(work, jobs):
    with ThreadPoolExecutor(4) as threads:
        return list(threads.map(work, jobs))


def written_in(place: Path) -> dict[str, bytes]:
    files = {str(path.relative_to(place)): path.read_bytes() for path in place.rglob("*") if path.is_file()}
    return {name: data for name, data in files.items() if Path(name).name not in ("seen.json", "built.json")}


@pytest.mark.parametrize("factory", FACTORIES)
def test_whoever_works_and_in_whichever_order_the_bytes_are_the_same(table, tmp_path, small_segments, factory):
    written = []
    for name, run in {"one": build_module.one_by_one, "two": backwards, "many": at_once}.items():
        place = tmp_path / "index" / name
        build_index(str(table), str(place), factory=factory, run=run)
        written.append(written_in(place))
    assert written[0] == written[1] == written[2]
    assert json.loads(written[0]["v0001/manifest.json"])["segments"]


@pytest.mark.slow
def test_one_two_and_eight_workers_write_the_same_bytes(tmp_path, vectors, small_segments):
    import ray

    write_table(tmp_path / "features" / "net", vectors, parts=PARTS)
    ray.init(num_cpus=8, include_dashboard=False, log_to_driver=False)
    try:
        written = []
        for workers in (1, 2, 8):
            info = vidray.build_index(str(tmp_path), extractor="net", factory="IVF40,SQfp16", workers=workers)
            assert (info.segments, info.rows) == (PARTS, ROWS)
            written.append(written_in(tmp_path / "index" / "net"))
            shutil.rmtree(tmp_path / "index")
        assert written[0] == written[1] == written[2]
    finally:
        ray.shutdown()


@pytest.mark.slow
def test_what_a_task_says_is_said_in_one_line(tmp_path, vectors, small_segments):
    import ray

    write_table(tmp_path / "features" / "net", vectors, parts=PARTS)
    newer = pa.table({"clip_id": ["x"], "embedding": embedding_column(np.ones((1, DIM + 1), np.float32), DIM + 1)})
    pq.write_table(newer, tmp_path / "features" / "net" / "part-00009.parquet")
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        with pytest.raises(vidray.VidrayError, match=f"embeddings of {DIM + 1} values, not {DIM}"):
            vidray.build_index(str(tmp_path), extractor="net", workers=2)
    finally:
        ray.shutdown()
    assert not (tmp_path / "index" / "net" / "CURRENT").exists()


def test_the_info_can_be_written_down(table, tmp_path):
    info = build_index(str(table), str(tmp_path / "i"))
    assert json.loads(json.dumps(dataclasses.asdict(info)))["rows"] == ROWS

"""The pipeline's laws on a real Ray: every pair accounted for, nothing done twice, the same bytes again."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import decimal
import json
import os
import shutil
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import ray
from corpora import BROKEN, MIXED, WITH_AUDIO, write_mixed_corpus
from extractors_for_tests import FailsOnDark, Loudness, MeanColour
from media_files import packaged

from vidray.errors import ClusterError, SpecMismatchError, StoreError, UsageError, VidrayError, WeightsError
from vidray.extractors import resolve
from vidray.media import Clip, FrameRate, Sampling
from vidray.models.batching import RESERVED_BYTES
from vidray.pipeline import Progress, extract, plan
from vidray.pipeline.cluster import WORKER_BYTES, Cluster, Placement, place
from vidray.pipeline.graph import receipts
from vidray.pipeline.nodes import Node
from vidray.pipeline.pool import _Worker
from vidray.pipeline.publish import Publisher
from vidray.pipeline.tasks import BlockWork, SliceWork, part_work, tasks_of
from vidray.pipeline.worker import Receipt, SliceExtractor, decode_task, samplings
from vidray.planning import FixedStride, Shots
from vidray.sandbox import Limits, Sandbox
from vidray.storage import Folder
from vidray.store import SliceKey, Store
from vidray.store.lease import Lease
from vidray.store.staging import Staging
from vidray.store.verification import verify
from vidray.testing import SyntheticVideo, read_frame_number, write_video

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", autouse=True)
def a_ray_cluster():
    ray.init(address="local", num_cpus=8, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    yield
    ray.shutdown()


@pytest.fixture(scope="module")
def mixed(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("mixed") / "corpus"
    write_mixed_corpus(folder)
    return folder


@pytest.fixture(scope="module")
def filled(mixed, tmp_path_factory) -> Path:
    store = tmp_path_factory.mktemp("filled") / "store"
    extract(str(mixed), str(store), extractors=[MeanColour(), Loudness()], planner=FixedStride(2.0))
    return store


@pytest.fixture
def store(filled, tmp_path) -> Path:
    return Path(shutil.copytree(filled, tmp_path / "store"))


def files(store: Path) -> dict[str, bytes]:
    """Every file of a store but the records of runs, with its bytes."""
    found = (path for path in sorted(store.rglob("*")) if path.is_file())
    return {str(path.relative_to(store)): path.read_bytes() for path in found if path.parent.name != "runs"}


def rows(store: Path, table: str) -> list[dict]:
    source = Store(str(store))
    return [row for part in source.parts(table) for row in source.read(table, part).to_pylist()]


def test_every_pair_of_a_mixed_folder_is_accounted_for(filled):
    found = verify(str(filled))
    assert found.is_whole
    assert (found.planned, found.done, found.failed) == (2 * 2 * len(MIXED), 2 * 2 * len(MIXED), 0)
    failed = {Path(row["uri"]).name: row for row in rows(filled, "errors/_probe")}
    assert set(failed) == set(BROKEN)
    assert failed["empty.mkv"]["kind"] == "empty"
    assert failed["garbage.mp4"]["kind"] == "not_media"
    status = {Path(row["uri"]).name: row["status"] for row in rows(filled, "videos")}
    assert status == dict.fromkeys(MIXED, "ok") | dict.fromkeys(BROKEN, "failed")


def test_a_clip_without_audio_has_a_null_embedding_and_no_error(filled):
    silent = {Path(row["uri"]).name for row in rows(filled, "features/loudness") if row["embedding"] is None}
    assert silent == set(MIXED) - WITH_AUDIO
    assert rows(filled, "errors/loudness") == []


def test_a_second_run_changes_nothing_and_starts_no_ray(mixed, store, monkeypatch):
    before = files(store)
    monkeypatch.setattr(Cluster, "connect", lambda self: pytest.fail("Ray was started"))
    summary = extract(str(mixed), str(store), extractors=[MeanColour(), Loudness()], planner=FixedStride(2.0))
    assert (summary.done, summary.failed, summary.skipped) == (0, 0, summary.planned)
    assert summary.startup_s is None
    assert files(store) == before
    assert len(list((store / "runs").iterdir())) == 2


def test_one_more_extractor_fills_only_its_own_table(mixed, store):
    before = files(store)
    extractors = [MeanColour(), Loudness(), MeanColour(name="again")]
    summary = extract(str(mixed), str(store), extractors=extractors, planner=FixedStride(2.0))
    clips = 2 * len(MIXED)
    assert (summary.done, summary.skipped) == (clips, 2 * clips)
    after = files(store)
    assert {name: data for name, data in after.items() if "again" not in name} == before
    assert verify(str(store)).is_whole


def test_new_videos_go_into_new_parts(mixed, store, tmp_path):
    before = files(store)
    more = tmp_path / "more"
    more.mkdir()
    write_video(more / "new.mp4", SyntheticVideo(frames=20))
    summary = extract(str(more), str(store), extractors=[MeanColour()], planner=FixedStride(2.0))
    assert (summary.videos, summary.done) == (len(MIXED) + len(BROKEN) + 1, 1)
    after = files(store)
    assert {name: after[name] for name in before} == before
    assert Store(str(store)).parts("clips") == [0, 1]


def test_another_clip_length_or_extractor_is_refused(mixed, store):
    before = files(store)
    with pytest.raises(SpecMismatchError, match=r"clip_length_s 2.0, not 5.0"):
        extract(str(mixed), str(store), extractors=[MeanColour()], planner=FixedStride(5.0))
    with pytest.raises(SpecMismatchError, match="--as NAME"):
        extract(str(mixed), str(store), extractors=[MeanColour(version="2")], planner=FixedStride(2.0))
    assert files(store) == before


def test_two_extractors_of_one_name_are_refused(mixed, tmp_path):
    with pytest.raises(UsageError, match="would write the same table"):
        extract(str(mixed), str(tmp_path / "s"), extractors=[MeanColour(), MeanColour(fps=1.0)])
    assert not (tmp_path / "s").exists()


def test_a_run_that_ends_before_publishing_goes_on_from_what_is_staged(mixed, filled, tmp_path, monkeypatch, capsys):
    store = tmp_path / "store"
    options = {"extractors": [MeanColour(), Loudness()], "planner": FixedStride(2.0)}
    with monkeypatch.context() as broken:
        broken.setattr(Publisher, "_commit_when_whole", lambda self, awaited: None)
        broken.setattr(Staging, "clear_useless", lambda self: (_ for _ in ()).throw(ClusterError("the power is gone")))
        with pytest.raises(ClusterError):
            extract(str(mixed), str(store), **options)
    assert not list(store.glob("features/*/*.parquet"))
    staged = sorted((store / "_staging").rglob("*.parquet"))
    of_audio = [path for path in staged if "loudness" in path.parts]
    assert len(staged) == 2 * len(of_audio) == 4
    for path in of_audio:
        path.unlink()
    summary = extract(str(mixed), str(store), **options, progress=Progress())
    clips = 2 * len(MIXED)
    assert (summary.done, summary.skipped) == (clips, clips)
    said = capsys.readouterr().err
    assert f"{clips} of {2 * clips} clips x extractors are done already, and not done again" in said
    assert f"extracting {clips} clips x extractors" in said
    assert files(store) == files(filled)


def test_an_extractor_that_fails_on_a_clip_costs_that_clip(tmp_path):
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    write_video(corpus / "video.mp4", SyntheticVideo(frames=100))
    store = tmp_path / "store"
    extract(str(corpus), str(store), extractors=[MeanColour()], planner=FixedStride(0.5))
    brightness = sorted(float(np.mean(row["embedding"])) for row in rows(store, "features/mean_colour"))
    limit = (brightness[2] + brightness[3]) / 2
    summary = extract(str(corpus), str(store), extractors=[FailsOnDark(limit=limit)], planner=FixedStride(0.5))
    assert (summary.done, summary.failed) == (5, 3)
    errors = rows(store, "errors/fails_on_dark")
    assert {(row["stage"], row["kind"], row["message"]) for row in errors} == {
        ("extract", "extractor", "ValueError: too dark to tell")
    }
    assert verify(str(store)).is_whole


@dataclass(frozen=True, kw_only=True)
class FrameNumbers:
    """Reads the numbers that synthetic frames carry, with the height that tells their video."""

    name: str = "numbers"

    @property
    def inputs(self) -> dict[str, Sampling]:
        return {"frames": FrameRate(fps=5.0)}

    @property
    def schema(self) -> pa.Schema:
        return pa.schema([("numbers", pa.list_(pa.int64())), ("height", pa.int64())])

    def load(self, device):
        def extract(items):
            batch = [item["frames"] for item in items]
            numbers = [[read_frame_number(p) if p.any() else -1 for p in item.frames] for item in batch]
            return {"numbers": numbers, "height": [item.frames.shape[1] for item in batch]}

        return extract


def test_each_row_is_of_its_own_clip(tmp_path):
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    for index in range(6):
        write_video(corpus / f"{index}.mp4", SyntheticVideo(frames=70, fps=10, height=64 + 16 * index))
    extract(str(corpus), str(tmp_path / "store"), extractors=[FrameNumbers()], planner=FixedStride(1.5))
    found = rows(tmp_path / "store", "features/numbers")
    assert len(found) == 6 * 5
    for row in found:
        assert row["height"] == 64 + 16 * int(Path(row["uri"]).stem)
        times = np.arange(row["start_s"], row["end_s"] - 1e-6, 0.2)
        assert row["numbers"] == [int(time * 10 + 1e-6) for time in times]


def test_the_graph_for_gpus_gives_what_the_one_for_cpus_gives(mixed, filled, tmp_path):
    extractors = {"mean_colour": MeanColour(), "loudness": Loudness()}
    store = Store(str(tmp_path / "store"))
    plan(str(mixed), store.url, planner=FixedStride(2.0))
    work = part_work(store, 0, extractors, {table: set() for table in extractors})
    placement = Placement(decoders=2, extractors=1, gpus=0.0, memory_bytes=1 << 20)
    staged = list(receipts(list(tasks_of(work.blocks, 2)), placement, store.url, extractors, {}))
    assert len(staged) == 2 * len(work.blocks) == 4
    for table, keys in work.expected.items():
        store.publish(table, 0, keys, extractors[table].schema)
    whole = files(filled)
    assert {name: data for name, data in files(Path(store.url)).items() if "features" in name} == {
        name: data for name, data in whole.items() if "features" in name and "_spec" not in name
    }


@pytest.fixture
def three(tmp_path) -> Path:
    folder = tmp_path / "three"
    folder.mkdir()
    for name in "abc":
        write_video(folder / f"{name}.mp4", SyntheticVideo(frames=40))
    (folder / "d.mp4").write_bytes(b"not yet a video")
    return folder


def test_changed_and_deleted_videos_are_kept_unless_asked_otherwise(three, tmp_path, capsys):
    store = tmp_path / "store"
    options = {"extractors": [MeanColour(), Loudness()], "planner": FixedStride(0.5)}
    extract(str(three), str(store), **options)
    before = files(store)
    write_video(three / "a.mp4", SyntheticVideo(frames=60))
    (three / "b.mp4").unlink()
    assert extract(str(three), str(store), **options, progress=Progress()).done == 0
    told = capsys.readouterr().err
    assert "1 video has changed since planning, and all rows are kept: --refresh" in told
    assert "1 video is no longer in the corpus since planning, and all rows are kept: --prune" in told
    assert files(store) == before
    summary = extract(str(three), str(store), **options, refresh=True, prune=True)
    assert (summary.videos, summary.videos_failed, summary.done) == (3, 1, 2 * 5)
    clips = [(Path(row["uri"]).name, row["start_s"]) for row in rows(store, "clips")]
    assert sorted(clips) == [("a.mp4", i / 2) for i in range(5)] + [("c.mp4", i / 2) for i in range(4)]
    assert verify(str(store)).is_whole


def test_a_retirement_that_was_interrupted_is_finished(three, tmp_path, monkeypatch):
    store = tmp_path / "store"
    options = {"extractors": [MeanColour()], "planner": FixedStride(0.5)}
    extract(str(three), str(store), **options)
    write_video(three / "a.mp4", SyntheticVideo(frames=60))
    written = Store.write
    with monkeypatch.context() as broken:
        broken.setattr(
            Store, "write", lambda self, table, *rest: written(self, table, *rest) if table != "clips" else 1 / 0
        )
        with pytest.raises(ZeroDivisionError):
            extract(str(three), str(store), **options, refresh=True)
    assert not verify(str(store)).is_whole
    extract(str(three), str(store), **options, refresh=True)
    assert verify(str(store)).is_whole
    assert len(rows(store, "clips")) == 5 + 4 + 4


def test_retry_failed_does_what_failed_again_and_nothing_else(three, tmp_path, monkeypatch):
    store = tmp_path / "store"
    extract(str(three), str(store), extractors=[MeanColour()], planner=FixedStride(0.5))
    whole = files(store)
    video = (three / "b.mp4").read_bytes()
    (three / "b.mp4").unlink()
    summary = extract(str(three), str(store), extractors=[MeanColour(name="again")], planner=FixedStride(0.5))
    assert (summary.done, summary.failed) == (8, 4)
    assert {row["kind"] for row in rows(store, "errors/again")} == {"not_found"}
    (three / "b.mp4").write_bytes(video)
    assert extract(str(three), str(store), extractors=[MeanColour(name="again")], planner=FixedStride(0.5)).failed == 0
    assert len(rows(store, "errors/again")) == 4
    again = {"extractors": [MeanColour(name="again")], "planner": FixedStride(0.5), "retry_failed": True}
    extract(str(three), str(store), **again)
    assert rows(store, "errors/again") == []
    assert files(store)["features/again/part-00000.parquet"] == whole["features/mean_colour/part-00000.parquet"]
    assert verify(str(store)).is_whole
    write_video(three / "d.mp4", SyntheticVideo(frames=10))
    assert extract(str(three), str(store), **again).videos_failed == 0
    extract(str(three), str(store), extractors=[MeanColour()], planner=FixedStride(0.5))
    assert verify(str(store)).is_whole


@dataclass(frozen=True, kw_only=True)
class DiesOnFirst(MeanColour):
    """Takes its process along on the first clip of a video."""

    name: str = "dies"

    def load(self, device):
        extract = super().load(device)

        def deadly(items):
            if any(item["frames"].times_s[0] == 0.0 and item["frames"].frames.any() for item in items):
                os.kill(os.getpid(), signal.SIGKILL)
            return extract(items)

        return deadly


def test_a_clip_that_kills_its_worker_costs_that_clip(three, tmp_path):
    store = tmp_path / "store"
    (three / "b.mp4").unlink()
    summary = extract(str(three), str(store), extractors=[DiesOnFirst()], planner=FixedStride(0.5))
    assert (summary.done, summary.failed) == (6, 2)
    errors = rows(store, "errors/dies")
    assert {(row["kind"], row["start_s"]) for row in errors} == {("crashed", 0.0)}
    assert verify(str(store)).is_whole


@dataclass(frozen=True, kw_only=True)
class DiesLoading(MeanColour):
    """Takes its process along before it has seen a clip, as what the machine has no memory for does."""

    name: str = "dies_loading"

    def load(self, device):
        os.kill(os.getpid(), signal.SIGKILL)


def test_workers_that_die_loading_end_the_run_and_blame_no_clip(three, tmp_path):
    store = tmp_path / "store"
    with pytest.raises(ClusterError, match="no worker lives to load its networks"):
        extract(str(three), str(store), extractors=[DiesLoading()], planner=FixedStride(0.5))
    assert Store(str(store)).parts("errors/dies_loading") == []
    assert extract(str(three), str(store), extractors=[MeanColour()], planner=FixedStride(0.5)).failed == 0


@dataclass(frozen=True, kw_only=True)
class HasNoWeights(MeanColour):
    """Cannot be loaded."""

    name: str = "unloadable"

    def load(self, device):
        raise WeightsError("the weights cannot be had; give a file with NAME@FILE")


def test_an_extractor_that_cannot_be_loaded_ends_the_run_with_its_own_line(three, tmp_path):
    with pytest.raises(WeightsError, match="give a file with NAME@FILE"):
        extract(str(three), str(tmp_path / "store"), extractors=[HasNoWeights()])


def test_a_store_that_cannot_be_written_any_more_ends_the_run_with_one_line(three, tmp_path):
    store = tmp_path / "store"
    plan(str(three), str(store))
    (store / "_staging").mkdir(exist_ok=True)
    # a file where a folder has to be
    (store / "_staging" / "mean_colour").write_text("in the way")
    with pytest.raises(VidrayError, match="mean_colour"):
        extract(str(three), str(store), extractors=[MeanColour()])


def test_a_store_that_is_being_written_is_refused(three, tmp_path):
    store = Store(str(tmp_path / "store"))
    with Lease(store.folder, say=print), pytest.raises(StoreError, match=rf"being written by process {os.getpid()} on"):
        extract(str(three), store.url, extractors=[MeanColour()])
    assert extract(str(three), store.url, extractors=[MeanColour()]).done == 3


def test_a_manifests_spans_and_metadata_are_kept(mixed, tmp_path):
    manifest = tmp_path / "manifest.csv"
    video = mixed / "deeper" / "h264.mp4"
    manifest.write_text(
        f"uri,start_s,end_s,tag,weight\n{video},0.5,1.25,first,1\n{video},2,99,last,2\n{video},50,60,beyond,3\n"
    )
    store = tmp_path / "store"
    summary = extract(str(manifest), str(store), extractors=[MeanColour()])
    assert (summary.clips, summary.done, summary.failed) == (3, 2, 1)
    clips = rows(store, "clips")
    assert [(row["start_s"], row["end_s"], row["tag"], row["weight"]) for row in clips] == [
        (0.5, 1.25, "first", 1),
        (2.0, 3.0, "last", 2),
        (50.0, 60.0, "beyond", 3),
    ]
    (error,) = rows(store, "errors/mean_colour")
    assert error["kind"] == "empty"
    assert "the video ends at 3" in error["message"]


def test_metadata_whose_type_changes_is_kept_as_json(mixed, tmp_path):
    store = tmp_path / "store"
    for number, (name, value) in enumerate((("h264.ts", "7"), ("vp9.webm", "seven"))):
        path = next(mixed.rglob(name))
        manifest = tmp_path / f"{number}.csv"
        manifest.write_text(f"uri,mark\n{path},{value}\n")
        plan(str(manifest), str(store))
    videos = rows(store, "videos")
    assert [(row["mark"], row.get("mark_json")) for row in videos] == [(7, None), (None, '"seven"')]


def test_a_manifests_types_are_those_of_the_tables(mixed, tmp_path, capsys):
    path = next(mixed.rglob("h264.ts"))
    day, moment = datetime.date(2024, 1, 1), datetime.datetime(2024, 1, 1, 12, 30, tzinfo=datetime.UTC)
    row = {"uri": str(path), "recorded": day, "at": moment, "tags": ["a", "b"], "who": {"name": "x", "age": 3}}
    row |= {"price": decimal.Decimal("1.50"), "status": "theirs"}
    table = pa.Table.from_pylist([row])
    pq.write_table(table, tmp_path / "m.parquet")
    store = tmp_path / "store"
    plan(str(tmp_path / "m.parquet"), str(store), progress=Progress())
    for kind in ("videos", "clips"):
        written = Store(str(store)).read(kind, 0)
        for name in ("recorded", "at", "tags", "who", "price"):
            assert written[name].type == table[name].type
            assert written[name].to_pylist() == table[name].to_pylist()
        assert written["meta_status"].to_pylist() == ["theirs"]
    assert "column status is kept as meta_status" in capsys.readouterr().err


def test_a_store_that_a_node_does_not_see_ends_the_run(mixed, tmp_path, monkeypatch):
    written = Folder.write_bytes

    def elsewhere(self, name, data):
        written(self, name, b"another store" if "token" in name else data)

    monkeypatch.setattr(Folder, "write_bytes", elsewhere)
    with pytest.raises(ClusterError, match=r"node .* sees another store at"):
        extract(str(mixed), str(tmp_path / "store"), extractors=[MeanColour()])


def test_a_manifests_file_that_could_not_be_read_is_asked_about_again(tmp_path):
    store, manifest, video = tmp_path / "store", tmp_path / "corpus.txt", tmp_path / "late.mp4"
    manifest.write_text(f"{video}\n")
    assert extract(str(manifest), str(store), extractors=[MeanColour()]).videos_failed == 1
    write_video(video, SyntheticVideo(frames=10))
    assert extract(str(manifest), str(store), extractors=[MeanColour()], retry_failed=True).videos_failed == 0
    assert rows(store, "videos")[0]["fingerprint"].startswith("size:")


def test_threads_publish_a_part_or_say_why_not(mixed, tmp_path):
    store, tables = Store(str(tmp_path / "store")), {"mean_colour": MeanColour()}
    plan(str(mixed), store.url, planner=FixedStride(2.0))
    work = part_work(store, 0, tables, {"mean_colour": set()})
    wanted = samplings(tables)
    worker = SliceExtractor(store.url, tables, "cpu")
    with contextlib.closing(Sandbox()) as sandbox:
        (first, *_) = [worker.stage(found) for found in decode_task(work.blocks, wanted, sandbox)]
    staged = tmp_path / "store" / "_staging" / "mean_colour" / first.work.key.file
    whole = staged.read_bytes()
    staged.write_bytes(whole[:-20])
    done = part_work(store, 0, tables, {"mean_colour": store.staging.slices("mean_colour")})
    with ThreadPoolExecutor(1) as threads:
        publisher = Publisher(store, tables, threads=threads)
        publisher.expect(done)
        with pytest.raises(StoreError, match="damaged"):
            publisher.wait()
        assert store.parts("features/mean_colour") == []
        staged.write_bytes(whole)
        publisher.expect(done)
        publisher.wait()
    assert store.parts("features/mean_colour") == [0]


def blocks_showing(*shown: str) -> list[BlockWork]:
    """For each text a block: of one clip a letter, which names the clip's video."""
    blocks = []
    for number, letters in enumerate(shown):
        clips = [
            Clip(clip_id=f"{number}:{n}", video_id=letter, uri="v.mp4", clip_index=n, start_s=0.0, end_s=1.0)
            for n, letter in enumerate(letters)
        ]
        blocks.append(
            BlockWork(tuple(clips), ((0, 0),) * len(clips), (1.0,) * len(clips), (None,) * len(clips), slices=())
        )
    return blocks


@pytest.mark.parametrize("shown", [[chr(n) for n in range(100)], ["a"] * 100], ids=["short videos", "a long one"])
def test_tasks_hold_neighbours_and_get_smaller_towards_the_end(shown):
    blocks = blocks_showing(*shown)
    tasks = list(tasks_of(blocks, 3))
    assert [block for task in tasks for block in task] == blocks
    sizes = [len(task) for task in tasks]
    assert sizes == sorted(sizes, reverse=True)
    assert (sizes[0], sizes[-10:]) == (8, [1] * 10)


@pytest.mark.parametrize(
    ("shown", "size"),
    [
        (["a"] * 8, 8),
        (["a"] * 7 + ["b"] * 2, 7),
        (["a"] * 3 + ["b"] * 2 + ["c"] * 4, 5),
        (["a"] * 4 + ["b"] * 5, 8),
        (["ab", "bc", "c", "ab", "bc", "c", "ab", "bc", "c"], 6),
        (["a", "ab", "bc", "cd", "de", "ef", "fg", "gh", "hi"], 8),
    ],
)
def test_a_task_is_shorter_where_a_video_ends_in_its_second_half(shown, size):
    blocks = blocks_showing(*shown, *["z"] * (40 - len(shown)))
    tasks = list(tasks_of(blocks, 2))
    assert len(tasks[0]) == size
    assert [block for task in tasks for block in task] == blocks


def test_tasks_are_as_long_as_what_is_read_around_them_while_there_is_one_for_each_worker():
    blocks = blocks_showing(*"a" * 30)  # of a second each
    assert [len(task) for task in tasks_of(blocks, 2, context_s=4.2)] == [7, 5, 5, 5, 5, 3]
    assert [len(task) for task in tasks_of(blocks, 2, context_s=60.0)] == [8, 8, 8, 6]
    assert [len(task) for task in tasks_of(blocks, 10, context_s=60.0)] == [3] * 10
    assert [len(task) for task in tasks_of(blocks[:4], 2, context_s=60.0)] == [2, 2]
    assert [len(task) for task in tasks_of(blocks[:2], 8, context_s=60.0)] == [1, 1]


def test_the_last_tasks_begin_with_what_has_most_pixels_to_decode():
    def block(number: int, height: int, length_s: float) -> BlockWork:
        clips = [
            Clip(clip_id=f"{number} {n}", video_id="v", uri="v.mp4", clip_index=n, start_s=0.0, end_s=length_s)
            for n in range(2)
        ]
        wanted = SliceWork("table", SliceKey(0, number, 0, 1), first=0, stop=1)
        return BlockWork(tuple(clips), ((height, 1000), (9999, 9999)), (length_s, length_s), (None, None), (wanted,))

    last = [(240, 10.0), (1080, 5.0), (0, 10.0), (720, 10.0), (480, 20.0)]
    blocks = [block(n, *shape) for n, shape in enumerate([(0, 1.0)] * 50 + last)]
    tasks = list(tasks_of(blocks, 2))
    assert sorted(b.slices[0].key.block for task in tasks for b in task) == list(range(55))
    assert [b.slices[0].key.block for task in tasks[-7:] for b in task] == [54, 53, 51, 50, 52, 48, 49]


def test_a_task_that_is_tried_again_leaves_what_is_staged(mixed, tmp_path):
    store = Store(str(tmp_path / "store"))
    plan(str(mixed), store.url, planner=FixedStride(2.0))
    tables = {"mean_colour": MeanColour(), "loudness": Loudness()}
    task = part_work(store, 0, tables, {table: set() for table in tables}).blocks
    worker = SliceExtractor(store.url, tables, "cpu")
    assert worker.split_staged(task) == ([], task)
    wanted = samplings(tables)
    with contextlib.closing(Sandbox()) as sandbox:
        receipts = [worker.stage(decoded) for decoded in decode_task(task, wanted, sandbox)]
    store.staging.remove("loudness", receipts[-1].work.key)
    found, left = worker.split_staged(task)
    ((lost,),) = [block.slices for block in left]
    assert lost.key not in store.staging.slices("loudness", 0)
    assert {(r.work, r.done, r.failed) for r in found} == {
        (r.work, r.done, r.failed) for r in receipts if r.work != lost
    }
    other = _Worker(store.url)
    with contextlib.closing(other._sandbox):
        assert other.hold(tables, {}) is None
        again = other.work(task)
        assert isinstance(next(again), Receipt)
        # Ray sends values in
        assert [type(again.send("go on")) for _ in found[1:]] == [Receipt] * (len(found) - 1)


@pytest.mark.parametrize("is_lost", [True, False])
def test_only_an_error_that_leaves_the_gpu_unusable_ends_the_worker(is_lost):
    code = f"""
from extractors_for_tests import MeanColour
from vidray.pipeline import worker

class Fails(MeanColour):
    def load(self, device):
        return lambda batch: 1 / 0

worker._is_lost = lambda device: {is_lost}
try:
    worker.load(Fails(), "cuda")([])
except ZeroDivisionError:
    print("raised")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(__file__).parent)
    expected = (1, "", True) if is_lost else (0, "raised\n", False)
    assert (done.returncode, done.stdout, "leaves cuda unusable" in done.stderr) == expected


@pytest.mark.slow
def test_a_local_worker_stays_for_the_tables_that_are_made_from_tables(tmp_path):
    write_video(tmp_path / "a.mp4", SyntheticVideo(frames=40))
    code = """
import sys
import vidray
from extractors_for_tests import Process

tables = {"first": Process(), "second": Process(of="first"), "third": Process(of="second")}
vidray.extract(*sys.argv[1:], extractors=tables)
"""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    paths = [str(tmp_path / "a.mp4"), str(tmp_path / "store")]
    subprocess.run([sys.executable, "-c", code, *paths], check=True, env=environment, cwd=Path(__file__).parent)
    pids = {row["pid"] for table in ("first", "second", "third") for row in rows(Path(paths[1]), f"features/{table}")}
    assert len(pids) == 1


def test_a_local_cluster_starts_no_worker_before_there_is_work():
    code = """
import time
import ray
import psutil
from vidray.pipeline.cluster import cluster

with cluster(None) as connection:
    connection.connect()
    time.sleep(2)
    names = [(process.cmdline() or [""])[0] for process in psutil.Process().children(recursive=True)]
    print(any(name.endswith("/raylet") for name in names))
    print([name for name in names if name.startswith("ray::IDLE")])
"""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.stdout == "True\n[]\n", done.stderr


def node(cpus: float, memory_bytes: float, gpus: float = 0.0) -> Node:
    return Node("id", "10.0.0.1", cpus, gpus, memory_bytes)


@pytest.mark.parametrize(
    ("nodes", "device", "expected"),
    [
        ([node(4, 64e9)], "auto", Placement(0, 4, 0.0, 2560 << 20)),
        ([node(64, 16e9)], "auto", Placement(0, 5, 0.0, 2560 << 20)),
        ([node(0, 64e9), node(4, 5e9), node(4, 5e9)], "auto", Placement(0, 2, 0.0, 2560 << 20)),
        ([node(2, 3e9), node(2, 3e9), node(2, 3e9)], "auto", Placement(0, 3, 0.0, 2560 << 20)),
        ([node(0, 64e9), node(2, 1e9)], "auto", Placement(0, 1, 0.0, 1_000_000_000)),
        ([node(16, 64e9, 2)], "auto", Placement(14, 2, 1.0, 2560 << 20)),
        ([node(8, 64e9), node(8, 32e9, 2)], "auto", Placement(14, 2, 1.0, 2560 << 20)),
        ([node(16, 64e9, 0.5)], "cuda", Placement(15, 1, 0.5, 2560 << 20)),
        ([node(16, 64e9, 2)], "cpu", Placement(0, 16, 0.0, 2560 << 20)),
    ],
)
def test_placement_follows_what_each_node_has(nodes, device, expected):
    assert place(nodes, device=device, extractors=[MeanColour(), MeanColour()]) == expected


def test_a_worker_reserves_what_its_sandbox_may_keep():
    reserved = place([node(4, 64e9)], device="cpu", extractors=[MeanColour()]).memory_bytes
    assert reserved == WORKER_BYTES + Limits().growth_bytes + RESERVED_BYTES


def test_a_worker_reserves_what_its_networks_say_that_they_need():
    detector = resolve("torchvision/maskrcnn_resnet50_fpn_v2")
    assert place([node(4, 5e9)], device="cpu", extractors=[MeanColour()]).extractors == 2
    assert place([node(4, 5e9)], device="cpu", extractors=[MeanColour(), detector]).extractors == 1


def test_a_gpu_that_is_not_there_is_a_usage_error():
    with pytest.raises(UsageError, match="the cluster has no GPU"):
        place([node(4, 64e9)], device="cuda", extractors=[MeanColour()])


def test_a_plan_by_shots_cuts_where_the_video_does(tmp_path):
    store = str(tmp_path / "store")
    plan(str(packaged("bikes.mp4")), store, planner=Shots(4.0))
    starts = [0.0, 30 / 25, 76 / 25, 137 / 25, 187 / 25, 242 / 25]
    assert [row["start_s"] for row in rows(tmp_path / "store", "clips")] == starts
    with pytest.raises(SpecMismatchError, match='planner "shots", not "fixed_stride"'):
        plan(str(packaged("bikes.mp4")), store, planner=FixedStride())
    # a store has one planner, which need not be named again
    assert plan(str(packaged("bikes.mp4")), store).clips == len(starts)


def test_runs_keep_what_was_done(filled):
    (record,) = (filled / "runs").iterdir()
    held = json.loads(record.read_text())
    assert held["counts"]["done"] == 4 * len(MIXED)
    assert held["versions"]["ray"] == ray.__version__
    assert set(held["extractors"]) == {"mean_colour", "loudness"}
    assert dataclasses.asdict(FixedStride(2.0))["length_s"] == held["plan"]["clip_length_s"]

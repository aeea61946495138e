"""The store's laws: a reader sees whole parts only, and what is done twice writes the same bytes."""

import contextlib
import json

import pyarrow as pa
import pytest

from vidray.errors import SpecMismatchError, StoreError
from vidray.storage import Folder
from vidray.store import CLIPS, ERRORS, VIDEOS, SliceKey, Store, features_schema, part_file, staged_schema
from vidray.store.differences import differences
from vidray.store.layout import seal_file

COLUMNS = pa.schema([("embedding", pa.list_(pa.float32(), 2))])


def staged(first: int, stop: int, failed: tuple[int, ...] = ()) -> pa.Table:
    rows = [
        {
            "clip_id": f"c{n}",
            "video_id": "v",
            "uri": "/v.mp4",
            "start_s": float(n),
            "end_s": n + 1.0,
            "embedding": None if n in failed else [float(n), 0.5],
            "stage": "decode" if n in failed else None,
            "kind": "corrupt" if n in failed else None,
            "message": "broken" if n in failed else None,
        }
        for n in range(first, stop)
    ]
    return pa.Table.from_pylist(rows, staged_schema(COLUMNS))


@pytest.fixture(params=["local", "memory"])
def store(request, tmp_path):
    store = Store(str(tmp_path / "store") if request.param == "local" else f"memory://{tmp_path.name}/store")
    clips = [dict.fromkeys(CLIPS.names) | {"clip_id": f"c{n}"} for n in range(6)]
    store.write("clips", 0, pa.Table.from_pylist(clips, CLIPS), CLIPS)
    return store


def test_planned_videos_are_read_once_until_their_files_change(tmp_path, monkeypatch):
    url = str(tmp_path / "store")
    other = Store(url)
    reads = []
    read = Store.read
    monkeypatch.setattr(Store, "read", lambda self, *arguments: reads.append(arguments) or read(self, *arguments))
    planned = Store(url)

    def plan_one(uri: str, part: int) -> None:
        rows = pa.Table.from_pylist([dict.fromkeys(VIDEOS.names) | {"uri": uri}], VIDEOS)
        other.write("videos", part, rows, VIDEOS)
        other.write("clips", part, CLIPS.empty_table(), CLIPS)

    plan_one("a", 0)
    for _ in range(2):
        assert planned.listed.rows()["uri"].to_pylist() == ["a"]
        planned.listed.look_again()
    assert len(reads) == 1
    plan_one("b", 1)
    assert planned.listed.rows()["uri"].to_pylist() == ["a"]
    planned.listed.look_again()
    assert planned.listed.rows()["uri"].to_pylist() == ["a", "b"]
    plan_one("c", 0)
    planned.listed.look_again()
    assert planned.listed.rows()["uri"].to_pylist() == ["c", "b"]
    # a storage that does not say when a file was written
    monkeypatch.setattr(Folder, "seen", lambda self, prefix: {f"{prefix}/part-00000.parquet": (1, "")})
    planned.listed.look_again()
    reads.clear()
    planned.listed.rows()
    planned.listed.look_again()
    planned.listed.rows()
    assert len(reads) == 2


def stage_part(store: Store) -> list[SliceKey]:
    keys = [SliceKey(0, 0, 0, 2), SliceKey(0, 0, 1, 2), SliceKey(0, 1, 0, 1)]
    store.staging.write("x", keys[0], staged(0, 3, failed=(1,)))
    store.staging.write("x", keys[1], staged(3, 5))
    store.staging.write("x", keys[2], staged(5, 6, failed=(5,)))
    return keys


def test_publishing_splits_successes_and_failures_in_plan_order(store):
    keys = stage_part(store)
    assert store.staging.slices("x") == set(keys)
    assert store.publish("x", 0, keys, COLUMNS) == (4, 2)
    features, errors = store.read("features/x", 0), store.read("errors/x", 0)
    assert features["clip_id"].to_pylist() == ["c0", "c2", "c3", "c4"]
    assert errors["clip_id"].to_pylist() == ["c1", "c5"]
    assert features.schema == features_schema(COLUMNS)
    assert errors.schema == ERRORS
    assert store.staging.slices("x") == set()
    assert store.parts("features/x") == [0]


def test_errors_are_published_before_features_and_each_slice_is_read_once(store, monkeypatch):
    written, read = [], []
    writing, read_staged = store.folder.writing, store.staging.read

    @contextlib.contextmanager
    def recorded(name):
        with writing(name) as file:
            yield file
        written.append(name)

    keys = stage_part(store)
    monkeypatch.setattr(store.folder, "writing", recorded)
    monkeypatch.setattr(store.staging, "read", lambda table, key: read.append(key) or read_staged(table, key))
    store.publish("x", 0, keys, COLUMNS)
    parts = [part_file(f"{kind}/x", 0) for kind in ("errors", "features")]
    seals = [seal_file(f"{kind}/x", 0) for kind in ("errors", "features")]
    assert written == [seals[0], parts[0], seals[1], parts[1]]
    assert read == keys


def test_publishing_does_not_depend_on_how_the_slices_were_cut(store):
    store.publish("x", 0, stage_part(store), COLUMNS)
    one = [store.folder.read_bytes(f"{kind}/x/part-00000.parquet") for kind in ("features", "errors")]
    key = SliceKey(0, 0, 0, 1)
    store.staging.write("x", key, staged(0, 6, failed=(1, 5)))
    store.publish("x", 0, [key], COLUMNS)
    assert one == [store.folder.read_bytes(f"{kind}/x/part-00000.parquet") for kind in ("features", "errors")]


def test_slices_of_other_clips_than_the_plans_are_not_published(store):
    keys = stage_part(store)
    store.staging.write("x", keys[1], staged(6, 8))
    with pytest.raises(StoreError, match=r"block-0000.s01of02.parquet: holds other clips than the plan; .*run again"):
        store.publish("x", 0, keys, COLUMNS)
    assert store.staging.slices("x") == {keys[0], keys[2]}
    assert store.folder.sizes("features") | store.folder.sizes("errors") == {}
    store.staging.write("x", keys[1], staged(3, 5))
    with pytest.raises(StoreError, match="part 0 of x has 5 of 6 planned clips staged"):
        store.publish("x", 0, keys[:2], COLUMNS)
    assert store.publish("x", 0, keys, COLUMNS) == (4, 2)


def test_a_damaged_slice_is_missing_again(store):
    keys = stage_part(store)
    store.folder.write_bytes(f"_staging/x/{keys[2].file}", b"")
    with pytest.raises(StoreError, match=r"block-0001.s00of01.parquet: damaged; .*run again"):
        store.publish("x", 0, keys, COLUMNS)
    assert store.staging.slices("x") == set(keys[:2])


def test_a_write_that_fails_leaves_what_was_there(store):
    store.folder.write_bytes("file", b"before")

    def write_half():
        with store.folder.writing("file") as file:
            file.write(b"half")
            raise RuntimeError("the worker dies")

    with pytest.raises(RuntimeError):
        write_half()
    assert store.folder.read_bytes("file") == b"before"
    assert list(store.folder.sizes()) == [seal_file("clips", 0), part_file("clips", 0), "file"]


def test_another_plan_is_refused_with_the_remedy(store):
    plan = {"planner": "fixed_stride", "clip_length_s": 10.0}
    store.check_plan(plan)
    store.write_config(plan)
    store.check_plan(dict(plan))
    with pytest.raises(SpecMismatchError, match=r"clip_length_s 10.0, not 5.0; use the same, or another store"):
        store.check_plan({**plan, "clip_length_s": 5.0})


def test_another_extractor_under_the_same_name_is_refused_with_the_remedy(store):
    store.check_spec("x", {"name": "x", "version": "1"})
    store.write_spec("x", {"name": "x", "version": "1"})
    store.write("features/x", 0, ERRORS.empty_table(), ERRORS)
    store.check_spec("x", {"name": "x", "version": "1"})
    with pytest.raises(SpecMismatchError, match=r'version "1", not "2"; .*--as NAME'):
        store.check_spec("x", {"name": "x", "version": "2"})


def test_the_same_weights_from_another_place_are_the_same_extractor(store):
    store.write_spec("x", {"name": "x", "weights": {"source": "/a.pth", "sha256": "1"}})
    store.write("features/x", 0, ERRORS.empty_table(), ERRORS)
    store.check_spec("x", {"name": "x", "weights": {"source": "/b.pth", "sha256": "1"}})
    with pytest.raises(SpecMismatchError):
        store.check_spec("x", {"name": "x", "weights": {"source": "/a.pth", "sha256": "2"}})


def test_a_store_of_another_format_is_refused(store):
    store.folder.write_bytes("vidray.json", b'{"format": 99}')
    with pytest.raises(StoreError, match="store format 99"):
        store.config()


def test_damaged_files_are_named(store):
    store.folder.write_bytes("vidray.json", b"not json")
    with pytest.raises(StoreError, match=r"vidray\.json: cannot be read"):
        store.config()
    store.folder.write_bytes("clips/part-00000.parquet", b"not parquet")
    with pytest.raises(StoreError, match=r"part-00000\.parquet"):
        store.read("clips", 0)


def test_large_parts_are_cut_into_row_groups(store):
    rows = pa.table({name: pa.nulls(20_000, CLIPS.field(name).type) for name in CLIPS.names})
    assert store.write("clips", 3, (rows.slice(n, 7000) for n in range(0, 20_000, 7000)), CLIPS) == 20_000
    assert store.rows("clips", 3) == 20_000


def test_a_table_without_rows_takes_another_spec_and_keeps_nothing_staged(tmp_path):
    store = Store(str(tmp_path / "store"))
    store.write_spec("net", {"name": "net", "version": "1"})
    store.folder.write_bytes("_staging/net/part-00000/block-0000.s00of01.parquet", b"of version 1")
    store.check_spec("net", {"name": "net", "version": "2"})
    store.write_spec("net", {"name": "net", "version": "1"})
    assert len(store.staging.slices("net")) == 1
    store.write_spec("net", {"name": "net", "version": "2"})
    assert (store.spec("net"), store.staging.slices("net")) == ({"name": "net", "version": "2"}, set())
    store.forget_empty("net")
    assert store.tables("features") == []


@pytest.mark.parametrize(
    "held",
    [{"retire": 3}, {"retire": [1]}, {"current": []}, {"current": {"x": ["a"]}}, {"move": {}}, {"move": None},
     {"move": {"part": "0", "videos": []}}, {"rename": {"old": "a"}}, {"rename": []}],
)  # fmt: skip
def test_an_intent_that_cannot_be_read_is_one_line(tmp_path, held):
    store = Store(str(tmp_path))
    store.folder.write_bytes("_intent.json", json.dumps(held).encode())
    (name,) = held
    for reader in (store.intents.retiring, store.intents.current, store.intents.moving, store.intents.renaming):
        with pytest.raises(
            StoreError, match=rf"_intent\.json: its {name} cannot be read; remove it, and .* run vidray plan"
        ):
            reader()


def test_an_intent_is_read_as_it_was_written(tmp_path):
    intents = Store(str(tmp_path)).intents
    intents.write_retirement(["v"], {"x": [0, 2]})
    assert (intents.retiring(), intents.current(), intents.moving()) == (["v"], {"x": [0, 2]}, None)
    intents.write_move(3, ["v"], {"x": [0]})
    assert (intents.retiring(), intents.current(), intents.moving()) == ([], {"x": [0]}, (3, ["v"]))
    intents.write_renaming("a", "b", {})
    assert (intents.renaming(), intents.moving()) == (("a", "b"), None)
    intents.clear()
    assert (intents.retiring(), intents.renaming()) == ([], None)


def test_what_differs_is_named_as_far_inside_as_it_does(tmp_path):
    store = Store(str(tmp_path / "store"))
    made, asked = (
        {"name": "net", "settings": {"fps": fps, "masks": False}, "inputs": {"frames": {"fps": fps, "size": [3, 4]}}}
        for fps in (2.0, 1.0)
    )
    assert differences(made, asked) == "settings.fps 2.0, not 1.0, inputs.frames.fps 2.0, not 1.0"
    assert differences({"a": {"b": 1}}, {"a": 2, "c": True}) == 'a {"b": 1}, not 2, c null, not true'
    store.write_config({"clip_length_s": 10.0})
    with pytest.raises(SpecMismatchError, match=r"clip_length_s 10.0, not 5.0; use the same, or another store"):
        store.check_plan({"clip_length_s": 5.0})

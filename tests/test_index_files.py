"""The commit and the trust of an index: whole versions only, and nothing damaged or foreign is opened."""

from __future__ import annotations

import hashlib
import importlib
import json
import operator
import os
import shutil
import threading
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from embedding_tables import clip_ids, clustered, write_table

from vidray.errors import IndexFileError, StoreError, UsageError
from vidray.index import build as build_module
from vidray.index import build_index, open_index
from vidray.index import open as open_module
from vidray.index.files import CURRENT
from vidray.storage import Folder

ROWS, DIM = 2000, 16
TYPES = {"exact": "SQfp16", "lists": "IVF,SQfp16", "codes": "IVF,RaBitQ"}


@pytest.fixture(scope="module")
def table(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("store") / "features" / "net"
    write_table(folder, clustered(ROWS, DIM), parts=2)
    return folder


@pytest.fixture(scope="module")
def built(table, tmp_path_factory) -> dict[str, Path]:
    places = {name: tmp_path_factory.mktemp(name) for name in TYPES}
    for name, place in places.items():
        build_index(str(table), str(place), factory=TYPES[name])
    return places


@pytest.fixture(params=TYPES)
def place(request, built, tmp_path) -> Path:
    """A copy of an index that a test may damage."""
    return Path(shutil.copytree(built[request.param], tmp_path / "index"))


def names(place: Path) -> list[str]:
    """What an index is made of, without its builder's notes."""
    found = sorted(str(path.relative_to(place)) for path in place.rglob("*") if path.is_file())
    return [name for name in found if not name.endswith(("seen.json", "built.json"))]


def segment_of(place: Path) -> Path:
    (segment,) = (place / "segments").iterdir()
    return segment


def manifest_of(place: Path) -> dict:
    return json.loads((place / "v0001" / "manifest.json").read_text())


def sign_again(place: Path) -> None:
    """What someone does who wants damaged files to be believed: new hashes, all the way up."""
    manifest = manifest_of(place)
    folders = [(place, manifest["centroids"])]
    folders += [(place / "segments" / segment["name"], segment["files"]) for segment in manifest["segments"]]
    for folder, files in folders:
        for name in files:
            data = (folder / name).read_bytes()
            files[name] = {"size_bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    sign_manifest(place, manifest)


def sign_manifest(place: Path, manifest: object) -> None:
    data = json.dumps(manifest).encode()
    (place / "v0001" / "manifest.json").write_bytes(data)
    (place / CURRENT).write_text(f"v0001 {hashlib.sha256(data).hexdigest()}\n")


def test_another_index_is_a_new_version_and_the_old_one_goes(table, tmp_path):
    place = tmp_path / "i"
    first = build_index(str(table), str(place), factory="IVF,SQfp16")
    old = open_index(str(place))
    before = old.search(np.ones(DIM)).ids
    second = build_index(str(table), str(place), factory="SQfp16")
    assert (first.version, second.version) == ("v0001", "v0002")
    folder = f"segments/{segment_of(place).name}"
    files = ("ids.arrow", "lists.bin", "places.u64", "sizes.u32")
    assert names(place) == ["CURRENT", *(f"{folder}/{name}" for name in files), "v0002/manifest.json"]
    assert (old.search(np.ones(DIM)).ids == before).all()
    assert open_index(str(place)).manifest.nlist == 1


def test_an_index_is_for_whoever_may_read_its_folder(table, tmp_path):
    place = tmp_path / "i"
    place.mkdir(mode=0o755)
    build_index(str(table), str(place))
    assert segment_of(place).stat().st_mode & 0o777 == 0o755
    assert (segment_of(place) / "lists.bin").stat().st_mode & 0o444 == 0o444


@pytest.mark.parametrize("where", ["local", "memory"])
def test_a_build_that_is_killed_before_its_commit_changes_nothing(table, tmp_path, monkeypatch, where):
    place = str(tmp_path / "i") if where == "local" else f"memory://{tmp_path.name}/i"
    build_index(str(table), place)
    with monkeypatch.context() as patched:
        patched.setattr("vidray.index.build.publish", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt()))
        with pytest.raises(KeyboardInterrupt):
            build_index(str(table), place, factory="IVF,SQfp16")
    assert any("centroids" in name for name in Folder(place).sizes())
    index = open_index(place, verify=True)
    assert (index.manifest.nlist, index.search(np.ones(DIM)).ids.shape) == (1, (1, 10))
    assert build_index(str(table), place).version == "v0001"
    assert build_index(str(table), place, rebuild=True).version == "v0002"
    assert {name.split("/")[0] for name in Folder(place).sizes()} == {"CURRENT", "v0002", "segments"}


@pytest.mark.parametrize("factory", TYPES.values())
def test_a_killed_build_is_taken_up_where_it_was(table, tmp_path, monkeypatch, factory):
    """Each step is done once, whatever is killed between; a segment whose part was written since is made anew."""
    monkeypatch.setattr("vidray.index.build.SEGMENT_BYTES", 2 * DIM * ROWS // 2)
    features = Path(shutil.copytree(table, tmp_path / "features" / "net"))
    done = {"train": 0, "_collect": 0}

    def counted(module: str, name: str) -> None:
        plain = getattr(importlib.import_module(module), name)

        def count(*args, **options):
            done[name] += 1
            return plain(*args, **options)

        monkeypatch.setattr(f"{module}.{name}", count)

    counted("vidray.index.ann", "train")
    counted("vidray.index.encode", "_collect")
    for step in ("encode", "measure", "publish"):
        with monkeypatch.context() as patched:
            seen = []
            plain = getattr(build_module, step)

            def killed(*args, seen=seen, plain=plain, step=step, **options):
                if step != "encode" or seen:
                    raise KeyboardInterrupt
                seen.append(1)
                return plain(*args, **options)

            patched.setattr(f"vidray.index.build.{step}", killed)
            with pytest.raises(KeyboardInterrupt):
                build_index(str(features), str(tmp_path / "i"), factory=factory)
    build_index(str(features), str(tmp_path / "i"), factory=factory)
    assert done == {"train": int(factory != "SQfp16"), "_collect": 2}
    build_index(str(table), str(tmp_path / "straight"), factory=factory)
    data = [(place / name).read_bytes() for place in (tmp_path / "i", tmp_path / "straight") for name in names(place)
            if "segments" in name]  # fmt: skip
    assert data[: len(data) // 2] == data[len(data) // 2 :]


def test_what_a_killed_build_left_behind_goes_a_day_later(table, tmp_path):
    left = tmp_path / "i" / "_staging" / "building-old"
    fresh = tmp_path / "i" / "_staging" / "building-now"
    for folder in (left, fresh):
        folder.mkdir(parents=True)
        (folder / "vectors.f16").write_bytes(b"x")
    os.utime(left, (time.time() - 90_000,) * 2)
    build_index(str(table), str(tmp_path / "i"))
    assert (left.exists(), fresh.exists()) == (False, True)


def test_readers_see_a_whole_index_while_it_is_being_rebuilt(table, tmp_path):
    place = str(tmp_path / "i")
    build_index(str(table), place)
    builds, seen, wrong = 6, set(), []
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            try:
                index = open_index(place, verify=True)
                seen.add(index.manifest.factory)
                assert index.search(np.ones(DIM)).ids.shape == (1, 10)
            except Exception as e:
                wrong.append(e)

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(builds):
        build_index(str(table), place, factory=list(TYPES.values())[number % 3], rebuild=True)
    done.set()
    reader.join()
    assert wrong == []
    assert len(seen) == 3
    assert open_index(place)._where.endswith(f"v{builds + 1:04d}")


@pytest.mark.parametrize(
    "step", ["read_manifest", "fetch", "check_files", "read_centroids", "OpenSegment.open", "Vectors"]
)
def test_a_version_that_goes_while_it_is_being_opened_is_not_missed(table, tmp_path, monkeypatch, step):
    place = str(tmp_path / "i")
    build_index(str(table), place, factory="IVF,SQfp16")
    plain = operator.attrgetter(step)(open_module)

    def rebuilt(*args, **options):
        monkeypatch.setattr(f"vidray.index.open.{step}", plain)
        build_index(str(table), place, factory="IVF30,SQfp16")
        return plain(*args, **options)

    monkeypatch.setattr(f"vidray.index.open.{step}", rebuilt)
    index = open_index(place, verify=True)
    assert open_index(place).manifest.nlist == 30
    assert index.search(np.ones(DIM)).ids.shape == (1, 10)


def test_a_build_that_begins_as_another_ends_goes_on_from_what_that_made(table, tmp_path, monkeypatch):
    place = str(tmp_path / "i")
    plain = build_module.Lease

    def after_another(*args, **options):
        monkeypatch.setattr("vidray.index.build.Lease", plain)
        assert build_index(str(table), place).added == ROWS
        return plain(*args, **options)

    monkeypatch.setattr("vidray.index.build.Lease", after_another)
    last = build_index(str(table), place)
    assert (last.version, last.added) == ("v0001", 0)


def test_two_builds_at_once_are_one_and_a_refusal(table, tmp_path, monkeypatch):
    place = str(tmp_path / "i")
    refused = []
    plain = build_module.measure

    def second(*args, **options):
        monkeypatch.setattr("vidray.index.build.measure", plain)
        with pytest.raises(StoreError, match="is being written by process"):
            build_index(str(table), place, factory="IVF,SQfp16")
        refused.append(1)
        return plain(*args, **options)

    monkeypatch.setattr("vidray.index.build.measure", second)
    build_index(str(table), place)
    assert refused
    assert open_index(place, verify=True).manifest.factory == "SQfp16"
    assert build_index(str(table), place, factory="IVF,SQfp16").version == "v0002"


def test_no_index_is_said_to_be_none(tmp_path):
    with pytest.raises(IndexFileError, match="no index here; run vidray index"):
        open_index(str(tmp_path))


def test_every_file_is_missed_and_every_damage_is_seen(place):
    for name in names(place):
        path = place / name
        data = path.read_bytes()
        for damaged in (None, data[:-1], data + b"x", bytes([data[0] ^ 1]) + data[1:], data[:-9] + b"\0damaged\0"):
            path.unlink() if damaged is None else path.write_bytes(damaged)
            with pytest.raises(IndexFileError, match=r"run vidray index( again)?$") as caught:
                open_index(str(place), verify=True)
            assert "\n" not in str(caught.value)
        path.write_bytes(data)
    open_index(str(place), verify=True)


def test_large_files_are_hashed_on_demand_and_measured_always(place, monkeypatch):
    monkeypatch.setattr("vidray.index.files.HASHED_BYTES", 0)
    path = segment_of(place) / "lists.bin"
    data = path.read_bytes()
    path.write_bytes(data[:9] + b"\0damaged\0" + data[18:])
    open_index(str(place))
    with pytest.raises(IndexFileError, match=f"{path.name} is damaged: its sha256"):
        open_index(str(place), verify=True)
    path.write_bytes(data[:-1])
    with pytest.raises(IndexFileError, match=f"{path.name} is damaged: {len(data) - 1} bytes, not {len(data)}"):
        open_index(str(place))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("clips", ROWS - 1), ("clips", -1), ("clips", "many"), ("clips", True), ("dim", DIM * 2), ("dim", 0),
        ("nlist", 7), ("nlist", -1), ("codec", "pq"), ("metric", "l2"), ("parts", [{"name": "x"}]), ("parts", 3),
        ("segments", []), ("segments", None), ("measured", []),
        ("centroids", {"../x": {"size_bytes": 1, "sha256": "0"}}),
        ("measured", [{"kept": 1.0, "nprobe": 0, "rerank": 0, "recall_at_10": 1.0}]),
        ("measured", [{"kept": 0, "nprobe": 1, "rerank": 0, "recall_at_10": 1.0}]), ("features", 5),
    ],
)  # fmt: skip
def test_a_manifest_that_does_not_add_up_is_refused(place, key, value):
    sign_manifest(place, {**manifest_of(place), key: value})
    with pytest.raises(IndexFileError, match="run vidray index again"):
        open_index(str(place))


@pytest.mark.parametrize(
    "change",
    [
        {"name": "../../../secret"}, {"base": -1}, {"rows": ROWS - 1}, {"rows": ROWS + 1}, {"runs": []}, {"runs": 3},
        {"runs": [{"part": "part-00000.parquet", "first": -1, "clips": ROWS}]},
        {"runs": [{"part": "elsewhere", "first": 0, "clips": ROWS}]},
        {"runs": [{"part": "part-00000.parquet", "first": 0, "clips": ROWS}] * 2}, {"files": {}},
        {"files": {"../secret": {"size_bytes": 1, "sha256": "0"}}},
    ],
    ids=str,
)  # fmt: skip
def test_a_segment_that_does_not_add_up_is_refused(place, change):
    manifest = manifest_of(place)
    manifest["segments"][0] |= change
    sign_manifest(place, manifest)
    with pytest.raises(IndexFileError, match="run vidray index again"):
        open_index(str(place))


@pytest.mark.parametrize("data", [b"", b"[]", b"{", b"\xff\xfe", b"[" * 100_000])
def test_a_manifest_that_is_none_is_refused(place, data):
    (place / "v0001" / "manifest.json").write_bytes(data)
    (place / CURRENT).write_text(f"v0001 {hashlib.sha256(data).hexdigest()}\n")
    with pytest.raises(IndexFileError, match="not a manifest"):
        open_index(str(place))


@pytest.mark.parametrize("written", [1, 3])
def test_another_format_is_refused_by_its_number(place, written):
    sign_manifest(place, {"format": written})
    with pytest.raises(IndexFileError, match=f"index format {written}, this vidray opens 2; run vidray index again"):
        open_index(str(place))


def test_an_index_of_the_format_before_is_built_anew(table, tmp_path):
    data = json.dumps({"format": 1, "clips": 3}).encode()
    (tmp_path / "v0007").mkdir()
    (tmp_path / "v0007" / "manifest.json").write_bytes(data)
    (tmp_path / CURRENT).write_text(f"v0007 {hashlib.sha256(data).hexdigest()}\n")
    assert build_index(str(table), str(tmp_path)).version == "v0008"
    assert open_index(str(tmp_path), verify=True).size == ROWS
    assert not (tmp_path / "v0007").exists()


@pytest.mark.parametrize("text", ["", "v0001", "../../etc " + "0" * 64 + "\n", "v0001 " + "0" * 64 + "\n"])
def test_current_names_a_version_of_this_folder_by_its_hash(place, text):
    (place / CURRENT).write_text(text)
    with pytest.raises(IndexFileError, match="CURRENT"):
        open_index(str(place))


def test_files_that_do_not_fit_together_are_refused(place):
    """Believed, and each of a plausible size: lists past their file, vectors outside it, centroids of nowhere."""
    sizes = np.fromfile(segment_of(place) / "sizes.u32", np.uint32)
    for changed in (sizes + 1, np.r_[sizes[:-1], sizes[-1] - 1].astype(np.uint32), sizes[:-1]):
        changed.tofile(segment_of(place) / "sizes.u32")
        sign_again(place)
        with pytest.raises(IndexFileError, match=r"does not have \d+ rows in \d+ lists; run vidray index again"):
            open_index(str(place))
    sizes.tofile(segment_of(place) / "sizes.u32")
    for centroids in place.glob("centroids-*"):
        data = np.fromfile(centroids, np.float32)
        for changed in (data[:-1], np.r_[data[:-1], np.nan].astype(np.float32)):
            changed.tofile(centroids)
            sign_again(place)
            with pytest.raises(IndexFileError, match="centroids"):
                open_index(str(place))
        data.tofile(centroids)
    places = np.fromfile(segment_of(place) / "places.u64", np.uint64)
    (places + np.uint64(1 << 40)).tofile(segment_of(place) / "places.u64")
    sign_again(place)
    with pytest.raises(IndexFileError, match="a vector outside its file"):
        open_index(str(place)).search(np.ones((1, DIM)), where="start_s = 0 AND clip_id < 'clip000100'")


def test_rows_that_the_index_cannot_have_are_refused(place):
    path = segment_of(place) / "lists.bin"
    data = path.read_bytes()
    for row in range(ROWS):
        data = data.replace(row.to_bytes(8, "little"), (row + (1 << 40)).to_bytes(8, "little"))
    path.write_bytes(data)
    sign_again(place)
    index = open_index(str(place), verify=True)
    with pytest.raises(IndexFileError, match="rows that it does not have"):
        index.search(np.ones((1, DIM)))


def test_identities_that_are_not_arrow_or_too_few_are_refused(place):
    path = segment_of(place) / "ids.arrow"
    path.write_bytes(b"not arrow")
    sign_again(place)
    with pytest.raises(IndexFileError, match=r"ids\.arrow is not an Arrow file"):
        open_index(str(place))
    few = pa.table({"clip_id": clip_ids(7)})
    with pa.ipc.new_file(str(path), few.schema) as writer:
        writer.write_table(few)
    sign_again(place)
    index = open_index(str(place))
    with pytest.raises(IndexFileError, match="batch 0 has 7 rows"):
        index.search(np.ones((1, DIM)))


@pytest.mark.slow
def test_mutated_files_are_refused_or_answer(built, tmp_path):
    """Believed files with changed bytes: an answer, or IndexFileError; never another error, never a crash."""
    rng = np.random.default_rng(11)
    for number in range(1000):
        source = built[list(TYPES)[number % 3]]
        place = Path(shutil.copytree(source, tmp_path / "index", dirs_exist_ok=True))
        files = [place / name for name in names(place) if "segments" in name or "centroids" in name]
        path = files[number // 3 % len(files)]
        data = bytearray(path.read_bytes())
        for _ in range(int(rng.integers(1, 4))):
            near_end = len(data) - 1 - int(rng.integers(min(2000, len(data))))
            at = int(rng.integers(min(300, len(data)))) if rng.random() < 0.5 else near_end
            data[at] = int(rng.choice([0, 127, 128, 255, rng.integers(256)]))
        if number % 10 == 0:
            data = data[: int(rng.integers(len(data)))]
        path.write_bytes(data)
        original = (source / path.relative_to(place)).read_bytes()
        if data != original:
            with pytest.raises(IndexFileError):
                open_index(str(place), verify=True)
        sign_again(place)
        try:
            index = open_index(str(place))
            matches = index.search(rng.standard_normal((3, DIM)))
            assert index.clips(matches.rows[0]).num_rows == 10
            index.search(rng.standard_normal((1, DIM)), where="start_s = 10 AND clip_id < 'clip000400'")
        except (IndexFileError, UsageError):
            pass
        shutil.rmtree(place)

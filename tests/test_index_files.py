"""The commit and the trust of an index: whole versions only, and nothing damaged or foreign is opened."""

from __future__ import annotations

import hashlib
import json
import operator
import os
import shutil
import threading
import time
from pathlib import Path

import faiss
import numpy as np
import pyarrow as pa
import pytest
from embedding_tables import clip_ids, clustered, write_table

from vidray.errors import IndexFileError
from vidray.index import build_index, open_index
from vidray.index import open as open_module
from vidray.index.files import CURRENT
from vidray.storage import Folder

ROWS, DIM = 2000, 16
TYPES = {"exact": ROWS, "lists": 0}


@pytest.fixture(scope="module")
def table(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("store") / "features" / "net"
    write_table(folder, clustered(ROWS, DIM), parts=2)
    return folder


@pytest.fixture(scope="module")
def built(table, tmp_path_factory) -> dict[str, Path]:
    places = {name: tmp_path_factory.mktemp(name) for name in TYPES}
    for name, place in places.items():
        build_index(str(table), str(place), exact_up_to=TYPES[name])
    return places


@pytest.fixture(params=TYPES)
def place(request, built, tmp_path) -> Path:
    """A copy of an index that a test may damage."""
    return Path(shutil.copytree(built[request.param], tmp_path / "index"))


def names(place: Path) -> list[str]:
    return sorted(str(path.relative_to(place)) for path in place.rglob("*") if path.is_file())


def sign_again(place: Path) -> None:
    """What someone does who wants damaged files to be believed: new hashes, all the way up."""
    version = place / "v0001"
    manifest = json.loads((version / "manifest.json").read_text())
    for name in manifest["files"]:
        data = (version / name).read_bytes()
        manifest["files"][name] = {"size_bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    sign_manifest(place, manifest)


def sign_manifest(place: Path, manifest: object) -> None:
    data = json.dumps(manifest).encode()
    (place / "v0001" / "manifest.json").write_bytes(data)
    (place / CURRENT).write_text(f"v0001 {hashlib.sha256(data).hexdigest()}\n")


def test_a_rebuild_is_a_new_version_and_the_old_one_goes(table, tmp_path):
    place = tmp_path / "i"
    first = build_index(str(table), str(place), exact_up_to=0)
    old = open_index(str(place))
    before = old.search(np.ones(DIM)).ids
    second = build_index(str(table), str(place))
    assert (first.version, second.version) == ("v0001", "v0002")
    assert names(place) == ["CURRENT", "v0002/ids.arrow", "v0002/main.index", "v0002/manifest.json"]
    assert (old.search(np.ones(DIM)).ids == before).all()
    assert open_index(str(place)).manifest.nlist == 0


def test_an_index_is_for_whoever_may_read_its_folder(table, tmp_path):
    place = tmp_path / "i"
    place.mkdir(mode=0o755)
    build_index(str(table), str(place))
    assert (place / "v0001").stat().st_mode & 0o777 == 0o755
    assert (place / "v0001" / "main.index").stat().st_mode & 0o444 == 0o444


@pytest.mark.parametrize("where", ["local", "memory"])
def test_a_build_that_is_killed_before_its_commit_changes_nothing(table, tmp_path, monkeypatch, where):
    place = str(tmp_path / "i") if where == "local" else f"memory://{tmp_path.name}/i"
    build_index(str(table), place)
    with monkeypatch.context() as patched:
        patched.setattr(Folder, "write_bytes", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt()))
        with pytest.raises(KeyboardInterrupt):
            build_index(str(table), place, exact_up_to=0)
    assert any("v0002" in name for name in Folder(place).sizes())
    index = open_index(place, verify=True)
    assert (index.manifest.nlist, index.search(np.ones(DIM)).ids.shape) == (0, (1, 10))
    assert build_index(str(table), place).version == "v0003"
    # the version of the killed build could be one that another build commits at this moment
    assert {name.split("/")[0] for name in Folder(place).sizes()} == {"CURRENT", "v0002", "v0003"}
    assert build_index(str(table), place).version == "v0004"
    assert {name.split("/")[0] for name in Folder(place).sizes()} == {"CURRENT", "v0004"}


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
                seen.add(index.manifest.nlist)
                assert index.search(np.ones(DIM)).ids.shape == (1, 10)
            except Exception as e:
                wrong.append(e)

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(builds):
        build_index(str(table), place, exact_up_to=0 if number % 2 else ROWS)
    done.set()
    reader.join()
    assert wrong == []
    assert len(seen) == 2
    assert open_index(place)._where.endswith(f"v{builds + 1:04d}")


@pytest.mark.parametrize(
    "step",
    ["fetch", "check_files", "ann.read", "ann._map_lists", "ann.faiss.OnDiskInvertedLists.do_mmap", "_Identities"],
)
def test_a_version_that_goes_while_it_is_being_opened_is_not_missed(table, tmp_path, monkeypatch, step):
    place = str(tmp_path / "i")
    build_index(str(table), place, exact_up_to=0)
    plain = operator.attrgetter(step)(open_module)

    def rebuilt(*args, **options):
        monkeypatch.setattr(f"vidray.index.open.{step}", plain)
        build_index(str(table), place, exact_up_to=0)
        return plain(*args, **options)

    monkeypatch.setattr(f"vidray.index.open.{step}", rebuilt)
    index = open_index(place, verify=True)
    assert index._where.endswith("v0002")
    assert index.search(np.ones(DIM)).ids.shape == (1, 10)


def test_two_builds_at_once_leave_one_whole_index(table, tmp_path):
    place = str(tmp_path / "i")
    wrong = []

    def build(exact_up_to: int) -> None:
        try:
            for _ in range(4):
                build_index(str(table), place, exact_up_to=exact_up_to)
                open_index(place, verify=True)
        except Exception as e:
            wrong.append(e)

    builders = [threading.Thread(target=build, args=(exact_up_to,)) for exact_up_to in TYPES.values()]
    for builder in builders:
        builder.start()
    for builder in builders:
        builder.join()
    assert wrong == []
    build_index(str(table), place)
    build_index(str(table), place)
    assert len(list(tmp_path.glob("i/v*"))) == 1


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
    monkeypatch.setattr("vidray.index.files.SMALL_BYTES", 0)
    path = place / "v0001" / ("main.ivfdata" if (place / "v0001" / "main.ivfdata").exists() else "main.index")
    data = path.read_bytes()
    path.write_bytes(data[:-9] + b"\0damaged\0")
    open_index(str(place))
    with pytest.raises(IndexFileError, match=f"{path.name} is damaged: its sha256"):
        open_index(str(place), verify=True)
    path.write_bytes(data[:-1])
    with pytest.raises(IndexFileError, match=f"{path.name} is damaged: {len(data) - 1} bytes, not {len(data)}"):
        open_index(str(place))


def change(manifest: dict, key: str, value: object) -> dict:
    return {**manifest, key: value}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("clips", ROWS - 1), ("clips", -1), ("clips", "many"), ("clips", True), ("dim", DIM * 2), ("nlist", 7),
        ("nlist", -1), ("nprobe", 0), ("metric", "l2"), ("parts", [{"name": "x"}]), ("parts", 3), ("files", {}),
        ("files", {"../../../secret": {"size_bytes": 1, "sha256": "0"}}), ("files", None), ("features", 5),
        ("left_out", []),
    ],
)  # fmt: skip
def test_a_manifest_that_does_not_add_up_is_refused(place, key, value):
    manifest = json.loads((place / "v0001" / "manifest.json").read_text())
    sign_manifest(place, change(manifest, key, value))
    with pytest.raises(IndexFileError, match="run vidray index again"):
        open_index(str(place))


@pytest.mark.parametrize("data", [b"", b"[]", b"{", b"\xff\xfe", b"[" * 100_000])
def test_a_manifest_that_is_none_is_refused(place, data):
    (place / "v0001" / "manifest.json").write_bytes(data)
    (place / CURRENT).write_text(f"v0001 {hashlib.sha256(data).hexdigest()}\n")
    with pytest.raises(IndexFileError, match="not a manifest"):
        open_index(str(place))


def test_another_format_is_refused_by_its_number(place):
    manifest = json.loads((place / "v0001" / "manifest.json").read_text())
    sign_manifest(place, change(manifest, "format", 2))
    with pytest.raises(IndexFileError, match="index format 2, this vidray opens 1; run vidray index again"):
        open_index(str(place))


@pytest.mark.parametrize("text", ["", "v0001", "../../etc " + "0" * 64 + "\n", "v0001 " + "0" * 64 + "\n"])
def test_current_names_a_version_of_this_folder_by_its_hash(place, text):
    (place / CURRENT).write_text(text)
    with pytest.raises(IndexFileError, match="CURRENT"):
        open_index(str(place))


@pytest.mark.parametrize(
    "factory",
    ["Flat", "SQ8", "HNSW8", "IVF4,Flat", "IVF4,SQ8", "IVF4(HNSW8),SQfp16", "IDMap,SQfp16", "PCA8,SQfp16"],
)
def test_other_types_of_faiss_are_refused(place, factory):
    vectors = clustered(ROWS, DIM)
    for metric in (faiss.METRIC_INNER_PRODUCT, faiss.METRIC_L2):
        index = faiss.index_factory(DIM, factory, metric)
        index.train(vectors)
        index.add_with_ids(vectors, np.arange(ROWS)) if factory.startswith("IDMap") else index.add(vectors)
        faiss.write_index(index, str(place / "v0001" / "main.index"))
        sign_again(place)
        with pytest.raises(IndexFileError, match="run vidray index again"):
            open_index(str(place))


def test_lists_outside_their_file_are_refused(built, tmp_path):
    place = Path(shutil.copytree(built["lists"], tmp_path / "index"))
    path = place / "v0001" / "main.index"
    index = faiss.read_index(str(path), faiss.IO_FLAG_SKIP_IVF_DATA)
    lists = faiss.downcast_InvertedLists(index.invlists)
    places = [lists.lists.at(number) for number in range(lists.nlist)]
    lists.lists.clear()
    for number, list_place in enumerate(places):
        list_place.offset += 1 << 40 if number == 3 else 0
        lists.lists.push_back(list_place)
    faiss.write_index(index, str(path))
    sign_again(place)
    with pytest.raises(IndexFileError, match=r"main\.ivfdata is not the file of the lists"):
        open_index(str(place))


def test_rows_that_the_index_cannot_have_are_refused(built, tmp_path):
    place = Path(shutil.copytree(built["lists"], tmp_path / "index"))
    path = place / "v0001" / "main.ivfdata"
    data = path.read_bytes()
    for row in range(ROWS):
        data = data.replace(row.to_bytes(8, "little"), (row + (1 << 40)).to_bytes(8, "little"))
    path.write_bytes(data)
    sign_again(place)
    index = open_index(str(place), verify=True)
    with pytest.raises(IndexFileError, match="rows that it does not have"):
        index.search(np.ones((1, DIM)))


def test_identities_that_are_not_arrow_or_too_few_are_refused(place):
    path = place / "v0001" / "ids.arrow"
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
    for number in range(150):
        source = built[list(TYPES)[number % 2]]
        place = Path(shutil.copytree(source, tmp_path / "index", dirs_exist_ok=True))
        files = sorted(json.loads((place / "v0001" / "manifest.json").read_text())["files"])
        path = place / "v0001" / files[number // 2 % len(files)]
        data = bytearray(path.read_bytes())
        for _ in range(int(rng.integers(1, 4))):
            at = int(rng.integers(300)) if rng.random() < 0.5 else len(data) - 1 - int(rng.integers(2000))
            data[at] = int(rng.choice([0, 127, 128, 255, rng.integers(256)]))
        path.write_bytes(data)
        sign_again(place)
        try:
            index = open_index(str(place))
            matches = index.search(rng.standard_normal((3, DIM)))
            assert index.clips(matches.rows[0]).num_rows == 10
        except IndexFileError:
            pass
        shutil.rmtree(place)

"""A part's seal stands before the part does, admits nothing else, and a kill at any moment looks like no damage."""

from __future__ import annotations

import json
import os
from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vidray.errors import StoreError
from vidray.store import CLIPS, Store, part_file
from vidray.store import seals as sealing
from vidray.store.layout import seal_file
from vidray.store.lease import FILE, OF_LABELS, Lease
from vidray.store.leftovers import clear_leftovers
from vidray.store.seals import Fingerprint, Seal, broken, check_parts, read_seal


class Killed(BaseException):
    """Where the process ends, in a test."""


def rows(*names: str) -> pa.Table:
    return pa.Table.from_pylist([dict.fromkeys(CLIPS.names) | {"clip_id": name} for name in names], CLIPS)


@pytest.fixture(params=["local", "memory"])
def store(request, tmp_path):
    store = Store(str(tmp_path / "store") if request.param == "local" else f"memory://{tmp_path.name}/store")
    store.write("clips", 0, rows("a", "b"), CLIPS)
    return store


def wrong(store, *, full=False):
    return broken(store.folder, "clips", 0, read_seal(store.folder, "clips", 0), full=full)


def test_what_was_published_is_as_its_seal_says(store):
    assert wrong(store) is None
    seal = read_seal(store.folder, "clips", 0)
    assert seal.before is None
    assert seal.now.size_bytes == store.folder.sizes("clips")["clips/part-00000.parquet"]


def test_any_changed_byte_of_a_small_part_is_found(store):
    name = part_file("clips", 0)
    good = store.folder.read_bytes(name)
    for place in range(len(good)):
        store.folder.write_bytes(name, good[:place] + bytes([good[place] ^ 1]) + good[place + 1 :])
        assert wrong(store) is not None, place


def test_of_a_large_part_size_and_footer_are_compared_and_with_full_all_bytes(store, monkeypatch):
    monkeypatch.setattr(sealing, "HASHED_BYTES", 0)
    name = part_file("clips", 0)
    good = store.folder.read_bytes(name)
    data_changed, footer_changed = bytearray(good), bytearray(good)
    data_changed[10] ^= 1
    footer_changed[-20] ^= 1
    store.folder.write_bytes(name, bytes(footer_changed))
    assert wrong(store) is not None
    store.folder.write_bytes(name, good + b"x")
    assert "bytes, not the" in wrong(store)
    store.folder.write_bytes(name, bytes(data_changed))
    assert (wrong(store), wrong(store, full=True)) == (None, "is not what was published: its hash is another")


@pytest.mark.parametrize("moment", range(4))
def test_a_kill_while_a_part_is_replaced_looks_like_no_damage(store, monkeypatch, moment):
    """Writes are: the seal of both, the part, the seal of the new one alone; a kill comes before each of them."""
    begun = []
    writing = store.folder.writing

    def counted(name):
        if name != part_file("clips", 0):
            begun.append(name)
        if len(begun) > moment:
            raise Killed
        return writing(name)

    monkeypatch.setattr(store.folder, "writing", counted)
    try:
        store.write("clips", 0, rows("c"), CLIPS)
    except Killed:
        assert moment < 2
    else:
        assert begun == [seal_file("clips", 0)] * 2
    monkeypatch.undo()
    assert wrong(store) is None
    assert store.read("clips", 0)["clip_id"].to_pylist() == (["a", "b"] if moment == 0 else ["c"])
    store.write("clips", 0, rows("d"), CLIPS)
    assert (wrong(store), read_seal(store.folder, "clips", 0).before) == (None, None)


@pytest.mark.parametrize("moment", range(1, 3))
def test_what_a_kill_leaves_of_a_seal_is_cleared_up_by_the_next_run(store, monkeypatch, moment):
    """The kill comes before the part is replaced, or before its seal says so."""
    writes, writing = [], store.folder.writing

    def counted(name):
        writes.append(name)
        if writes.count(seal_file("clips", 0)) == 2:
            raise Killed
        return writing(name)

    monkeypatch.setattr(store.folder, "writing", counted)
    if moment == 1:
        monkeypatch.setattr("os.replace", killing_of(os.replace, "clips/part-00000.parquet"))
        monkeypatch.setattr(store.folder.fs, "put_file", killing_of(store.folder.fs.put_file, part_file("clips", 0)))
    with pytest.raises(Killed):
        store.write("clips", 0, rows("c"), CLIPS)
    monkeypatch.undo()
    assert read_seal(store.folder, "clips", 0).before is not None
    clear_leftovers(store)
    seal = read_seal(store.folder, "clips", 0)
    assert (seal.before, wrong(store)) == (None, None)
    assert store.read("clips", 0)["clip_id"].to_pylist() == (["a", "b"] if moment == 1 else ["c"])


def killing_of(act, name):
    def killed(one, other, *arguments, **options):
        if str(other).endswith(name):
            raise Killed
        return act(one, other, *arguments, **options)

    return killed


def test_a_part_that_is_neither_is_left_for_verify(store):
    now, other = read_seal(store.folder, "clips", 0).now, Fingerprint(size_bytes=9, sha256="a" * 64, footer_sha256="")
    store.folder.write_bytes(seal_file("clips", 0), Seal(now=replace(now, sha256="0" * 64), before=other).to_bytes())
    clear_leftovers(store)
    assert wrong(store) is not None


def test_the_lease_on_labels_of_a_dead_process_is_removed_and_a_living_ones_is_not(store):
    name = f"_{OF_LABELS}{FILE}"
    lease = Lease(store.folder, say=print, of=OF_LABELS)
    dead = json.loads(lease._content()) | {"token": "dead", "process_started": "0"}
    store.folder.write_bytes(name, json.dumps(dead).encode())
    clear_leftovers(store)
    assert not store.folder.exists(name)
    with lease:
        clear_leftovers(store)
        assert store.folder.exists(name)
    elsewhere = json.dumps(dead | {"machine": "another"}).encode()
    store.folder.write_bytes(name, elsewhere)
    clear_leftovers(store)
    assert store.folder.read_bytes(name) == elsewhere


def test_the_same_rows_written_again_write_the_same_files(store):
    before = {name: store.folder.read_bytes(name) for name in store.folder.sizes()}
    store.write("clips", 0, rows("a", "b"), CLIPS)
    assert {name: store.folder.read_bytes(name) for name in store.folder.sizes()} == before


def test_a_part_goes_with_its_seal(store):
    store.remove("clips", 0)
    assert (read_seal(store.folder, "clips", 0), store.folder.sizes("clips")) == (None, {})


@pytest.mark.parametrize(
    "text", [b"", b"[]", b"{}", b'{"size_bytes": "1", "sha256": "", "footer_sha256": ""}', b"\xff"]
)
def test_a_seal_that_is_none_is_named(store, text):
    store.folder.write_bytes(seal_file("clips", 0), text)
    with pytest.raises(StoreError, match=r"_part-00000\.json: cannot be read as a part's hashes"):
        read_seal(store.folder, "clips", 0)


def test_pages_carry_checksums(store):
    """Where a byte of a page changes, reading says so, also without its seal."""
    name = part_file("clips", 0)
    data = bytearray(store.folder.read_bytes(name))
    with store.folder.open(name) as file:
        column = pq.ParquetFile(file).metadata.row_group(0).column(0)
    data[column.data_page_offset + column.total_compressed_size - 1] ^= 1
    store.folder.write_bytes(name, bytes(data))
    with pytest.raises(StoreError, match=r"clips/part-00000\.parquet"):
        store.read("clips", 0)


def test_a_part_that_is_not_what_was_published_is_refused_by_its_name(store):
    check_parts(store.folder, "clips", [0])
    name = part_file("clips", 0)
    store.folder.write_bytes(name, store.folder.read_bytes(name)[:-1] + b"x")
    with pytest.raises(StoreError, match=r"clips/part-00000\.parquet: .*; vidray verify .* says what to do"):
        check_parts(store.folder, "clips", [0])

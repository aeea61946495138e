"""Short runs of the chaos campaign, and what it has found: each of these once lost, doubled or repeated something."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path

import pyarrow as pa
import pytest

from vidray.errors import StoreError
from vidray.pipeline.tasks import missing_parts
from vidray.storage import Folder
from vidray.store import CLIPS, SliceKey, Store, staged_schema
from vidray.store.lease import FILE, Lease

COLUMNS = pa.schema([("embedding", pa.list_(pa.float32(), 1))])
SLICES = (SliceKey(0, 0, 0, 1), SliceKey(0, 1, 0, 1))


@pytest.fixture
def staged(tmp_path) -> Store:
    """A store of one part with two slices, all staged."""
    store = Store(str(tmp_path / "store"))
    clips = [dict.fromkeys(CLIPS.names) | {"clip_id": str(number)} for number in range(len(SLICES))]
    store.write("clips", 0, pa.Table.from_pylist(clips, CLIPS), CLIPS)
    stage(store)
    return store


def stage(store: Store) -> None:
    schema = staged_schema(COLUMNS)
    for number, key in enumerate(SLICES):
        row = dict.fromkeys(schema.names) | {"clip_id": str(number), "embedding": [float(number)]}
        store.staging.write("x", key, pa.Table.from_pylist([row], schema))


def campaign(repository: Path, *options: str) -> dict:
    command = [sys.executable, "-m", "tests.campaigns.chaos", "--seed", "1", *options]
    done = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return dict(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.slow
def test_kills_between_operations_on_the_store_lose_nothing(repository):
    found = campaign(repository, "--only", "points", "--points", "9")
    assert found["points_killed"] >= 6


def test_a_part_whose_cleaning_up_was_interrupted_is_published(staged):
    staged.publish("x", 0, SLICES, COLUMNS)
    before = staged.folder.read_bytes("features/x/part-00000.parquet")
    stage(staged)
    staged.staging.remove("x", SLICES[0])
    assert missing_parts(staged, ["x"]) == {}
    assert staged.publish("x", 0, SLICES, COLUMNS) == (2, 0)
    assert staged.staging.slices("x") == set()
    assert staged.folder.read_bytes("features/x/part-00000.parquet") == before


def test_a_part_that_is_not_published_needs_all_its_slices(staged):
    staged.staging.remove("x", SLICES[0])
    with pytest.raises(FileNotFoundError):
        staged.publish("x", 0, SLICES, COLUMNS)
    assert staged.staging.slices("x") == {SLICES[1]}


def test_a_part_to_be_done_again_is_missing_until_it_is_published(staged):
    staged.publish("x", 0, SLICES, COLUMNS)
    stage(staged)
    staged.staging.mark_again("x", 0)
    assert missing_parts(staged, ["x"]) == {0: ["x"]}
    staged.publish("x", 0, SLICES, COLUMNS)
    assert missing_parts(staged, ["x"]) == {}


def test_clearing_up_keeps_what_other_tables_have_staged(staged):
    staged.publish("x", 0, SLICES, COLUMNS)
    stage(staged)
    staged.staging.write("y", SLICES[0], staged_schema(COLUMNS).empty_table())
    staged.folder.write_bytes("_staging/writing-0", b"half a file")
    staged.staging.clear_useless()
    assert list(staged.folder.sizes("_staging")) == ["_staging/y/part-00000/block-0000.s00of01.parquet"]


def test_of_two_who_find_a_dead_holder_one_takes_over(tmp_path, monkeypatch):
    folder = Folder(str(tmp_path))
    dead = json.loads(Lease(folder, say=print)._content()) | {"token": "dead", "process_started": "0"}
    folder.write_bytes(FILE, json.dumps(dead).encode())
    both_have_looked, the_other_has_ended = threading.Barrier(2), threading.Event()
    swap = Folder.swap_bytes

    def swap_late(self: Folder, *arguments: object) -> bool:
        both_have_looked.wait(10)
        return swap(self, *arguments)

    monkeypatch.setattr(Folder, "swap_bytes", swap_late)
    ends: list[str] = []

    def take() -> None:
        try:
            with Lease(folder, say=lambda text: None):
                ends.append("taken")
                the_other_has_ended.wait(10)
        except StoreError:
            ends.append("refused")
            the_other_has_ended.set()

    threads = [threading.Thread(target=take) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(ends) == ["refused", "taken"]

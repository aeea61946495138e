"""What a Parquet file unpacks to is bounded, whatever a few bytes of it say; honest files are read as they are."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vidray.errors import StoreError
from vidray.store import Store, parquet, part_file

MOST = 64 << 20


def repeated(value: str, rows: int) -> pa.Array:
    """One text that many rows point to: a dictionary of one value."""
    return pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int32)), [value])


def lists(value: str, rows: int, length: int) -> pa.Array:
    return pa.ListArray.from_arrays(
        pa.array(np.arange(rows + 1, dtype=np.int32) * length), repeated(value, rows * length)
    )


BOMBS: dict[str, Callable[[], pa.Array]] = {
    "zeros": lambda: pa.FixedSizeListArray.from_arrays(pa.array(np.zeros(8192 * 4096, np.float32)), 4096),
    "one number": lambda: pa.array(np.full(20_000_000, 7, np.int64)),
    "one text": lambda: repeated("x" * (1 << 20), 100_000),
    "one text in lists": lambda: lists("x" * (1 << 16), 8192, 40),
    "nothing": lambda: pa.nulls(70_000_000, pa.int8()),
}

READ_ALL = """
import sys
import pyarrow as pa
from vidray.errors import StoreError
from vidray.store import Store, parquet
parquet.UNPACKED_BYTES = int(sys.argv[2])
store = Store(sys.argv[1])
for part in store.parts("features/x"):
    for read in (lambda: store.read("features/x", part), lambda: list(store.stream("features/x", part, ["clip_id"]))):
        try:
            read()
        except StoreError as e:
            assert f"features/x/part-{part:05d}.parquet: unpacks to" in str(e), e
        else:
            raise AssertionError(part)
print(pa.default_memory_pool().max_memory())
"""


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setattr(parquet, "UNPACKED_BYTES", MOST)
    return Store(str(tmp_path))


def put(store: Store, table: pa.Table, *, part: int = 0, **options: Any) -> int:
    file = io.BytesIO()
    pq.write_table(table, file, compression="zstd", **options)
    store.folder.write_bytes(part_file("features/x", part), file.getvalue())
    return len(file.getvalue())


@pytest.mark.slow
def test_a_bomb_is_refused_before_it_takes_much_memory(store):
    for part, make in enumerate(BOMBS.values()):
        # without the types of Arrow, a text that is said once is read as often as it is pointed to
        assert put(store, pa.table({"clip_id": make()}), part=part, store_schema=False) < MOST // parquet.UNPACKED_TIMES
    reader = [sys.executable, "-c", READ_ALL, store.url, str(MOST)]
    run = subprocess.run(reader, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert int(run.stdout) < 4 * MOST


def test_other_columns_may_be_read_of_a_part_with_a_bomb(store):
    zeros = np.zeros(3000 * 8192, np.float32)
    bomb = pa.FixedSizeListArray.from_arrays(pa.array(zeros), 8192)
    ids = pa.array([f"c{n}" for n in range(3000)])
    put(store, pa.table({"clip_id": ids, "embedding": bomb}))
    assert store.read("features/x", 0, ["clip_id"])["clip_id"].to_pylist() == ids.to_pylist()


@pytest.mark.parametrize("rows", [0, 1, 20_000])
def test_an_honest_part_is_read_as_pyarrow_reads_it(store, rows):
    numbers = np.random.default_rng(0).normal(size=(rows, 32)).astype(np.float32)
    table = pa.table(
        {
            "clip_id": [f"c{n}" for n in range(rows)],
            "embedding": pa.FixedSizeListArray.from_arrays(pa.array(numbers.ravel()), 32),
            "labels": pa.array([["dog", "cat"]] * rows, pa.list_(pa.string())),
        }
    )
    put(store, table, row_group_size=8192)
    assert store.read("features/x", 0).equals(table)
    assert store.read("features/x", 0, ["embedding", "clip_id"]).equals(table.select(["embedding", "clip_id"]))


def test_a_column_that_is_not_there_is_named(store):
    put(store, pa.table({"clip_id": ["a"]}))
    with pytest.raises(StoreError, match="has no column start_s, end_s"):
        store.read("features/x", 0, ["clip_id", "start_s", "end_s"])

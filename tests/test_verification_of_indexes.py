"""`vidray.verify` opens each index, and says where one is damaged or lags behind its table."""

from __future__ import annotations

import numpy as np
import pytest
from labeled_stores import write_store

from vidray.index import build_index
from vidray.retrieval.verification import check_indexes


@pytest.fixture
def indexed(tmp_path):
    store = write_store(tmp_path / "store", np.eye(16, dtype=np.float32), parts=2)
    build_index(f"{store.url}/features/net", f"{store.url}/index/net")
    return store


def found(store, *, full=False):
    return [(dict(finding.counts), finding.line) for finding in check_indexes(store, full)]


def test_an_index_of_its_table_is_well(indexed):
    assert found(indexed) == found(indexed, full=True) == []


@pytest.mark.parametrize("name", ["CURRENT", "manifest.json", "lists", "ids.arrow"])
def test_any_changed_file_of_an_index_is_found_and_to_be_built_again(indexed, name):
    path = next(path for path in indexed.folder.sizes("index") if path.rpartition("/")[2].startswith(name))
    data = bytearray(indexed.folder.read_bytes(path))
    data[len(data) // 2] ^= 1
    indexed.folder.write_bytes(path, bytes(data))
    ((counts, line),) = found(indexed, full=True)
    assert counts == {"damaged": 1}
    assert line.startswith("index/net: ")
    assert line.endswith(f"; run vidray index {indexed.url} -x net --rebuild")
    build_index(f"{indexed.url}/features/net", f"{indexed.url}/index/net", rebuild=True)
    assert found(indexed, full=True) == []


def test_an_index_of_other_parts_lags(indexed):
    rows = indexed.read("features/net", 1)
    indexed.write("features/net", 2, rows, rows.schema)
    ((counts, line),) = found(indexed)
    assert (counts, "lacks 8 newer clips" in line) == ({"stale": 1}, True)
    indexed.remove("features/net", 2)
    assert found(indexed) == []
    changed = rows.set_column(5, rows.schema.field("embedding"), rows["embedding"].take(list(range(8))[::-1]))
    indexed.write("features/net", 1, changed, rows.schema)
    assert [counts for counts, _ in found(indexed)] == [{"stale": 1}]

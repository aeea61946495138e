"""Manifests: what a person wrote is what is kept, in its own type, or refused with its line."""

from __future__ import annotations

import datetime
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fsspec.implementations.local import LocalFileSystem

from vidray.errors import UsageError
from vidray.manifest import metadata_schema, read_manifest
from vidray.store import metadata


def read(path, **options):
    return read_manifest(LocalFileSystem(), str(path), path.name, **options)


def written(path, text: str | bytes):
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_a_csvs_dates_and_times_are_dates_and_times(tmp_path):
    table = read(written(tmp_path / "m.csv", "uri,recorded,at,n\na.mp4,2024-01-01,2024-01-01T10:30:00Z,3\n"))
    assert table["recorded"].to_pylist() == [datetime.date(2024, 1, 1)]
    assert table["at"].to_pylist() == [datetime.datetime(2024, 1, 1, 10, 30, tzinfo=datetime.UTC)]
    assert table["n"].to_pylist() == [3]


@pytest.mark.parametrize("value", ["007", "00", "+49123", "01.50", "-01"])
def test_what_a_number_would_not_give_back_stays_text(tmp_path, value):
    table = read(written(tmp_path / "m.csv", f"uri,id\na.mp4,5\nb.mp4,{value}\n"))
    assert table["id"].to_pylist() == ["5", value]


@pytest.mark.parametrize(("value", "number"), [("7", 7), ("0", 0), ("0.5", 0.5), ("-0.5", -0.5), ("1e3", 1000.0)])
def test_other_numbers_are_numbers_unless_text_is_asked_for(tmp_path, value, number):
    path = written(tmp_path / "m.csv", f"uri,id\na.mp4,{value}\n")
    assert read(path)["id"].to_pylist() == [number]
    assert read(path, text_columns=["id"])["id"].to_pylist() == [value]


def test_a_column_that_is_to_be_text_must_be_there(tmp_path):
    with pytest.raises(UsageError, match=r"m\.csv: no column 'ident', found uri, id"):
        read(written(tmp_path / "m.csv", "uri,id\na.mp4,1\n"), text_columns=["ident"])


@pytest.mark.parametrize("name", ["m.csv", "m.jsonl", "m.txt"])
def test_what_is_not_utf8_is_refused_with_its_line(tmp_path, name):
    lines = {"m.csv": [b"uri,t", b"a.mp4,x", b"b.mp4,caf\xe9"], "m.txt": [b"a", b"b", b"caf\xe9"]}
    lines["m.jsonl"] = [b'{"uri": "a"}', b'{"uri": "b"}', b'{"uri": "caf\xe9"}']
    with pytest.raises(UsageError, match=rf"{name} line 3: not UTF-8 text, perhaps Latin-1: .*café.*save .* as UTF-8"):
        read(written(tmp_path / name, b"\n".join(lines[name]) + b"\n"))


def test_a_character_across_two_chunks_is_whole(tmp_path, monkeypatch):
    monkeypatch.setattr("vidray.manifest.CHUNK_BYTES", 3)
    assert read(written(tmp_path / "m.txt", "aé.mp4\nüü.mp4\n"))["uri"].to_pylist() == ["aé.mp4", "üü.mp4"]
    with pytest.raises(UsageError, match="line 2: not UTF-8"):
        read(written(tmp_path / "m.txt", b"ab\nx\xc3\n"))


@pytest.mark.parametrize("name", ["m.csv", "m.txt"])
def test_lines_of_comment_are_passed_over(tmp_path, name):
    head = "uri\n" if name == "m.csv" else ""
    path = written(tmp_path / name, f"# a list of mine\n#\n{head}a.mp4\n# the rest\n#1 hit.mp4\n")
    assert read(path)["uri"].to_pylist() == ["a.mp4", "#1 hit.mp4"]


def test_a_quoted_line_is_no_comment(tmp_path):
    path = written(tmp_path / "m.csv", '# mine\nuri,t\na.mp4,"first\n# second"\nb.mp4,\n')
    assert pa.compute.count_substring(read(path)["t"], "# second").to_pylist() == [1, 0]


def test_headers_as_people_write_them(tmp_path):
    table = read(written(tmp_path / "m.csv", "URI,Start,End,Tag\na.mp4,1,2.5,x\n"))
    assert table.column_names == ["uri", "start_s", "end_s", "Tag"]
    dated = read(written(tmp_path / "d.csv", "uri,start,end\na.mp4,2024-01-01,2024-01-02\n"))
    assert metadata_schema(dated).names == ["start", "end"]


def test_lists_structs_and_dates_of_json_and_parquet_keep_their_types(tmp_path):
    row = {"uri": "a.mp4", "tags": ["x", "y"], "who": {"name": "n", "age": 3}}
    table = read(written(tmp_path / "m.jsonl", json.dumps(row) + "\n"))
    assert table.to_pylist() == [row]
    kinds = {
        "day": pa.date32(), "at": pa.timestamp("ns"), "cat": pa.dictionary(pa.int32(), pa.large_string()),
        "many": pa.large_list(pa.duration("ns")),
    }  # fmt: skip
    made = pa.table({"uri": ["a.mp4"], **{name: pa.array([None], kind) for name, kind in kinds.items()}})
    pq.write_table(made, tmp_path / "m.parquet")
    found = metadata_schema(read(tmp_path / "m.parquet"))
    assert [str(kind) for kind in found.types] == ["date32[day]", "timestamp[us]", "string", "list<item: duration[us]>"]


def test_columns_of_a_store_survive_its_configuration():
    columns = pa.schema(
        [("day", pa.date32()), ("at", pa.timestamp("us", "UTC")), ("tags", pa.list_(pa.struct([("a", pa.int64())])))]
    )
    columns = metadata.joined(columns, pa.schema([("day", pa.string()), ("new", pa.null())]))
    assert columns.names == ["day", "at", "tags", "day_json"]
    assert metadata.from_config(metadata.to_config(columns)).equals(columns, check_metadata=True)
    assert metadata.joined(columns, columns).equals(columns, check_metadata=True)


def test_the_configuration_of_older_stores_is_read():
    columns = metadata.from_config({"metadata": {"n": "int64", "when": "json"}})
    assert metadata.column(columns.field("when"), [{"when": datetime.date(2024, 1, 1)}]).to_pylist() == ['"2024-01-01"']
    assert metadata.joined(columns, pa.schema([("when", pa.date32())])).names == ["n", "when"]


def test_a_later_type_that_fits_needs_no_other_column():
    known = pa.schema([("x", pa.float64()), ("n", pa.int64())])
    assert metadata.joined(known, pa.schema([("x", pa.int64()), ("n", pa.int32())])) == known
    assert metadata.column(known.field("x"), [{"x": 3}]).to_pylist() == [3.0]

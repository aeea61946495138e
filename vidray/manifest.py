"""Manifests: a table of videos as a person wrote it down, with its columns in the types that they have.

Parquet says its types. Those of CSV and JSON are inferred, but for text that a number would not give back: `007`.
"""

from __future__ import annotations

import codecs
import gzip
import re
import zlib
from collections.abc import Collection
from pathlib import PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet as pq

from vidray.errors import UsageError, one_line

SUFFIXES = frozenset({".parquet", ".csv", ".tsv", ".jsonl", ".ndjson", ".txt"})
"""As `suffix_of` gives them; text may be packed, as `.csv.gz`."""
RESERVED = frozenset({"uri", "size_bytes", "etag", "start_s", "end_s"})
"""Columns that say which video or span a row is of; all others are kept with it."""

TEXTS = frozenset({"uri", "etag"})
SHORT_NAMES = {"start": "start_s", "end": "end_s"}
"""What people write, of columns of numbers, for seconds."""

NOT_A_NUMBER = r"^\s*(\+|-?0[0-9])"
"""How text begins that would be another one as a number: an id, an article, a telephone."""

COMMENT = re.compile(rb"^#(?: .*)?$")
CHUNK_BYTES = 1 << 20


def read_manifest(
    fs: Any, path: str, corpus: str, *, text_columns: Collection[str] = (), held_texts: Collection[str] = ()
) -> pa.Table:
    """The rows of a manifest, the columns of `RESERVED` under these names whatever their case.

    Args:
        fs: The filesystem that it is on.
        path: There.
        corpus: Its name for messages.
        text_columns: Columns that are text, whatever they look like.
        held_texts: Columns that a store has as text, where a file of text has them: digits stay what they are there.

    Raises:
        UsageError: It is malformed, not UTF-8, has no column `uri` or not those of `text_columns`.
    """
    suffix = suffix_of(path)
    try:
        with fs.open(path, "rb") as file:
            if suffix == ".parquet":
                table = pq.read_table(file)
            else:
                data = _checked_text(_unpacked(file.read(), path), corpus)
                table = _of_lines(data) if suffix == ".txt" else _of_text(data, suffix, {*text_columns, *held_texts})
    except (pa.ArrowException, OSError, EOFError, zlib.error) as e:
        raise UsageError(f"{corpus}: cannot be read as a {suffix} manifest: {one_line(e)}") from e
    table = _named(table)
    if "uri" not in table.column_names:
        raise UsageError(f"{corpus}: a manifest needs a column 'uri', found {', '.join(table.column_names)}")
    if absent := set(text_columns) - set(table.column_names):
        raise UsageError(f"{corpus}: no column '{min(absent)}', found {', '.join(table.column_names)}")
    texts = {
        *text_columns,
        *(() if suffix == ".parquet" else (f.name for f in table.schema if _is_held(f, held_texts))),
    }
    return table.cast(pa.schema([(f.name, _kept_type(f, texts)) for f in table.schema]), safe=False)


def suffix_of(path: str) -> str:
    """How a manifest is written, by its name: the suffix, before `.gz` where it is packed."""
    name = path.lower()
    return PurePosixPath(name.removesuffix(".gz")).suffix


def _unpacked(data: bytes, path: str) -> bytes:
    """The text of a file, packed or not; of UTF-16 with a mark, as Excel's "Unicode text", in UTF-8."""
    text = gzip.decompress(data) if path.lower().endswith(".gz") else data
    if text.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return text.decode("utf-16").encode()
    return text.removeprefix(codecs.BOM_UTF8)


def metadata_schema(table: pa.Table) -> pa.Schema:
    """The columns that are kept with the videos or clips."""
    return pa.schema([field for field in table.schema if field.name not in RESERVED])


def plain_type(kind: pa.DataType) -> pa.DataType:
    """The type that a column is kept in: as it is, but that what Python's own values cannot hold is made simpler.

    Nanoseconds become microseconds; a dictionary, a view or a large list or text what it stands for.
    """
    if pa.types.is_dictionary(kind):
        return plain_type(kind.value_type)
    if isinstance(kind, pa.BaseExtensionType):
        return plain_type(kind.storage_type)
    if pa.types.is_large_string(kind) or kind == pa.string_view():
        return pa.string()
    if pa.types.is_timestamp(kind) and kind.unit == "ns":
        return pa.timestamp("us", kind.tz)
    if pa.types.is_time64(kind) or pa.types.is_duration(kind):
        return pa.time64("us") if pa.types.is_time64(kind) else pa.duration("us")
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return pa.list_(plain_type(kind.value_type))
    if pa.types.is_struct(kind):
        return pa.struct([(kind.field(i).name, plain_type(kind.field(i).type)) for i in range(kind.num_fields)])
    return kind


def _is_held(field: pa.Field, held_texts: Collection[str]) -> bool:
    return field.name in held_texts and (pa.types.is_integer(field.type) or pa.types.is_floating(field.type))


def _kept_type(field: pa.Field, text_columns: Collection[str]) -> pa.DataType:
    return pa.string() if field.name in text_columns else plain_type(field.type)


def _checked_text(data: bytes, corpus: str) -> bytes:
    """The same bytes, once they are seen to be UTF-8, with comment lines made empty."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        for first in range(0, len(data), CHUNK_BYTES):
            done = first - len(decoder.getstate()[0])
            decoder.decode(data[first : first + CHUNK_BYTES])
        decoder.decode(b"", final=True)
    except UnicodeDecodeError as e:
        at = done + e.start
        number = data.count(b"\n", 0, at) + 1
        text = data[data.rfind(b"\n", 0, at) + 1 :].split(b"\n", 1)[0].decode("latin-1").strip()
        raise UsageError(
            f"{corpus} line {number}: not UTF-8 text, perhaps Latin-1: {text[:80]!r}; save the manifest as UTF-8"
        ) from e
    if not (data.startswith(b"#") or b"\n#" in data):
        return data
    is_quoted = False
    lines = data.split(b"\n")
    for place, line in enumerate(lines):
        if not is_quoted and COMMENT.match(line.rstrip(b"\r")):
            lines[place] = b""
            continue
        is_quoted ^= line.count(b'"') % 2 == 1
    return b"\n".join(lines)


def _of_lines(data: bytes) -> pa.Table:
    lines = [line.strip() for line in data.decode().splitlines()]
    return pa.table({"uri": pa.array([line for line in lines if line], pa.string())})


def _of_text(data: bytes, suffix: str, text_columns: Collection[str]) -> pa.Table:
    if suffix in (".jsonl", ".ndjson"):
        return pa.json.read_json(pa.BufferReader(data.lstrip()))
    data = data.lstrip(b"\r\n")
    parse = pa.csv.ParseOptions(delimiter=_delimiter(data, suffix), newlines_in_values=True)
    inferred = pa.csv.read_csv(pa.BufferReader(data), parse_options=parse)
    numbers = [f.name for f in inferred.schema if pa.types.is_integer(f.type) or pa.types.is_floating(f.type)]
    asked = {name for name in inferred.column_names if name.strip().lower() in TEXTS or name in text_columns}
    written = dict.fromkeys({*numbers, *asked}, pa.string())
    if not written:
        return inferred
    options = pa.csv.ConvertOptions(column_types=written)
    texts = pa.csv.read_csv(pa.BufferReader(data), parse_options=parse, convert_options=options)
    lossy = {name for name in numbers if pc.any(pc.match_substring_regex(texts[name], NOT_A_NUMBER)).as_py()}
    return pa.csv.read_csv(
        pa.BufferReader(data),
        parse_options=parse,
        convert_options=pa.csv.ConvertOptions(column_types=dict.fromkeys(asked | lossy, pa.string())),
    )


def _delimiter(data: bytes, suffix: str) -> str:
    """Tabs where the name says so; semicolons as spreadsheets write them where commas are decimal marks."""
    if suffix == ".tsv":
        return "\t"
    header = data.split(b"\n", 1)[0]
    marks = {mark: header.count(mark.encode()) for mark in (",", ";", "\t")}
    return max(marks, key=lambda mark: (marks[mark], mark == ","))


def _named(table: pa.Table) -> pa.Table:
    """The table with the reserved columns under their own names: `URI`, and `Start` of numbers, are meant too."""
    names = [name.strip() for name in table.column_names]
    for place, field in enumerate(table.schema):
        wanted = field.name.strip().lower()
        if wanted in SHORT_NAMES and (pa.types.is_integer(field.type) or pa.types.is_floating(field.type)):
            wanted = SHORT_NAMES[wanted]
        if wanted in RESERVED and wanted not in names:
            names[place] = wanted
    return table.rename_columns(names)

"""Corruptions of a finished store, each with what must be named where it is found.

Of files (gone, cut off, of other bytes, in another's place), and of what stands in them: those are written as vidray
writes, with a seal that fits, as a program with a fault would.
"""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tests.campaigns.damaged_store import BRIGHTNESS, COLOUR, PETS, PICKY
from vidray.store import Store, part_file
from vidray.store.layout import seal_file

FEATURES, ERRORS = f"features/{COLOUR}", f"errors/{COLOUR}"
PICKY_ERRORS, DERIVED = f"errors/{PICKY}", f"features/{BRIGHTNESS}"
OF_VIDEOS, LABELS, VIDEO_LABELS = f"video_features/{BRIGHTNESS}", f"labels/{PETS}", f"video_labels/{PETS}"
PROBE, INDEX = "errors/_probe", f"index/{COLOUR}"
UNREADABLE_PART = 2
"""The corpus' last file is no video, and a part of its own."""
TABLES = {
    "videos": 0, "clips": 0, PROBE: UNREADABLE_PART, FEATURES: 0, ERRORS: 0, PICKY_ERRORS: 0, DERIVED: 0, OF_VIDEOS: 0,
    LABELS: 0, VIDEO_LABELS: 0,
}  # fmt: skip
"""Each kind of table, with a part of it."""


@dataclass(frozen=True)
class Corruption:
    """Something that happens to a store.

    Attributes:
        name: What it is.
        act: Does it.
        says: A text that must be in what `verify` says of it: the file or the table that is wrong.
        is_undone: Whether the store is what it was once all that is wrong is mended: what a table says that made it
            is compared with what depends on it, and taken for true.
    """

    name: str
    act: Callable[[Store, random.Random], object]
    says: str
    is_undone: bool = True


def corruptions() -> list[Corruption]:
    """All of them."""
    found = [
        *_of_files(),
        *_of_folders(),
        *_of_descriptions(),
        *_of_seals(),
        *_of_the_index(),
        *_of_plans(),
        *_of_features(),
        *_of_labels(),
    ]
    assert len({corruption.name for corruption in found}) == len(found)
    return found


def _of_files() -> list[Corruption]:
    """What happens to a part's file, of each kind of table."""
    found = []
    for table, part in TABLES.items():
        name, short = part_file(table, part), table.replace("_probe", "probe")
        found += [
            # a part of features that is gone is a count of clips
            Corruption(f"a removed part of {short}", lambda s, d, n=name: s.folder.remove(n), _plain(table)),
            Corruption(f"a cut off part of {short}", lambda s, d, n=name: _cut(s, n, d), name),
            Corruption(f"a changed bit in {short}", lambda s, d, n=name: _flip(s, n, d), name),
        ]
    found += [
        Corruption("an emptied part", lambda s, d: s.folder.write_bytes(part_file(FEATURES, 1), b""), FEATURES),
        Corruption("a page of zeros", lambda s, d: _zeros(s, part_file(FEATURES, 0)), FEATURES),
        Corruption("bytes at the end", lambda s, d: _append(s, part_file("clips", 1), b"\0" * 512), "clips/part-00001"),
        Corruption("a link to itself", lambda s, d: _link_at(s, part_file(FEATURES, 1)), FEATURES),
        Corruption("a copy beside", lambda s, d: _copy(s, part_file(FEATURES, 0), f"{FEATURES}/copy.parquet"), "copy"),
        Corruption("a part of a number beyond", lambda s, d: _copy_part(s, (FEATURES, 0), (FEATURES, 7)), "part 7"),
        Corruption("two parts in each other's place", lambda s, d: _exchange(s, FEATURES, 0, 1), FEATURES),
        Corruption("two parts in each other's place, with their seals", _exchange_sealed, COLOUR),
        Corruption("features in the place of errors", lambda s, d: _copy_part(s, (FEATURES, 0), (ERRORS, 0)), ERRORS),
        Corruption("another table's part", lambda s, d: _copy_part(s, (DERIVED, 0), (FEATURES, 0)), FEATURES),
        Corruption("no Parquet at all", lambda s, d: s.folder.write_bytes(part_file("videos", 0), b"hello"), "videos"),
    ]
    return found


def _plain(table: str) -> str:
    return table.removeprefix("features/")


def _of_folders() -> list[Corruption]:
    gone = {
        "all features": ([FEATURES], COLOUR), "all errors": ([ERRORS], ERRORS),
        "a whole table": ([FEATURES, ERRORS], COLOUR), "all rows of videos": ([OF_VIDEOS], OF_VIDEOS),
        "all labels": ([LABELS], LABELS), "all labels of videos": ([VIDEO_LABELS], LABELS),
        "all videos": (["videos"], "videos"), "all clips": (["clips"], "clips"),
        "all of the index": ([f"{INDEX}/segments"], INDEX),
    }  # fmt: skip
    found = [
        Corruption(f"removed: {name}", lambda s, d, t=tables: [s.folder.remove_tree(table) for table in t], says)
        for name, (tables, says) in gone.items()
    ]
    found.append(Corruption("a file in the place of a table", _file_at_table, COLOUR))
    return found


def _of_descriptions() -> list[Corruption]:
    spec, labels = f"{FEATURES}/_spec.json", f"{LABELS}/_spec.json"
    inputs = f"{DERIVED}/_inputs-00000.json"
    return [
        Corruption("no vidray.json", lambda s, d: s.folder.remove("vidray.json"), "vidray.json"),
        Corruption("a cut off vidray.json", lambda s, d: _cut(s, "vidray.json", d), "vidray.json"),
        Corruption(
            "a vidray.json that is a list", lambda s, d: s.folder.write_bytes("vidray.json", b"[]"), "vidray.json"
        ),
        Corruption("a vidray.json without a plan", lambda s, d: _edit(s, "vidray.json", plan=None), "vidray.json"),
        Corruption("a vidray.json of another format", lambda s, d: _edit(s, "vidray.json", format=99), "format 99"),
        Corruption(
            "a vidray.json of no text", lambda s, d: s.folder.write_bytes("vidray.json", b"\xff\xfe"), "vidray.json"
        ),
        Corruption("no spec", lambda s, d: s.folder.remove(spec), spec),
        Corruption("a cut off spec", lambda s, d: _cut(s, spec, d), spec),
        Corruption("a spec that is a number", lambda s, d: s.folder.write_bytes(spec, b"7"), spec),
        Corruption("a spec of other columns", lambda s, d: _edit(s, spec, columns=[["other", "int64"]]), FEATURES),
        Corruption("a spec whose columns are a text", lambda s, d: _edit(s, spec, columns="embedding"), spec),
        Corruption(
            "a spec whose inputs are a text", lambda s, d: _edit(s, f"{DERIVED}/_spec.json", inputs="x"), DERIVED
        ),
        Corruption("a spec of another version", lambda s, d: _edit(s, spec, version="9"), COLOUR, False),
        Corruption("no record of what a part was made from", lambda s, d: s.folder.remove(inputs), DERIVED),
        Corruption("a cut off record of what a part was made from", lambda s, d: _cut(s, inputs, d), DERIVED),
        Corruption(
            "another record of what a part was made from", lambda s, d: _edit(s, inputs, **{COLOUR: "0"}), DERIVED
        ),
        Corruption("no description of the labels", lambda s, d: s.folder.remove(labels), labels),
        Corruption("a cut off description of the labels", lambda s, d: _cut(s, labels, d), labels),
        Corruption("a cut off record of a run", lambda s, d: _cut(s, _first(s, "runs"), d), "runs/"),
        Corruption(
            "a record of a run that is a list", lambda s, d: s.folder.write_bytes(_first(s, "runs"), b"[1]"), "runs/"
        ),
        Corruption("a cut off intent", lambda s, d: s.folder.write_bytes("_intent.json", b'{"ret'), "_intent.json"),
        Corruption(
            "an intent of nonsense", lambda s, d: s.folder.write_bytes("_intent.json", b'{"retire": 7}'), "_intent.json"
        ),
        Corruption("a cut off lease", lambda s, d: s.folder.write_bytes("_lease.json", b'{"ho'), "_lease.json"),
    ]


def _of_seals() -> list[Corruption]:
    seal = seal_file(FEATURES, 0)
    return [
        Corruption("a cut off seal", lambda s, d: _cut(s, seal, d), seal),
        Corruption("a seal of nothing", lambda s, d: s.folder.write_bytes(seal, b"{}"), seal),
        Corruption("a seal of another part", lambda s, d: _copy(s, seal_file(FEATURES, 1), seal), FEATURES),
        Corruption("a seal of other types", lambda s, d: _edit(s, seal, size_bytes="many"), seal),
    ]


def _of_the_index() -> list[Corruption]:
    def held(store: Store, name: str) -> str:
        return next(path for path in store.folder.sizes(INDEX) if path.rpartition("/")[2] == name)

    found = []
    for name in ("CURRENT", "manifest.json", "ids.arrow", "lists.bin"):
        found += [
            Corruption(f"the index without {name}", lambda s, d, n=name: s.folder.remove(held(s, n)), INDEX),
            Corruption(f"a cut off {name} of the index", lambda s, d, n=name: _cut(s, held(s, n), d), INDEX),
            Corruption(f"a changed bit in {name} of the index", lambda s, d, n=name: _flip(s, held(s, n), d), INDEX),
        ]
    return [
        *found,
        Corruption("an index of a version that is not there", _other_version, INDEX),
        Corruption(
            "an index that lags behind another part", lambda s, d: _permute(s, FEATURES, 0, "embedding"), INDEX, False
        ),
    ]


def _of_plans() -> list[Corruption]:
    """What a program with a fault writes into the plan."""
    videos: Mapping[str, tuple[str, Any]] = {
        "a shorter duration": ("duration_s", 0.1), "a duration that is no number": ("duration_s", float("nan")),
        "no duration": ("duration_s", None), "the status of an unreadable video": ("status", "failed"),
        "an unknown status": ("status", "perhaps"), "another URI of a video": ("uri", "/other.mp4"),
        "no URI": ("uri", None), "another id of a video": ("video_id", "v"), "no id": ("video_id", None),
    }  # fmt: skip
    clips: Mapping[str, tuple[str, Any]] = {
        "no id of a clip": ("clip_id", None),
        "a span that ends before it begins": ("end_s", -1.0), "an end that is no number": ("end_s", float("nan")),
        "an end after the video's": ("end_s", 99.0), "a place twice": ("clip_index", 1),
        "another part's number": ("part", 5), "a clip of no video": ("video_id", "v"),
    }  # fmt: skip
    return [
        *(_written_wrong("videos", name, *wrong) for name, wrong in videos.items()),
        *(_written_wrong("clips", name, *wrong) for name, wrong in clips.items()),
        Corruption("a video twice", lambda s, d: _double(s, "videos", 0), "videos"),
        Corruption("a video removed", lambda s, d: _drop(s, "videos", 0), "clips"),
        # that an id is another one is known from what has it
        Corruption("clips with another id of a clip", lambda s, d: _set(s, "clips", 0, "clip_id", "c"), COLOUR, False),
        Corruption("a clip twice", lambda s, d: _double(s, "clips", 0), "clips"),
        Corruption("a clip removed", lambda s, d: _drop(s, "clips", 0), COLOUR, False),
        Corruption("a reason for a video that can be read", _blamed, PROBE),
        Corruption("no reason for a video that cannot", lambda s, d: _drop(s, PROBE, UNREADABLE_PART), PROBE),
        Corruption("a video in two parts", lambda s, d: _planned_twice(s), "part 7"),
        Corruption("clips without a column", lambda s, d: _without(s, "clips", 0, "block"), "clips"),
        Corruption("videos without a column", lambda s, d: _without(s, "videos", 0, "fps"), "videos"),
    ]


def _written_wrong(table: str, name: str, column: str, value: Any) -> Corruption:
    return Corruption(f"{table} with {name}", lambda s, d: _set(s, table, 0, column, value), table)


def _of_features() -> list[Corruption]:
    return [
        Corruption("a row of features removed", lambda s, d: _drop(s, FEATURES, 0), COLOUR),
        Corruption("a row of features twice", lambda s, d: _double(s, FEATURES, 0), COLOUR),
        Corruption("features of an unknown clip", lambda s, d: _set(s, FEATURES, 0, "clip_id", "c"), COLOUR),
        Corruption("features of another span", lambda s, d: _set(s, FEATURES, 0, "start_s", 0.05), COLOUR),
        Corruption("features of another video", lambda s, d: _set(s, FEATURES, 0, "uri", "/other.mp4"), COLOUR),
        Corruption("features without an id", lambda s, d: _set(s, FEATURES, 0, "clip_id", None), COLOUR),
        Corruption("features without their column", lambda s, d: _without(s, FEATURES, 0, "embedding"), FEATURES),
        Corruption("features with one column more", lambda s, d: _with_another(s, FEATURES, 0), FEATURES),
        Corruption("features of another type", lambda s, d: _as(s, FEATURES, 0, "frames", pa.int64()), FEATURES),
        Corruption("embeddings of another length", _other_length, FEATURES),
        Corruption("swapped embeddings", lambda s, d: _rewrite(s, FEATURES, 0, "embedding"), FEATURES),
        Corruption(
            "swapped embeddings of a part that is derived", lambda s, d: _rewrite(s, DERIVED, 0, "brightness"), DERIVED
        ),
        Corruption("an error removed", lambda s, d: _drop(s, PICKY_ERRORS, 0), PICKY),
        Corruption("an error twice", lambda s, d: _double(s, PICKY_ERRORS, 0), PICKY),
        Corruption("an error of what is done", _failed_and_done, COLOUR),
        Corruption("rows of a video twice", lambda s, d: _double(s, OF_VIDEOS, 0), OF_VIDEOS),
        Corruption("a row of an unknown video", lambda s, d: _set(s, OF_VIDEOS, 0, "video_id", "v"), OF_VIDEOS),
    ]


def _of_labels() -> list[Corruption]:
    return [
        Corruption("a label twice", lambda s, d: _double(s, LABELS, 0), LABELS),
        Corruption("a label of an unknown clip", lambda s, d: _set(s, LABELS, 0, "clip_id", "c"), LABELS),
        Corruption("a label of another span", lambda s, d: _set(s, LABELS, 0, "end_s", 0.35), LABELS),
        Corruption("no label", lambda s, d: _set(s, LABELS, 0, "label", None), LABELS),
        Corruption("a score that is no number", lambda s, d: _set(s, LABELS, 0, "score", float("nan")), LABELS),
        Corruption("a score without end", lambda s, d: _set(s, VIDEO_LABELS, 0, "score", float("inf")), VIDEO_LABELS),
        Corruption("a label of an unknown video", lambda s, d: _set(s, VIDEO_LABELS, 0, "uri", "/x.mp4"), LABELS),
        Corruption("labels without a column", lambda s, d: _without(s, LABELS, 0, "score"), LABELS),
        Corruption(
            "labels of a part that is not planned", lambda s, d: _copy_part(s, (LABELS, 0), (LABELS, 9)), "part 9"
        ),
    ]


def _cut(store: Store, name: str, dice: random.Random) -> None:
    data = store.folder.read_bytes(name)
    store.folder.write_bytes(name, data[: dice.randrange(1, len(data))])


def _flip(store: Store, name: str, dice: random.Random) -> None:
    data = bytearray(store.folder.read_bytes(name))
    data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
    store.folder.write_bytes(name, bytes(data))


def _zeros(store: Store, name: str) -> None:
    data = store.folder.read_bytes(name)
    half = len(data) // 2
    store.folder.write_bytes(name, bytes(half) + data[half:])


def _append(store: Store, name: str, data: bytes) -> None:
    store.folder.write_bytes(name, store.folder.read_bytes(name) + data)


def _folder_at(store: Store, name: str) -> None:
    store.folder.remove(name)
    Path(store.folder.path(name)).mkdir()


def _link_at(store: Store, name: str) -> None:
    store.folder.remove(name)
    os.symlink(Path(name).name, store.folder.path(name))


def _file_at_table(store: Store, dice: random.Random) -> None:
    shutil.rmtree(store.folder.path(FEATURES))
    Path(store.folder.path(FEATURES)).write_bytes(b"a file")


def _copy(store: Store, one: str, other: str) -> None:
    store.folder.write_bytes(other, store.folder.read_bytes(one))


def _copy_part(store: Store, one: tuple[str, int], other: tuple[str, int]) -> None:
    _copy(store, part_file(*one), part_file(*other))


def _exchange(store: Store, table: str, one: int, other: int, name: Callable[[str, int], str] = part_file) -> None:
    first, second = (store.folder.read_bytes(name(table, part)) for part in (one, other))
    store.folder.write_bytes(name(table, one), second)
    store.folder.write_bytes(name(table, other), first)


def _exchange_sealed(store: Store, dice: random.Random) -> None:
    _exchange(store, FEATURES, 0, 1)
    _exchange(store, FEATURES, 0, 1, seal_file)


def _edit(store: Store, name: str, **values: Any) -> None:
    held = json.loads(store.folder.read_bytes(name))
    store.folder.write_bytes(name, json.dumps(held | values).encode())


def _first(store: Store, kind: str) -> str:
    return next(iter(store.folder.sizes(kind)))


def _other_version(store: Store, dice: random.Random) -> None:
    name = f"{INDEX}/CURRENT"
    store.folder.write_bytes(name, store.folder.read_bytes(name).replace(b"v0001", b"v0002"))


def _written(store: Store, table: str, part: int, rows: pa.Table) -> None:
    store.write(table, part, rows, rows.schema)


def _set(store: Store, table: str, part: int, column: str, value: Any) -> None:
    """Another value in the first row."""
    rows = store.read(table, part)
    values = [value, *rows[column].to_pylist()[1:]]
    place, field = rows.schema.get_field_index(column), rows.schema.field(column)
    _written(store, table, part, rows.set_column(place, field, pa.array(values, field.type)))


def _double(store: Store, table: str, part: int) -> None:
    rows = store.read(table, part)
    _written(store, table, part, pa.concat_tables([rows, rows.slice(0, 1)]))


def _drop(store: Store, table: str, part: int) -> None:
    _written(store, table, part, store.read(table, part).slice(1))


def _without(store: Store, table: str, part: int, column: str) -> None:
    _written(store, table, part, store.read(table, part).drop_columns([column]))


def _with_another(store: Store, table: str, part: int) -> None:
    rows = store.read(table, part)
    _written(store, table, part, rows.append_column("another", pa.nulls(len(rows), pa.int8())))


def _as(store: Store, table: str, part: int, column: str, kind: pa.DataType) -> None:
    rows = store.read(table, part)
    place = rows.schema.get_field_index(column)
    _written(store, table, part, rows.set_column(place, column, rows[column].cast(kind)))


def _permuted(rows: pa.Table, column: str) -> pa.Table:
    order: Sequence[int] = [*range(1, len(rows)), 0]
    place, field = rows.schema.get_field_index(column), rows.schema.field(column)
    return rows.set_column(place, field, rows[column].take(pa.array(order)))


def _permute(store: Store, table: str, part: int, column: str) -> None:
    _written(store, table, part, _permuted(store.read(table, part), column))


def _rewrite(store: Store, table: str, part: int, column: str) -> None:
    """Change values as somebody with pyarrow does: a valid file of the same schema, whose seal stays."""
    changed = _permuted(store.read(table, part), column)
    with store.folder.writing(part_file(table, part)) as file:
        pq.write_table(changed, file, compression="zstd")


def _other_length(store: Store, dice: random.Random) -> None:
    rows = store.read(FEATURES, 0)
    place = rows.schema.get_field_index("embedding")
    values = pa.array([[0.0, 1.0]] * len(rows), pa.list_(pa.float32(), 2))
    _written(store, FEATURES, 0, rows.set_column(place, "embedding", values))


def _blamed(store: Store, dice: random.Random) -> None:
    (video,) = store.read("videos", 0, ["video_id", "uri"]).slice(0, 1).to_pylist()
    schema = store.schema(PROBE, 0)
    row = {**video, "stage": "probe", "kind": "corrupt", "message": "no"}
    _written(store, PROBE, 0, pa.Table.from_pylist([row], schema))


def _planned_twice(store: Store) -> None:
    for table in ("videos", "clips", PROBE):
        _written(store, table, 7, store.read(table, 0))


def _failed_and_done(store: Store, dice: random.Random) -> None:
    schema = store.schema(ERRORS, 0)
    row = store.read(FEATURES, 0).slice(0, 1).select([n for n in schema.names if n not in ("stage", "kind", "message")])
    failed = {**row.to_pylist()[0], "stage": "extract", "kind": "error", "message": "no"}
    _written(store, ERRORS, 0, pa.Table.from_pylist([failed], schema))

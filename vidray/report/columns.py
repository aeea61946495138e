"""What a page sorts and filters by: numbers, categories and labels of clips, from whichever tables have them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from vidray.report.clips import Clips, Columns, rows_of_clips, rows_of_videos
from vidray.report.naming import Names
from vidray.store import IDENTITY, Store
from vidray.store.layout import labels_of

MOST_CATEGORIES = 100
"""A column of texts with more of them is none that people filter by."""

LEFT_OUT = frozenset(
    {*IDENTITY.names[:3], "part", "block", "fingerprint", "status", "text", "audio_tracks", "holes", "storyboard"}
    | {"poster", "tile_width", "tile_height", "columns", "decode_warning"}
)
"""Of the plan and of thumbnails: told elsewhere, or nothing to look at."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Numbers:
    """A number a clip.

    Attributes:
        table, name: The column's.
        where: What a filter calls it, None where it cannot.
        values: float32, float64 or int32 (N,); NaN where there is none, so that such a column is never int32.
    """

    table: str
    name: str
    where: str | None
    values: npt.NDArray[Any]


@dataclass(frozen=True, kw_only=True, eq=False)
class Categories:
    """One of a few texts a clip.

    Attributes:
        names: The texts.
        codes: uint8 (N,), numbers of texts; `len(names)` where there is none.
    """

    table: str
    name: str
    where: str | None
    names: list[str]
    codes: npt.NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True, eq=False)
class Labels:
    """Any number of labels a clip, each with its best score.

    Attributes:
        where: An expression that is a list of a clip's labels, None where a filter cannot say it.
        names: The labels, those first that have most scores in sum.
        clips, codes, scores: uint32, uint32, float32 (M,): by clip, then by label.
    """

    table: str
    name: str
    where: str | None
    names: list[str]
    clips: npt.NDArray[np.uint32]
    codes: npt.NDArray[np.uint32]
    scores: npt.NDArray[np.float32]


Column = Numbers | Categories | Labels


def is_wide(kind: pa.DataType) -> bool:
    """Whether a column is for machines: vectors, bytes, and what consists of them."""
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return is_wide(kind.value_type)
    if pa.types.is_struct(kind):
        return kind.num_fields > 0 and all(is_wide(field.type) for field in kind)
    binary = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_fixed_size_binary)
    return any(is_so(kind) for is_so in (*binary, pa.types.is_fixed_size_list, pa.types.is_float16))


def joined(store: Store, clips: Clips) -> dict[str, pa.Table]:
    """All that the tables of a store say of each clip, table by table, but for vectors and images."""
    found: dict[str, pa.Table] = {"clips": clips.table}
    if not len(clips):
        return found
    found["videos"] = rows_of_videos(store, clips, "videos", _but(("video_id", "uri", "corpus")))
    for kind, rows_of in (("features", rows_of_clips), ("video_features", rows_of_videos)):
        for name in store.tables(kind):
            table = f"{kind}/{name}"
            if store.parts(table):
                found[table] = rows_of(store, clips, table, _but(IDENTITY.names))
    return found


def _but(without: Sequence[str]) -> Columns:
    """All columns but these and wide ones."""
    return lambda schema: [field.name for field in schema if field.name not in without and not is_wide(field.type)]


def columns_of(store: Store, clips: Clips, tables: Mapping[str, pa.Table]) -> list[Column]:
    """What clips are sorted and filtered by, in the order of the tables; a column without values is none."""
    names, found = Names(store), list[Column]()
    for table, rows in tables.items():
        for field in rows.schema:
            if field.name in LEFT_OUT:
                continue
            where = names.of(table, field.name)
            found += _column(table, field, rows[field.name], where)
    for name in store.tables("labels"):
        made = _given(store, clips, name, names)
        found += [made] if made is not None else []
    return found


def _column(table: str, field: pa.Field, values: pa.ChunkedArray, where: str | None) -> Iterator[Column]:
    kind = field.type
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind):
        numbers = _numbers(values)
        if np.isfinite(numbers).any():
            yield Numbers(table=table, name=field.name, where=where, values=numbers)
    elif pa.types.is_string(kind):
        coded = pc.dictionary_encode(values).combine_chunks()
        coded = coded.chunk(0) if isinstance(coded, pa.ChunkedArray) else coded
        texts = coded.dictionary.to_pylist()
        if 0 < len(texts) <= MOST_CATEGORIES:
            codes = pc.fill_null(coded.indices, len(texts)).to_numpy(zero_copy_only=False).astype(np.uint8)
            yield Categories(table=table, name=field.name, where=where, names=texts, codes=codes)
    elif _has_labels(kind):
        listing = where and f"list_transform({where}, lambda one: one.label)"
        made = _listed(table, field.name, listing, values)
        if made.names:
            yield made


def _has_labels(kind: pa.DataType) -> bool:
    is_listing = pa.types.is_list(kind) and pa.types.is_struct(kind.value_type)
    return bool(is_listing) and {"label", "score"} <= {field.name for field in kind.value_type}


def _numbers(values: pa.ChunkedArray) -> npt.NDArray[Any]:
    kind = values.type
    if pa.types.is_float32(kind):
        return np.asarray(pc.fill_null(values, np.nan).to_numpy(), np.float32)
    if not values.null_count and (pa.types.is_boolean(kind) or kind.bit_width <= 16 or kind == pa.int32()):
        return np.asarray(values.cast(pa.int32()).to_numpy(), np.int32)
    if pa.types.is_boolean(kind):
        values = values.cast(pa.int32())
    return np.asarray(pc.fill_null(values.cast(pa.float64(), safe=False), np.nan).to_numpy(), np.float64)


def _listed(table: str, name: str, where: str | None, values: pa.ChunkedArray) -> Labels:
    clips, labels, scores, base = [], [], [], 0
    for chunk in values.chunks:
        flat = chunk.flatten()
        clips.append(pc.list_parent_indices(chunk).to_numpy(zero_copy_only=False) + base)
        labels.append(flat.field("label"))
        scores.append(flat.field("score").cast(pa.float32()))
        base += len(chunk)
    if not clips:
        return _labels(table, name, where, np.empty(0, np.int64), pa.array([], pa.string()), np.empty(0, np.float32))
    texts, best = pa.concat_arrays(labels), pc.fill_null(pa.concat_arrays(scores), np.nan)
    return _labels(table, name, where, np.concatenate(clips), texts, best.to_numpy(zero_copy_only=False))


def _given(store: Store, clips: Clips, name: str, names: Names) -> Labels | None:
    """The labels of a name, `labels/<name>`."""
    table = labels_of(name)
    parts = store.parts(table)
    if not parts:
        return None
    read = [store.read(table, part, ["clip_id", "label", "score"]) for part in parts]
    rows = pa.concat_tables(read, promote_options="permissive")
    places = pc.index_in(rows["clip_id"].combine_chunks(), value_set=clips.ids)
    rows = rows.filter(places.is_valid())
    numbers = places.filter(places.is_valid()).to_numpy(zero_copy_only=False).astype(np.int64)
    scores = pc.fill_null(rows["score"].cast(pa.float32()), np.nan).to_numpy()
    found = _labels(table, name, names.of(table, "label"), numbers, rows["label"].combine_chunks(), scores)
    return found if found.names else None


def _labels(
    table: str,
    name: str,
    where: str | None,
    clips: npt.NDArray[np.int64],
    texts: pa.Array,
    scores: npt.NDArray[np.float32],
) -> Labels:
    """Labels by clip and name, the best score of each kept."""
    if isinstance(texts, pa.ChunkedArray):
        texts = pa.concat_arrays(texts.chunks) if texts.num_chunks else pa.array([], pa.string())
    known = np.asarray(texts.is_valid())
    coded = texts.filter(pa.array(known)).dictionary_encode()
    codes, clips, scores = coded.indices.to_numpy(zero_copy_only=False), clips[known], scores[known]
    order = np.lexsort((-scores, codes, clips))
    clips, codes, scores = clips[order], codes[order], scores[order]
    first = np.ones(len(order), np.bool_)
    first[1:] = (np.diff(clips) != 0) | (np.diff(codes) != 0)
    clips, codes, scores = clips[first], codes[first], scores[first]
    weights = np.bincount(codes, np.nan_to_num(scores), minlength=len(coded.dictionary))
    best = np.argsort(-weights, kind="stable")
    rank = np.empty(len(best), np.int64)
    rank[best] = np.arange(len(best))
    return Labels(
        table=table,
        name=name,
        where=where,
        names=coded.dictionary.take(pa.array(best)).to_pylist(),
        clips=clips.astype(np.uint32),
        codes=rank[codes].astype(np.uint32),
        scores=scores.astype(np.float32),
    )

"""An index beyond one host: its clips and vectors as a Lance dataset, by Ray tasks (extra `lance`)."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from vidray.errors import MissingExtraError, UsageError
from vidray.index import ann
from vidray.index.embeddings import IDENTITY, Metric, PartReader
from vidray.pipeline.cluster import cluster, data_context, usable_cores
from vidray.retrieval.indexed import indexed_table, open_table
from vidray.storage import Folder
from vidray.store import Store
from vidray.store.remedies import index_command

METRICS: dict[Metric, str] = {"cosine": "cosine", "inner_product": "dot"}
WORTH_AN_INDEX = 10_000
"""Fewer clips are compared one by one as quickly; and k-means has too few to learn from."""

SAMPLE_A_LIST = 256
CODE_BITS = 1
"""A dimension. It is named, since lance-ray and pylance have different ones by default, and refuse each other's."""

DIM_OF_CODES = 8
"""Lance's RaBitQ codes take dimensions by so many."""


@dataclass(frozen=True, kw_only=True)
class LanceSummary:
    """What was written.

    Attributes:
        path: The dataset.
        rows: Clips in it, each with its identity and its `embedding`, as it is compared.
        index: The type of its index, None where it has none.
    """

    path: str
    rows: int
    index: str | None


def export_to_lance(
    store: str | PathLike[str], index: str, url: str, *, ray_address: str | None = None
) -> LanceSummary:
    """Write the clips that an index has, and their vectors, as a Lance dataset with an index `IVF_RQ` of its own.

    Args:
        store: fsspec URL of a store.
        index: Whose table, which has an index.
        url: Where to: a path or URL that Lance can write, which must not exist yet.
        ray_address: A running Ray cluster, else RAY_ADDRESS, else one that is started on this machine.

    Raises:
        MissingExtraError: The extra `lance` is not installed.
        UsageError: There is no such index, or it lags behind its table; or there is a dataset already.
    """
    try:
        import lance
        import lance_ray
    except ImportError as e:
        raise MissingExtraError("an export to Lance", "lance") from e
    held = Store(store)
    table = indexed_table(held, index)
    opened = open_table(held, table)
    if opened.stale:
        raise UsageError(f"{held.url}: index/{table} lags behind its table; run {index_command(held.url, table)} first")
    if Folder(url).sizes():
        raise UsageError(f"{url}: something is there already; name a new place")
    manifest = opened.manifest
    with cluster(ray_address) as connection:
        connection.connect()
        rows = _rows(opened.features.url, [part.name for part in manifest.parts], manifest.metric, manifest.dim)
        lance_ray.write_lance(rows, url, schema=_schema(manifest.dim), min_rows_per_file=1)
        if manifest.clips < WORTH_AN_INDEX or manifest.dim % DIM_OF_CODES:
            return LanceSummary(path=url, rows=lance.dataset(url).count_rows(), index=None)
        lists = ann.list_count(manifest.clips, manifest.dim)
        lance_ray.create_index(
            url, column="embedding", index_type="IVF_RQ", metric=METRICS[manifest.metric], num_partitions=lists,
            sample_rate=min(SAMPLE_A_LIST, manifest.clips // lists), num_workers=usable_cores(),
            num_bits=CODE_BITS,
        )  # fmt: skip
    return LanceSummary(path=url, rows=lance.dataset(url).count_rows(), index="IVF_RQ")


def _rows(features: str, parts: list[str], metric: Metric, dim: int) -> Any:
    """The rows of all parts as a Ray dataset; a task reads a part, in batches."""
    import ray.data

    data_context()

    def read(batch: pa.Table) -> Iterator[pa.Table]:
        for name in batch["part"].to_pylist():
            with tempfile.TemporaryDirectory() as scratch:
                yield from _part(features, name, metric, dim, Path(scratch))

    names = ray.data.from_items([{"part": name} for name in parts], override_num_blocks=len(parts))
    return names.map_batches(read, batch_size=1, batch_format="pyarrow")


def _part(features: str, name: str, metric: Metric, dim: int, scratch: Path) -> Iterator[pa.Table]:
    schema = _schema(dim)
    with PartReader(Folder(features), name, metric, scratch, dim=dim) as part:
        for batch in part.batches():
            has = batch.identities.schema.names
            count = len(batch.vectors)
            columns = [batch.identities[c] if c in has else pa.nulls(count, IDENTITY[c]) for c in IDENTITY]
            values = pa.array(np.ascontiguousarray(batch.vectors, dtype=np.float32).ravel())
            yield pa.table([*columns, pa.FixedSizeListArray.from_arrays(values, dim)], schema=schema)


def _schema(dim: int) -> pa.Schema:
    return pa.schema([*IDENTITY.items(), ("embedding", pa.list_(pa.float32(), dim))])

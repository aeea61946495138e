"""From a text to the clips of a store, by the classes that a network found in them: exact, and without an index."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import pyarrow as pa

from vidray.errors import UsageError
from vidray.index.where import rows_where
from vidray.labels.class_names import ClassNames
from vidray.store import Store
from vidray.store.layout import features_of

READ_ROWS = 8192
PARTS_AHEAD = 4
"""Each is some thousand clips with their classes."""
SHOWN = ("clip_id", "uri", "start_s", "end_s")


def best_clips(store: Store, labeler: ClassNames, k: int, where: str | None, *, together: bool = False) -> pa.Table:
    """The k clips that score highest for the first of a labeler's texts, best first, ties in plan order.

    Reads two columns of the feature table. Without a filter, memory is bounded; with one, all clips are held.

    Args:
        store: The store.
        labeler: Of the feature table.
        k: How many rows; fewer come back where the table, or the filter, has fewer.
        where: An SQL expression over the columns of the table and of the store's clips and videos.
        together: Whether clips are ranked by what their classes mean together, too, rather than by what labels score.

    Returns:
        `clip_id`, `uri`, `start_s`, `end_s` and `score`, float32 in [0, 1].

    Raises:
        UsageError: k < 1; a table without classes; a filter that DuckDB refuses.
    """
    if k < 1:
        raise UsageError(f"k must be at least 1, got {k}")
    found: list[pa.Table] = []
    least = 0.0
    for known in _with_classes(store, labeler):
        scores = labeler.ranking_scores(known, least) if together else labeler.scores(known)
        found.append(known.select(SHOWN).append_column("score", pa.array(scores[:, 0])))
        if where is None:
            found = [_best(pa.concat_tables(found), k)]
            least = found[0]["score"][k - 1].as_py() if len(found[0]) == k else 0.0
    if not found:
        return pa.table({name: [] for name in (*SHOWN, "score")})
    rows = pa.concat_tables(found).combine_chunks()
    if where is not None:
        # without the score: a column of that name may be a manifest's
        kept = rows_where(where, rows.select(SHOWN), store.folder_of(features_of(labeler.features)))
        rows = rows.take(pa.array(kept))
    return _best(rows, k)


def _with_classes(store: Store, labeler: ClassNames) -> Iterator[pa.Table]:
    """The clips that have classes, in plan order; the next parts are fetched meanwhile, from storage far away."""
    table = features_of(labeler.features)
    parts = store.parts(table)
    lacking = set(labeler.columns) - set(store.columns(table, parts[0])) if parts else set()
    if lacking:
        raise UsageError(f"{store.url}/{table} has no column {', '.join(lacking)}; name another table with -x")

    def read(part: int) -> list[pa.Table]:
        batches = store.stream(table, part, [*SHOWN, *labeler.columns], rows=READ_ROWS)
        return [rows.filter(rows["labels"].is_valid()) for rows in batches]

    with ThreadPoolExecutor(PARTS_AHEAD) as pool:
        ahead: deque[Future[list[pa.Table]]] = deque()
        for part in parts:
            ahead.append(pool.submit(read, part))
            if len(ahead) > PARTS_AHEAD:
                yield from ahead.popleft().result()
        for future in ahead:
            yield from future.result()


def _best(rows: pa.Table, k: int) -> pa.Table:
    order = np.argsort(-rows["score"].to_numpy(), kind="stable")
    return rows.take(pa.array(order[:k]))

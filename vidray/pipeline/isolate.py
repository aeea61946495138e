"""The last resort for slices whose workers die again and again: each clip by itself, in a process of its own."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import pyarrow as pa

from vidray.errors import ClusterError, ExtractError, one_line
from vidray.extractors.inputs import Bound, samplings_of
from vidray.extractors.protocol import Extractor
from vidray.pipeline.cluster import Placement
from vidray.pipeline.rows import Inputs, extract_rows
from vidray.pipeline.tables import TableReader
from vidray.pipeline.tasks import BlockWork, SliceWork
from vidray.pipeline.worker import Receipt, decode_task, inputs_of, load, receipt_of
from vidray.sandbox import Sandbox
from vidray.store import Store


def isolate(
    blocks: Sequence[BlockWork],
    store: Store,
    extractors: Mapping[str, Extractor],
    bound: Mapping[str, Bound],
    placement: Placement,
) -> Iterator[Receipt]:
    """Extract the clips of these slices one by one; a clip that takes its process along gets a row `crashed`.

    Each comes in a batch of the slice's shape whose other clips are zeros, so that its bits are those that it has
    among its neighbours.
    """
    import ray

    job = ray.remote(num_cpus=1, num_gpus=placement.gpus, max_retries=0, max_calls=1)(_extract_clip)
    for block in blocks:
        for work in block.slices:
            started_at = time.time()
            rows = []
            only = replace(block, slices=(work,))
            extractor = extractors[work.table]
            for place in range(work.stop - work.first):
                arguments = (only, place, extractor, bound.get(work.table, {}), store.url, placement.device)
                try:
                    rows.append(ray.get(job.remote(*arguments)))
                except ray.exceptions.RayTaskError as e:
                    # the task itself spoke, so it is not the clip that ends its worker
                    raise ClusterError(f"a worker cannot do its work: {one_line(e.cause)[:500]}") from e
                except ray.exceptions.RayError:
                    rows.append(_crashed(only, work, place, extractor))
            table = pa.concat_tables(rows)
            store.stage(work.table, work.key, table)
            yield receipt_of(work, table, block.seconds_of(work), started_at)


def _extract_clip(
    block: BlockWork, place: int, extractor: Extractor, bound: Bound, store_url: str, device: str
) -> pa.Table:
    """The row of one clip of a slice; with scope "video" all of its video is looked at, and its own row kept."""
    (work,) = block.slices
    clip = block.clips[work.first + place]
    with contextlib.closing(Sandbox()) as sandbox:
        (decoded,) = decode_task((block,), {work.table: samplings_of(extractor)}, sandbox, only=clip)
    inputs = inputs_of(decoded, extractor, TableReader(Store(store_url)), bound)
    return extract_rows(inputs, extractor, load(extractor, device)).slice(place, 1)


def _crashed(block: BlockWork, work: SliceWork, place: int, extractor: Extractor) -> pa.Table:
    clip = block.clips[work.first + place]
    error = ExtractError("crashed", f"{extractor.name} takes its worker along on this clip", clip.uri, clip.start_s)
    inputs = Inputs((clip,), ((0, 0),), (clip.end_s,), (None,), [{}], [error], [None])
    return extract_rows(inputs, extractor, lambda items: {})

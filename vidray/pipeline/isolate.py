"""The last resort for slices whose workers die again and again: each clip by itself, in a process of its own."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import pyarrow as pa

from vidray.errors import ClusterError, ExtractError
from vidray.extractors.protocol import Extractor
from vidray.pipeline.cluster import Placement
from vidray.pipeline.tasks import BlockWork, SliceWork
from vidray.pipeline.worker import DecodedSlice, Receipt, decode_task, extract_rows, load, receipt_of
from vidray.sandbox import Sandbox
from vidray.store import Store


def isolate(
    blocks: Sequence[BlockWork], store: Store, extractors: Mapping[str, Extractor], placement: Placement
) -> Iterator[Receipt]:
    """Extract the clips of these slices one by one; a clip that takes its process along gets a row `crashed`."""
    import ray

    job = ray.remote(num_cpus=1, num_gpus=placement.gpus, max_retries=0, max_calls=1)(_extract_clip)
    for block in blocks:
        for work in block.slices:
            started_at = time.time()
            rows = []
            for index in range(work.first, work.stop):
                alone = _alone(block, work, index)
                extractor = extractors[work.table]
                try:
                    rows.append(ray.get(job.remote(alone, extractor, placement.device)))
                except ray.exceptions.RayTaskError as e:
                    # the task itself spoke, so it is not the clip that ends its worker
                    reason = " ".join(str(e.cause).split())[:500]
                    raise ClusterError(f"a worker cannot do its work: {reason}") from e
                except ray.exceptions.RayError:
                    rows.append(_crashed(alone, extractor))
            table = pa.concat_tables(rows)
            store.stage(work.table, work.key, table)
            yield receipt_of(work, table, block.seconds_of(work), started_at)


def _alone(block: BlockWork, work: SliceWork, index: int) -> BlockWork:
    only = replace(work, first=0, stop=1)
    return BlockWork((block.clips[index],), (block.sizes[index],), (block.durations_s[index],), (only,))


def _extract_clip(block: BlockWork, extractor: Extractor, device: str) -> pa.Table:
    (work,) = block.slices
    with contextlib.closing(Sandbox()) as sandbox:
        (decoded,) = decode_task((block,), {work.table: extractor.sampling}, sandbox)
    return extract_rows(decoded, extractor, load(extractor, device))


def _crashed(block: BlockWork, extractor: Extractor) -> pa.Table:
    (clip,) = block.clips
    error = ExtractError("crashed", f"{extractor.name} takes its worker along on this clip", clip.uri, clip.start_s)
    decoded = DecodedSlice(block.slices[0], block.clips, block.sizes, 0.0, 0.0, samples=[error], warnings=[None])
    return extract_rows(decoded, extractor, lambda batch: {})

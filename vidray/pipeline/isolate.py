"""The last resort for slices whose workers die again and again: each clip by itself, in a process of its own."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pyarrow as pa

from vidray.errors import ClusterError, ExtractError, VidrayError, one_line
from vidray.extractors.inputs import Bound, samplings_of
from vidray.extractors.protocol import Extractor
from vidray.pipeline.cluster import Placement
from vidray.pipeline.rows import Inputs, extract_rows
from vidray.pipeline.tables import TableReader
from vidray.pipeline.tasks import BlockWork, SliceWork
from vidray.pipeline.waiting import wait_for
from vidray.pipeline.witness import Witnessed
from vidray.pipeline.worker import Receipt, decode_task, inputs_of, load, receipt_of
from vidray.sandbox import Sandbox
from vidray.store import Store

CLIP_S = 1800.0
"""A clip that takes its process longer hangs."""
TRIES_ON_LOST_NODES = 3


def isolate(
    blocks: Sequence[BlockWork],
    store: Store,
    extractors: Mapping[str, Extractor],
    bound: Mapping[str, Bound],
    placement: Placement,
    *,
    say: Callable[[str], None] = lambda line: None,
) -> Iterator[Receipt]:
    """Extract the clips of these slices one by one; one that takes its process along gets a row `crashed`, one that
    holds it for half an hour a row `timeout`.

    Each comes in a batch of the slice's shape whose other clips are zeros, so that its bits are those that it has
    among its neighbours.
    """
    import ray

    job: Any = ray.remote(num_cpus=1, num_gpus=placement.gpus, max_retries=0, max_calls=1)(_extract_clip)
    job = job.options(num_returns="streaming")
    for block in blocks:
        for work in block.slices:
            started_at = time.time()
            rows = []
            only = replace(block, slices=(work,))
            extractor = extractors[work.table]
            for place in range(work.stop - work.first):
                arguments = (only, place, extractor, bound.get(work.table, {}), store.url, placement.device)
                try:
                    rows.append(_row(job, arguments, say))
                except _LostError as e:
                    rows.append(_failed(only, work, place, extractor, *e.args))
            table = pa.concat_tables(rows)
            store.staging.write(work.table, work.key, table)
            yield receipt_of(work, table, block.seconds_of(work), started_at)


class _LostError(Exception):
    """A clip is lost: the kind of its error, and what it does."""


def _row(job: Any, arguments: tuple[Any, ...], say: Callable[[str], None]) -> pa.Table:
    """A clip's row, from a process of its own.

    Raises:
        _LostError: The clip ends that process, or holds it for too long.
        VidrayError: Something else is to blame: the storage, a node, vidray itself.
    """
    import ray

    block, place = arguments[:2]
    what = f"one clip of {block.clips[block.slices[0].first + place].uri}"
    for _ in range(TRIES_ON_LOST_NODES):
        answers = job.remote(*arguments)
        try:
            # that it has begun: until then it waits for a node with room, which is not its fault
            ray.get(next(wait_for(answers, doing=what, say=say)))
            if ray.wait([answers], timeout=CLIP_S)[0]:
                found: pa.Table = ray.get(next(answers))
                return found
            ray.cancel(answers, force=True)
            raise _LostError("timeout", f"holds its worker for {CLIP_S / 60:.0f} min")
        except ray.exceptions.RayTaskError as e:
            # the task itself spoke, so it is not the clip that ends its worker
            if isinstance(e.cause, VidrayError):
                raise e.cause from e
            raise ClusterError(f"a worker cannot do its work: {one_line(e.cause)[:500]}") from e
        except TimeoutError as e:
            raise ClusterError(str(e)) from e
        except (ray.exceptions.NodeDiedError, ray.exceptions.RaySystemError):
            continue
        except ray.exceptions.RayError as e:
            raise _LostError("crashed", "takes its worker along on this clip") from e
    raise ClusterError(f"{what}: {TRIES_ON_LOST_NODES} nodes were lost in a row; no file is blamed, run again")


def _extract_clip(
    block: BlockWork, place: int, extractor: Extractor, bound: Bound, store_url: str, device: str
) -> Iterator[pa.Table | None]:
    """None once it has begun, then the row of one clip of a slice; with scope "video" all of its video is looked at,
    and its own row kept."""
    yield None
    (work,) = block.slices
    clip = block.clips[work.first + place]
    with contextlib.closing(Witnessed(Sandbox(), Store(store_url))) as sandbox:
        sandbox.about(work.key.part)
        (decoded,) = decode_task((block,), {work.table: samplings_of(extractor)}, sandbox, only=clip)
    inputs = inputs_of(decoded, extractor, TableReader(Store(store_url)), bound)
    yield extract_rows(inputs, extractor, load(extractor, device)).slice(place, 1)


def _failed(block: BlockWork, work: SliceWork, place: int, extractor: Extractor, kind: str, does: str) -> pa.Table:
    clip = block.clips[work.first + place]
    error = ExtractError(kind, f"{extractor.name} {does}", clip.uri, clip.start_s)
    inputs = Inputs((clip,), ((0, 0),), (clip.end_s,), (None,), [{}], [error], [None])
    return extract_rows(inputs, extractor, lambda items: {})

"""The work of one worker: a task's clips are decoded once, fill the slices of all extractors, and are staged."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from vidray.errors import DecodeError, ExtractError, MediaError
from vidray.extractors.protocol import Columns, ExtractFn, Extractor
from vidray.media import (
    AnySamples,
    AnySampling,
    Audio,
    AudioSamples,
    AudioVisual,
    Clip,
    Decoded,
    FrameRate,
    Frames,
    FramesAndAudio,
    FrameSize,
    Samples,
    Sampling,
    Windows,
    sample_count,
    sample_times,
    single,
)
from vidray.models.batching import claim_core
from vidray.pipeline.tasks import BlockWork, SliceWork, Task
from vidray.planning.units import frame_size
from vidray.sandbox import Sandbox
from vidray.store import Store, staged_schema


@dataclass(frozen=True)
class Receipt:
    """What is known of a staged slice. Only receipts pass through Ray, never what was extracted."""

    work: SliceWork
    done: int
    failed: int
    video_s: float
    started_at: float
    unreachable: str | None = None
    """One of its files that the storage did not give, None where it gave all."""


UNREACHABLE = ("not_found", "unreadable")


def receipt_of(work: SliceWork, rows: pa.Table, video_s: float, started_at: float) -> Receipt:
    """What there is to say of a slice's rows."""
    failed = rows.num_rows - rows["kind"].null_count
    lost = rows.filter(pc.is_in(rows["kind"], value_set=pa.array(UNREACHABLE)))
    first = lost["uri"][0].as_py() if lost.num_rows else None
    return Receipt(work, rows.num_rows - failed, failed, video_s, started_at, first)


@dataclass(frozen=True)
class DecodedSlice:
    """The samples of one slice, and what went wrong: one entry a clip."""

    work: SliceWork
    clips: tuple[Clip, ...]
    sizes: tuple[FrameSize, ...]
    video_s: float
    started_at: float
    samples: list[AnySamples | MediaError | None] = field(default_factory=list)
    warnings: list[str | None] = field(default_factory=list)


def decode_task(task: Task, samplings: Mapping[str, AnySampling], sandbox: Sandbox) -> Iterator[DecodedSlice]:
    """Decode a task's clips in one pass, each once for all slices that want it; hand a slice on when it is full."""
    started_at = time.time()
    for block in task:
        yield from _decode_block(block, samplings, sandbox, started_at)


def _decode_block(
    block: BlockWork, samplings: Mapping[str, AnySampling], sandbox: Sandbox, started_at: float
) -> Iterator[DecodedSlice]:
    filling: dict[SliceWork, DecodedSlice] = {}
    for index, clip in enumerate(block.clips):
        works = [work for work in block.slices if work.first <= index < work.stop]
        if not works:
            continue
        wanted = tuple(dict.fromkeys(part for work in works for part in single(samplings[work.table])))
        decoded = _decode_clip(sandbox, clip, block.durations_s[index], block.sizes[index], wanted)
        for work in works:
            if index == work.first:
                span = slice(work.first, work.stop)
                clips, sizes = block.clips[span], block.sizes[span]
                filling[work] = DecodedSlice(work, clips, sizes, block.seconds_of(work), started_at)
            filling[work].samples.append(decoded.of(samplings[work.table]))
            filling[work].warnings.append(decoded.warning)
            if index == work.stop - 1:
                yield filling.pop(work)


def _decode_clip(
    sandbox: Sandbox, clip: Clip, duration_s: float, size: FrameSize, wanted: tuple[Sampling, ...]
) -> Decoded:
    if clip.start_s < duration_s:
        return sandbox.read(clip.uri, wanted, clip.start_s, clip.end_s, size)
    message = f"the video ends at {duration_s:.3f} s, before this clip"
    error = DecodeError("empty", message, clip.uri, clip.start_s)
    return Decoded(samples=dict.fromkeys(wanted, error), warning=None)


def load(extractor: Extractor, device: str) -> ExtractFn:
    """The extractor's function. An error that leaves its GPU unusable for this process ends the process: no clip is to
    blame for what fails from then on, and another process can go on."""
    extract = extractor.load(device)
    if device == "cpu":
        return extract

    def guarded(batch: Sequence[Samples]) -> Columns:
        try:
            return extract(batch)
        except Exception as e:
            if _is_lost(device):
                sys.stderr.write(f"vidray: {extractor.name} leaves {device} unusable: {e}\n")
                sys.stderr.flush()
                os._exit(1)
            raise

    return guarded


def _is_lost(device: str) -> bool:
    """Whether a GPU refuses all work of this process, as it does after an illegal access or a failed assertion."""
    import torch

    try:
        torch.ones(1, device=device).cpu()
    except torch.OutOfMemoryError:
        return False
    except RuntimeError:
        return True
    return False


class SliceExtractor:
    """The extractors of one worker, which load in the background; turns decoded slices into staged files."""

    def __init__(self, store_url: str, extractors: Mapping[str, Extractor], device: str) -> None:
        self._store = Store(store_url)
        self._extractors = extractors
        self._device = device
        loader = ThreadPoolExecutor(1, "load")
        self._functions = loader.submit(self._load)
        loader.shutdown(wait=False)

    def wait(self) -> None:
        """Until all is loaded; raises what loading raised."""
        self._functions.result()

    def split_staged(self, task: Task) -> tuple[list[Receipt], Task]:
        """What of a task is staged already, as receipts, and the task without it: a task is tried again from its start
        when its worker is lost, its finished slices are not."""
        places = {(item.table, item.key.part) for block in task for item in block.slices}
        staged = {place: self._store.staged(*place) for place in places}
        receipts, blocks = [], []
        for block in task:
            found = [item for item in block.slices if item.key in staged[item.table, item.key.part]]
            for item in found:
                rows = self._store.read_staged(item.table, item.key)
                receipts.append(receipt_of(item, rows, block.seconds_of(item), time.time()))
            left = tuple(item for item in block.slices if item not in found)
            if left:
                blocks.append(replace(block, slices=left))
        return receipts, tuple(blocks)

    def stage(self, decoded: DecodedSlice) -> Receipt:
        work = decoded.work
        rows = extract_rows(decoded, self._extractors[work.table], self._functions.result()[work.table])
        self._store.stage(work.table, work.key, rows)
        return receipt_of(work, rows, decoded.video_s, decoded.started_at)

    def _load(self) -> dict[str, ExtractFn]:
        if self._device == "cpu":
            claim_core()
        return {table: load(extractor, self._device) for table, extractor in self._extractors.items()}


def extract_rows(decoded: DecodedSlice, extractor: Extractor, extract: ExtractFn) -> pa.Table:
    """One row a clip in plan order, by `store.staged_schema`: columns, or what went wrong."""
    samples = list(decoded.samples)
    present = [index for index, sample in enumerate(samples) if isinstance(sample, AnySamples)]
    # a clip too large to decode is alone in its slice, and its zeros would be as large
    batch = [
        sample if isinstance(sample, AnySamples) else blank(extractor.sampling, clip, size)
        for sample, clip, size in zip(samples, decoded.clips, decoded.sizes, strict=True)
        if present
    ]
    count = len(samples)
    try:
        columns = _arrays(extract(batch) if present else {}, extractor.schema, count, present)
    except Exception:
        # whichever clip it was, the others keep their rows
        columns, failures = _one_by_one(batch, extractor, extract, present, decoded.clips)
        for index, error in failures.items():
            samples[index] = error
    failures_of = [sample if isinstance(sample, MediaError) else None for sample in samples]
    stages = ["extract" if isinstance(error, ExtractError) else "decode" for error in failures_of]
    identity = {
        name: [getattr(clip, name) for clip in decoded.clips]
        for name in ("clip_id", "video_id", "uri", "start_s", "end_s")
    }
    failure = {
        "stage": [stage if error else None for stage, error in zip(stages, failures_of, strict=True)],
        "kind": [error.kind if error else None for error in failures_of],
        "message": [error.message if error else None for error in failures_of],
    }
    schema = staged_schema(extractor.schema)
    return pa.table({**identity, **columns, "decode_warning": decoded.warnings, **failure}, schema=schema)


def blank(sampling: AnySampling, clip: Clip, size: FrameSize) -> AnySamples:
    """Zeros in the shape that a clip's samples would have."""
    if isinstance(sampling, AudioVisual):
        frames, audio = (_blank(part, clip, size) for part in single(sampling))
        assert isinstance(frames, Frames)
        assert isinstance(audio, AudioSamples)
        return FramesAndAudio(frames=frames, audio=audio)
    return _blank(sampling, clip, size)


def _blank(sampling: Sampling, clip: Clip, size: FrameSize) -> Samples:
    span = (clip.start_s, clip.end_s)
    if isinstance(sampling, Audio):
        silence = np.zeros(sample_count(sampling, *span), np.float32)
        return AudioSamples(samples=silence, sample_rate=sampling.sample_rate)
    times_s = sample_times(sampling, *span)
    height, width = frame_size(sampling, size)
    frames = np.zeros((*times_s.shape, max(1, height), max(1, width), 3), np.uint8)
    kind = Frames if isinstance(sampling, FrameRate) else Windows
    return kind(times_s=times_s, frames=frames)


def _one_by_one(
    batch: Sequence[AnySamples],
    extractor: Extractor,
    extract: ExtractFn,
    present: Sequence[int],
    clips: Sequence[Clip],
) -> tuple[dict[str, pa.Array], dict[int, ExtractError]]:
    parts: list[dict[str, pa.Array]] = []
    failures: dict[int, ExtractError] = {}
    for index, sample in enumerate(batch):
        held = [0] if index in present else []
        try:
            parts.append(_arrays(extract([sample]) if held else {}, extractor.schema, 1, held))
        except Exception as e:
            reason = " ".join(str(e).split())[:500]
            failures[index] = ExtractError("extractor", f"{type(e).__name__}: {reason}", clips[index].uri)
            parts.append(_arrays({}, extractor.schema, 1, []))
    return {name: pa.concat_arrays([part[name] for part in parts]) for name in extractor.schema.names}, failures


def _arrays(columns: Columns, schema: pa.Schema, count: int, present: Sequence[int]) -> dict[str, pa.Array]:
    """The extractor's answer as Arrow arrays of the schema's types, null where a clip had no samples."""
    if not present:
        return {field.name: pa.nulls(count, field.type) for field in schema}
    if set(columns) != set(schema.names):
        raise ValueError(f"columns {sorted(columns)} were extracted, the schema says {sorted(schema.names)}")
    kept = set(present)
    rows = pa.array([index if index in kept else None for index in range(count)], pa.int64())
    return {field.name: _array(columns[field.name], field.type, count).take(rows) for field in schema}


def _array(values: Any, kind: pa.DataType, count: int) -> pa.Array:
    if isinstance(values, pa.ChunkedArray):
        values = values.combine_chunks()
    if isinstance(values, np.ndarray) and values.ndim == 2 and pa.types.is_fixed_size_list(kind):
        flat = pa.array(np.ascontiguousarray(values).reshape(-1))
        values = pa.FixedSizeListArray.from_arrays(flat, values.shape[1])
    if isinstance(values, np.ndarray) and values.ndim > 1:
        values = values.tolist()
    array = values.cast(kind) if isinstance(values, pa.Array) else pa.array(values, kind)
    if len(array) != count:
        raise ValueError(f"{len(array)} values were extracted for {count} clips")
    return array

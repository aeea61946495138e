"""The work of one worker: a task's clips are decoded once, fill the slices of all extractors, and are staged."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from vidray.errors import DecodeError, ExtractError, MediaError
from vidray.extractors.inputs import Bound, columns_of, has_context, samplings_of
from vidray.extractors.protocol import ExtractFn, Extractor
from vidray.media import Clip, ClipInput, Decoded, FrameSize, Request, Sampling, Span, with_context
from vidray.models.batching import claim_core
from vidray.pipeline.context import ContextAudio, KeptAudio
from vidray.pipeline.rows import Inputs, extract_rows
from vidray.pipeline.tables import TableReader
from vidray.pipeline.tasks import BlockWork, SliceWork, Task
from vidray.pipeline.witness import Reader
from vidray.store import Store


@dataclass(frozen=True)
class Receipt:
    """What is known of a staged slice. Only receipts pass through Ray, never what was extracted."""

    work: SliceWork
    done: int
    failed: int
    video_s: float
    started_at: float
    unreachable: str | None = None
    """One of its files that the storage did not give, though it has it; None where it gave all."""


def receipt_of(work: SliceWork, rows: pa.Table, video_s: float, started_at: float) -> Receipt:
    """What there is to say of a slice's rows."""
    failed = rows.num_rows - rows["kind"].null_count
    lost = rows.filter(pc.equal(rows["kind"], "unreadable"))
    first = lost["uri"][0].as_py() if lost.num_rows else None
    return Receipt(work, rows.num_rows - failed, failed, video_s, started_at, first)


@dataclass(frozen=True)
class DecodedSlice:
    """The samples of one slice, and what went wrong: one entry a clip.

    Attributes:
        samples: Of each clip, by the name of the input: samples, None where there are none, or what went wrong.
        said: Of each clip, on what was damaged of what the slice reads.
    """

    work: SliceWork
    clips: tuple[Clip, ...]
    sizes: tuple[FrameSize, ...]
    durations_s: tuple[float, ...]
    previous_ends_s: tuple[float | None, ...]
    video_s: float
    started_at: float
    samples: list[dict[str, Any]] = field(default_factory=list)
    said: list[list[str]] = field(default_factory=list)


Samplings = Mapping[str, Mapping[str, Sampling]]
"""Of each table the inputs that are decoded."""


def samplings(extractors: Mapping[str, Extractor]) -> Samplings:
    """What decoding needs to know of extractors."""
    return {table: samplings_of(extractor) for table, extractor in extractors.items()}


def decode_task(task: Task, wanted: Samplings, sandbox: Reader, *, only: Clip | None = None) -> Iterator[DecodedSlice]:
    """Decode a task's clips in one pass, each once for all slices that want it; hand a slice on when it is full.

    With `only`, the other clips of its slices are left without samples.
    """
    started_at = time.time()
    kept: dict[tuple[Sampling, str], KeptAudio] = {}
    waiting: list[_Block] = []
    for place, work in enumerate(task):
        follows = place + 1 < len(task) and task[place + 1].clips[0].video_id == work.clips[-1].video_id
        block = _Block(work, wanted, sandbox, started_at, only, kept)
        for clip, goes_on in block.read(follows=follows):
            # what blocks before want behind them is read by this one, with its frames
            for other in list(waiting):
                if not (goes_on and other.waits(clip)):
                    other.read_behind(clip.video_id)
                    waiting.remove(other)
                yield from other.full()
            if not goes_on:
                block.read_behind(clip.video_id)
            yield from block.full()
        if follows:
            waiting.append(block)


class _Block:
    """The decoding of one block: clip after clip, and at the end of a video what is wanted behind its last clip."""

    def __init__(
        self,
        block: BlockWork,
        wanted: Samplings,
        sandbox: Reader,
        started_at: float,
        only: Clip | None,
        kept: dict[tuple[Sampling, str], KeptAudio],
    ) -> None:
        self._block = block
        self._only = only
        self._wanted = wanted
        self._sandbox = sandbox
        self._started_at = started_at
        self._filling: dict[SliceWork, DecodedSlice] = {}
        self._contexts = dict(_contexts(block, wanted, only, kept))

    def read(self, *, follows: bool) -> Iterator[tuple[Clip, bool]]:
        """Read clip after clip; after each, say whether another of its video comes, in this block or the next one."""
        clips = self._block.clips
        for index, clip in enumerate(clips):
            works = [work for work in self._block.slices if work.first <= index < work.stop]
            if works:
                self._read_clip(index, works)
            yield clip, clips[index + 1].video_id == clip.video_id if index + 1 < len(clips) else follows

    def waits(self, clip: Clip) -> bool:
        """Whether something is left to be read behind this block that lies behind a clip of the next."""
        left = [context.rest() for (_, video_id), context in self._contexts.items() if video_id == clip.video_id]
        return any(rest and rest[-1][1][1] > clip.end_s for rest in left)

    def _read_clip(self, index: int, works: Sequence[SliceWork]) -> None:
        block = self._block
        is_left_out = self._only is not None and block.clips[index] != self._only
        plain = {
            (work, name): sampling.request(*self._span(index, sampling))
            for work in ([] if is_left_out else works)
            for name, sampling in self._wanted[work.table].items()
            if not _is_joined(sampling)
        }
        around = [] if is_left_out else self._around(index, works)
        read = self._read(index, list(dict.fromkeys(plain.values())), around)
        collected: list[tuple[Sampling, Any]] = []
        for work in works:
            found: dict[str, Any] = {}
            for name, sampling in self._wanted[work.table].items():
                if (work, name) not in plain:
                    found[name] = None
                    continue
                # tables with the same sampling share what it gives: its steps may cost more than decoding
                shared = [samples for known, samples in collected if known == sampling]
                if not shared:
                    answer = read.samples[plain[work, name]]
                    shared = [_collected(sampling, answer, self._span(index, sampling))]
                    collected.append((sampling, shared[0]))
                found[name] = shared[0]
            held = self._filling.setdefault(work, self._empty(work))
            held.samples.append(found)
            asked = [plain[work, name] for name in self._wanted[work.table] if (work, name) in plain]
            held.said.append([read.warnings[request] for request in asked if request in read.warnings])

    def _empty(self, work: SliceWork) -> DecodedSlice:
        block, span = self._block, slice(work.first, work.stop)
        return DecodedSlice(
            work=work,
            clips=block.clips[span],
            sizes=block.sizes[span],
            durations_s=block.durations_s[span],
            previous_ends_s=block.previous_ends_s[span],
            video_s=block.seconds_of(work),
            started_at=self._started_at,
        )

    def _read(self, index: int, requests: Sequence[Request], around: Sequence[ContextAudio]) -> Decoded:
        """The answers for a clip, and before them, or with them, the pieces of context up to its end."""
        block, clip = self._block, self._block.clips[index]
        if clip.start_s >= block.durations_s[index]:
            message = f"the video ends at {block.durations_s[index]:.3f} s, before this clip"
            error = DecodeError("empty", message, clip.uri, clip.start_s)
            for context in around:
                _answer_all(context, context.wanted(self._place(context, index)), error)
            return Decoded(samples=dict.fromkeys(requests, error))
        keep = self._modalities(clip.video_id)
        size = block.sizes[index]
        with_clip: list[tuple[ContextAudio, Request]] = []
        for context in around:
            asked = context.wanted(self._place(context, index))
            for request, span in asked[:-1]:
                context.received(request, self._sandbox.read(clip.uri, [request], *span, size, keep=keep))
            with_clip += [(context, request) for request, _ in asked[-1:]]
        together = list(dict.fromkeys([*requests, *(request for _, request in with_clip)]))
        if not together:
            return Decoded(samples={})
        decoded = self._sandbox.read(clip.uri, together, clip.start_s, clip.end_s, size, keep=keep)
        for context, request in with_clip:
            context.received(request, decoded)
        return decoded

    def read_behind(self, video_id: str) -> None:
        """What clips of a video want behind the last of them that the block has."""
        index = max(place for place, clip in enumerate(self._block.clips) if clip.video_id == video_id)
        uri, size, keep = self._block.clips[index].uri, self._block.sizes[index], self._modalities(video_id)
        for (_, other_id), context in self._contexts.items():
            for request, span in context.rest() if other_id == video_id else ():
                context.received(request, self._sandbox.read(uri, [request], *span, size, keep=keep))

    def full(self) -> Iterator[DecodedSlice]:
        """The slices whose clips are all decoded, with their context."""
        for work, held in list(self._filling.items()):
            if len(held.samples) < work.stop - work.first:
                continue
            joined = list(self._contexts_of(work))
            if not all(context.is_complete(place) for _, _, context, place in joined):
                continue
            for index, name, context, place in joined:
                held.samples[index - work.first][name], said = context.samples(place)
                held.said[index - work.first] += said
            yield self._filling.pop(work)

    def _contexts_of(self, work: SliceWork) -> Iterator[tuple[int, str, ContextAudio, int]]:
        """Each clip of a slice with each input that has context, where that is, and the clip's place there."""
        for index in range(work.first, work.stop):
            clip = self._block.clips[index]
            for name, sampling in self._wanted[work.table].items():
                context = self._contexts.get((sampling, clip.video_id)) if _is_joined(sampling) else None
                if context is not None and clip in context.clips:
                    yield index, name, context, context.clips.index(clip)

    def _span(self, index: int, sampling: Sampling) -> Span:
        clip = self._block.clips[index]
        return with_context(sampling, clip.start_s, clip.end_s, self._block.durations_s[index])

    def _around(self, index: int, works: Sequence[SliceWork]) -> list[ContextAudio]:
        """The context that slices want around a clip."""
        clip = self._block.clips[index]
        found = (sampling for work in works for sampling in self._wanted[work.table].values() if _is_joined(sampling))
        return [self._contexts[sampling, clip.video_id] for sampling in dict.fromkeys(found)]

    def _place(self, context: ContextAudio, index: int) -> int:
        return context.clips.index(self._block.clips[index])

    def _modalities(self, video_id: str) -> frozenset[str]:
        """What is read of a video in this block, where context is read apart from its clips; nothing is said else."""
        if not any(video == video_id for _, video in self._contexts):
            return frozenset()
        return frozenset(
            sampling.modality
            for work in self._block.slices
            if any(clip.video_id == video_id for clip in self._block.clips[work.first : work.stop])
            for sampling in self._wanted[work.table].values()
        )


def _contexts(
    block: BlockWork, wanted: Samplings, only: Clip | None, kept: dict[tuple[Sampling, str], KeptAudio]
) -> Iterator[tuple[tuple[Sampling, str], ContextAudio]]:
    """For each sampling with context and each video, the audio that the clips of the block want of it."""
    asking: dict[tuple[Sampling, str], dict[Clip, float]] = {}
    for work in block.slices:
        for sampling in wanted[work.table].values():
            for index in range(work.first, work.stop) if _is_joined(sampling) else ():
                clip = block.clips[index]
                if only is None or clip == only:
                    asking.setdefault((sampling, clip.video_id), {})[clip] = block.durations_s[index]
    for key, clips in asking.items():
        order = sorted(clips, key=lambda clip: clip.clip_index)
        near = block.near(order[0].video_id)
        yield key, ContextAudio(key[0], order, clips[order[0]], near, kept.setdefault(key, KeptAudio()))


def _is_joined(sampling: Sampling) -> bool:
    """Whether a sampling's context is shared between neighbouring clips: frames are asked for one by one anyway."""
    return sampling.modality == "audio" and has_context(sampling)


def _answer_all(context: ContextAudio, asked: Sequence[tuple[Request, Span]], error: DecodeError) -> None:
    for request, _ in asked:
        context.received(request, Decoded({request: error}))


def _collected(sampling: Sampling, answer: Any, span: Span) -> Any:
    return answer if answer is None or isinstance(answer, MediaError) else sampling.collect(answer, *span)


def load(extractor: Extractor, device: str) -> ExtractFn:
    """The extractor's function. An error that leaves its GPU unusable for this process ends the process: no clip is to
    blame for what fails from then on, and another process can go on."""
    extract = extractor.load(device)
    if device == "cpu":
        return extract

    def guarded(items: Sequence[ClipInput]) -> Any:
        try:
            return extract(items)
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

    def __init__(
        self,
        store_url: str,
        extractors: Mapping[str, Extractor],
        device: str,
        bound: Mapping[str, Bound] | None = None,
    ) -> None:
        self._store = Store(store_url)
        self._extractors = extractors
        self._bound = bound or {}
        self._tables = TableReader(self._store)
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
        staged = {place: self._store.staging.slices(*place) for place in places}
        receipts, blocks = [], []
        for block in task:
            found = [item for item in block.slices if item.key in staged[item.table, item.key.part]]
            for item in found:
                rows = self._store.staging.read(item.table, item.key)
                receipts.append(receipt_of(item, rows, block.seconds_of(item), time.time()))
            left = tuple(item for item in block.slices if item not in found)
            if left:
                blocks.append(replace(block, slices=left))
        return receipts, tuple(blocks)

    def stage(self, decoded: DecodedSlice) -> Receipt:
        work = decoded.work
        extractor = self._extractors[work.table]
        inputs = inputs_of(decoded, extractor, self._tables, self._bound.get(work.table, {}))
        rows = extract_rows(inputs, extractor, self._functions.result()[work.table])
        self._store.staging.write(work.table, work.key, rows)
        return receipt_of(work, rows, decoded.video_s, decoded.started_at)

    def _load(self) -> dict[str, ExtractFn]:
        if self._device == "cpu":
            claim_core()
        return {table: load(extractor, self._device) for table, extractor in self._extractors.items()}


def inputs_of(decoded: DecodedSlice, extractor: Extractor, tables: TableReader, bound: Bound) -> Inputs:
    """What an extractor is given of a slice: what was decoded, and its rows of other tables."""
    values = [dict(samples) for samples in decoded.samples]
    failures: list[MediaError | None] = [
        next((value for value in samples.values() if isinstance(value, MediaError)), None) for samples in values
    ]
    for name, wanted in columns_of(extractor).items():
        found = tables.read(bound[name], decoded.work.key.part, wanted, decoded.clips)
        for place, value in enumerate(found):
            error = value if isinstance(value, ExtractError) else None
            values[place][name] = None if error is not None else value
            failures[place] = failures[place] or error
    return Inputs(
        clips=decoded.clips,
        sizes=decoded.sizes,
        durations_s=decoded.durations_s,
        previous_ends_s=decoded.previous_ends_s,
        values=values,
        failures=failures,
        warnings=["; ".join(dict.fromkeys(said)) or None for said in decoded.said],
    )

"""The conformance check of extractors, for the tests of whoever writes one."""

from __future__ import annotations

import dataclasses
import math
import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

from vidray.extractors.answers import not_finite, to_arrow
from vidray.extractors.inputs import columns_of, samplings_of, scope_of, video_schema_of
from vidray.extractors.protocol import ExtractFn, Extractor
from vidray.media import (
    AudioRequest,
    AudioSamples,
    Clip,
    ClipInput,
    Columns,
    FrameSize,
    RawFrames,
    Request,
    Sampling,
    Span,
    with_context,
)
from vidray.store.layout import RESERVED

PICKLE_BYTES_MAX = 65_536
"""A description travels with every task; networks and weights belong in `load`."""

CHECK_LENGTHS_S = (0.02, 1.3, 20.0, 1.3)
"""Clips to check with: shorter than a frame or a window, usual, long, and one of a length that another has too."""

CHECK_ZEROED = (1, 2)
"""Which of them become zeros in turn: one that shares its length with another, and the long one."""

CHECK_SIZES = ((180, 320), (320, 180))
"""Height and width of their frames where the sampling leaves these to the video: neighbours may differ."""

DEVICE_TOLERANCE = 1e-3
"""How far an embedding may move between two calls, in parts of its length, where a device does not repeat bits."""


def check_extractor(
    extractor: Extractor, *, device: str = "cpu", columns: Mapping[str, Sequence[Mapping[str, Any]]] | None = None
) -> None:
    """Prove that vidray can run an extractor: that its description travels, and that its function keeps the contract.

    The description is small, survives pickling and has a sane name, inputs and schema. The loaded function answers
    each column of the schema with one value of its type a clip, for one and several clips, short and long, of noise
    and of zeros; leaves its inputs alone; has no NaN in `embedding`; and answers the same bits (on the CPU) when it is
    called again, loaded again, or when other clips of the batch become zeros. Extracts some three minutes in all.

    Args:
        extractor: The description.
        device: Where it is loaded.
        columns: For each input that is a table, four rows that it could have.

    Raises:
        AssertionError: What is wrong, with the value and the rule.
    """
    _check_description(extractor)
    copy = _pickled(extractor)
    lacking = [name for name in columns_of(extractor) if len((columns or {}).get(name, ())) != len(CHECK_LENGTHS_S)]
    _require(not lacking, f"{', '.join(lacking)} are tables: pass columns with {len(CHECK_LENGTHS_S)} rows of each")
    extract = copy.load(device)
    _require(callable(extract), f"load({device!r}) must give a function, gave {type(extract).__name__}")
    run = _Run(extract, extractor)
    clips = [_noise(extractor, index, columns or {}) for index in range(len(CHECK_LENGTHS_S))]

    first = run(clips, "a batch of noise")
    everything = range(len(clips))
    _require_same(run(clips, "the same batch"), first, everything, device, "called again with the same clips")
    if scope_of(extractor) == "video":
        run([_failed(clip) if index == 1 else clip for index, clip in enumerate(clips)], "a clip whose input failed")
    else:
        _check_batches(extractor, run, clips, first, device)
    again = _Run(extractor.load(device), extractor)(clips, "the batch after loading again")
    _require_same(again, first, everything, device, "loaded again")


def _check_batches(extractor: Extractor, run: _Run, clips: Sequence[ClipInput], first: pa.Table, device: str) -> None:
    """What a clip's neighbours in a batch are changes nothing in its row."""
    for place in CHECK_ZEROED if samplings_of(extractor) else ():
        others = [index for index in range(len(clips)) if index != place]
        mixed = [_zeros(extractor, clip) if index == place else clip for index, clip in enumerate(clips)]
        answer = run(mixed, f"a batch whose clip {place} is zeros")
        _require_same(answer, first, others, device, f"called with clip {place} of the batch replaced by zeros")
        alone = [clip if index == place else _zeros(extractor, clip) for index, clip in enumerate(clips)]
        answer = run(alone, f"a batch of zeros but for clip {place}")
        _require_same(answer, first, [place], device, f"called with all clips but {place} replaced by zeros")
    for clip, length_s in zip(clips[:3], CHECK_LENGTHS_S, strict=False):
        run([clip], f"one clip of {length_s} s")
    if samplings_of(extractor):
        run([_zeros(extractor, clip) for clip in clips], "a batch of zeros")
        run([_zeros(extractor, clips[0])], f"one clip of zeros of {CHECK_LENGTHS_S[0]} s")
    for clip in clips[:3] if len(extractor.inputs) > 1 else ():
        for name in extractor.inputs:
            run([replace(clip, values={**clip.values, name: None})], f"a clip without {name}")


@dataclass(frozen=True)
class _Run:
    extract: ExtractFn
    extractor: Extractor

    def __call__(self, clips: Sequence[ClipInput], what: str) -> pa.Table:
        """The function's answer as a table of its schema, after all that one answer can show is checked."""
        before = [_arrays(clip) for clip in clips]
        given = [_read_only(clip) for clip in clips]
        try:
            answer = self.extract(given)
        except Exception as e:
            raise AssertionError(f"the function failed on {what}: {type(e).__name__}: {e}") from e
        for index, (clip, arrays) in enumerate(zip(given, before, strict=True)):
            same = all(np.array_equal(now, then) for now, then in zip(_arrays(clip), arrays, strict=True))
            _require(same, f"the function changed its inputs: clip {index} of {what}; work on a copy")
        schema = self.extractor.schema
        if video_schema_of(self.extractor) is not None:
            is_pair = isinstance(answer, tuple) and len(answer) == 2
            _require(is_pair, "with a video_schema the function must answer the clips' columns and the video's own")
            answer, video = answer
            wanted = set(video_schema_of(self.extractor).names)
            _require(set(video) == wanted, f"a video's columns must be {sorted(wanted)}, got {sorted(video)}")
        try:
            columns = to_arrow(answer, schema, len(clips))
        except (TypeError, ValueError, pa.ArrowException) as e:
            raise AssertionError(f"the answer is none of the schema for {what}: {e}") from e
        if "embedding" in columns:
            _require(
                columns["embedding"].null_count == 0, f"column 'embedding' must have a value for each clip of {what}"
            )
            is_finite = not not_finite(columns["embedding"]).any()
            _require(is_finite, f"column 'embedding' must be finite, has NaN or infinity for {what}")
        return pa.table(columns, schema=schema)


def _check_description(extractor: Extractor) -> None:
    for attribute in ("name", "inputs", "schema", "load"):
        _require(hasattr(extractor, attribute), f"an extractor needs {attribute!r}: see vidray.extractors.protocol")
    name = extractor.name
    _require(isinstance(name, str) and name.strip() != "", f"name must be a text that is not empty, got {name!r}")
    _require(name.isprintable() and not any(map(str.isspace, name)), f"name must have no white space, got {name!r}")
    _require(callable(extractor.load), f"load must be a method, got {type(extractor.load).__name__}")
    _require(isinstance(extractor.inputs, Mapping) and len(extractor.inputs) > 0, "inputs must be a mapping of some")
    for key, value in extractor.inputs.items():
        kinds = "a sampling of vidray.media or Columns"
        _require(isinstance(value, Sampling | Columns), f"input {key!r} must be {kinds}, got {type(value).__name__}")
    for optional in ("version", "precision", "weights"):
        text = getattr(extractor, optional, None)
        _require(text is None or isinstance(text, str), f"{optional} must be a text, got {type(text).__name__}")
    reserved = getattr(extractor, "memory_bytes", 1)
    _require(isinstance(reserved, int) and reserved > 0, f"memory_bytes must be a whole number > 0, got {reserved!r}")
    _check_schema(extractor.schema)


def _check_schema(schema: pa.Schema) -> None:
    _require(isinstance(schema, pa.Schema), f"schema must be a pyarrow.Schema, got {type(schema).__name__}")
    _require(len(schema) > 0, "schema must have a column, has none")
    _require(len(set(schema.names)) == len(schema.names), f"column names must be unique, got {schema.names}")
    for field in schema:
        _require(field.name not in RESERVED, f"column {field.name!r} is one of vidray's own: name it otherwise")
        _require(field.nullable, f"column {field.name!r} must be nullable: a clip without such samples has a null row")
        if field.name == "embedding":
            fits = pa.types.is_fixed_size_list(field.type) and field.type.value_type == pa.float32()
            _require(fits, f"column 'embedding' must be fixed_size_list<float32>[dim], is {field.type}")


def _pickled(extractor: Extractor) -> Extractor:
    try:
        pickled = pickle.dumps(extractor)
        copy = pickle.loads(pickled)
    except Exception as e:
        raise AssertionError(f"the description must survive pickling: {type(e).__name__}: {e}") from e
    _require(
        len(pickled) <= PICKLE_BYTES_MAX,
        f"the description pickles to {len(pickled)} bytes, more than {PICKLE_BYTES_MAX}: build networks in load()",
    )
    for attribute in ("name", "inputs"):
        then, now = getattr(extractor, attribute), getattr(copy, attribute)
        _require(then == now, f"{attribute} must survive pickling, was {then!r} and is {now!r}")
    _require(copy.schema.equals(extractor.schema), "schema must survive pickling, and be the same each time")
    assert isinstance(copy, Extractor)
    return copy


def _require_same(answer: pa.Table, first: pa.Table, rows: Sequence[int], device: str, when: str) -> None:
    for name in first.column_names:
        for row in rows:
            then, now = first[name][row].as_py(), answer[name][row].as_py()
            if device == "cpu":
                # By their text, since NaN is unequal to itself and -0.0 equal to 0.0.
                _require(repr(then) == repr(now), f"{name!r} of clip {row} must stay the same to the bit when {when}")
            elif name == "embedding":
                moved = math.dist(then, now) / max(math.hypot(*then), 1e-12)
                _require(moved <= DEVICE_TOLERANCE, f"'embedding' of clip {row} moved by {moved:.2g} when {when}")


def _clip(index: int) -> Clip:
    start_s = 12.5 + sum(CHECK_LENGTHS_S[:index]) if index else 12.5
    end_s = start_s + CHECK_LENGTHS_S[index]
    return Clip(clip_id=f"{index:032x}", video_id="v", uri="v.mp4", clip_index=index, start_s=start_s, end_s=end_s)


def _span(sampling: Sampling, clip: Clip) -> Span:
    return with_context(sampling, clip.start_s, clip.end_s, math.inf)


def _noise(extractor: Extractor, index: int, columns: Mapping[str, Sequence[Mapping[str, Any]]]) -> ClipInput:
    """A clip as the pipeline would hand it out, of seeded noise, and of the rows that it is given."""
    clip = _clip(index)
    values: dict[str, Any] = {name: dict(columns[name][index]) for name in columns_of(extractor)}
    for name, sampling in samplings_of(extractor).items():
        span = _span(sampling, clip)
        values[name] = sampling.collect(_answer(sampling.request(*span), index), *span)
    previous_end_s = None if index == 0 else clip.start_s
    return ClipInput(clip=clip, values=values, previous_end_s=previous_end_s)


def _answer(request: Request, seed: int) -> RawFrames | AudioSamples:
    """What the decoder could answer, of seeded noise."""
    rng = np.random.default_rng(seed)
    if isinstance(request, AudioRequest):
        shape = (request.count,) if request.channels == "mono" else (2, request.count)
        samples = rng.normal(0.0, 0.1, shape).clip(-1, 1).astype(np.float32)
        start_s = request.first / request.sample_rate
        return AudioSamples(samples=samples, sample_rate=request.sample_rate, start_s=start_s)
    count = len(request.times_s)
    size: FrameSize = CHECK_SIZES[seed % len(CHECK_SIZES)]
    shown = size if request.resize is None else request.resize.size_of(size)
    return RawFrames(
        times_s=np.asarray(request.times_s),
        frames=rng.integers(0, 256, (count, *shown, 3), dtype=np.uint8),
        places=np.arange(count),
        is_over=np.zeros(count, np.bool_),
    )


def _zeros(extractor: Extractor, clip: ClipInput) -> ClipInput:
    """The same clip as it is passed where it could not be read."""
    size = CHECK_SIZES[clip.clip.clip_index % len(CHECK_SIZES)]
    samplings = samplings_of(extractor).items()
    blanks = {name: sampling.blank(*_span(sampling, clip.clip), size) for name, sampling in samplings}
    return replace(clip, values={**clip.values, **blanks})


def _failed(clip: ClipInput) -> ClipInput:
    return replace(clip, values=dict.fromkeys(clip.values), failed=True)


def _read_only(clip: ClipInput) -> ClipInput:
    """A copy whose arrays refuse to be written, as those are that come through shared memory."""
    return replace(clip, values={name: _locked(value) for name, value in clip.values.items()})


def _locked(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        copy = value.copy()
        copy.flags.writeable = False
        return copy
    if not dataclasses.is_dataclass(value) or isinstance(value, type):
        return value
    return replace(value, **{f.name: _locked(getattr(value, f.name)) for f in dataclasses.fields(value)})


def _arrays(clip: ClipInput) -> list[Any]:
    """All arrays of a clip's samples."""
    values = [value for value in clip.values.values() if dataclasses.is_dataclass(value)]
    fields = [getattr(value, f.name) for value in values for f in dataclasses.fields(value)]
    return [value for value in fields if isinstance(value, np.ndarray)]


def _require(holds: bool, rule: str) -> None:
    if not holds:
        raise AssertionError(rule)

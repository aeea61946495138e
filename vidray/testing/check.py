"""The conformance check of extractors, for the tests of whoever writes one."""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

from vidray.extractors.protocol import ExtractFn, Extractor
from vidray.media import (
    AnySamples,
    AnySampling,
    Audio,
    AudioSamples,
    AudioVisual,
    FrameRate,
    Frames,
    FramesAndAudio,
    Resize,
    Samples,
    Sampling,
    Windows,
    sample_count,
    sample_times,
)

RESERVED_COLUMNS = ("clip_id", "video_id", "uri", "start_s", "end_s", "decode_warning")
"""Columns of every feature table that tell which clip a row is of."""

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


def check_extractor(extractor: Extractor, *, device: str = "cpu") -> None:
    """Prove that vidray can run an extractor: that its description travels, and that its function keeps the contract.

    The description is small, survives pickling and has a sane name, sampling and schema. The loaded function answers
    each column of the schema with one value of its type a clip, for one and several clips, short and long, of noise
    and of zeros; leaves its inputs alone; has no NaN in `embedding`; and answers the same bits (on the CPU) when it is
    called again, loaded again, or when another clip of the batch becomes zeros. Extracts some three minutes in all.

    Raises:
        AssertionError: What is wrong, with the value and the rule.
    """
    _check_description(extractor)
    copy = _pickled(extractor)
    schema, sampling = extractor.schema, extractor.sampling
    extract = copy.load(device)
    _require(callable(extract), f"load({device!r}) must give a function, gave {type(extract).__name__}")
    clips = [_noise(sampling, length_s, seed) for seed, length_s in enumerate(CHECK_LENGTHS_S)]
    run = _Run(extract, schema)

    first = run(clips, "a batch of noise")
    _require_same(run(clips, "the same batch"), first, range(len(clips)), device, "called again with the same clips")
    for place in CHECK_ZEROED:
        others = [index for index in range(len(clips)) if index != place]
        mixed = [_zeros(clip) if index == place else clip for index, clip in enumerate(clips)]
        answer = run(mixed, f"a batch whose clip {place} is zeros")
        _require_same(answer, first, others, device, f"called with clip {place} of the batch replaced by zeros")
    for clip, length_s in zip(clips[:3], CHECK_LENGTHS_S, strict=False):
        run([clip], f"one clip of {length_s} s")
    run([_zeros(clip) for clip in clips], "a batch of zeros")
    run([_zeros(clips[0])], f"one clip of zeros of {CHECK_LENGTHS_S[0]} s")
    for clip in clips[:3]:
        if isinstance(clip, FramesAndAudio):
            run([replace(clip, audio=None)], "a clip without audio")
            run([replace(clip, frames=None)], "a clip without frames")

    again = _Run(extractor.load(device), schema)(clips, "the batch after loading again")
    _require_same(again, first, range(len(clips)), device, "loaded again")


@dataclass(frozen=True)
class _Run:
    extract: ExtractFn
    schema: pa.Schema

    def __call__(self, clips: Sequence[AnySamples], what: str) -> pa.Table:
        """The function's answer as a table of its schema, after all that one answer can show is checked."""
        before = [_arrays(clip) for clip in clips]
        given = [_read_only(clip) for clip in clips]
        try:
            columns = self.extract(given)
        except Exception as e:
            raise AssertionError(f"the function failed on {what}: {type(e).__name__}: {e}") from e
        for index, (clip, arrays) in enumerate(zip(given, before, strict=True)):
            same = all(np.array_equal(now, then) for now, then in zip(_arrays(clip), arrays, strict=True))
            _require(same, f"the function changed its inputs: clip {index} of {what}; work on a copy")
        _require(isinstance(columns, Mapping), f"the function must answer a mapping, answered {type(columns).__name__}")
        _require(
            set(columns) == set(self.schema.names),
            f"columns must be those of the schema, {self.schema.names}, got {list(columns)} for {what}",
        )
        arrays = [_column(field, columns[field.name], len(clips), what) for field in self.schema]
        return pa.Table.from_arrays(arrays, schema=self.schema)


def _check_description(extractor: Extractor) -> None:
    for attribute in ("name", "sampling", "schema", "load"):
        _require(hasattr(extractor, attribute), f"an extractor needs {attribute!r}: see vidray.extractors.protocol")
    name, sampling, schema = extractor.name, extractor.sampling, extractor.schema
    _require(isinstance(name, str) and name.strip() != "", f"name must be a text that is not empty, got {name!r}")
    _require(name.isprintable() and not any(map(str.isspace, name)), f"name must have no white space, got {name!r}")
    _require(callable(extractor.load), f"load must be a method, got {type(extractor.load).__name__}")
    kinds = "FrameRate, FrameWindows, Audio or AudioVisual"
    _require(isinstance(sampling, AnySampling), f"sampling must be {kinds}, got {type(sampling).__name__}")
    for optional in ("version", "precision", "weights"):
        value = getattr(extractor, optional, None)
        _require(value is None or isinstance(value, str), f"{optional} must be a text, got {type(value).__name__}")
    reserved = getattr(extractor, "memory_bytes", 1)
    _require(isinstance(reserved, int) and reserved > 0, f"memory_bytes must be a whole number > 0, got {reserved!r}")
    _check_schema(schema)


def _check_schema(schema: pa.Schema) -> None:
    _require(isinstance(schema, pa.Schema), f"schema must be a pyarrow.Schema, got {type(schema).__name__}")
    _require(len(schema) > 0, "schema must have a column, has none")
    _require(len(set(schema.names)) == len(schema.names), f"column names must be unique, got {schema.names}")
    for field in schema:
        _require(field.name not in RESERVED_COLUMNS, f"column {field.name!r} is one of vidray's own: name it otherwise")
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
    for attribute in ("name", "sampling"):
        then, now = getattr(extractor, attribute), getattr(copy, attribute)
        _require(then == now, f"{attribute} must survive pickling, was {then!r} and is {now!r}")
    _require(copy.schema.equals(extractor.schema), "schema must survive pickling, and be the same each time")
    assert isinstance(copy, Extractor)
    return copy


def _column(field: pa.Field, values: Any, count: int, what: str) -> pa.Array:
    try:
        array = _arrow(field.type, values)
    except (TypeError, ValueError, pa.ArrowException) as e:
        raise AssertionError(f"column {field.name!r} is no {field.type} for {what}: {e}") from e
    _require(len(array) == count, f"column {field.name!r} must have {count} values for {what}, has {len(array)}")
    if field.name == "embedding":
        _require(array.null_count == 0, f"column 'embedding' must have a value for each clip of {what}")
        finite = np.isfinite(array.flatten().to_numpy(zero_copy_only=False)).all()
        _require(bool(finite), f"column 'embedding' must be finite, has NaN or infinity for {what}")
    return array


def _arrow(type_: pa.DataType, values: Any) -> pa.Array:
    """What the pipeline takes, and no more."""
    if isinstance(values, pa.ChunkedArray):
        values = values.combine_chunks()
    if isinstance(values, np.ndarray) and values.ndim == 2 and pa.types.is_fixed_size_list(type_):
        flat = pa.array(np.ascontiguousarray(values).reshape(-1))
        values = pa.FixedSizeListArray.from_arrays(flat, values.shape[1])
    return values.cast(type_) if isinstance(values, pa.Array) else pa.array(values, type_)


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


def _noise(sampling: AnySampling, length_s: float, seed: int) -> AnySamples:
    """Samples of a clip as the decoder would hand them out, of seeded noise."""
    if isinstance(sampling, AudioVisual):
        frames, audio = (_noise_of(part, length_s, seed) for part in (sampling.frames, sampling.audio))
        assert isinstance(frames, Frames)
        assert isinstance(audio, AudioSamples)
        return FramesAndAudio(frames=frames, audio=audio)
    return _noise_of(sampling, length_s, seed)


def _noise_of(sampling: Sampling, length_s: float, seed: int) -> Samples:
    rng = np.random.default_rng(seed)
    start_s = 12.5 + seed
    if isinstance(sampling, Audio):
        count = sample_count(sampling, start_s, start_s + length_s)
        samples = rng.normal(0.0, 0.1, count).clip(-1, 1).astype(np.float32)
        return AudioSamples(samples=samples, sample_rate=sampling.sample_rate)
    times_s = sample_times(sampling, start_s, start_s + length_s)
    shape = (*times_s.shape, *_frame_size(sampling.resize, CHECK_SIZES[seed % len(CHECK_SIZES)]), 3)
    frames = rng.integers(0, 256, shape, dtype=np.uint8)
    if isinstance(sampling, FrameRate):
        return Frames(times_s=times_s, frames=frames)
    return Windows(times_s=times_s, frames=frames)


def _frame_size(resize: Resize | None, source: tuple[int, int]) -> tuple[int, int]:
    """Height and width after a `Resize`."""
    if resize is None:
        return source
    if resize.crop is not None:
        return resize.crop
    return resize.scaled(*source)


def _zeros(clip: AnySamples) -> AnySamples:
    if isinstance(clip, FramesAndAudio):
        return _each(clip, _zeros)
    if isinstance(clip, AudioSamples):
        return replace(clip, samples=np.zeros_like(clip.samples))
    return replace(clip, frames=np.zeros_like(clip.frames))


def _read_only(clip: AnySamples) -> AnySamples:
    """A copy whose arrays refuse to be written, as those are that come through shared memory."""
    if isinstance(clip, FramesAndAudio):
        return _each(clip, _read_only)
    if isinstance(clip, AudioSamples):
        return replace(clip, samples=_locked(clip.samples))
    return replace(clip, times_s=_locked(clip.times_s), frames=_locked(clip.frames))


def _each(clip: FramesAndAudio, change: Callable[[AnySamples], Any]) -> FramesAndAudio:
    return FramesAndAudio(
        frames=None if clip.frames is None else change(clip.frames),
        audio=None if clip.audio is None else change(clip.audio),
    )


def _locked(array: Any) -> Any:
    copy = array.copy()
    copy.flags.writeable = False
    return copy


def _arrays(clip: AnySamples) -> list[Any]:
    if isinstance(clip, FramesAndAudio):
        return [array for part in (clip.frames, clip.audio) if part is not None for array in _arrays(part)]
    return [clip.samples] if isinstance(clip, AudioSamples) else [clip.times_s, clip.frames]


def _require(holds: bool, rule: str) -> None:
    if not holds:
        raise AssertionError(rule)

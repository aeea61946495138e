"""From the inputs of a slice's clips to one row a clip: what was extracted, or what went wrong."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import pyarrow as pa

from vidray.errors import ExtractError, MediaError, one_line
from vidray.extractors.answers import not_finite, nulls, rows_of, to_arrow
from vidray.extractors.inputs import samplings_of, scope_of, video_schema_of
from vidray.extractors.protocol import ExtractFn, Extractor
from vidray.media import Clip, ClipInput, FrameSize, with_context
from vidray.store.layout import IDENTITY, VIDEO_ROW, staged_schema

EMBEDDING = "embedding"


@dataclass(frozen=True)
class Inputs:
    """What an extractor is given of one slice: one entry a clip.

    Attributes:
        values: By the name of the input; None, or a MediaError, where there is nothing.
        failures: What went wrong with a clip, None where nothing did.
        warnings: On what was damaged.
    """

    clips: tuple[Clip, ...]
    sizes: tuple[FrameSize, ...]
    durations_s: tuple[float, ...]
    previous_ends_s: tuple[float | None, ...]
    values: Sequence[dict[str, Any]]
    failures: Sequence[MediaError | None]
    warnings: Sequence[str | None]


def extract_rows(inputs: Inputs, extractor: Extractor, extract: ExtractFn) -> pa.Table:
    """One row a clip in plan order, by `store.staged_schema`: columns, or what went wrong."""
    by_scope = _by_video if scope_of(extractor) == "video" else _by_clip
    arrays, failures, videos = by_scope(inputs, extractor, extract)
    if EMBEDDING in arrays:
        arrays, failures = _without_nan(inputs, arrays, failures)
    identity = {name: [getattr(clip, name) for clip in inputs.clips] for name in IDENTITY.names}
    failure = {
        "stage": [_stage(error) for error in failures],
        "kind": [error.kind if error else None for error in failures],
        "message": [error.message if error else None for error in failures],
    }
    schema = staged_schema(extractor.schema, video_schema_of(extractor))
    columns = {**identity, **arrays, "decode_warning": inputs.warnings, **failure}
    if VIDEO_ROW in schema.names:
        columns[VIDEO_ROW] = videos
    return pa.table(columns, schema=schema)


_Found = tuple[dict[str, pa.Array], list[MediaError | None], list[dict[str, Any] | None]]
"""The columns, what went wrong, and the rows of videos, one entry a clip."""


def _stage(error: MediaError | None) -> str | None:
    if error is None:
        return None
    if isinstance(error, ExtractError):
        return "input" if error.kind == "input" else "extract"
    return "decode"


def _by_clip(inputs: Inputs, extractor: Extractor, extract: ExtractFn) -> _Found:
    count = len(inputs.clips)
    failures = list(inputs.failures)
    present = [index for index in range(count) if failures[index] is None and _has_some(inputs.values[index])]
    if not present:
        return nulls(extractor.schema, count), failures, [None] * count
    is_decoded = bool(samplings_of(extractor))
    # with samples all clips are passed, so that a batch has the same shape whatever could be read
    passed = list(range(count)) if is_decoded else present
    items = [_item(inputs, extractor, index, is_present=index in present) for index in passed]
    try:
        found = to_arrow(extract(items), extractor.schema, len(passed))
    except Exception:
        # whichever clip it was, the others keep their rows
        found, errors = _one_by_one(inputs, extractor, extract, passed, present)
        for index, error in errors.items():
            failures[index] = error
    place_of = {index: place for place, index in enumerate(passed)}
    rows = [place_of[index] if index in present and failures[index] is None else None for index in range(count)]
    return rows_of(found, rows), failures, [None] * count


def _has_some(values: dict[str, Any]) -> bool:
    return any(value is not None for value in values.values())


def _item(inputs: Inputs, extractor: Extractor, index: int, *, is_present: bool) -> ClipInput:
    """What is passed of one clip: zeros where it has none of its inputs."""
    clip = inputs.clips[index]
    values = dict(inputs.values[index])
    if not is_present:
        # a clip too large to decode is alone in its slice, and its zeros would be as large
        for name, sampling in samplings_of(extractor).items():
            span = with_context(sampling, clip.start_s, clip.end_s, inputs.durations_s[index])
            values[name] = sampling.blank(*span, inputs.sizes[index])
    return ClipInput(clip=clip, values=values, previous_end_s=inputs.previous_ends_s[index])


def _one_by_one(
    inputs: Inputs, extractor: Extractor, extract: ExtractFn, passed: Sequence[int], present: Sequence[int]
) -> tuple[dict[str, pa.Array], dict[int, ExtractError]]:
    """Each clip by itself, in a batch of the same shape whose other clips are zeros: so its bits are those that it has
    in a batch that does not fail."""
    parts: list[dict[str, pa.Array]] = []
    failures: dict[int, ExtractError] = {}
    for place, index in enumerate(passed):
        if index not in present:
            parts.append(nulls(extractor.schema, 1))
            continue
        try:
            parts.append(_alone(inputs, extractor, extract, passed, place))
        except Exception as e:
            reason = f"{type(e).__name__}: {one_line(e)[:500]}"
            failures[index] = ExtractError("extractor", reason, inputs.clips[index].uri)
            parts.append(nulls(extractor.schema, 1))
    return {name: pa.concat_arrays([part[name] for part in parts]) for name in extractor.schema.names}, failures


def _alone(
    inputs: Inputs, extractor: Extractor, extract: ExtractFn, passed: Sequence[int], place: int
) -> dict[str, pa.Array]:
    if not samplings_of(extractor):
        item = _item(inputs, extractor, passed[place], is_present=True)
        return to_arrow(extract([item]), extractor.schema, 1)
    items = [_item(inputs, extractor, index, is_present=index == passed[place]) for index in passed]
    return rows_of(to_arrow(extract(items), extractor.schema, len(items)), [place])


def _by_video(inputs: Inputs, extractor: Extractor, extract: ExtractFn) -> _Found:
    failures = list(inputs.failures)
    parts: list[dict[str, pa.Array]] = []
    videos: list[dict[str, Any] | None] = [None] * len(inputs.clips)
    for indices in _runs(inputs.clips):
        try:
            columns, videos[indices[0]] = _video(inputs, extractor, extract, indices)
        except Exception as e:
            reason = f"{type(e).__name__}: {one_line(e)[:500]}"
            for index in indices:
                failures[index] = failures[index] or ExtractError("extractor", reason, inputs.clips[index].uri)
            columns = nulls(extractor.schema, len(indices))
        parts.append(columns)
    arrays = {name: pa.concat_arrays([part[name] for part in parts]) for name in extractor.schema.names}
    rows = [index if failures[index] is None else None for index in range(len(inputs.clips))]
    return rows_of(arrays, rows), failures, videos


def _video(
    inputs: Inputs, extractor: Extractor, extract: ExtractFn, indices: Sequence[int]
) -> tuple[dict[str, pa.Array], dict[str, Any] | None]:
    items = [
        ClipInput(
            clip=inputs.clips[index],
            values=dict(inputs.values[index]),
            failed=inputs.failures[index] is not None,
            previous_end_s=inputs.previous_ends_s[index],
        )
        for index in indices
    ]
    answer = extract(items)
    schema = video_schema_of(extractor)
    if schema is None:
        return to_arrow(answer, extractor.schema, len(items)), None
    columns, video = answer
    if set(video) != set(schema.names):
        raise ValueError(f"a video's columns {sorted(video)} were extracted, the schema says {sorted(schema.names)}")
    row: dict[str, Any] = pa.Table.from_pylist([dict(video)], schema).to_pylist()[0]
    return to_arrow(columns, extractor.schema, len(items)), row


def _runs(clips: Sequence[Clip]) -> Iterator[list[int]]:
    for _, run in groupby(range(len(clips)), key=lambda index: clips[index].video_id):
        yield list(run)


def _without_nan(
    inputs: Inputs, arrays: dict[str, pa.Array], failures: list[MediaError | None]
) -> tuple[dict[str, pa.Array], list[MediaError | None]]:
    """An embedding that holds something else than finite numbers is no result."""
    wrong = not_finite(arrays[EMBEDDING])
    if not wrong.any():
        return arrays, failures
    failures = [
        ExtractError("extractor", "its embedding is not finite", clip.uri) if is_wrong else error
        for clip, error, is_wrong in zip(inputs.clips, failures, wrong, strict=True)
    ]
    return rows_of(arrays, [None if is_wrong else index for index, is_wrong in enumerate(wrong)]), failures

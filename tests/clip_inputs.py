"""Bare samples as extractors are given them, and the one sampling that most extractors have."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from vidray.errors import MediaError
from vidray.extractors.inputs import samplings_of
from vidray.media import Clip, ClipInput


def items(samples: Iterable[Any], name: str | None = None) -> list[ClipInput]:
    """A clip for each of some samples; the input's name is that of what they are of."""
    return [item(index, one, name) for index, one in enumerate(samples)]


def item(index: int, samples: Any, name: str | None = None) -> ClipInput:
    clip = Clip(
        clip_id=f"c{index}", video_id="v", uri="v.mp4", clip_index=index, start_s=float(index), end_s=index + 1.0
    )
    return ClipInput(clip=clip, values={name or ("audio" if hasattr(samples, "samples") else "frames"): samples})


def sampling_of(extractor: Any) -> Any:
    """The only sampling of an extractor."""
    (sampling,) = samplings_of(extractor).values()
    return sampling


@dataclass(frozen=True)
class Samples:
    """What one read gave, by the sampling."""

    samples: Mapping[Any, Any]
    warning: str | None


def read_samples(
    sandbox: Any, uri: str, samplings: Iterable[Any], start_s: float, end_s: float, size: tuple[int, int]
) -> Samples:
    """The samples of a span, or what went wrong, for each sampling."""
    requests = {sampling: sampling.request(start_s, end_s) for sampling in samplings}
    decoded = sandbox.read(uri, list(requests.values()), start_s, end_s, size)
    answers = {sampling: decoded.samples[request] for sampling, request in requests.items()}
    is_none = {sampling: answer is None or isinstance(answer, MediaError) for sampling, answer in answers.items()}
    samples = {s: a if is_none[s] else s.collect(a, start_s, end_s) for s, a in answers.items()}
    return Samples(samples, "; ".join(dict.fromkeys(decoded.warnings.values())) or None)

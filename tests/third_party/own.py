"""A third party's own kinds of everything: each as short as its kind allows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from vidray.media import Audio, AudioSamples, ClipInput, Columns, FrameRate, FrameRequest, RawFrames, Resize

COLOURS = ("red", "green", "blue")


@dataclass(frozen=True, kw_only=True)
class MiddleFrame:
    """A sampling of its own kind: the frame in the middle of a clip, alone. Samples are uint8 (H, W, 3)."""

    resize: Resize | None = None

    @property
    def modality(self) -> Literal["frames"]:
        return "frames"

    @property
    def unit_s(self) -> float:
        return 1.0

    def request(self, start_s: float, end_s: float) -> FrameRequest:
        return FrameRequest(times_s=((start_s + end_s) / 2,), end_s=end_s, resize=self.resize)

    def collect(self, raw: RawFrames, start_s: float, end_s: float) -> Any:
        return raw.frames[raw.places[0]]

    def blank(self, start_s: float, end_s: float, size: tuple[int, int]) -> Any:
        height, width = size if self.resize is None else self.resize.size_of(size)
        return np.zeros((max(1, height), max(1, width), 3), np.uint8)

    def nbytes(self, start_s: float, end_s: float, size: tuple[int, int]) -> int:
        return int(self.blank(start_s, end_s, size).nbytes)


@dataclass(frozen=True)
class Thirds:
    """A planner: a video in so many parts of one length."""

    parts: int = 3

    @property
    def config(self) -> dict[str, Any]:
        return {"planner": "thirds", "parts": self.parts}

    def spans(self, duration_s: float, cuts_s: Sequence[float] = ()) -> list[tuple[float, float]]:
        edges = [round(duration_s * number / self.parts, 6) for number in range(self.parts)] + [duration_s]
        return list(pairwise(edges))


@dataclass(frozen=True, kw_only=True)
class Colour:
    """A joint model: a clip's mean colour as a unit vector, and the words for colours in the same space."""

    name: str = "own/colour"

    @property
    def inputs(self) -> dict[str, Any]:
        return {"middle": MiddleFrame(resize=Resize(size=(8, 8)))}

    @property
    def schema(self) -> pa.Schema:
        return pa.schema([("embedding", pa.list_(pa.float32(), 3))])

    def load(self, device: str) -> Any:
        def extract(items: Sequence[ClipInput]) -> dict[str, Any]:
            means = np.stack([item["middle"].mean((0, 1)) + 1.0 for item in items])
            return {"embedding": (means / np.linalg.norm(means, axis=1, keepdims=True)).astype(np.float32)}

        return extract

    def load_text(self) -> Words:
        return Words()


class Words:
    """The half of it that reads: a word's vector points to the colours that stand in the text."""

    scale = 10.0
    bias = None

    def embed(self, texts: Sequence[str]) -> Any:
        vectors = np.array([[1.0 * (colour in text) for colour in COLOURS] for text in texts]) + 1e-3
        return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


@dataclass(frozen=True, kw_only=True)
class Warm:
    """A derived extractor: whether a clip is more red than blue, from another table's embedding."""

    name: str = "warm"
    of: str | None = None
    limit: float = 0.0

    @property
    def inputs(self) -> dict[str, Any]:
        return {"colour": Columns(self.of, ["embedding"], default="own/colour")}

    @property
    def schema(self) -> pa.Schema:
        return pa.schema([("warmth", pa.float64()), ("warm", pa.bool_())])

    def load(self, device: str) -> Any:
        def extract(items: Sequence[ClipInput]) -> dict[str, Any]:
            warmth = [item["colour"]["embedding"][0] - item["colour"]["embedding"][2] for item in items]
            return {"warmth": warmth, "warm": [value > self.limit for value in warmth]}

        return extract


@dataclass(frozen=True, kw_only=True)
class Numbered:
    """A video-scope extractor: the number of each clip among the warm ones of its video, and how many there are."""

    name: str = "numbered"
    scope: Literal["video"] = field(default="video", init=False)

    @property
    def inputs(self) -> dict[str, Any]:
        return {"warm": Columns("warm", ["warm"])}

    @property
    def schema(self) -> pa.Schema:
        return pa.schema([("number", pa.int32())])

    @property
    def video_schema(self) -> pa.Schema:
        return pa.schema([("warm_clips", pa.int32()), ("failed_clips", pa.int32())])

    def load(self, device: str) -> Any:
        def extract(items: Sequence[ClipInput]) -> Any:
            is_warm = [item["warm"] is not None and item["warm"]["warm"] for item in items]
            numbers = np.cumsum(is_warm)
            found = [int(number) if warm else None for number, warm in zip(numbers, is_warm, strict=True)]
            failed = sum(item.failed for item in items)
            return {"number": found}, {"warm_clips": int(numbers[-1]), "failed_clips": failed}

        return extract


LOUD = 0.02


@dataclass(frozen=True, kw_only=True)
class Activity:
    """Level one of a chain: in steps of the video's own clock, whether there is audio; with context, since a step may
    begin in one clip and end in another. A step belongs to the clip in which it begins."""

    name: str = "activity"
    step_s: float = 0.25

    @property
    def inputs(self) -> dict[str, Any]:
        return {"audio": Audio(8000, after_s=self.step_s)}

    @property
    def schema(self) -> pa.Schema:
        return pa.schema([("loud_steps", pa.list_(pa.int32()))])

    def load(self, device: str) -> Any:
        def extract(items: Sequence[ClipInput]) -> dict[str, Any]:
            return {"loud_steps": [self._steps(item) for item in items]}

        return extract

    def _steps(self, item: ClipInput) -> list[int]:
        audio: AudioSamples = item["audio"]
        first, stop = (int(np.ceil(time_s / self.step_s - 1e-9)) for time_s in (item.clip.start_s, item.clip.end_s))
        return [step for step in range(first, stop) if loudness(audio, step * self.step_s, self.step_s) > LOUD]


def loudness(audio: AudioSamples, start_s: float, length_s: float) -> float:
    """The root mean square of what there is of a span."""
    first = round((start_s - audio.start_s) * audio.sample_rate)
    part = audio.samples[max(0, first) : max(0, first) + round(length_s * audio.sample_rate)]
    return float(np.sqrt(np.square(part, dtype=np.float64).mean())) if part.size else 0.0


@dataclass(frozen=True, kw_only=True)
class Turns:
    """Level two: loud steps that follow each other are one turn, over all of a video. A turn belongs to the clip in
    which it begins."""

    name: str = "turns"
    step_s: float = 0.25
    scope: Literal["video"] = field(default="video", init=False)

    @property
    def inputs(self) -> dict[str, Any]:
        return {"activity": Columns("activity", ["loud_steps"])}

    @property
    def schema(self) -> pa.Schema:
        span = pa.struct([("start_s", pa.float64()), ("end_s", pa.float64())])
        return pa.schema([("turns", pa.list_(span))])

    def load(self, device: str) -> Any:
        def extract(items: Sequence[ClipInput]) -> dict[str, Any]:
            steps = sorted(step for item in items if item["activity"] for step in item["activity"]["loud_steps"])
            turns = [{"start_s": a * self.step_s, "end_s": b * self.step_s} for a, b in runs(steps)]
            return {"turns": [[t for t in turns if i.clip.start_s <= t["start_s"] < i.clip.end_s] for i in items]}

        return extract


def runs(steps: Sequence[int]) -> list[tuple[int, int]]:
    """[first, stop) of numbers that follow each other."""
    found: list[tuple[int, int]] = []
    for step in steps:
        if found and found[-1][1] == step:
            found[-1] = (found[-1][0], step + 1)
        else:
            found.append((step, step + 1))
    return found


@dataclass(frozen=True, kw_only=True)
class TurnLoudness:
    """Level three: how loud each turn is, of media and a table: its audio goes on past the clip's end."""

    name: str = "turn_loudness"

    @property
    def inputs(self) -> dict[str, Any]:
        return {"audio": Audio(8000, before_s=1, after_s=8), "turns": Columns("turns", ["turns"])}

    @property
    def schema(self) -> pa.Schema:
        return pa.schema([("loudness", pa.list_(pa.float64()))])

    def load(self, device: str) -> Any:
        def extract(items: Sequence[ClipInput]) -> dict[str, Any]:
            return {"loudness": [self._of(item) for item in items]}

        return extract

    def _of(self, item: ClipInput) -> list[float]:
        if item["audio"] is None or item["turns"] is None:
            return []
        turns = item["turns"]["turns"]
        return [loudness(item["audio"], turn["start_s"], turn["end_s"] - turn["start_s"]) for turn in turns]


@dataclass(frozen=True, kw_only=True)
class Still:
    """A frame extractor with an option, to be named twice."""

    name: str = "still"
    fps: float = 1.0
    scale: float = 1.0

    @property
    def inputs(self) -> dict[str, Any]:
        return {"frames": FrameRate(fps=self.fps, resize=Resize(size=(8, 8)))}

    @property
    def schema(self) -> pa.Schema:
        return pa.schema([("brightness", pa.float64())])

    def load(self, device: str) -> Any:
        def extract(items: Sequence[ClipInput]) -> dict[str, Any]:
            return {"brightness": [float(item["frames"].frames.mean()) * self.scale for item in items]}

        return extract

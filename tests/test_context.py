"""Audio around clips: blocks of one task share what they read, and none gives other samples for it."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow as pa
import pytest

from vidray.corpus import list_corpus
from vidray.decode import VideoReader
from vidray.errors import MediaError
from vidray.media import Audio, AudioRequest, AudioSamples, Decoded, FrameRate, Request, Resize
from vidray.pipeline.plan_parts import Target, plan_part
from vidray.pipeline.tasks import Task, part_work
from vidray.pipeline.worker import decode_task, samplings
from vidray.planning import FixedStride, Part, Planner
from vidray.store import Store
from vidray.testing import Sweep, SyntheticVideo, write_video

SECONDS = 48


@dataclass(frozen=True, kw_only=True)
class Wants:
    """An extractor that is only asked what it wants."""

    name: str
    sampling: Any

    @property
    def inputs(self) -> dict[str, Any]:
        return {"wanted": self.sampling}

    @property
    def schema(self) -> pa.Schema:
        return pa.schema([("nothing", pa.null())])


WANTED: dict[str, Any] = {
    "heard": Wants(name="heard", sampling=Audio(16_000, before_s=23.3, after_s=17.1)),
    "seen": Wants(name="seen", sampling=FrameRate(fps=1, resize=Resize(size=8))),
}


class Reading:
    """Decodes in this process, and remembers what audio it was asked for."""

    def __init__(self, media: Path) -> None:
        self.spans: list[tuple[float, float]] = []
        self._file = media.open("rb")
        self._reader = VideoReader(self._file, str(media))

    def close(self) -> None:
        self._reader.close()
        self._file.close()

    def read(self, uri: str, requests: Sequence[Request], start_s: float, end_s: float, *_: Any, **__: Any) -> Decoded:
        if any(isinstance(request, AudioRequest) for request in requests):
            self.spans.append((start_s, end_s))
        return self._reader.read(requests, start_s, end_s)


def write(path: Path) -> Path:
    """A video whose audio has a codec with a memory. In the middle of `damaged` a second of it is; `shorter` has less
    audio than frames."""
    audio = Sweep(sample_rate=16_000, layout="mono", length_s=33.5 if path.stem == "shorter" else None)
    write_video(path, SyntheticVideo(frames=SECONDS, fps=1, width=32, height=32, gop=8, audio=audio))
    if path.stem == "damaged":
        content = bytearray(path.read_bytes())
        middle, size = len(content) // 2, len(content) // SECONDS
        content[middle : middle + size] = np.random.default_rng(0).bytes(size)
        path.write_bytes(content)
    return path


def task_of(folder: Path, media: Path, planner: Planner) -> Task:
    """All of a video's blocks."""
    store = Store(str(folder))
    store.write_config(planner.config)
    plan_part(Part(0, tuple(list_corpus(str(media)).videos)), planner, Target(store.url, "corpus", {}))
    return part_work(store, 0, WANTED, {table: set() for table in WANTED}).blocks


def found(task: Task, media: Path) -> tuple[dict[Any, Any], float]:
    """What each slice is given of each clip and warned of; and how many seconds of audio were asked for."""
    slices = {}
    with contextlib.closing(Reading(media)) as reading:
        for decoded in decode_task(task, samplings(WANTED), reading):  # type: ignore[arg-type]
            assert decoded.work not in slices
            clips = [shown(of_clip["wanted"]) for of_clip in decoded.samples]
            slices[decoded.work] = clips, decoded.said
    return slices, sum(end_s - start_s for start_s, end_s in reading.spans)


def shown(value: Any) -> Any:
    if isinstance(value, MediaError):
        return type(value).__name__, str(value)
    if isinstance(value, AudioSamples):
        return value.start_s, value.samples.tobytes()
    return None if value is None else value.frames.tobytes()


@pytest.mark.parametrize(
    ("name", "planner"),
    [("whole", FixedStride(10.0)), ("damaged", FixedStride(7.0, stride_s=5.0)), ("shorter", FixedStride(17.0))],
)
def test_what_a_block_is_given_does_not_depend_on_its_task(name: str, planner: Planner, tmp_path: Path) -> None:
    media = write(tmp_path / f"{name}.mkv")
    task = task_of(tmp_path / "store", media, planner)
    assert len(task) > 1
    apart: dict[Any, Any] = {}
    apart_s = 0.0
    for block in task:
        slices, seconds = found((block,), media)
        apart, apart_s = apart | slices, apart_s + seconds
    together, together_s = found(task, media)
    assert together == apart
    assert any(warning for _, warnings in apart.values() for warning in warnings) == (name == "damaged")
    assert apart_s > 1.5 * SECONDS
    assert name != "whole" or together_s < 1.01 * SECONDS
    # a task that is tried again lacks what is staged
    some = [replace(block, slices=block.slices[number % 2 :]) for number, block in enumerate(task) if number != 1]
    left = tuple(block for block in some if block.slices)
    assert found(left, media)[0] == {work: apart[work] for block in left for work in block.slices}


@pytest.mark.parametrize(("stream", "table"), [("video", "seen"), ("audio", "heard")])
def test_a_table_is_warned_of_what_it_reads_alone(stream: str, table: str, tmp_path: Path) -> None:
    media = write(tmp_path / "whole.mp4")
    content = bytearray(media.read_bytes())
    with av.open(str(media)) as container:
        packets = [(p.pos, p.size) for p in container.demux(**{stream: 0}) if p.pos is not None and p.size]
    for pos, size in packets[len(packets) // 2 :][:3]:
        content[pos : pos + size] = np.random.default_rng(0).bytes(size)
    media.write_bytes(content)
    slices, _ = found(task_of(tmp_path / "store", media, FixedStride(10.0)), media)
    assert {work.table for work, (_, said) in slices.items() if any(said)} == {table}


def test_a_clip_of_which_a_part_cannot_be_heard_has_the_rest_and_is_warned(tmp_path: Path) -> None:
    """As without context; overlapping clips are read in pieces, of which one alone is damaged."""
    media = write(tmp_path / "whole.mp4")
    content = bytearray(media.read_bytes())
    with av.open(str(media)) as container:
        packets = [(float(p.pts * p.time_base), p.pos, p.size) for p in container.demux(audio=0) if p.size]
    for _, pos, size in (packet for packet in packets if 9.8 <= packet[0] < 12.2):
        content[pos : pos + size] = np.random.default_rng(0).bytes(size)
    media.write_bytes(content)
    slices, _ = found(task_of(tmp_path / "store", media, FixedStride(7.0, stride_s=5.0)), media)
    heard = [
        (clip, said)
        for work, given in sorted(slices.items(), key=lambda entry: (entry[0].table, entry[0].first))
        if work.table == "heard"
        for clip, said in zip(*given, strict=True)
    ]
    for start_s, (clip, said) in zip(range(0, 48, 5), heard, strict=True):
        assert clip[0] == pytest.approx(max(0, start_s - 23.3)), clip
        own = [text for text in said if not text.startswith("in its context")]
        assert bool(own) == (start_s in (5, 10)), said

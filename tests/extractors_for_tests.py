"""Small extractors of a third party, as a user would write them next to a corpus job."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from vidray.media import Audio, ClipInput, Columns, FrameRate, Resize, Sampling


@dataclass(frozen=True, kw_only=True)
class MeanColour:
    """The mean colour of a clip's frames."""

    name: str = "mean_colour"
    fps: float = 2.0
    version: str = "1"

    @property
    def inputs(self) -> dict[str, Sampling]:
        return {"frames": FrameRate(fps=self.fps, resize=Resize(size=(36, 64)))}

    @property
    def schema(self) -> pa.Schema:
        return pa.schema([("embedding", pa.list_(pa.float32(), 3)), ("frames", pa.int32())])

    def load(self, device: str):
        def extract(items: Sequence[ClipInput]) -> dict:
            batch = [item["frames"] for item in items]
            means = np.stack([frames.frames.mean((0, 1, 2)) for frames in batch]).astype(np.float32)
            return {"embedding": means, "frames": [len(frames.frames) for frames in batch]}

        return extract


@dataclass(frozen=True, kw_only=True)
class Loudness:
    """The root mean square of a clip's audio."""

    name: str = "loudness"

    @property
    def inputs(self) -> dict[str, Sampling]:
        return {"audio": Audio(8000)}

    @property
    def schema(self) -> pa.Schema:
        return pa.schema([("embedding", pa.list_(pa.float32(), 1))])

    def load(self, device: str):
        def extract(items: Sequence[ClipInput]) -> dict:
            loud = [[np.sqrt((item["audio"].samples ** 2).mean())] for item in items]
            return {"embedding": np.array(loud, np.float32)}

        return extract


@dataclass(frozen=True, kw_only=True)
class Crescendo:
    """How much louder each clip of a video is than the one before it: derived from the table of `Loudness`."""

    name: str = "crescendo"
    scope: str = "video"

    @property
    def inputs(self) -> dict[str, Columns]:
        return {"loudness": Columns("loudness", ["embedding"])}

    @property
    def schema(self) -> pa.Schema:
        return pa.schema([("rise", pa.float32())])

    def load(self, device: str):
        def extract(items: Sequence[ClipInput]) -> dict:
            loud = [0.0 if item["loudness"] is None else float(item["loudness"]["embedding"][0]) for item in items]
            return {"rise": np.diff(loud, prepend=loud[0]).astype(np.float32)}

        return extract


@dataclass(frozen=True, kw_only=True)
class FailsOnDark(MeanColour):
    """An extractor with a fault: it raises for frames darker than a limit, of 255."""

    name: str = "fails_on_dark"
    limit: float = 20.0

    def load(self, device: str):
        extract = super().load(device)

        def checked(items: Sequence[ClipInput]) -> dict:
            if any(0 < item["frames"].frames.mean() < self.limit for item in items):
                raise ValueError("too dark to tell")
            return extract(items)

        return checked


@dataclass(frozen=True, kw_only=True)
class Unhurried(MeanColour):
    """Takes a second for each clip, and no processor: what a run takes depends on its workers, not on the machine."""

    name: str = "unhurried"
    clip_s: float = 1.0

    def load(self, device: str):
        extract = super().load(device)

        def slowly(items: Sequence[ClipInput]) -> dict:
            time.sleep(self.clip_s * len(items))
            return extract(items)

        return slowly


@dataclass(frozen=True, kw_only=True)
class Process:
    """Which process extracts a clip: from its frames, or where `of` names a table, from that."""

    name: str = "process"
    of: str | None = None

    @property
    def inputs(self) -> dict[str, Sampling | Columns]:
        if self.of is None:
            return {"frames": FrameRate(fps=1.0, resize=Resize(size=(36, 64)))}
        return {"before": Columns(self.of, ["pid"])}

    @property
    def schema(self) -> pa.Schema:
        return pa.schema([("pid", pa.int64())])

    def load(self, device: str):
        return lambda items: {"pid": [os.getpid()] * len(items)}

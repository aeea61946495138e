"""An extractor that looks at nothing, so that what a pipeline adds to a clip shows by itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from vidray.extractors.protocol import Columns, ExtractFn
from vidray.media import FrameRate, Frames, Resize


@dataclass(frozen=True)
class Nothing:
    """One small frame a clip is decoded for it."""

    @property
    def name(self) -> str:
        return "nothing"

    @property
    def sampling(self) -> FrameRate:
        return FrameRate(fps=0.1, resize=Resize(size=(8, 8)))

    @property
    def schema(self) -> pa.Schema:
        return pa.schema([("seen", pa.int32())])

    def load(self, device: str) -> ExtractFn:
        def extract(clips: Sequence[Frames]) -> Columns:
            return {"seen": [len(clip.frames) for clip in clips]}

        return extract

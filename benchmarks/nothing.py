"""An extractor that looks at nothing, so that what a pipeline adds to a clip shows by itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from vidray.extractors.protocol import Answer, ExtractFn
from vidray.media import ClipInput, FrameRate, Resize


@dataclass(frozen=True)
class Nothing:
    """One small frame a clip is decoded for it."""

    @property
    def name(self) -> str:
        return "nothing"

    @property
    def inputs(self) -> dict[str, FrameRate]:
        return {"frames": FrameRate(fps=0.1, resize=Resize(size=(8, 8)))}

    @property
    def schema(self) -> pa.Schema:
        return pa.schema([("seen", pa.int32())])

    def load(self, device: str) -> ExtractFn:
        def extract(items: Sequence[ClipInput]) -> Answer:
            return {"seen": [len(item["frames"].frames) for item in items]}

        return extract

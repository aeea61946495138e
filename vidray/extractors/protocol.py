"""What an extractor is: a cheap, picklable description that names its columns, and a function once it is loaded."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

import pyarrow as pa

from vidray.media import AnySampling

Columns = Mapping[str, Any]
"""Column name to one value a clip, in order: a list, an array of first dimension N, or an Arrow array."""

ExtractFn = Callable[[Sequence[Any]], Columns]
"""From the samples of N clips, all of the extractor's own sampling, to its columns.

It is called with `Frames` for a `FrameRate`, `Windows` for `FrameWindows`, `AudioSamples` for `Audio`, and for
`AudioVisual` with `FramesAndAudio`, of which one is None where the clip lacks it. A clip without such samples (no
audio, say) is passed as zeros and its row is null, whatever the function answers: so a batch has the same shape, and
the other clips the same result to the last bit, whether that clip could be read or not.
"""


@runtime_checkable
class Extractor(Protocol):
    """A description of how clips become columns. Frozen dataclasses serve well.

    `name` is also the table's name. `schema` holds the columns that it adds, each nullable; a column `embedding`
    of type fixed_size_list<float32>[dim] makes the table searchable. Four attributes are optional: `version` (str,
    raise it when the answers change), `precision` (str), `memory_bytes` (int, what a worker is to reserve for it where
    half a gigabyte is too little) and `weights` (path or URL of a file; a local file is brought to every worker, and
    its sha256 becomes part of what the table is). Where the weights come from elsewhere (an installed package, a hub),
    a fifth one says so: `weights_record`, a property of {"source": str, "sha256": str or None}, that costs no download.
    """

    @property
    def name(self) -> str: ...

    @property
    def sampling(self) -> AnySampling: ...

    @property
    def schema(self) -> pa.Schema: ...

    def load(self, device: str) -> ExtractFn:
        """Build the function, on "cpu" or "cuda"; takes seconds, and holds memory until it is dropped."""
        ...


@dataclass(frozen=True, kw_only=True)
class ModelInfo:
    """One line of `vidray models`.

    Attributes:
        name: What `-x` takes.
        kind: What it looks at or listens to.
        dim: Of the embedding, None where there is none.
        inputs: What it is shown, as short text.
        weights: Where they come from, as short text.
        licence: Of the weights.
        available: Whether its packages are installed, and its weights here or to be had by a download.
        bfloat16_cosine: Between a clip's embeddings in bfloat16 and in float32, of the worst clip measured; None where
            that was not measured with real weights.
    """

    name: str
    kind: Literal["frame", "video", "audio", "quality", "detection", "segmentation"]
    dim: int | None
    inputs: str
    weights: str
    licence: str
    available: bool
    bfloat16_cosine: float | None = None

"""What an extractor is: a cheap, picklable description that names its columns, and a function once it is loaded."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

import pyarrow as pa

from vidray.media import ClipInput, Columns, Sampling

Input = Sampling | Columns
"""Frames or audio of a clip, or columns of another extractor's table."""

Answer = Mapping[str, Any]
"""Column name to one value a clip, in order: a list, an array of first dimension N, or an Arrow array."""

ExtractFn = Callable[[Sequence[ClipInput]], Any]
"""From the inputs of N clips to the columns of an extractor, an `Answer`.

A clip that has none of its inputs (no audio, say) gets a null row, whatever the function answers. Samples that are
missing are passed as zeros all the same, where a clip has no other input of the kind: so a batch has the same shape,
and the other clips the same result to the last bit, whether that clip could be read or not. An extractor with several
inputs of which a clip has some is passed None for the others. With `scope` "video" it is called with all clips of one
video, in order; with a `video_schema` it answers a pair: the clips' columns, and a mapping of the video's own.
"""


@runtime_checkable
class Extractor(Protocol):
    """A description of how clips become columns. Frozen dataclasses serve well: their fields are its options.

    `name` is also the table's name. `inputs` are by names of its own choice: samplings of `vidray.media`, and `Columns`
    of other extractors' tables. `schema` holds the columns that it adds, each nullable; a column `embedding` of type
    fixed_size_list<float32>[dim] makes the table searchable. These attributes are optional:

    - `scope`: "clip", or "video" for a function that sees all clips of one video in order; its inputs are tables only.
    - `video_schema`: columns of one row a video, which a function of scope "video" answers too.
    - `version` (str), raised when the answers change, and `precision` (str).
    - `brings`: names of derived extractors that are extracted with it, as a transcript with any speech to text.
    - `memory_bytes` (int): what a worker is to reserve for it where half a gigabyte is too little.
    - `weights`: path or URL of a file; a local one is brought to every worker, and its sha256 becomes part of what the
      table is. Where weights come from elsewhere (an installed package, a hub), `weights_record` says so, a property of
      {"source": str, "sha256": str or None} that costs no download.
    - `settle()`: sees that what `load` needs is here, or gets it, before a run writes or starts anything; raises
      WeightsError or MissingExtraError. Other machines of a cluster see for themselves, in `load`.
    - `load_text()`: of a joint model, a `TextTower`; makes the table one to be searched by text.
    """

    @property
    def name(self) -> str: ...

    @property
    def inputs(self) -> Mapping[str, Input]: ...

    @property
    def schema(self) -> pa.Schema: ...

    def load(self, device: str) -> ExtractFn:
        """Build the function, on "cpu" or "cuda"; takes seconds, and holds memory until it is dropped."""
        ...


@runtime_checkable
class TextTower(Protocol):
    """The half of a joint model that reads: texts become vectors of the same space as the table's embeddings.

    `scale` and `bias` are what the model was trained with: a pair's logit is scale * cosine + bias; `bias` is None for
    models that were trained to choose between texts.
    """

    @property
    def scale(self) -> float: ...

    @property
    def bias(self) -> float | None: ...

    def embed(self, texts: Sequence[str]) -> Any:
        """Unit vectors, float32 (N, dim)."""
        ...


@dataclass(frozen=True, kw_only=True)
class Bfloat16Cost:
    """What bfloat16 changes in a network's answers, measured on varied clips by benchmarks/precision.py.

    Attributes:
        clips: How many were compared.
        mean_cosine: Between a clip's embeddings in bfloat16 and in float32.
        first_percentile: The cosine that one clip of a hundred falls below.
        first_class_changed: The share of clips whose first class is another.
    """

    clips: int
    mean_cosine: float
    first_percentile: float
    first_class_changed: float


@dataclass(frozen=True, kw_only=True)
class ModelInfo:
    """One line of `vidray models`.

    Attributes:
        name: What `-x` takes.
        kind: What it looks at or listens to; "other" for those of installed packages.
        dim: Of the embedding, None where there is none.
        inputs: What it is shown, as short text.
        weights: Where they come from, as short text.
        licence: Of the weights.
        available: Whether its packages are installed, and its weights here or to be had by a download.
        bfloat16: What `--precision bfloat16` changes; None where that was not measured with real weights.
    """

    name: str
    kind: Literal["frame", "video", "audio", "quality", "detection", "segmentation", "text", "image", "other"]
    dim: int | None
    inputs: str
    weights: str
    licence: str
    available: bool
    bfloat16: Bfloat16Cost | None = None

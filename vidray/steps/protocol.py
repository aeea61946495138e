"""What a step is: a cheap description with options, and a function once it is loaded."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from vidray.media import AudioSamples

AUDIO_RATE = 48_000
"""In hertz: what all audio steps hear, whatever the rate of the extractor; the last one's answer is resampled to it."""

Frame = npt.NDArray[np.uint8]
AudioFn = Callable[[AudioSamples], AudioSamples]
"""From audio at `AUDIO_RATE` to as many samples, at the same place on the video's clock."""
FrameFn = Callable[[Frame], Frame]
"""From a frame, RGB, uint8 (H, W, 3), to another one: a frame's answer depends on that frame alone."""


@runtime_checkable
class Step(Protocol):
    """One treatment of audio or frames. A frozen dataclass that pickles; its fields are its options, plain values.

    Attributes are optional below `load`:

    - `around(start_s, end_s)`: of audio, the span that it has to hear for its answer to be right in this span, the same
      whatever the clip; the span itself where there is no such method.
    - `scale`: of frames, how many times as high and wide its answer is; 1 where it is not said.
    - `weights_record`: {"source": str, "sha256": str} of a packaged network.
    - `settle()`: raises MissingExtraError or WeightsError where `load` would.
    """

    @property
    def name(self) -> str:
        """What is typed."""
        ...

    @property
    def modality(self) -> Literal["audio", "frames"]:
        """What it is for."""
        ...

    @property
    def version(self) -> str:
        """Raised when the answers change."""
        ...

    def __hash__(self) -> int: ...

    def load(self) -> Any:
        """The function, an `AudioFn` or a `FrameFn`; always of the CPU, and the same to the last bit each time."""
        ...

"""What is seen, in sentences: by a captioning network of `transformers`, from a folder, or by its name on a hub."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, ClassVar

import pyarrow as pa

from vidray.errors import UsageError
from vidray.extractors.protocol import Answer, ExtractFn, ModelInfo
from vidray.extractors.speech.transcribing import SEGMENTS_TYPE
from vidray.media import ClipInput, Frames, FrameSpread, Resize
from vidray.models.batching import check_fps
from vidray.models.captioner import Frame, captioner
from vidray.models.text_networks import folder_record

NAME = "caption"
MOST_FRAMES = 25
RESIZE = Resize(size=480, longest=854)
"""Captioning networks see 224 to 384 pixels a side, and scale to that by their own rules."""


@dataclass(frozen=True, kw_only=True)
class Caption:
    """Sentences about a clip's frames, each standing until the next one's frame. They may be untrue.

    Attributes:
        model: A captioning network (BLIP, GIT, ViT-GPT2), as a folder or by its name on a hub.
        fps: How many frames a second are described, 25 a clip at most.
        tokens: How many a sentence has at most.
        memory_bytes: What a worker reserves: enough for a network of 400 million weights.
    """

    name: ClassVar[str] = NAME
    version: ClassVar[str] = "1"
    schema: ClassVar[pa.Schema] = pa.schema([("text", pa.string()), ("segments", SEGMENTS_TYPE)])
    """The columns that it adds: sentences with their times, as speech has, and all of them as one text."""

    model: str | None = None
    fps: float = 0.2
    tokens: int = 40
    memory_bytes: int = 3 << 30

    def __post_init__(self) -> None:
        check_fps(self.fps)
        if self.tokens < 1:
            raise UsageError(f"tokens must be at least 1, got {self.tokens}")

    @property
    def inputs(self) -> Mapping[str, FrameSpread]:
        """Frames spread over the clip."""
        return {"frames": FrameSpread(fps=self.fps, most=MOST_FRAMES, resize=RESIZE)}

    @property
    def weights_record(self) -> Mapping[str, str | None]:
        """Where the weights come from, and their sha256. Raises UsageError or WeightsError."""
        return folder_record(self._model())

    def load(self, device: str) -> ExtractFn:
        """Load the network. Raises UsageError, MissingExtraError or WeightsError."""
        describe = captioner(self._model(), self.tokens, what=NAME, device=device)

        def extract(items: Sequence[ClipInput]) -> Answer:
            rows = [_segments(describe, item) for item in items]
            return {"text": [" ".join(one["text"] for one in some) for some in rows], "segments": rows}

        return extract

    def _model(self) -> str:
        """The model, which has to be named."""
        if not self.model:
            raise UsageError(f"-x '{NAME}?model=FOLDER' needs a model, got none")
        return self.model


def _segments(describe: Callable[[Frame], str], item: ClipInput) -> list[dict[str, Any]]:
    """A sentence a frame, from its time to the next one's; what follows itself is one."""
    frames: Frames = item["frames"]
    starts_s = [max(time_s, item.clip.start_s) for time_s in frames.times_s.tolist()]
    found: list[dict[str, Any]] = []
    for frame, start_s, end_s in zip(frames.frames, starts_s, [*starts_s[1:], item.clip.end_s], strict=True):
        text = describe(frame)
        if found and found[-1]["text"] == text:
            found[-1]["end_s"] = end_s
        elif text:
            unknown = {"avg_logprob": None, "no_speech_prob": None, "language": None, "invented": None}
            found.append({"start_s": start_s, "end_s": end_s, "text": text, **unknown})
    return found


EXTRACTOR = Caption


def info() -> ModelInfo:
    """What `vidray models` says of this extractor."""
    return ModelInfo(
        name=NAME,
        kind="frame",
        dim=None,
        inputs="frames, one in 5 s",
        weights="a hub's or a folder's, by model=; checked on seeded weights alone",
        licence="of the model",
        available=find_spec("transformers") is not None,
    )

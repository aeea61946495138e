"""How good a clip's frames and audio are, as numbers to filter by. No network.

Frames are measured on luma in [0, 1] by ITU-R BT.709 (Y' = 0.2126 R' + 0.7152 G' + 0.0722 B'), at one size for all
videos, since sharpness and noise depend on it. Audio is measured on its mono mix.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from vidray.extractors.protocol import Answer, ExtractFn, ModelInfo
from vidray.media import Audio, AudioSamples, ClipInput, FrameRate, Frames, Resize, Sampling
from vidray.models.batching import check_fps
from vidray.steps.audio.bs1770 import loudness
from vidray.steps.frames.bt709 import LUMA

NAME = "quality"
SAMPLE_RATE = 48_000
RESIZE = Resize(size=256)

BLACK_LUMA = 0.10
BLACK_PIXELS = 0.98
"""A frame is black where so many of its pixels are this dark, as for FFmpeg's blackdetect."""

BAR_LUMA = (24 - 16) / 219
"""Of each pixel of a bar, at most: FFmpeg's cropdetect, `limit` 24 of studio range, but for single pixels; its means of
lines take dark scenes for bars."""

FROZEN_DIFFERENCE = 0.001
"""Of two frames that are one: FFmpeg's freezedetect, `noise`."""

SILENT_DBFS = -60.0
SILENCE_WINDOW_S = 0.1
"""Audio is silent where the RMS of a window is at most so much: FFmpeg's silencedetect, `noise`."""

LEAST_DBFS = -120.0

FRAME_COLUMNS = (
    "brightness",
    "contrast",
    "sharpness",
    "motion",
    "black_share",
    "longest_black_s",
    "frozen_share",
    "longest_frozen_s",
    "letterbox_share",
)
AUDIO_COLUMNS = ("loudness_lufs", "rms_dbfs", "peak_dbfs", "silence_share", "longest_silence_s")


@dataclass(frozen=True, kw_only=True)
class Quality:
    """Brightness, contrast, sharpness, motion, black, frozen and letterboxed frames; loudness, peak and silence.

    All columns are float32. Those of frames are null where a clip has no frame, those of audio where it has none:

    - `brightness`: mean luma, in [0, 1].
    - `contrast`: standard deviation of a frame's luma (RMS contrast; Peli 1990, "Contrast in complex images"), in
      [0, 0.5], averaged over the frames.
    - `sharpness`: variance of the Laplacian of luma in [0, 255] (Pech-Pacheco et al. 2000, "Diatom autofocusing in
      brightfield microscopy"), averaged over the frames, with the shorter side scaled to 256 pixels.
    - `motion`: mean absolute difference of the luma of successive sampled frames, in [0, 1]; null for one frame.
    - `black_share`, `longest_black_s`: the share of black frames, and the longest run of them.
    - `frozen_share`, `longest_frozen_s`: the share of steps between frames that change nothing, and the longest run.
    - `letterbox_share`: the share of the area in dark bars on any side, in all frames that are not black; null where
      all are.
    - `loudness_lufs`: integrated loudness by ITU-R BS.1770-4, -70 where all is below its gate; null under 0.4 s.
    - `rms_dbfs`, `peak_dbfs`: root mean square and largest sample in decibels of full scale, -120 at least.
    - `silence_share`, `longest_silence_s`: windows of 0.1 s below -60 dBFS.

    Attributes:
        fps: Frames a second; runs of frames are measured to one such step.
    """

    name: ClassVar[str] = NAME
    version: ClassVar[str] = "1"
    schema: ClassVar[pa.Schema] = pa.schema([(name, pa.float32()) for name in (*FRAME_COLUMNS, *AUDIO_COLUMNS)])

    fps: float = 2.0

    def __post_init__(self) -> None:
        check_fps(self.fps)

    @property
    def inputs(self) -> Mapping[str, Sampling]:
        """Frames and audio of one decode pass."""
        return {"frames": FrameRate(fps=self.fps, resize=RESIZE), "audio": Audio(sample_rate=SAMPLE_RATE)}

    def load(self, device: str) -> ExtractFn:
        """The function; the same on all devices, on the CPU."""

        def extract(items: Sequence[ClipInput]) -> Answer:
            seen = [None if item["frames"] is None else frame_quality(item["frames"], self.fps) for item in items]
            heard = [None if item["audio"] is None else audio_quality(item["audio"]) for item in items]
            columns = {name: [None if row is None else row[name] for row in seen] for name in FRAME_COLUMNS}
            return columns | {name: [None if row is None else row[name] for row in heard] for name in AUDIO_COLUMNS}

        return extract


EXTRACTOR = Quality


def info() -> ModelInfo:
    """What `vidray models` says of this extractor."""
    return ModelInfo(
        name=NAME,
        kind="quality",
        dim=None,
        inputs=f"frames whose shorter side is {RESIZE.size}, mono audio at {SAMPLE_RATE // 1000} kHz",
        weights="none",
        licence="none needed",
        available=True,
    )


def frame_quality(frames: Frames, fps: float) -> dict[str, float | None]:
    """`FRAME_COLUMNS` of one clip, a frame at a time: memory does not grow with its length."""
    brightness, contrast, sharpness, differences, black = [], [], [], [], []
    height, width = frames.frames.shape[1:3]
    rows, columns = np.zeros(height, np.float32), np.zeros(width, np.float32)
    before = None
    for frame in frames.frames:
        luma = (frame @ LUMA) / np.float32(255)
        brightness.append(float(luma.mean(dtype=np.float64)))
        contrast.append(float(luma.std(dtype=np.float64)))
        sharpness.append(laplacian_variance(luma * np.float32(255)))
        black.append(bool((luma <= BLACK_LUMA).mean() >= BLACK_PIXELS))
        if before is not None:
            differences.append(float(np.abs(luma - before).mean(dtype=np.float64)))
        if not black[-1]:
            rows, columns = np.maximum(rows, luma.max(axis=1)), np.maximum(columns, luma.max(axis=0))
        before = luma
    frozen = [difference <= FROZEN_DIFFERENCE for difference in differences]
    return {
        "brightness": _mean(brightness),
        "contrast": _mean(contrast),
        "sharpness": _mean(sharpness),
        "motion": _mean(differences) if differences else None,
        "black_share": _mean(black),
        "longest_black_s": _longest(black) / fps,
        "frozen_share": _mean(frozen) if frozen else None,
        "longest_frozen_s": _longest(frozen) / fps,
        "letterbox_share": None if all(black) else 1 - _content(rows) * _content(columns),
    }


def laplacian_variance(luma: npt.NDArray[np.float32]) -> float:
    """The variance of the Laplacian, four neighbours against the middle, over all pixels that have them: (H, W)."""
    middle = luma[1:-1, 1:-1]
    if not middle.size:
        return 0.0
    laplacian = luma[:-2, 1:-1] + luma[2:, 1:-1] + luma[1:-1, :-2] + luma[1:-1, 2:] - 4 * middle
    return float(laplacian.var(dtype=np.float64))


def audio_quality(audio: AudioSamples) -> dict[str, float | None]:
    """`AUDIO_COLUMNS` of one clip."""
    samples = audio.samples
    window = round(SILENCE_WINDOW_S * audio.sample_rate)
    powers = [float(np.square(part, dtype=np.float64).mean()) for part in _windows(samples, window)]
    silent = [_decibels(math.sqrt(power)) <= SILENT_DBFS for power in powers]
    rms = math.sqrt(float(np.square(samples, dtype=np.float64).mean()))
    return {
        "loudness_lufs": loudness(audio),
        "rms_dbfs": _decibels(rms),
        "peak_dbfs": _decibels(float(np.abs(samples).max())),
        "silence_share": _mean(silent),
        "longest_silence_s": min(_longest(silent) * SILENCE_WINDOW_S, samples.size / audio.sample_rate),
    }


def _windows(samples: npt.NDArray[np.float32], window: int) -> list[npt.NDArray[np.float32]]:
    """Runs of `window` samples; what is left over at the end, if it is less than half, belongs to the last one."""
    count = max(1, round(samples.size / window))
    cuts = [window * index for index in range(1, count)]
    return np.split(samples, cuts)


def _content(lines: npt.NDArray[np.float32]) -> float:
    """The share of the lines from the first to the last that is no bar."""
    bright = np.flatnonzero(lines > BAR_LUMA)
    return 1.0 if not bright.size else float(bright[-1] - bright[0] + 1) / lines.size


def _longest(flags: Sequence[bool]) -> int:
    return max((len(list(run)) for is_set, run in groupby(flags) if is_set), default=0)


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def _decibels(amplitude: float) -> float:
    return max(LEAST_DBFS, 20 * math.log10(amplitude)) if amplitude > 0 else LEAST_DBFS

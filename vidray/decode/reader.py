"""Samples of clips, all samplings of a clip in one pass over its packets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import BinaryIO, Self

import av
import numpy as np
import numpy.typing as npt
from av.video.frame import VideoFrame

from vidray.decode.frames import Frame
from vidray.decode.keyframes import read_keyframes
from vidray.decode.scaling import Pixels, Scaler, geometry_of
from vidray.decode.source import IMAGE_FORMATS
from vidray.decode.tracks import Tracks
from vidray.errors import DecodeError
from vidray.media import (
    TIME_SLACK_S,
    Audio,
    AudioSamples,
    Decoded,
    FrameRate,
    Frames,
    FrameWindows,
    Resize,
    Samples,
    Sampling,
    Windows,
    sample_count,
    sample_times,
)

Answer = Samples | DecodeError | None


class VideoReader:
    """Reads clips of one video in any order; in ascending order it reads on and seldom seeks.

    Decodes in the calling thread. Raises DecodeError when the file cannot be opened; what is wrong with one clip is in
    its `Decoded`. The file object stays open.
    """

    def __init__(self, file: BinaryIO, uri: str, samplings: Sequence[Sampling]) -> None:
        self._uri = uri
        self._samplings = tuple(dict.fromkeys(samplings))
        for sampling in self._samplings:
            if not isinstance(sampling, Audio):
                check_resize(sampling.resize)
        self._tracks = Tracks(file, uri)
        first = self._tracks.first
        self._scaler = None if first is None else Scaler(geometry_of(first.raw, self._tracks.aspect()))
        self._tracks.want(
            frames=any(not isinstance(s, Audio) for s in self._samplings),
            audio=any(isinstance(s, Audio) for s in self._samplings),
        )
        self._lost = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give FFmpeg's memory back."""
        self._tracks.source.close()

    def read(self, start_s: float, end_s: float) -> Decoded:
        """The samples of the span [start_s, end_s). Never raises for what is wrong with the media."""
        self._cut_off_s: float | None = None
        try:
            if self._lost:
                self._tracks.restart()
            self._lost = False
            answers = self._read_keyframes(start_s, end_s)
            answers |= self._read_frames(start_s, end_s) | self._read_audio(start_s, end_s)
        except DecodeError as e:
            self._lost = True
            answers = dict.fromkeys(self._samplings, e)
        return Decoded({s: answers[s] for s in self._samplings}, self._warning(start_s, end_s))

    def _read_keyframes(self, start_s: float, end_s: float) -> dict[Sampling, Answer]:
        samplings = [s for s in self._samplings if isinstance(s, FrameRate) and s.keyframes]
        if self._tracks.frames is None or self._scaler is None or not samplings:
            return dict.fromkeys(samplings)
        try:
            found = read_keyframes(self._tracks, samplings, start_s, end_s)
        except DecodeError as e:
            # audio and other samplings of the clip may well be there
            return dict.fromkeys(samplings, e)
        answers: dict[Sampling, Answer] = {}
        for sampling, frames in found.items():
            if not frames and self._tracks.source.damage.within(start_s, end_s):
                answers[sampling] = DecodeError("corrupt", "no keyframe can be decoded", self._uri, start_s)
                continue
            pixels = [self._scaler.frame(self._rgb(self._scaler, p), sampling.resize) for p in frames]
            times_s = np.asarray([p.start_s for p in frames], dtype=np.float64)
            answers[sampling] = Frames(times_s=times_s, frames=np.stack(pixels)) if pixels else None
        return answers

    def _read_frames(self, start_s: float, end_s: float) -> dict[Sampling, Answer]:
        samplings = [s for s in self._samplings if not (isinstance(s, Audio) or getattr(s, "keyframes", False))]
        frames = self._tracks.frames
        if frames is None or self._scaler is None or not samplings:
            return dict.fromkeys(samplings)
        # A window may run past the clip: it repeats the last frame that begins inside.
        times = {s: np.minimum(sample_times(s, start_s, end_s), end_s - 2 * TIME_SLACK_S) for s in samplings}
        needed: dict[float, set[Resize | None]] = {}
        for sampling, wanted in times.items():
            for time_s in wanted.flat:
                needed.setdefault(float(time_s), set()).add(sampling.resize)
        shown = self._shown(needed, start_s)
        lost = self._lost_frames(start_s, max(needed))
        return {
            s: _windows(s, start_s, end_s, times[s], shown, lost)
            if isinstance(s, FrameWindows)
            else _frames(s, times[s], shown, lost)
            for s in samplings
        }

    def _shown(self, needed: Mapping[float, set[Resize | None]], start_s: float) -> dict[float, Shown]:
        """The frame of each time, in ascending order, converted once for each wanted size."""
        tracks, scaler, frames = self._tracks, self._scaler, self._tracks.frames
        assert frames is not None
        assert scaler is not None
        audio_s = None if tracks.audio is None else start_s
        shown: dict[float, Shown] = {}
        latest: Frame | None = None
        converted: dict[Resize | None, Pixels] = {}
        for time_s in sorted(needed):
            if not shown or audio_s is None:
                tracks.go_to(time_s, audio_s)
            frame = frames.at(time_s)
            if frames.missed or (frame is None and not frames.ends_before(time_s)):
                frames.distrust()
                tracks.seek(time_s, audio_s)
                frame = frames.at(time_s)
            if frame is None:
                continue
            if frame is not latest:
                latest, converted = frame, {}
                rgb = self._rgb(scaler, frame)
            for resize in needed[time_s] - converted.keys():
                converted[resize] = scaler.frame(rgb, resize)
            shown[time_s] = Shown(dict(converted), frames.ends_before(time_s))
        return shown

    def _rgb(self, scaler: Scaler, frame: Frame) -> VideoFrame:
        try:
            return scaler.rgb(frame.raw)
        except (av.FFmpegError, ValueError) as e:
            message = f"frames of the pixel format {frame.raw.format.name} cannot be converted to RGB"
            raise DecodeError("unsupported", message, self._uri, frame.start_s) from e

    def _lost_frames(self, start_s: float, last_s: float) -> DecodeError | None:
        """Why a clip without a frame should have had one; None where the frame is simply over."""
        frames = self._tracks.frames
        assert frames is not None
        if not frames.ends_before(last_s):
            return DecodeError("corrupt", "no frame of this clip can be decoded", self._uri, start_s)
        assert frames.end_s is not None
        if not self._tracks.cut_off(frames.stream, frames.end_s, start_s):
            return None
        self._cut_off_s = frames.end_s
        message = f"the file ends at {frames.end_s:.3f} s, before this clip"
        return DecodeError("corrupt", message, self._uri, start_s)

    def _read_audio(self, start_s: float, end_s: float) -> dict[Sampling, Answer]:
        samplings = [s for s in self._samplings if isinstance(s, Audio)]
        audio = self._tracks.audio
        if audio is None or not samplings:
            return dict.fromkeys(samplings)
        if self._tracks.frames is None:
            self._tracks.go_to(None, start_s)
        counts = {s.sample_rate: sample_count(s, start_s, end_s) for s in samplings}
        heard = audio.read(start_s, end_s, counts)
        answers: dict[Sampling, Answer] = {}
        for sampling in samplings:
            samples = heard[sampling.sample_rate]
            if samples is None:
                answers[sampling] = self._lost_audio(start_s, end_s)
            else:
                answers[sampling] = AudioSamples(samples=samples, sample_rate=sampling.sample_rate)
        return answers

    def _lost_audio(self, start_s: float, end_s: float) -> DecodeError | None:
        audio, source = self._tracks.audio, self._tracks.source
        assert audio is not None
        if source.damage.within(start_s, end_s):
            return DecodeError("corrupt", "no audio of this clip can be decoded", self._uri, start_s)
        if audio.end_s is None or start_s < audio.end_s:
            return None
        if not self._tracks.cut_off(audio.stream, audio.end_s, start_s):
            return None
        message = f"the file ends at {audio.end_s:.3f} s, before this clip"
        return DecodeError("corrupt", message, self._uri, start_s)

    def _warning(self, start_s: float, end_s: float) -> str | None:
        if self._cut_off_s is not None and start_s < self._cut_off_s:
            return f"the file ends at {self._cut_off_s:.3f} s, before the end of this clip"
        damaged = self._tracks.source.damage.within(start_s, end_s)
        if not damaged:
            return None
        noun = "packet" if len(damaged) == 1 else "packets"
        return f"{len(damaged)} {noun} could not be decoded, first at {damaged[0]:.3f} s"


@dataclass(frozen=True)
class Shown:
    """The frame on display at one time, in each wanted size, and whether the track is over by then."""

    pixels: Mapping[Resize | None, Pixels]
    over: bool


def check_resize(resize: Resize | None) -> None:
    """Refuse what no torchvision model uses, and what could only be approximated."""
    if resize is not None and resize.interpolation == "bicubic" and not resize.antialias:
        raise ValueError("Resize(interpolation='bicubic') needs antialias=True, got antialias=False")


def _frames(
    sampling: FrameRate, times: npt.NDArray[np.float64], shown: Mapping[float, Shown], lost: DecodeError | None
) -> Answer:
    kept = [float(t) for t in times if (at := shown.get(float(t))) is not None and not at.over]
    if not kept:
        return lost
    pixels = [shown[t].pixels[sampling.resize] for t in kept]
    return Frames(times_s=np.asarray(kept, dtype=np.float64), frames=np.stack(pixels))


def _windows(
    sampling: FrameWindows,
    start_s: float,
    end_s: float,
    times: npt.NDArray[np.float64],
    shown: Mapping[float, Shown],
    lost: DecodeError | None,
) -> Answer:
    found = [shown[t] for t in sorted(map(float, times.flat)) if t in shown]
    if not found or all(at.over for at in found):
        return lost
    pixels = [shown.get(float(t), found[0]).pixels[sampling.resize] for t in times.flat]
    frames = np.stack(pixels).reshape(*times.shape, *pixels[0].shape)
    return Windows(times_s=sample_times(sampling, start_s, end_s), frames=frames)


def read_image(file: BinaryIO, uri: str, sampling: FrameRate | FrameWindows) -> Frames | Windows:
    """A still image (JPEG, PNG, WebP, GIF, ...) as a clip of one frame; raises DecodeError.

    Of an animation or a video the first frame counts. `FrameWindows` repeat it.
    """
    check_resize(sampling.resize)
    tracks = Tracks(file, uri, formats=IMAGE_FORMATS)
    try:
        if tracks.first is None:
            raise DecodeError("no_stream", "the file holds no frame", uri)
        scaler = Scaler(geometry_of(tracks.first.raw, tracks.aspect()))
        pixels = scaler.frame(scaler.rgb(tracks.first.raw), sampling.resize)
    finally:
        tracks.source.close()
    if isinstance(sampling, FrameRate):
        return Frames(times_s=np.zeros(1), frames=pixels[None])
    times = sample_times(sampling, 0.0, sampling.frames / sampling.fps)
    return Windows(times_s=times, frames=np.broadcast_to(pixels, (*times.shape, *pixels.shape)).copy())

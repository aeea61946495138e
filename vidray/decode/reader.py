"""Frames and audio of clips, all requests of a clip in one pass over its packets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import BinaryIO, Self

import av
import numpy as np
from av.video.frame import VideoFrame

from vidray.decode.audio import MONO, Wanted
from vidray.decode.formats import IMAGE_FORMATS
from vidray.decode.frames import Frame
from vidray.decode.hdr import OWN_COLOURS, has_own_colours
from vidray.decode.keyframes import read_keyframes
from vidray.decode.mix import AudioMix
from vidray.decode.planes import Planes
from vidray.decode.scaling import Pixels, Scaler, geometry_of, pixels_of
from vidray.decode.source import ApartError
from vidray.decode.tracks import Tracks
from vidray.errors import DecodeError
from vidray.media import (
    TIME_SLACK_S,
    AudioRequest,
    AudioSamples,
    Decoded,
    FrameRequest,
    RawFrames,
    RawSamples,
    Request,
    Resize,
)

Answer = RawSamples | DecodeError | None


class VideoReader:
    """Reads clips of one video in any order; in ascending order it reads on and seldom seeks.

    Decodes in the calling thread. Raises DecodeError when the file cannot be opened; what is wrong with one clip is in
    its `Decoded`. The file object stays open. What is not wanted, `frames` or `audio`, is not read.
    """

    def __init__(self, file: BinaryIO, uri: str, *, frames: bool = True, audio: bool = True) -> None:
        self._uri = uri
        self._tracks = Tracks(file, uri)
        first = self._tracks.first
        self._scaler = None if first is None else Scaler(geometry_of(first.raw, self._tracks.aspect()))
        self._has_own_colours = first is not None and has_own_colours(first.raw)
        self._tracks.want(frames=frames, audio=audio)
        self._lost = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give FFmpeg's memory back."""
        self._tracks.close()

    def read(self, requests: Sequence[Request], start_s: float, end_s: float) -> Decoded:
        """The answers to some requests, which are of the span [start_s, end_s). Never raises for what is wrong with the
        media; damage in the span is in the warnings."""
        self._said: dict[Request, list[str]] = {request: [] for request in requests}
        try:
            if self._lost:
                self._tracks.restart()
            self._lost = False
            try:
                answers = self._read_all(requests, start_s, end_s)
            except ApartError:
                self._tracks.part()
                self._said = {request: [] for request in requests}
                answers = self._read_all(requests, start_s, end_s)
        except DecodeError as e:
            self._lost = True
            answers = dict.fromkeys(requests, e)
        warnings = {request: self._warning(request, start_s, end_s) for request in requests}
        return Decoded({r: answers[r] for r in requests}, {r: text for r, text in warnings.items() if text})

    def _say(self, requests: Iterable[Request], text: str) -> None:
        for request in requests:
            self._said[request].append(text)

    def _read_all(self, requests: Sequence[Request], start_s: float, end_s: float) -> dict[Request, Answer]:
        frames = [request for request in requests if isinstance(request, FrameRequest)]
        audio = [request for request in requests if isinstance(request, AudioRequest)]
        answers = self._read_keyframes([request for request in frames if request.keyframes], start_s, end_s)
        answers |= self._read_frames([request for request in frames if not request.keyframes], start_s)
        # what reads frames stands at the span's audio too
        stands = bool(frames) and self._tracks.frames is not None and not self._tracks.is_parted
        return answers | self._read_audio(audio, start_s if stands else None)

    def _read_keyframes(self, requests: Sequence[FrameRequest], start_s: float, end_s: float) -> dict[Request, Answer]:
        if self._tracks.frames is None or self._scaler is None or not requests:
            return dict.fromkeys(requests)
        try:
            found = read_keyframes(self._tracks, requests, start_s, end_s)
        except DecodeError as e:
            # audio and other requests of the clip may well be there
            return dict.fromkeys(requests, e)
        answers: dict[Request, Answer] = {}
        for request, frames in found.items():
            if not frames and self._tracks.source.damage.within("frames", start_s, end_s):
                answers[request] = DecodeError("corrupt", "no keyframe can be decoded", self._uri, start_s)
                continue
            pixels = [self._scaler.frame(self._rgb(self._scaler, frame), request.resize) for frame in frames]
            answers[request] = _alone([frame.start_s for frame in frames], pixels) if pixels else None
        return answers

    def _read_frames(self, requests: Sequence[FrameRequest], start_s: float) -> dict[Request, Answer]:
        frames = self._tracks.frames
        if frames is None or self._scaler is None or not requests:
            return dict.fromkeys(requests)
        needed: dict[float, set[Resize | None]] = {}
        for request in requests:
            for time_s in request.times_s:
                needed.setdefault(time_s, set()).add(request.resize)
        shown = self._shown(needed, start_s)
        for request in requests:
            last = shown.get(max(request.times_s))
            if last is not None and last.stands_until_s is not None:
                self._say([request], f"no frame from the last of this clip until {last.stands_until_s:.3f} s")
        lost = self._lost_frames(requests, start_s, max(needed))
        return {request: _answer(request, shown) or lost for request in requests}

    def _shown(self, needed: Mapping[float, set[Resize | None]], start_s: float) -> dict[float, Shown]:
        """The frame of each time, in ascending order, converted once for each wanted size."""
        tracks, scaler, frames = self._tracks, self._scaler, self._tracks.frames
        assert frames is not None
        assert scaler is not None
        audio_s = None if tracks.audio is None or tracks.is_parted else start_s
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
            shown[time_s] = Shown(dict(converted), frames.ends_before(time_s), frames.stands_until_s())
        return shown

    def _rgb(self, scaler: Scaler, frame: Frame) -> VideoFrame:
        try:
            return scaler.rgb(frame.raw)
        except (av.FFmpegError, ValueError) as e:
            message = f"frames of {pixels_of(frame.raw)} cannot be converted to RGB"
            raise DecodeError("unsupported", message, self._uri, frame.start_s) from e

    def _lost_frames(self, requests: Sequence[FrameRequest], start_s: float, last_s: float) -> DecodeError | None:
        """Why a clip without a frame should have had one; None where the frame is simply over."""
        frames = self._tracks.frames
        assert frames is not None
        if not frames.ends_before(last_s):
            return DecodeError("corrupt", "no frame of this clip can be decoded", self._uri, start_s)
        assert frames.end_s is not None
        if not self._tracks.cut_off(frames.stream, frames.end_s, start_s):
            return None
        if start_s < frames.end_s:
            late = [request for request in requests if frames.ends_before(max(request.times_s))]
            self._say(late, f"the file ends at {frames.end_s:.3f} s, before the end of this clip")
        message = f"the file ends at {frames.end_s:.3f} s, before this clip"
        return DecodeError("corrupt", message, self._uri, start_s)

    def _read_audio(self, requests: Sequence[AudioRequest], stands_s: float | None) -> dict[Request, Answer]:
        """The audio of each request; the tracks stand where a span begins that begins at `stands_s`."""
        answers: dict[Request, Answer] = {}
        for span, track in dict.fromkeys((request.span, request.track) for request in requests):
            here = [request for request in requests if (request.span, request.track) == (span, track)]
            if self._tracks.audio is None:
                answers |= dict.fromkeys(here)
                continue
            try:
                audio = self._tracks.audio_at(span[0], track, stands=span[0] == stands_s)
            except DecodeError as e:
                answers |= dict.fromkeys(here, e)
                continue
            heard = audio.read(*span, [_wanted(request) for request in here])
            if (lost_db := audio.lost_db) is not None:
                text = f"its audio channels mixed are {lost_db:.0f} dB quieter than the loudest of them"
                self._say([request for request in here if request.channels == MONO], text)
            answers |= {request: self._heard(request, heard[_wanted(request)], audio) for request in here}
        return answers

    def _heard(self, request: AudioRequest, planes: Planes | None, audio: AudioMix) -> Answer:
        if planes is None:
            return self._lost_audio(audio, *request.span)
        end_s = audio.end_s
        if end_s is not None and end_s < request.end_s and self._tracks.cut_off(audio.stream, end_s, request.start_s):
            self._say([request], f"the file ends at {end_s:.3f} s, before the end of this clip")
        samples = planes[0] if request.channels == MONO else planes
        return AudioSamples(
            samples=samples, sample_rate=request.sample_rate, start_s=request.first / request.sample_rate
        )

    def _lost_audio(self, audio: AudioMix, start_s: float, end_s: float) -> DecodeError | None:
        source = self._tracks.source
        if source.damage.within("audio", start_s, end_s):
            return DecodeError("corrupt", "no audio of this clip can be decoded", self._uri, start_s)
        if audio.end_s is None or start_s < audio.end_s:
            return None
        if not self._tracks.cut_off(audio.stream, audio.end_s, start_s):
            return None
        message = f"the file ends at {audio.end_s:.3f} s, before this clip"
        return DecodeError("corrupt", message, self._uri, start_s)

    def _warning(self, request: Request, start_s: float, end_s: float) -> str:
        """What is to be said of what a request reads of a span; what others read behind its last frame is theirs."""
        is_audio = isinstance(request, AudioRequest)
        span = request.span if is_audio else (start_s, end_s)
        said = [*self._said[request], *self._tracks.source.notes_within(*span)]
        if isinstance(request, FrameRequest) and not request.keyframes:
            span = start_s, min(end_s, max(request.times_s) + TIME_SLACK_S)
        if self._has_own_colours and not is_audio:
            said.append(OWN_COLOURS)
        what = "audio" if is_audio else "frames"
        if damaged := self._tracks.source.damage.within(what, *span):
            noun = "packet" if len(damaged) == 1 else "packets"
            said.append(f"{len(damaged)} {noun} of its {what} could not be decoded, first at {damaged[0]:.3f} s")
        return "; ".join(said)


@dataclass(frozen=True)
class Shown:
    """The frame on display at one time, in each wanted size; whether the track is over by then, and until when the
    frame stands, where that is long."""

    pixels: Mapping[Resize | None, Pixels]
    over: bool
    stands_until_s: float | None


def _wanted(request: AudioRequest) -> Wanted:
    return request.sample_rate, request.count, request.channels


def _answer(request: FrameRequest, shown: Mapping[float, Shown]) -> RawFrames | None:
    """The frames of a request's times, each once; None where no time has one that is not over."""
    at = [shown.get(time_s) for time_s in request.times_s]
    if all(here is None or here.over for here in at):
        return None
    pixels: list[Pixels] = []
    place_of: dict[int, int] = {}
    places = np.full(len(at), -1, np.int64)
    for number, here in enumerate(at):
        if here is not None:
            frame = here.pixels[request.resize]
            if id(frame) not in place_of:
                place_of[id(frame)] = len(pixels)
                pixels.append(frame)
            places[number] = place_of[id(frame)]
    is_over = np.array([here is not None and here.over for here in at], np.bool_)
    times_s = np.asarray(request.times_s, dtype=np.float64)
    return RawFrames(times_s=times_s, frames=np.stack(pixels), places=places, is_over=is_over)


def _alone(times_s: Sequence[float], pixels: Sequence[Pixels]) -> RawFrames:
    """Frames at their own times."""
    return RawFrames(
        times_s=np.asarray(times_s, dtype=np.float64),
        frames=np.stack(pixels),
        places=np.arange(len(pixels), dtype=np.int64),
        is_over=np.zeros(len(pixels), np.bool_),
    )


def read_image(file: BinaryIO, uri: str, resize: Resize | None) -> RawFrames:
    """A still image (JPEG, PNG, WebP, GIF, ...) as one frame at 0 s; raises DecodeError.

    Of an animation or a video the first frame counts.
    """
    tracks = Tracks(file, uri, formats=IMAGE_FORMATS)
    try:
        if tracks.first is None:
            raise DecodeError("no_stream", "the file holds no frame", uri)
        scaler = Scaler(geometry_of(tracks.first.raw, tracks.aspect()))
        return _alone([0.0], [scaler.frame(scaler.rgb(tracks.first.raw), resize)])
    finally:
        tracks.close()

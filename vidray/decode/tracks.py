"""The frame and the audio of one file on one clock, and the seeking that serves both."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import BinaryIO

from av.stream import Stream

from vidray.decode.audio import AudioTrack
from vidray.decode.choice import AUTO, other_leads
from vidray.decode.formats import UNSURE_FORMATS, VIDEO_FORMATS
from vidray.decode.frames import Frame, FrameTrack
from vidray.decode.listening import is_loud
from vidray.decode.mix import AudioMix
from vidray.decode.source import ApartError, Source
from vidray.errors import DecodeError

_FIRST_STEP_BACK_S = 1.0
_STEP_FACTOR = 4.0

_ROUNDED_S = 0.2
"""Headers count the last packet in full, and the encoder's padding; less missing than this is no damage."""


class Tracks:
    """Opens a file, finds the clock's zero by decoding the first frame (first audio where there is none).

    Raises DecodeError when there is nothing to decode. `frames` and `audio` are None where the file has none, or
    `want` has said that it is not needed.
    """

    def __init__(self, file: BinaryIO, uri: str, *, formats: str = VIDEO_FORMATS, track: int | str = AUTO) -> None:
        self.source = Source(file, uri, formats=formats, track=track)
        self._apart: Source | None = None
        self._others: dict[int | str, tuple[Source, AudioMix]] = {}
        self.frames: FrameTrack | None = None
        self.audio: AudioMix | None = None
        self.first: Frame | None = None
        self._last_end_s: float | None = None
        try:
            self._choose()
            try:
                self._open()
            except ApartError:
                self.part()
                self._open()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Give FFmpeg's memory back."""
        self.source.close()
        for source in filter(None, (self._apart, *(source for source, _ in self._others.values()))):
            source.close()

    def _open(self) -> None:
        source = self.source
        if source.video is not None:
            self.frames = FrameTrack(source)
            self.first = self.frames.first()
        if source.audio is not None:
            self._audio_source.prime(source.audio)
            self.audio = AudioMix(self._audio_source)
        if self.frames is not None and self.first is not None:
            before = source.zero
            self._set_zero(self.frames.stamp(self.first))
            self.frames.shift(float(source.zero - before))
            self.first = self.frames.first()
            return
        if self.frames is not None and (self.audio is None or source.damage.within("frames", -math.inf, math.inf)):
            raise self._undecodable("frame")
        self.frames = None
        start = None if self.audio is None else self.audio.first_start()
        if start is None:
            raise self._undecodable("audio")
        self._set_zero(start)

    def _choose(self) -> None:
        """Take another track in place of a lead that is silent wherever one looks; where all are, the lead stays."""
        source = self.source
        others = other_leads(source.container, source.audios) if source.track == AUTO else []
        if others and not is_loud(source, source.audios):
            louder = next((other for other in others if is_loud(source, [other])), None)
            if louder is not None:
                source.hear([louder])

    def part(self) -> None:
        """Read frames and audio each by itself from now on, from the start: they do not lie near each other."""
        if self._apart is None:
            self._apart = self.source.twin("audio")
        self.source.want("video")
        if self.audio is not None:
            self.audio = AudioMix(self._apart)
        self.restart()

    def audio_at(self, start_s: float, track: int | str = AUTO, *, stands: bool = False) -> AudioMix:
        """The audio of the chosen tracks, or of a named one, ready for a span that starts at a time.

        `stands` says that the tracks were brought there already. Raises DecodeError where there is no such track.
        """
        assert self.audio is not None
        if track == self.source.track:
            if not stands:
                self.go_to(None, start_s)
            return self.audio
        if track not in self._others:
            source = self.source.twin("audio", track=track)
            self._others[track] = source, AudioMix(source)
        source, audio = self._others[track]
        if not audio.reaches(start_s):
            _seek_audio(source, audio, start_s)
        return audio

    @property
    def is_parted(self) -> bool:
        """Whether frames and audio are read each by itself."""
        return self._apart is not None

    @property
    def _audio_source(self) -> Source:
        return self._apart or self.source

    def _set_zero(self, zero: Fraction) -> None:
        moved_s = float(zero - self.source.zero)
        self.source.damage.shift(moved_s)
        for source in filter(None, (self.source, self._apart)):
            source.set_zero(zero)

    def _undecodable(self, what: str) -> DecodeError:
        if self.source.format in UNSURE_FORMATS:
            message = "no container or codec that vidray knows, or damaged headers"
            return DecodeError("not_media", message, self.source.uri)
        return DecodeError("corrupt", f"not one {what} in the file can be decoded", self.source.uri)

    def want(self, *, frames: bool, audio: bool) -> None:
        """Read no more than is wanted."""
        if not frames:
            self.frames = None
        if not audio:
            self.audio = None
        if self._apart is not None:
            return
        if self.frames is None or self.audio is None:
            self.source.want("audio" if self.frames is None else "video")

    def restart(self) -> None:
        """Open the file anew, at its first packet."""
        for source in filter(None, (self.source, self._apart)):
            source.reopen()
        self._reset(at_start=True)

    def go_to(self, frame_s: float | None, audio_s: float | None) -> None:
        """Seek where reading on would not do, so that a frame and a span of audio can be read; None: not wanted."""
        if self._reaches(frame_s, audio_s):
            return
        self.seek(frame_s, audio_s)

    def stand_before(self, frame_s: float) -> None:
        """Go to a keyframe at or before a time, as far as the container knows."""
        assert self.source.video is not None
        if frame_s > 0 and self.source.seek(self.source.video, frame_s):
            self._reset_of(self.source, at_start=False)
        else:
            self.restart()

    def seek(self, frame_s: float | None, audio_s: float | None) -> None:
        """Seek to where the frame on display and the audio are whole: further and further back, until they are."""
        if self._apart is not None and frame_s is not None and audio_s is not None:
            self.go_to(frame_s, None)
            self.go_to(None, audio_s)
            return
        source = self.source if frame_s is not None else self._audio_source
        lead = source.audio if frame_s is None else source.video
        assert lead is not None
        times = [frame_s, None if audio_s is None else AudioTrack.seek_s(audio_s)]
        target_s = min(t for t in times if t is not None)
        back_s, step_s = 0.0, _FIRST_STEP_BACK_S
        while True:
            at_s = target_s - back_s
            if at_s <= 0 or not self._seekable(source) or not source.seek(lead, at_s):
                source.reopen()
                self._reset_of(source, at_start=True)
                return
            self._reset_of(source, at_start=False)
            if self._finds(frame_s, audio_s):
                return
            back_s, step_s = back_s + step_s, step_s * _STEP_FACTOR

    def _seekable(self, source: Source) -> bool:
        return self.frames is None or source is self._apart or self.frames.seekable

    def _reset(self, *, at_start: bool) -> None:
        for source in filter(None, (self.source, self._apart)):
            self._reset_of(source, at_start=at_start)

    def _reset_of(self, source: Source, *, at_start: bool) -> None:
        """Forget what was read of a source that stands elsewhere now."""
        if self.frames is not None and source is self.source:
            self.frames.reset(at_start=at_start)
        if self.audio is not None and source is self._audio_source:
            self.audio.reset(at_start=at_start)

    def _reaches(self, frame_s: float | None, audio_s: float | None) -> bool:
        if frame_s is not None and self.frames is not None and not self.frames.reaches(frame_s):
            return False
        return audio_s is None or self.audio is None or self.audio.reaches(audio_s)

    def _finds(self, frame_s: float | None, audio_s: float | None) -> bool:
        if frame_s is not None and self.frames is not None and self.frames.at(frame_s) is None:
            return False
        return audio_s is None or self.audio is None or self.audio.find(audio_s)

    def cut_off(self, stream: Stream, end_s: float, at_s: float) -> bool:
        """Whether a stream that is over should have gone on to a later time.

        By its headers, or by the container's, which count for it if no stream reaches there.
        """
        declared_s = self.source.declared_end_s(stream)
        if declared_s is not None:
            return at_s < declared_s and end_s < declared_s - _ROUNDED_S
        whole_s = self.source.container_end_s
        if whole_s is None:
            return False
        if at_s >= whole_s or end_s >= whole_s - _ROUNDED_S:
            return False
        if self._last_end_s is None:
            self._last_end_s = self.source.scan_end_s(end_s)
            self.restart()
        return self._last_end_s < whole_s - _ROUNDED_S

    def aspect(self) -> float:
        """Width / height of one coded pixel."""
        ratio: Fraction | None = None if self.source.video is None else self.source.video.sample_aspect_ratio
        return float(ratio) if ratio else 1.0


def _seek_audio(source: Source, audio: AudioMix, start_s: float) -> None:
    """Seek a source of audio alone to where a clip's audio is whole: further and further back, until it is."""
    assert source.audio is not None
    back_s, step_s = 0.0, _FIRST_STEP_BACK_S
    while (at_s := AudioTrack.seek_s(start_s) - back_s) > 0 and source.seek(source.audio, at_s):
        audio.reset(at_start=False)
        if audio.find(start_s):
            return
        back_s, step_s = back_s + step_s, step_s * _STEP_FACTOR
    source.reopen()
    audio.reset(at_start=True)

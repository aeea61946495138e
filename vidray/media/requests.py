"""The two things that a decoder can be asked for: frames at times, and audio of a span. All samplings come to them."""

from __future__ import annotations

from dataclasses import dataclass

from vidray.media.values import Resize, Span


@dataclass(frozen=True, kw_only=True)
class FrameRequest:
    """The frames on display at some times.

    Attributes:
        times_s: In any order, on the video's presentation clock.
        end_s: Where the span ends that the times are of.
        resize: None for frames as displayed.
        keyframes: Whether the first keyframe from each time to the next is meant instead, at its own time; or the last
            one before all of them, where there is none. The times ascend then.
    """

    times_s: tuple[float, ...]
    end_s: float
    resize: Resize | None = None
    keyframes: bool = False

    @property
    def span(self) -> Span:
        """From the first time to the end."""
        return min(self.times_s), self.end_s


@dataclass(frozen=True, kw_only=True)
class AudioRequest:
    """The audio of a span: `count` samples from sample `first` of the video on.

    Attributes:
        start_s: Where the span begins.
        end_s: Where it ends.
        sample_rate: In hertz; the audio is resampled to it.
        channels: "mono" for the mix, "all" for each by itself.
        track: "auto" for what the file means to be heard, a number from 1 among its audio tracks, or a language.
    """

    start_s: float
    end_s: float
    sample_rate: int
    channels: str = "mono"
    track: str | int = "auto"

    @property
    def span(self) -> Span:
        """[start_s, end_s)."""
        return self.start_s, self.end_s

    @property
    def first(self) -> int:
        """The number of the first sample, counted from the clock's zero."""
        return round(self.start_s * self.sample_rate)

    @property
    def count(self) -> int:
        """How many samples, at least one."""
        return max(1, round((self.end_s - self.start_s) * self.sample_rate))


Request = FrameRequest | AudioRequest

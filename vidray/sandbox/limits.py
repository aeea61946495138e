"""What media may cost."""

from __future__ import annotations

from dataclasses import dataclass

from vidray.media import PictureSize

_PICTURES_PER_S = 60.0
_PIXELS_PER_S = 1e7
_MOST_S_PER_S = 60.0
_SKIPPED_PIXELS_PER_S = 1e8
_MOST_SKIPPING_S = 600.0
_DAY_S = 86_400.0
_BYTES_PER_S = 100


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What media may cost. Times are seconds of processor time; waiting for storage counts for none of them but one.

    Attributes:
        probe_s: To read the headers of one file.
        clip_s: To decode one clip, besides its pixels' share.
        idle_factor: A child that uses no processor is given this many times as long by the clock.
        storage_s: By the clock: how long storage may keep one request waiting in all.
        wasted_s: By the clock: what clips of one file may cost without result, before its other clips are given up.
        memory_bytes: Resident size of the child.
        answer_bytes: What the samples of one clip may take.
        growth_bytes: What the child may keep between files before it is replaced.
        files: After so many files the child is replaced.
        video_s: The longest video that is planned.
    """

    probe_s: float = 30.0
    clip_s: float = 30.0
    idle_factor: float = 4.0
    storage_s: float = 1800.0
    wasted_s: float = 300.0
    memory_bytes: int = 2 << 30
    answer_bytes: int = 1 << 30
    growth_bytes: int = 512 << 20
    files: int = 500
    video_s: float = 31 * _DAY_S

    def for_clip(self, length_s: float, size: PictureSize, *, skipped_s: float = 0.0) -> float:
        """Seconds that decoding a clip may take.

        Sixty pictures a second at ten million pixels a second leave room for decoders far slower than those in use; a
        second of video has a minute at most, whatever size its headers claim. Where the reader does not stand right
        before the clip, it may have to decode from a keyframe as far back as the video's start.
        """
        pixels = size[0] * size[1]
        skipping_s = min(_MOST_SKIPPING_S, skipped_s * _PICTURES_PER_S * pixels / _SKIPPED_PIXELS_PER_S)
        return self.clip_s + length_s * min(_MOST_S_PER_S, _PICTURES_PER_S * pixels / _PIXELS_PER_S) + skipping_s

    def longest_s(self, size_bytes: int) -> float:
        """The longest duration that is believed of a file: a day, or 100 bytes a second, whichever is longer.

        Headers claim what they like, and each claimed second costs rows. Sound of 0.8 kbit/s or a picture of some
        hundred bytes a second is less than any codec in use needs for a recording of days.
        """
        return min(self.video_s, max(_DAY_S, size_bytes / _BYTES_PER_S))

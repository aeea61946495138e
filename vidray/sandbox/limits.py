"""What media may cost."""

from __future__ import annotations

from dataclasses import dataclass

from vidray.media import FrameSize

_FRAMES_PER_S = 60.0
_PIXELS_PER_S = 1e7
_MOST_S_PER_S = 60.0
_SKIPPED_PIXELS_PER_S = 1e8
_MOST_SKIPPING_S = 600.0


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What media may cost. Times are seconds of processor time, unless they say otherwise; waiting for storage is none.

    Attributes:
        probe_s: To read the headers of one file.
        clip_s: To decode one clip, besides its pixels' share.
        idle_factor: For so many times as long, by the clock, a child may sleep instead of working.
        storage_s: By the clock: how long storage may keep one request waiting in all.
        wasted_s: By the clock: what clips of one file may cost without result, before its other clips are given up.
        memory_bytes: Resident size of the child.
        answer_bytes: What the samples of one clip may take.
        growth_bytes: What the child may keep between files before it is replaced.
        files: After so many files the child is replaced.
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

    def for_clip(self, length_s: float, size: FrameSize, *, skipped_s: float = 0.0) -> float:
        """Seconds that decoding a clip may take.

        Sixty frames a second at ten million pixels a second leave room for decoders far slower than those in use; a
        second of video has a minute at most, whatever size its headers claim. Where the reader does not stand right
        before the clip, it may have to decode from a keyframe as far back as the video's start.
        """
        pixels = size[0] * size[1]
        skipping_s = min(_MOST_SKIPPING_S, skipped_s * _FRAMES_PER_S * pixels / _SKIPPED_PIXELS_PER_S)
        return self.clip_s + length_s * min(_MOST_S_PER_S, _FRAMES_PER_S * pixels / _PIXELS_PER_S) + skipping_s

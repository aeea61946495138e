"""Whether a track holds anything but silence, by a few looks at it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing

import numpy as np
from av.audio.stream import AudioStream

from vidray.decode.audio import AudioTrack
from vidray.decode.source import Source

_PLACES = (0.0, 0.5, 0.25, 0.75, 0.9)
_LOOK_S = 2.0
_WANTED = (8_000, round(_LOOK_S * 8_000), "all")
_SILENT = 1e-3
"""Of full scale, -60 dB: below the noise of a microphone that is plugged in."""


def is_loud(source: Source, tracks: Sequence[AudioStream]) -> bool:
    """Listens at the beginning, and at some places of the rest until something is heard.

    A function of the file alone. The source stays where it is: the file is opened once more.
    """
    with closing(source.twin("audio")) as twin:
        twin.hear(tracks)
        length_s = max(0.0, twin.container_end_s or 0.0)
        return any(_peak(twin, place, share * length_s) > _SILENT for share in _PLACES for place in range(len(tracks)))


def _peak(source: Source, place: int, at_s: float) -> float:
    if not at_s or not source.seek(source.audios[place], AudioTrack.seek_s(at_s)):
        source.reopen()
    track = AudioTrack(source, place)
    track.reset(at_start=not at_s)
    samples = track.read(at_s, at_s + _LOOK_S, [_WANTED])[_WANTED]
    return 0.0 if samples is None else float(np.abs(samples).max())

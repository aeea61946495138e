"""The audio of a video: one track, or the mix of several microphones' tracks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction

import numpy as np
from av.audio.stream import AudioStream

from vidray.decode.audio import MONO, AudioTrack, Wanted
from vidray.decode.planes import Planes, mixed
from vidray.decode.source import Source


class AudioMix:
    """Answers `read(span, rates)` for the tracks that a source has chosen; their plain mean, as of channels."""

    def __init__(self, source: Source) -> None:
        self._tracks = [AudioTrack(source, place) for place in range(len(source.audios))]

    @property
    def stream(self) -> AudioStream:
        """The lead's."""
        return self._tracks[0].stream

    @property
    def end_s(self) -> float | None:
        """When the last track ends; None until all are known to be over."""
        ends_s = [track.end_s for track in self._tracks]
        return None if None in ends_s else max(end_s for end_s in ends_s if end_s is not None)

    @property
    def lost_db(self) -> float | None:
        """By how much the mix of the last clip is quieter than its loudest channel, where that is much."""
        return max((track.lost_db for track in self._tracks if track.lost_db is not None), default=None)

    def reset(self, *, at_start: bool) -> None:
        """Forget what was read: the source stands elsewhere."""
        for track in self._tracks:
            track.reset(at_start=at_start)

    def first_start(self) -> Fraction | None:
        """When the first sample is heard, in the container's own seconds; None if no packet can be decoded."""
        starts = [start for track in self._tracks if (start := track.first_start()) is not None]
        return min(starts, default=None)

    def reaches(self, start_s: float) -> bool:
        """Whether what was read, or reading on, holds a clip that starts here; else the source is to seek."""
        return all(track.reaches(start_s) for track in self._tracks)

    def find(self, start_s: float) -> bool:
        """After a seek: read the first packets, and say whether they come early enough for a clip."""
        found = [track.find(start_s) for track in self._tracks]
        return all(found)

    def read(self, start_s: float, end_s: float, wanted: Iterable[Wanted]) -> dict[Wanted, Planes | None]:
        """The samples of a span, (1, N) of the mix or (C, N) of all channels of all tracks; None where no track has one
        in the span."""
        wanted = tuple(wanted)
        heard = [track.read(start_s, end_s, wanted) for track in self._tracks]
        return heard[0] if len(heard) == 1 else {each: _joined([one[each] for one in heard], each) for each in wanted}


def _joined(heard: Sequence[Planes | None], wanted: Wanted) -> Planes | None:
    if all(planes is None for planes in heard):
        return None
    there = [np.zeros((1, wanted[1]), np.float32) if planes is None else planes for planes in heard]
    together = np.concatenate(there)
    return mixed(together)[None] if wanted[2] == MONO else together

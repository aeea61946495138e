"""Where a file is damaged, on its clock."""

from __future__ import annotations

_MOST_TIMES = 10_000
"""More are not remembered: such a file is damaged throughout."""


class Damage:
    """When packets of "frames" and of "audio" were found that cannot be read or decoded, on the clock."""

    def __init__(self) -> None:
        self._times_s: dict[str, set[float]] = {"frames": set(), "audio": set()}

    def add(self, at_s: float, modality: str | None = None) -> None:
        """Remember one, of both where it is not known of which; decoding it again changes nothing."""
        for times_s in self._times_s.values() if modality is None else (self._times_s[modality],):
            if len(times_s) < _MOST_TIMES:
                times_s.add(at_s)

    def shift(self, seconds: float) -> None:
        """The clock's zero has moved by this much."""
        self._times_s = {modality: {at_s - seconds for at_s in times_s} for modality, times_s in self._times_s.items()}

    def within(self, modality: str, start_s: float, end_s: float) -> list[float]:
        """Those of a span, in order: the same whichever clips were read before, and whatever else was read of them."""
        return sorted(at_s for at_s in self._times_s[modality] if start_s <= at_s < end_s)

"""Where a file is damaged, on its clock."""

from __future__ import annotations

_MOST_TIMES = 10_000
"""More are not remembered: such a file is damaged throughout."""


class Damage:
    """When packets were found that cannot be read or decoded, on the clock."""

    def __init__(self) -> None:
        self._times_s: set[float] = set()

    def add(self, at_s: float) -> None:
        """Remember one; decoding it again changes nothing."""
        if len(self._times_s) < _MOST_TIMES:
            self._times_s.add(at_s)

    def shift(self, seconds: float) -> None:
        """The clock's zero has moved by this much."""
        self._times_s = {at_s - seconds for at_s in self._times_s}

    def within(self, start_s: float, end_s: float) -> list[float]:
        """Those of a span, in order: the same whichever clips were read before."""
        return sorted(at_s for at_s in self._times_s if start_s <= at_s < end_s)

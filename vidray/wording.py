"""How numbers, things and commands are put into words, in messages of every room."""

from __future__ import annotations

import shlex


def counted(number: int, what: str, plural: str | None = None) -> str:
    """A number with what it counts: "1 clip", "2,000 clips"."""
    return f"{number:,} {what if number == 1 else plural or what + 's'}"


def lasting(seconds: float) -> str:
    """How long something lasts, in what one would say: "95 s", "12.5 minutes", "1,300.25 hours"."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} minutes" if seconds < 7200 else f"{seconds / 3600:,.2f} hours"


def typed(*words: object) -> str:
    """A command of vidray as a shell takes it: "vidray verify '/my videos/store'"."""
    return shlex.join(("vidray", *map(str, words)))


def see_verify(store: str) -> str:
    """Where to ask what to do about something in a store that is not as it was published."""
    return f"{typed('verify', store)} says what to do"

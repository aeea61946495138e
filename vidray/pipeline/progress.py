"""How a run shows itself: a live line on a terminal, plain lines in a job log. Writes to standard error only."""

from __future__ import annotations

import sys
import time
from typing import TextIO

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.text import Text

from vidray.terminal import shown
from vidray.wording import counted

LOG_EVERY_S = 10.0
BAR_CELLS = 20


class Progress:
    """Counts what comes in and shows it; `quiet` shows nothing."""

    def __init__(self, stream: TextIO | None = None, *, quiet: bool = False) -> None:
        self._console = Console(file=stream or sys.stderr, soft_wrap=True, highlight=False)
        self._quiet = quiet
        self._live: Live | None = None
        self._phase = ""
        self._what = ""
        self._total = 0
        self._count = 0
        self._failed = 0
        self._video_s = 0.0
        self._began = time.monotonic()
        self._said_at = 0.0

    def say(self, line: str) -> None:
        """One line for a person."""
        if self._quiet:
            return
        self._console.print(escape(shown(line)))

    def phase(self, name: str, total: int, unit: str = "video", units: str | None = None) -> None:
        """Begin counting something else, one `unit` of it or several `units`."""
        self.close()
        self._phase, self._total, self._what = name, total, counted(total, unit, units)
        self._count = self._failed = 0
        self._video_s = 0.0
        self._began = self._said_at = time.monotonic()
        if self._quiet:
            return
        if self._console.is_terminal or self._console.is_jupyter:
            self._live = Live(get_renderable=self._line, console=self._console, refresh_per_second=4, transient=True)
            self._live.start()
        else:
            self.say(f"{name} {self._what}")

    def probed(self, videos: int, failed: int) -> None:
        self._add(videos, failed, 0.0)

    def extracted(self, done: int, failed: int, video_s: float) -> None:
        self._add(done + failed, failed, video_s)

    def close(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None
            self.say(self._line().plain)

    def _add(self, count: int, failed: int, video_s: float) -> None:
        self._count += count
        self._failed += failed
        self._video_s += video_s
        now = time.monotonic()
        if self._live is None and not self._quiet and now - self._said_at >= LOG_EVERY_S:
            self._said_at = now
            self.say(self._line().plain)

    def _line(self) -> Text:
        elapsed_s = max(1e-6, time.monotonic() - self._began)
        bar = f"{_bar(self._count, self._total)} " if self._live is not None else ""
        words = [f"{self._phase} {bar}{self._count:,}/{self._what}"]
        if self._video_s:
            words.append(f"{self._video_s / elapsed_s:.1f}x real time")
        if self._failed:
            words.append(f"{self._failed:,} failed")
        if 0 < self._count < self._total:
            left_s = elapsed_s * (self._total - self._count) / self._count
            words.append(f"{_clock(left_s)} left")
        else:
            words.append(f"{_clock(elapsed_s)}")
        return Text(" · ".join(words))


def progress_of(progress: Progress | bool | None) -> Progress:
    """How a run shows itself: True is a bar in a terminal or a notebook and lines elsewhere, False or None nothing."""
    if isinstance(progress, Progress):
        return progress
    if not isinstance(progress, bool | None):
        raise TypeError(f"progress must be True, False or a Progress, got {type(progress).__name__}")
    return Progress(quiet=not progress)


def _bar(count: int, total: int) -> str:
    """How much of it is done, as a bar of `BAR_CELLS`."""
    cells = BAR_CELLS * min(count, total) // max(1, total)
    return f"[{'#' * cells}{'.' * (BAR_CELLS - cells)}]"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"

"""A store served to a browser: the page of a report, with what needs a process: search, originals, labels."""

from __future__ import annotations

from vidray.browse.serving import browse

__all__ = ["browse"]

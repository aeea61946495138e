"""OpenCV, which steps for frames take their filters from."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

from vidray.errors import MissingExtraError

EXTRA = "clean"
EXTRA_WHAT = "frames={}"


def settle(what: str) -> None:
    """Raise MissingExtraError where OpenCV is not installed."""
    if find_spec("cv2") is None:
        raise MissingExtraError(what, EXTRA)


def opencv(what: str) -> Any:
    """The module, which takes no threads: a worker has one core. Raises MissingExtraError."""
    settle(what)
    import cv2

    cv2.setNumThreads(1)
    return cv2

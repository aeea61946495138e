"""Every error that vidray raises on purpose, on one page.

All arguments go to `super().__init__` by position, so that every error survives pickling between processes. What is
wrong with one clip or one video becomes a row in `errors/`; everything else ends the run with one line.
"""

from __future__ import annotations


def one_line(error: BaseException | str) -> str:
    """What an error says, as one line; its type where it says nothing."""
    return " ".join(str(error).split()) or type(error).__name__


class VidrayError(Exception):
    """The base of all errors below; `str(error)` is one line that says what, where and what to do."""


class UsageError(VidrayError):
    """What was asked for cannot be meant: a wrong name, option or path. Exit status 2."""


class MissingExtraError(UsageError):
    """An optional dependency is not installed.

    `wheel` is a distribution, as NAME==VERSION, that goes with the extra but whose own requirements conflict with
    vidray's, so that pip takes it only without them.
    """

    def __init__(self, what: str, extra: str, wheel: str | None = None) -> None:
        super().__init__(what, extra, wheel)
        self.what = what
        self.extra = extra
        self.wheel = wheel

    def __str__(self) -> str:
        command = f"pip install 'vidray[{self.extra}]'"
        if self.wheel is not None:
            command += f" && pip install --no-deps {self.wheel}"
        return f"{self.what} needs the optional extra '{self.extra}': {command}"


class SpecMismatchError(UsageError):
    """A store holds something else under the same name: other weights, sampling, precision, version or clip length."""


class WeightsError(UsageError):
    """A weights file is not there, is of another network, or would run code when loaded."""


class StoreError(VidrayError):
    """The store cannot be read or written, or holds something that vidray did not write."""


class ClusterError(VidrayError):
    """The cluster cannot do the work: a node that does not see the store, or work that keeps going missing."""


class StorageGoneError(ClusterError):
    """The corpus' storage gives none of its files any more, for which no file is to blame."""

    def __init__(self, uri: str, reason: str) -> None:
        super().__init__(uri, reason)
        self.uri = uri
        self.reason = reason

    def __str__(self) -> str:
        return (
            f"{self.uri}: {self.reason}, nor any file next to it; the storage of the corpus seems to be gone, which is "
            "no fault of the files: run again when it is back, or with --prune where they are removed for good"
        )


class IndexFileError(VidrayError):
    """An index is not there, is damaged, or is of a type that vidray does not open."""


class MediaError(VidrayError):
    """One video, clip, image or audio cannot be used; becomes a row in `errors/`.

    Attributes:
        kind: A short, stable word to group by: `not_found`, `unreadable`, `not_media`, `no_stream`, `unsupported`,
            `corrupt`, `empty`.
        message: What a person needs to know, without the URI.
        uri: The file.
        at_s: Where in the video, in seconds on its presentation clock, or None for the file as a whole.
    """

    def __init__(self, kind: str, message: str, uri: str, at_s: float | None = None) -> None:
        super().__init__(kind, message, uri, at_s)
        self.kind = kind
        self.message = message
        self.uri = uri
        self.at_s = at_s

    def __str__(self) -> str:
        where = self.uri if self.at_s is None else f"{self.uri} at {self.at_s:.3f} s"
        return f"{where}: {self.message}"


class ProbeError(MediaError):
    """A file whose headers cannot be read; it has no clips."""


class DecodeError(MediaError):
    """A clip whose samples cannot be decoded."""


class ExtractError(MediaError):
    """A clip that an extractor could not turn into columns."""

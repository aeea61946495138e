"""What a decoder is. One that is not built on PyAV is another file here and another value of `open_video`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import BinaryIO, Protocol

from vidray.media import Decoded, Request


class Decoder(Protocol):
    """Reads the clips of one open video, in the calling thread."""

    def read(self, requests: Sequence[Request], start_s: float, end_s: float) -> Decoded:
        """The answers to some requests, which are of the span [start_s, end_s), of what is shown and heard there.

        A clip may be asked for in any order, and its answers are the same whichever were read before. Never raises for
        what is wrong with the media: an answer is a DecodeError then, and damage in the span is in its warning.
        """
        ...

    def close(self) -> None:
        """Give back what it holds; the file object stays open."""
        ...


class OpensVideo(Protocol):
    """Opens a video from a file object, whose `uri` is for messages alone."""

    def __call__(self, file: BinaryIO, uri: str, *, frames: bool = True, audio: bool = True) -> Decoder:
        """Raises DecodeError when the file cannot be opened. What is not wanted, `frames` or `audio`, is not read."""
        ...

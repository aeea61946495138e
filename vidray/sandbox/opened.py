"""A media file as the owner holds it: opened once, handed to the child as a descriptor or served by ranges."""

from __future__ import annotations

import contextlib
import os
import stat
from dataclasses import dataclass
from typing import BinaryIO

from vidray.errors import DecodeError, VidrayError
from vidray.sandbox.wire import plain_text
from vidray.storage import is_local, local_path, open_uri


@dataclass(frozen=True)
class Opened:
    """One open file.

    Attributes:
        descriptor: Of a local file; None where the owner has to read.
    """

    file: BinaryIO
    descriptor: int | None
    size_bytes: int

    def close(self) -> None:
        with contextlib.suppress(Exception):
            # a storage's library may still want to talk
            self.file.close()


def open_media(uri: str) -> Opened:
    """Open a file for reading.

    Raises:
        DecodeError: Of kind not_found or unreadable.
        VidrayError: No file of this storage can be read here.
    """
    try:
        file = _open_local(uri) if is_local(uri) else open_uri(uri)
        try:
            descriptor = _descriptor(file)
            if descriptor is not None:
                return Opened(file, descriptor, os.fstat(descriptor).st_size)
            return Opened(file, None, file.seek(0, os.SEEK_END))
        except BaseException:
            file.close()
            raise
    except FileNotFoundError as e:
        raise DecodeError("not_found", "no such file", uri) from e
    except VidrayError:
        raise
    except Exception as e:
        # any storage's library may raise any error of its own
        reason = plain_text(str(e)) or type(e).__name__
        raise DecodeError("unreadable", f"the storage does not give it: {reason}", uri) from e


def _open_local(uri: str) -> BinaryIO:
    """A pipe or a device could hold us, or never end: only regular files are opened."""
    descriptor = os.open(local_path(uri), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError("it is no regular file")
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def _descriptor(file: BinaryIO) -> int | None:
    with contextlib.suppress(OSError, AttributeError, ValueError):
        return file.fileno()
    return None

"""A binary file as FFmpeg may see it: without a name, or a stretch of one as if it were a file of its own."""

from __future__ import annotations

import os
from typing import BinaryIO


class Input:
    """Bytes [begin, end) of a file, with a position of its own, and whose failures are kept rather than raised.

    An exception inside FFmpeg's callbacks would be printed or lost, so a failed read looks like the end of the file,
    and `error` says what happened. Several may share a file, as long as one thread reads.
    """

    def __init__(self, file: BinaryIO, *, begin: int = 0, end: int | None = None) -> None:
        self.error: Exception | None = None
        self._file = file
        self._begin = begin
        self._end = end
        self._position = 0

    def read(self, size: int) -> bytes:
        left = size if self._end is None else min(size, self._end - self._begin - self._position)
        try:
            if self._file.tell() != self._begin + self._position:
                self._file.seek(self._begin + self._position)
            data = bytes(self._file.read(max(0, left)))
        except Exception as e:
            self.error = e
            return b""
        self._position += len(data)
        return data

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        try:
            if whence == os.SEEK_END:
                end = self._file.seek(0, os.SEEK_END) if self._end is None else self._end
                self._position = max(0, end - self._begin + offset)
            else:
                self._position = max(0, offset + (self._position if whence == os.SEEK_CUR else 0))
        except Exception as e:
            self.error = e
            return -1
        return self._position

    def tell(self) -> int:
        return self._position

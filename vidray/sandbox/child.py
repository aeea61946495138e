"""The child process: decodes what it is handed, and opens nothing. Started by `vidray.sandbox`, never by hand.

A local file arrives as an open descriptor; a remote one is read through the owner, by ranges.
"""

from __future__ import annotations

import contextlib
import ctypes
import io
import os
import resource
import signal
import socket
import sys
from dataclasses import asdict
from typing import Any, BinaryIO, cast

from vidray.decode import VideoReader, probe
from vidray.errors import MediaError
from vidray.media import Sampling
from vidray.sandbox import wire

PR_SET_PDEATHSIG = 1
READ_AHEAD_BYTES = 1 << 20


class RemoteFile(io.RawIOBase):
    """A file that the owner reads for us; waiting for it does not count as decoding."""

    def __init__(self, connection: socket.socket, size: int) -> None:
        self._connection = connection
        self._size = size
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        self._position = max(0, base + offset)
        return self._position

    def tell(self) -> int:
        return self._position

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        count = min(view.nbytes, max(0, self._size - self._position))
        if count == 0:
            return 0
        wire.send(self._connection, {"ask": "read", "offset": self._position, "count": count})
        header, data = wire.receive(self._connection, max_payload_bytes=count)
        if "error" in header:
            raise OSError(header["error"])
        view[: data.nbytes] = data
        self._position += data.nbytes
        return data.nbytes


class Decoder:
    """Answers the owner's requests, one at a time; keeps one file open."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._file: BinaryIO | None = None
        self._reader: VideoReader | None = None
        self._samplings: tuple[Sampling, ...] = ()

    def answer(self, request: dict[str, Any]) -> tuple[dict[str, Any], list[memoryview]]:
        """The answer to one request; what is wrong with the media is an answer too."""
        try:
            if request["ask"] == "probe":
                self._open(request)
                assert self._file is not None
                return {"info": asdict(probe(self._file, request["uri"]))}, []
            if request["ask"] == "open":
                self._open(request)
                assert self._file is not None
                self._samplings = tuple(wire.unpack_sampling(packed) for packed in request["samplings"])
                self._reader = VideoReader(self._file, request["uri"], self._samplings)
                self._reader.__enter__()
                return {"opened": True}, []
            if self._reader is None:
                raise ValueError("nothing is open")
            return wire.pack_decoded(self._reader.read(request["start_s"], request["end_s"]), self._samplings)
        except MediaError as e:
            return {"error": list(e.args)}, []

    def _open(self, request: dict[str, Any]) -> None:
        self.close()
        if request["size"] is None:
            _, descriptors, _, _ = socket.recv_fds(self._connection, 1, 1)
            self._file = os.fdopen(descriptors[0], "rb")
        else:
            remote = RemoteFile(self._connection, request["size"])
            self._file = cast(BinaryIO, io.BufferedReader(remote, READ_AHEAD_BYTES))

    def close(self) -> None:
        if self._reader is not None:
            with contextlib.suppress(MediaError):
                self._reader.__exit__(None, None, None)
        if self._file is not None:
            self._file.close()
        self._reader = self._file = None


def main(descriptor: int, owner: int) -> None:
    """Serve requests on an inherited socket until it is closed."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != owner:
        return
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # nothing is ever written here
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    with socket.socket(fileno=descriptor) as connection:
        decoder = Decoder(connection)
        wire.send(connection, {"ready": True})
        with contextlib.suppress(wire.WireError):
            while True:
                request, _ = wire.receive(connection, max_payload_bytes=0)
                header, payload = decoder.answer(request)
                wire.send(connection, header, payload)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))

"""The child process: decodes what it is handed, and opens nothing. Started by `vidray.sandbox`, never by hand.

A local file arrives as an open descriptor; a remote one is read through the owner, by ranges.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import io
import os
import pkgutil
import signal
import socket
import sys
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, BinaryIO, cast

from vidray.decode import Decoder, account, open_video, probe, read_image
from vidray.errors import DecodeError, MediaError
from vidray.media import Decoded, FrameRequest
from vidray.memory import keep_memory
from vidray.sandbox import wire
from vidray.sandbox.confine import confine, die_with

READ_AHEAD_BYTES = 256 << 10
KEPT_BYTES = 64 << 20
"""Some frames of 4K; the owner replaces a child that keeps too much."""
NEVER_USED = ("av.__main__", "av.datasets")

Answer = tuple[dict[str, Any], list[memoryview]]


class RemoteFile(io.RawIOBase):
    """A file that the owner reads for us; waiting for it does not count as decoding."""

    def __init__(self, channel: wire.Channel, size: int) -> None:
        self._channel = channel
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
        count = min(view.nbytes, max(0, self._size - self._position), wire.MAX_READ_BYTES)
        if count == 0:
            return 0
        self._channel.send({"ask": "read", "offset": self._position, "count": count})
        header, data = self._channel.receive(max_payload_bytes=count)
        if "error" in header:
            raise OSError(header["error"])
        view[: data.nbytes] = data
        self._position += data.nbytes
        return data.nbytes


class Server:
    """Answers the owner's requests, one at a time; keeps one file open."""

    def __init__(self, connection: socket.socket, channel: wire.Channel) -> None:
        self._connection = connection
        self._channel = channel
        self._file: BinaryIO | None = None
        self._decoder: Decoder | None = None

    def answer(self, request: Mapping[str, Any], payload: memoryview) -> Answer:
        """The answer to one request; what is wrong with the media is an answer too."""
        try:
            return self._answer(request, payload)
        except MediaError as e:
            return {"error": [e.kind, e.message, e.at_s]}, []
        except MemoryError:
            return {"error": ["memory", "decoding needs more memory than there is", None]}, []
        except wire.WireError:
            raise
        except Exception as e:
            # the state of the decoder is not to be trusted any more
            self.close()
            return {"failed": f"{type(e).__name__}: {e}"}, []

    def _answer(self, request: Mapping[str, Any], payload: memoryview) -> Answer:
        if request["ask"] == "probe":
            return {"info": asdict(probe(self._open(request), request["uri"]))}, []
        if request["ask"] == "account":
            span = request["start_s"], request["end_s"]
            return {"held": asdict(account(self._open(request), request["uri"], *span))}, []
        if request["ask"] == "image":
            return self._image(self._open(request), request)
        if request["ask"] == "open":
            self._decoder = open_video(self._open(request), request["uri"], **request["wants"])
            return {"opened": True}, []
        if self._decoder is None:
            raise DecodeError("corrupt", "the file could not be opened again", request["uri"])
        requests = wire.unpack_requests(request["requests"], payload)
        decoded = self._decoder.read(requests, request["start_s"], request["end_s"])
        header, answer = wire.pack_decoded(decoded, requests)
        most = request["max_bytes"]
        if sum(part.nbytes for part in answer) > most:
            message = f"its samples take more than {most >> 20} MiB: choose shorter clips or smaller frames"
            return {"error": ["memory", message, None]}, []
        return header, answer

    def _image(self, file: BinaryIO, request: Mapping[str, Any]) -> Answer:
        resize = wire.unpack_resize(request["resize"])
        wanted = FrameRequest(times_s=(0.0,), end_s=0.0, resize=resize)
        return wire.pack_decoded(Decoded({wanted: read_image(file, request["uri"], resize)}), [wanted])

    def _open(self, request: Mapping[str, Any]) -> BinaryIO:
        self.close()
        if request["size"] is None:
            _, descriptors, _, _ = socket.recv_fds(self._connection, 1, 1)
            self._file = os.fdopen(descriptors[0], "rb")
        else:
            remote = RemoteFile(self._channel, request["size"])
            self._file = cast(BinaryIO, io.BufferedReader(remote, READ_AHEAD_BYTES))
        return self._file

    def close(self) -> None:
        decoder, file = self._decoder, self._file
        self._decoder = self._file = None
        if decoder is not None:
            with contextlib.suppress(Exception):
                decoder.close()
        if file is not None:
            file.close()
        # PyAV's frames refer to themselves once their side data was looked at
        del decoder
        gc.collect()


def main(descriptor: int, lifeline: int, owner: int, *, from_main_thread: bool) -> None:
    """Serve requests on an inherited socket until it is closed."""
    if not die_with(owner, lifeline, from_main_thread=from_main_thread):
        return
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    keep_memory(KEPT_BYTES)
    _import_all("av")
    # all of this stays, and need not be looked at with each file
    gc.freeze()
    with socket.socket(fileno=descriptor) as connection:
        channel = wire.Channel(connection)
        server = Server(connection, channel)
        # standard error told of a failed start so far; standard input is /dev/null
        os.dup2(0, 2)
        channel.send({"ready": True, "filtered": confine()})
        with contextlib.suppress(wire.WireError):
            while True:
                request, times = channel.receive(max_payload_bytes=wire.MAX_TIMES_BYTES)
                header, payload = server.answer(request, times)
                channel.send(header, payload)
    os._exit(0)


def _import_all(package: str) -> None:
    """Import what a package imports only when it is first used: later this process opens nothing."""
    for module in pkgutil.walk_packages(sys.modules[package].__path__, f"{package}."):
        if module.name not in NEVER_USED:
            importlib.import_module(module.name)

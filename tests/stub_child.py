"""A decoder that misbehaves on purpose, in the sandbox child's place: the file's name says how.

What it is to remember from one process to the next lies in the
media file's folder.
"""

from __future__ import annotations

import ctypes
import json
import os
import re
import signal
import socket
import struct
import time
from pathlib import Path
from typing import Any

import numpy as np

from vidray.media import AudioRequest, AudioSamples, Decoded, RawFrames
from vidray.sandbox import wire
from vidray.sandbox.confine import confine, die_with

GOOD_INFO = {
    "duration_s": 10.0, "fps": 25.0, "width": 64, "height": 48, "rotation": 0, "video_codec": "h264",
    "audio_codec": None, "sample_rate": None, "audio_tracks": None, "holes": [],
}  # fmt: skip


def black(request: Any) -> Any:
    if isinstance(request, AudioRequest):
        return AudioSamples(samples=np.zeros(request.count, np.float32), sample_rate=request.sample_rate)
    times = np.asarray(request.times_s)
    frames = np.zeros((len(times), 4, 6, 3), np.uint8)
    return RawFrames(times_s=times, frames=frames, places=np.arange(len(times)), is_over=np.zeros(len(times), np.bool_))


def count_times(uri: str) -> int:
    """How often this was called for a file, in all processes."""
    tally = Path(uri + ".tally")
    with tally.open("ab") as file:
        file.write(b"x")
    return tally.stat().st_size


def eat() -> None:
    held = [np.ones(4 << 20, np.uint8) for _ in range(128)]
    time.sleep(3600)
    held.clear()


def hold_the_interpreter() -> None:
    re.match(r"(a+)+$", "a" * 60 + "b")


def trespass() -> str:
    """What a decoder that was taken over would try; names what succeeded."""
    filtered = confine()
    attempts = {
        "open": lambda: open("/etc/hostname").close(),
        "write": lambda: open("/tmp/vidray-was-here", "w").close(),
        "list": lambda: os.listdir("/"),
        "connect": lambda: socket.create_connection(("127.0.0.1", 9)),
        "socket": lambda: socket.socket(),
        "run": lambda: os.execv("/bin/true", ["true"]),
        "fork": lambda: os.fork() or os._exit(0),
        "kill": lambda: os.kill(os.getppid(), 0),
        "signal through a descriptor": lambda: __import__("fcntl").fcntl(0, 8, os.getppid()),
    }
    done = []
    for name, attempt in attempts.items():
        try:
            attempt()
            done.append(name)
        except ConnectionRefusedError:
            done.append(name)
        except OSError:
            continue
    return json.dumps({"filtered": filtered, "done": done})


def misbehave(how: str, uri: str, connection: socket.socket, channel: wire.Channel) -> Any:
    """Do what the name says; returns an answer where there is one."""
    match how:
        case "segfaults":
            ctypes.string_at(0)
        case "aborts":
            os.abort()
        case "exits":
            os._exit(3)
        case "segfaults-once" if count_times(uri) == 1:
            ctypes.string_at(0)
        case "is-killed-thrice" if count_times(uri) <= 3:
            os.kill(os.getpid(), signal.SIGKILL)
        case "is-killed":
            os.kill(os.getpid(), signal.SIGKILL)
        case "sleeps":
            time.sleep(3600)
        case "spins":
            hold_the_interpreter()
        case "eats":
            eat()
        case "closes":
            connection.close()
            time.sleep(3600)
        case "half-a-message":
            connection.sendall(struct.pack("!IQ", 20, 0) + b'{"half')
            time.sleep(3600)
        case "trickles":
            connection.sendall(struct.pack("!IQ", 1 << 19, 0))
            while True:
                connection.sendall(b" ")
                time.sleep(0.02)
        case "huge-header":
            connection.sendall(struct.pack("!IQ", 0xFFFFFFFF, 0))
            time.sleep(3600)
        case "huge-payload":
            connection.sendall(struct.pack("!IQ", 2, 1 << 62) + b"{}")
            time.sleep(3600)
        case "does-not-read":
            channel.send({"ask": "read", "offset": 0, "count": wire.MAX_READ_BYTES})
            time.sleep(3600)
        case "reads-for-ever":
            while True:
                channel.send({"ask": "read", "offset": 0, "count": 1})
                channel.receive(max_payload_bytes=1)
        case "reads-nonsense":
            channel.send({"ask": "read", "offset": -5, "count": "many"})
            time.sleep(3600)
        case "no-json":
            connection.sendall(struct.pack("!IQ", 7, 0) + b"cos\nsys")
        case "deep-json":
            connection.sendall(struct.pack("!IQ", 200_000, 0) + b"[" * 200_000)
        case "no-object":
            connection.sendall(struct.pack("!IQ", 2, 0) + b"[]")
        case "environment":
            return {"error": ["corrupt", json.dumps(sorted(os.environ)), None]}
        case "descriptors":
            # listing them takes one more
            return {"error": ["corrupt", json.dumps(sorted(map(int, os.listdir("/proc/self/fd")))[:-1]), None]}
        case "trespasses":
            return {"error": ["corrupt", trespass(), None]}
        case "ugly-text":
            return {"error": ["corrupt", "a\n\x1b[31mb\ud800c" + "x" * 5000, None]}
        case "unknown-kind":
            return {"error": ["a kind of its own", "text", None]}
        case "fails":
            return {"failed": "OverflowError: too\nlarge"}
    return None


def main(descriptor: int, lifeline: int, owner: int) -> None:
    die_with(owner, lifeline, from_main_thread=False)
    with socket.socket(fileno=descriptor) as connection:
        channel = wire.Channel(connection)
        channel.send({"ready": True})
        uri = ""
        while True:
            request, times = channel.receive(max_payload_bytes=wire.MAX_TIMES_BYTES)
            header: Any = {"opened": True}
            payload: list[memoryview] = []
            if request["ask"] in ("open", "probe"):
                if request["size"] is None:
                    os.close(socket.recv_fds(connection, 1, 1)[1][0])
                uri = request["uri"]
                header = {"info": GOOD_INFO} if request["ask"] == "probe" else header
            how = Path(uri).name.partition(".")[0]
            if request["ask"] in ("decode", "probe"):
                odd = misbehave(how, uri, connection, channel) if request.get("start_s", 1) == 1 else None
                if odd is not None:
                    header = odd
                elif request["ask"] == "decode":
                    wanted = wire.unpack_requests(request["requests"], times)
                    decoded = Decoded({one: black(one) for one in wanted})
                    header, payload = wire.pack_decoded(decoded, wanted)
                if how == "remembers":
                    header = {"error": ["corrupt", str(os.getpid()), None]}
            channel.send(header, payload)

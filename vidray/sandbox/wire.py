"""What a sandbox and its owner say to each other: a JSON header, then raw bytes. Neither side unpickles anything."""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from vidray.errors import DecodeError
from vidray.media import (
    Audio,
    Decoded,
    FrameRate,
    Frames,
    FrameWindows,
    Resize,
    Samples,
    Sampling,
    Sound,
    Windows,
)

MAX_HEADER_BYTES = 1 << 22
_LENGTHS = struct.Struct("!IQ")

_SAMPLINGS: Mapping[str, type[Sampling]] = {"FrameRate": FrameRate, "FrameWindows": FrameWindows, "Audio": Audio}
_ARRAYS: Mapping[str, tuple[tuple[str, str, int], ...]] = {
    "Frames": (("times_s", "float64", 1), ("frames", "uint8", 4)),
    "Windows": (("times_s", "float64", 2), ("frames", "uint8", 5)),
    "Sound": (("samples", "float32", 1),),
}
"""Of each kind of samples its arrays: name, type, dimensions."""

Message = tuple[dict[str, Any], memoryview]


class WireError(ConnectionError):
    """The other side is gone, or says something that the protocol does not know."""


def send(connection: socket.socket, header: Mapping[str, Any], payload: Sequence[memoryview] = ()) -> None:
    """Send one message; the payload is not copied."""
    head = json.dumps(header).encode()
    connection.sendall(_LENGTHS.pack(len(head), sum(part.nbytes for part in payload)) + head)
    for part in payload:
        connection.sendall(part)


def receive(connection: socket.socket, *, max_payload_bytes: int) -> Message:
    """Receive one message. Raises WireError at its end, and when it is longer than it may be."""
    head_bytes, payload_bytes = _LENGTHS.unpack(_exactly(connection, _LENGTHS.size))
    if head_bytes > MAX_HEADER_BYTES or payload_bytes > max_payload_bytes:
        raise WireError(f"a message of {head_bytes} + {payload_bytes} bytes is longer than it may be")
    header = json.loads(_exactly(connection, head_bytes).tobytes())
    if not isinstance(header, dict):
        raise WireError("a header that is no object")
    return header, _exactly(connection, payload_bytes)


def _exactly(connection: socket.socket, count: int) -> memoryview:
    # numpy does not clear the memory first, as bytearray would
    view = np.empty(count, np.uint8).data
    filled = 0
    while filled < count:
        got = connection.recv_into(view[filled:])
        if got == 0:
            raise WireError("the other side has closed the connection")
        filled += got
    return view


def pack_sampling(sampling: Sampling) -> dict[str, Any]:
    return {"kind": type(sampling).__name__, **asdict(sampling)}


def unpack_sampling(packed: Mapping[str, Any]) -> Sampling:
    fields = {name: value for name, value in packed.items() if name != "kind"}
    if isinstance(fields.get("resize"), dict):
        fields["resize"] = Resize(**{name: _frozen(value) for name, value in fields["resize"].items()})
    return _SAMPLINGS[packed["kind"]](**fields)


def pack_decoded(decoded: Decoded, samplings: Sequence[Sampling]) -> tuple[dict[str, Any], list[memoryview]]:
    """One entry a sampling, in their order, and the arrays' bytes behind each other."""
    entries: list[dict[str, Any] | None] = []
    payload: list[memoryview] = []
    for sampling in samplings:
        samples = decoded.samples[sampling]
        if samples is None:
            entries.append(None)
        elif isinstance(samples, DecodeError):
            entries.append({"error": list(samples.args)})
        else:
            kind = type(samples).__name__
            arrays = [np.ascontiguousarray(getattr(samples, name)) for name, _, _ in _ARRAYS[kind]]
            entries.append({"kind": kind, "shapes": [array.shape for array in arrays]})
            payload += [array.reshape(-1).view(np.uint8).data for array in arrays if array.size]
    return {"samples": entries, "warning": decoded.warning}, payload


def unpack_decoded(header: Mapping[str, Any], payload: memoryview, samplings: Sequence[Sampling]) -> Decoded:
    """The inverse. Raises WireError where header and payload do not agree; the arrays are views of the payload."""
    try:
        offset = 0
        samples: dict[Sampling, Samples | DecodeError | None] = {}
        for sampling, entry in zip(samplings, header["samples"], strict=True):
            if entry is None:
                samples[sampling] = None
            elif "error" in entry:
                samples[sampling] = unpack_error(entry["error"])
            else:
                samples[sampling], offset = _unpack_samples(sampling, entry, payload, offset)
        if offset != payload.nbytes:
            raise ValueError(f"{payload.nbytes - offset} bytes too many")
        warning = header["warning"]
        return Decoded(samples=samples, warning=None if warning is None else str(warning))
    except (KeyError, TypeError, ValueError) as e:
        raise WireError(f"an answer that makes no sense: {e}") from e


def unpack_error(arguments: Sequence[Any]) -> DecodeError:
    kind, message, uri, at_s = arguments
    return DecodeError(str(kind), str(message), str(uri), None if at_s is None else float(at_s))


def _unpack_samples(
    sampling: Sampling, entry: Mapping[str, Any], payload: memoryview, offset: int
) -> tuple[Samples, int]:
    arrays: dict[str, Any] = {}
    for (name, kind, dimensions), shape in zip(_ARRAYS[entry["kind"]], entry["shapes"], strict=True):
        if len(shape) != dimensions:
            raise ValueError(f"{name} of {len(shape)} dimensions")
        count = int(np.prod([int(side) for side in shape], dtype=object)) if shape else 1
        arrays[name] = np.frombuffer(payload, kind, count, offset).reshape(shape) if count else np.empty(shape, kind)
        offset += count * np.dtype(kind).itemsize
    if isinstance(sampling, Audio):
        return Sound(**arrays, sample_rate=sampling.sample_rate), offset
    return (Frames if isinstance(sampling, FrameRate) else Windows)(**arrays), offset


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value

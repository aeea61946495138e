"""What a sandbox and its owner say to each other: a JSON header, then raw bytes. Neither side unpickles anything.

The owner believes nothing: lengths, shapes, texts and numbers are checked against what was asked for.
"""

from __future__ import annotations

import json
import math
import socket
import struct
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from vidray.errors import DecodeError
from vidray.media import (
    Audio,
    AudioSamples,
    Decoded,
    FrameRate,
    Frames,
    FrameWindows,
    Resize,
    Samples,
    Sampling,
    Span,
    VideoInfo,
    Windows,
    sample_count,
    sample_times,
)

MAX_HEADER_BYTES = 1 << 20
MAX_TEXT = 500
MAX_READ_BYTES = 1 << 26
WATCH_EVERY_S = 0.05
KINDS = frozenset({"unreadable", "not_media", "no_stream", "unsupported", "corrupt", "empty", "memory"})
"""What a child may say of a file; that it crashed, hung or grew is for the owner to say."""

_LENGTHS = struct.Struct("!IQ")
_SAMPLINGS: Mapping[str, type[Sampling]] = {"FrameRate": FrameRate, "FrameWindows": FrameWindows, "Audio": Audio}
_INTEGERS = {"width": 1 << 20, "height": 1 << 20, "sample_rate": 1 << 30}

Message = tuple[dict[str, Any], memoryview]


class WireError(ConnectionError):
    """The other side says something that the protocol does not know."""


class ClosedError(WireError):
    """The other side is gone."""


class Channel:
    """Messages over a socket.

    With `watch`, the socket must have a timeout: `watch` is called at least every `WATCH_EVERY_S` seconds while the
    other side keeps us waiting, and raises to give up. So a peer that stops in the middle of a message holds nobody.
    """

    def __init__(self, connection: socket.socket, watch: Callable[[], None] | None = None) -> None:
        self._connection = connection
        self._watch = watch
        self._watched_at = time.monotonic()
        connection.settimeout(None if watch is None else WATCH_EVERY_S)

    def send(self, header: Mapping[str, Any], payload: Sequence[memoryview] = ()) -> None:
        """Send one message; the payload is not copied."""
        head = json.dumps(header).encode()
        self._send(memoryview(_LENGTHS.pack(len(head), sum(part.nbytes for part in payload)) + head))
        for part in payload:
            self._send(part)

    def receive(self, *, max_payload_bytes: int) -> Message:
        """Receive one message. Raises WireError at its end, and when it is longer than it may be."""
        head_bytes, payload_bytes = _LENGTHS.unpack(self._exactly(_LENGTHS.size))
        if head_bytes > MAX_HEADER_BYTES or payload_bytes > max_payload_bytes:
            raise WireError(f"a message of {head_bytes} + {payload_bytes} bytes is longer than it may be")
        try:
            header = json.loads(self._exactly(head_bytes).tobytes())
        except (ValueError, RecursionError) as e:
            raise WireError("a header that is no JSON") from e
        if not isinstance(header, dict):
            raise WireError("a header that is no object")
        return header, self._exactly(payload_bytes)

    def _send(self, view: memoryview) -> None:
        left = view.cast("B")
        while left.nbytes:
            self._look()
            try:
                left = left[self._connection.send(left) :]
            except TimeoutError:
                continue

    def _exactly(self, count: int) -> memoryview:
        # numpy does not clear the memory first, as bytearray would
        view = np.empty(count, np.uint8).data
        filled = 0
        while filled < count:
            self._look()
            try:
                got = self._connection.recv_into(view[filled:])
            except TimeoutError:
                continue
            if got == 0:
                raise ClosedError("the other side has closed the connection")
            filled += got
        return view

    def _look(self) -> None:
        now = time.monotonic()
        if self._watch is not None and now - self._watched_at >= WATCH_EVERY_S:
            self._watched_at = now
            self._watch()


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
            entries.append({"error": pack_error(samples)})
        else:
            arrays: list[npt.NDArray[Any]]
            arrays = [samples.samples] if isinstance(samples, AudioSamples) else [samples.times_s, samples.frames]
            entries.append({"shapes": [array.shape for array in arrays]})
            payload += [np.ascontiguousarray(a).reshape(-1).view(np.uint8).data for a in arrays if a.size]
    return {"samples": entries, "warning": decoded.warning}, payload


def pack_error(error: DecodeError) -> list[Any]:
    return [error.kind, error.message[: 4 * MAX_TEXT], error.at_s]


def unpack_decoded(
    header: Mapping[str, Any], payload: memoryview, samplings: Sequence[Sampling], span: Span, uri: str
) -> Decoded:
    """The inverse. Raises WireError where the answer is not one to the question; the arrays are views of the payload.

    Args:
        span: [start_s, end_s) of the clip that was asked for.
        uri: Of its file.
    """
    try:
        offset = 0
        samples: dict[Sampling, Samples | DecodeError | None] = {}
        for sampling, entry in zip(samplings, header["samples"], strict=True):
            if entry is None:
                samples[sampling] = None
            elif "error" in entry:
                samples[sampling] = unpack_error(entry["error"], uri)
            else:
                samples[sampling], offset = _unpack_samples(sampling, entry["shapes"], span, payload, offset)
        if offset != payload.nbytes:
            raise ValueError(f"{payload.nbytes - offset} bytes too many")
        warning = header["warning"]
        return Decoded(samples=samples, warning=None if warning is None else plain_text(warning))
    except (KeyError, TypeError, ValueError, OverflowError) as e:
        raise WireError(f"an answer that makes no sense: {e}") from e


def unpack_error(arguments: Sequence[Any], uri: str) -> DecodeError:
    """Raises WireError where this is no error that a child may answer."""
    try:
        kind, message, at_s = arguments
        if kind not in KINDS:
            raise ValueError(f"the kind is {kind!r}")
        return DecodeError(kind, plain_text(message), uri, None if at_s is None else _number(at_s))
    except (TypeError, ValueError, OverflowError) as e:
        raise WireError(f"an error that makes no sense: {e}") from e


def unpack_info(header: Mapping[str, Any]) -> VideoInfo:
    """Raises WireError where this is not what headers can say."""
    try:
        values = dict(header["info"])
        if values.keys() != {field.name for field in fields(VideoInfo)}:
            raise ValueError(f"the fields are {sorted(values)}")
        values["duration_s"] = _number(values["duration_s"])
        values["fps"] = None if values["fps"] is None else _number(values["fps"])
        if values["duration_s"] < 0 or values["rotation"] not in (0, 90, 180, 270):
            raise ValueError(f"{values['duration_s']} s, rotated by {values['rotation']}")
        for name, most in _INTEGERS.items():
            if values[name] is not None and not 0 < _integer(values[name]) <= most:
                raise ValueError(f"{name} is {values[name]}")
        for name in ("video_codec", "audio_codec"):
            values[name] = None if values[name] is None else plain_text(values[name])
        return VideoInfo(**values)
    except (KeyError, TypeError, ValueError, OverflowError) as e:
        raise WireError(f"an answer that makes no sense: {e}") from e


def unpack_range(request: Mapping[str, Any]) -> tuple[int, int]:
    """The offset and count of a read. Raises WireError where it asks for what cannot be meant."""
    try:
        offset, count = _integer(request["offset"]), _integer(request["count"])
    except (KeyError, ValueError) as e:
        raise WireError(f"a read that makes no sense: {e}") from e
    if count > MAX_READ_BYTES:
        raise WireError(f"a read of {count} bytes")
    return offset, count


def plain_text(text: Any) -> str:
    """One line that every table and terminal can hold: of no more than 500 characters, all printable."""
    if not isinstance(text, str):
        raise TypeError(f"a text of type {type(text).__name__}")
    shown = "".join(mark if mark.isprintable() else " " for mark in text[: 4 * MAX_TEXT])
    return " ".join(shown.split())[:MAX_TEXT]


def _unpack_samples(
    sampling: Sampling, shapes: Sequence[Sequence[Any]], span: Span, payload: memoryview, offset: int
) -> tuple[Samples, int]:
    if isinstance(sampling, Audio):
        ((count,),) = shapes
        if _integer(count) != sample_count(sampling, *span):
            raise ValueError(f"{count} samples of audio")
        heard = _array(payload, np.float32, (count,), offset)
        return AudioSamples(samples=heard, sample_rate=sampling.sample_rate), offset + heard.nbytes
    times_shape, frames_shape = (tuple(map(_integer, shape)) for shape in shapes)
    wanted = sample_times(sampling, *span).shape
    height, width, channels = frames_shape[len(wanted) :]
    most = wanted if isinstance(sampling, FrameWindows) else (min(times_shape[0], wanted[0]),)
    if times_shape != most or frames_shape[: len(wanted)] != times_shape or channels != 3:
        raise ValueError(f"frames {frames_shape} at {times_shape} times, where {wanted} were wanted")
    if min(*times_shape, height, width) < 1:
        raise ValueError(f"frames {frames_shape}")
    times_s = _array(payload, np.float64, times_shape, offset)
    frames = _array(payload, np.uint8, frames_shape, offset + times_s.nbytes)
    offset += times_s.nbytes + frames.nbytes
    if isinstance(sampling, FrameRate):
        return Frames(times_s=times_s, frames=frames), offset
    return Windows(times_s=times_s, frames=frames), offset


def _array(payload: memoryview, kind: type[Any], shape: tuple[int, ...], offset: int) -> npt.NDArray[Any]:
    flat = np.frombuffer(payload, kind, math.prod(shape), offset)
    # what lies behind bytes may not be aligned, and is copied then
    return np.require(flat, requirements="A").reshape(shape)


def _integer(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise ValueError(f"{value!r} is no count")
    return value


def _number(value: Any) -> float:
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"{value} is no number of seconds")
    return number


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value

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
    AudioRequest,
    AudioSamples,
    Decoded,
    FrameRequest,
    Holding,
    RawFrames,
    RawSamples,
    Request,
    Resize,
    VideoInfo,
)

MAX_HEADER_BYTES = 1 << 20
MAX_TEXT = 500
MAX_READ_BYTES = 1 << 26
MAX_TIMES_BYTES = 1 << 26
WATCH_EVERY_S = 0.05
KINDS = frozenset({"unreadable", "not_media", "no_stream", "unsupported", "corrupt", "empty", "memory"})
"""What a child may say of a file; that it crashed, hung or grew is for the owner to say."""

_LENGTHS = struct.Struct("!IQ")
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


def pack_requests(requests: Sequence[Request]) -> tuple[list[dict[str, Any]], list[memoryview]]:
    """One entry a request, and the bytes of the wanted times behind each other."""
    entries: list[dict[str, Any]] = []
    payload: list[memoryview] = []
    for request in requests:
        values = {field.name: getattr(request, field.name) for field in fields(request)}
        if isinstance(request, FrameRequest):
            times_s = np.asarray(values.pop("times_s"), np.float64)
            values["times"] = len(times_s)
            values["resize"] = pack_resize(request.resize)
            payload += [times_s.view(np.uint8).data]
        entries.append(values)
    return entries, payload


def unpack_requests(entries: Sequence[Mapping[str, Any]], payload: memoryview) -> list[Request]:
    """The inverse, in the child, which trusts its owner."""
    requests: list[Request] = []
    offset = 0
    for entry in entries:
        values = dict(entry)
        if "times" in values:
            times_s = _array(payload, np.float64, (values.pop("times"),), offset)
            offset += times_s.nbytes
            values["resize"] = unpack_resize(values["resize"])
            requests.append(FrameRequest(times_s=tuple(times_s.tolist()), **values))
        else:
            requests.append(AudioRequest(**values))
    return requests


def pack_resize(resize: Resize | None) -> dict[str, Any] | None:
    return None if resize is None else asdict(resize)


def unpack_resize(packed: Mapping[str, Any] | None) -> Resize | None:
    return None if packed is None else Resize(**{name: _frozen(value) for name, value in packed.items()})


def pack_decoded(decoded: Decoded, requests: Sequence[Request]) -> tuple[dict[str, Any], list[memoryview]]:
    """One entry a request, in their order, and the arrays' bytes behind each other."""
    entries: list[dict[str, Any] | None] = []
    payload: list[memoryview] = []
    for request in requests:
        samples = decoded.samples[request]
        if samples is None:
            entries.append(None)
        elif isinstance(samples, DecodeError):
            entries.append({"error": pack_error(samples)})
        else:
            arrays = _arrays(samples)
            entries.append({"shapes": [array.shape for array in arrays]})
            payload += [np.ascontiguousarray(a).reshape(-1).view(np.uint8).data for a in arrays if a.size]
    return {"samples": entries, "warnings": [decoded.warnings.get(request) for request in requests]}, payload


def _arrays(samples: RawSamples) -> list[npt.NDArray[Any]]:
    if isinstance(samples, AudioSamples):
        return [samples.samples]
    # all eight-byte numbers first, so that each array lies on a multiple of its own size
    return [samples.times_s, samples.places, samples.frames, samples.is_over]


def pack_error(error: DecodeError) -> list[Any]:
    return [error.kind, error.message[: 4 * MAX_TEXT], error.at_s]


def unpack_decoded(header: Mapping[str, Any], payload: memoryview, requests: Sequence[Request], uri: str) -> Decoded:
    """The inverse. Raises WireError where the answer is not one to the question; the arrays are views of the payload.

    Args:
        uri: Of the clip's file.
    """
    try:
        offset = 0
        samples: dict[Request, RawSamples | DecodeError | None] = {}
        for request, entry in zip(requests, header["samples"], strict=True):
            if entry is None:
                samples[request] = None
            elif "error" in entry:
                samples[request] = unpack_error(entry["error"], uri)
            else:
                samples[request], offset = _unpack_samples(request, entry["shapes"], payload, offset)
        if offset != payload.nbytes:
            raise ValueError(f"{payload.nbytes - offset} bytes too many")
        said = zip(requests, header["warnings"], strict=True)
        return Decoded(samples, {request: plain_text(text) for request, text in said if text is not None})
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
        for name in ("video_codec", "audio_codec", "audio_tracks"):
            values[name] = None if values[name] is None else plain_text(values[name])
        values["holes"] = tuple((_number(start_s), _number(end_s)) for start_s, end_s in values["holes"])
        return VideoInfo(**values)
    except (KeyError, TypeError, ValueError, OverflowError) as e:
        raise WireError(f"an answer that makes no sense: {e}") from e


def unpack_holding(header: Mapping[str, Any]) -> Holding:
    """Raises WireError where this is not what a file can hold."""
    try:
        held = header["held"]
        return Holding(frames=_integer(held["frames"]), audio_s=_number(held["audio_s"]), peak=_number(held["peak"]))
    except (KeyError, TypeError, ValueError) as e:
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
    request: Request, shapes: Sequence[Sequence[Any]], payload: memoryview, offset: int
) -> tuple[RawSamples, int]:
    sizes = [tuple(map(_integer, shape)) for shape in shapes]
    if isinstance(request, AudioRequest):
        return _unpack_audio(request, sizes, payload, offset)
    return _unpack_frames(request, sizes, payload, offset)


def _unpack_audio(
    request: AudioRequest, sizes: Sequence[tuple[int, ...]], payload: memoryview, offset: int
) -> tuple[AudioSamples, int]:
    (shape,) = sizes
    if len(shape) != (1 if request.channels == "mono" else 2) or shape[-1] != request.count or not min(shape):
        raise ValueError(f"audio {shape}, where {request.count} samples were wanted")
    heard = _array(payload, np.float32, shape, offset)
    start_s = request.first / request.sample_rate
    return AudioSamples(samples=heard, sample_rate=request.sample_rate, start_s=start_s), offset + heard.nbytes


def _unpack_frames(
    request: FrameRequest, sizes: Sequence[tuple[int, ...]], payload: memoryview, offset: int
) -> tuple[RawFrames, int]:
    (count,), places_shape, (kept, height, width, channels), over_shape = sizes
    wanted = len(request.times_s)
    if not (places_shape == over_shape == (count,) and (count == wanted or (request.keyframes and count <= wanted))):
        raise ValueError(f"{count} times, where {wanted} were wanted")
    if channels != 3 or min(count, kept, height, width) < 1 or kept > count:
        raise ValueError(f"frames {sizes[2]} at {count} times")
    times_s = _array(payload, np.float64, (count,), offset)
    places = _array(payload, np.int64, (count,), offset + times_s.nbytes)
    frames = _array(payload, np.uint8, sizes[2], offset + 2 * times_s.nbytes)
    flags = _array(payload, np.uint8, (count,), offset + 2 * times_s.nbytes + frames.nbytes)
    if places.min() < -1 or places.max() not in range(kept) or not np.isfinite(times_s).all():
        raise ValueError(f"frames {places.min()} to {places.max()} of {kept}")
    found = RawFrames(times_s=times_s, frames=frames, places=places, is_over=flags.astype(np.bool_))
    return found, offset + 2 * times_s.nbytes + frames.nbytes + flags.nbytes


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

"""The owner's side: what is asked of a child, how often, and which row it becomes if the child does not survive."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from vidray.errors import DecodeError, ProbeError
from vidray.media import (
    Decoded,
    FrameRequest,
    FrameSize,
    Holding,
    RawFrames,
    Request,
    Resize,
    Sampling,
    Span,
    VideoInfo,
    longest_s,
)
from vidray.sandbox import wire
from vidray.sandbox.limits import Limits
from vidray.sandbox.opened import Opened, open_media
from vidray.sandbox.process import Child, DiedError

CRASHES = 2
KILLS = 4
PAUSE_S = 0.5
PAST_END_CLIPS = 8
"""After so many clips in a row behind a file's last packet, those behind them are not tried."""

T = TypeVar("T")


class Sandbox:
    """Probes and decodes in a child process; started when it is first needed, or ahead, and again when it is gone.

    For one thread at a time. Raises ClusterError where this machine cannot start the child at all.
    """

    def __init__(self, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self._child: Child | None = None
        self._opened: Opened | None = None
        self._reading: tuple[str, frozenset[str]] | None = None
        self._refused: DecodeError | None = None
        self._read_s = 0.0
        self._waste = _Waste("")
        self._past_end = _PastEnd()

    def start(self) -> None:
        """Start the child ahead of the first request."""
        self._started()

    def probe(self, uri: str) -> VideoInfo:
        """What the headers say. Raises ProbeError, also when the child does not survive it."""
        try:
            return self._survive(uri, lambda: self._probe(uri))
        except DecodeError as e:
            raise ProbeError(e.kind, e.message, uri, e.at_s) from e
        finally:
            self._let_go()

    def read(
        self,
        uri: str,
        requests: Sequence[Request],
        start_s: float,
        end_s: float,
        size: FrameSize,
        *,
        keep: frozenset[str] = frozenset(),
    ) -> Decoded:
        """The answers to some requests, all in one pass; whatever goes wrong is a DecodeError for each of them.

        Args:
            uri: Of the video.
            requests: What is wanted, of the span at hand.
            start_s: Where the span begins; damage from here on is in the warnings.
            end_s: Where it ends.
            size: (height, width) of the video as displayed, by its headers: what decoding may cost.
            keep: Modalities that other reads of the video want, so that it is not opened anew for them.
        """
        wanted = tuple(dict.fromkeys(requests))
        wants = keep | {"frames" if isinstance(request, FrameRequest) else "audio" for request in wanted}
        try:
            return self._survive(uri, lambda: self._read(uri, wanted, (start_s, end_s), size, wants))
        except DecodeError as e:
            at = DecodeError(e.kind, e.message, uri, start_s)
            return Decoded(samples=dict.fromkeys(wanted, at))

    def account(self, uri: str, start_s: float, end_s: float) -> Holding:
        """What a file holds in a span, by all of its packets from start to end. Raises DecodeError."""
        asked = {"start_s": start_s, "end_s": end_s}
        try:
            answer, _ = self._survive(uri, lambda: self._hand_over("account", uri, asked))
            return wire.unpack_holding(_checked(answer, uri))
        finally:
            self._let_go()

    def image(self, uri: str, sampling: Sampling) -> Any:
        """A still image as the samples of a clip that shows it and nothing else; raises DecodeError.

        Of a video the first frame counts.
        """
        request = sampling.request(0.0, sampling.unit_s)
        if not isinstance(request, FrameRequest):
            raise TypeError(f"{type(sampling).__name__} is of no frames")
        try:
            shown = self._survive(uri, lambda: self._image(uri, request.resize))
        finally:
            self._let_go()
        times_s = np.asarray(request.times_s)
        nowhere = np.zeros(len(times_s), np.int64)
        raw = RawFrames(times_s=times_s, frames=shown.frames, places=nowhere, is_over=nowhere.astype(np.bool_))
        return sampling.collect(raw, 0.0, sampling.unit_s)

    def close(self) -> None:
        """End the child."""
        self._let_go()
        if self._child is not None:
            self._child.end()
            self._child = None

    def _survive(self, uri: str, request: Callable[[], T]) -> T:
        """Ask again where that may help, and else raise what it died of as a DecodeError.

        A child that crashes on a clip is asked twice. One that was killed may have been in the way of somebody else,
        and is asked some times more. One that grew is asked again if it was not new. Time is final.
        """
        if self._waste.uri != uri:
            self._waste = _Waste(uri)
        self._waste.check(self.limits.wasted_s)
        crashes = kills = 0
        while True:
            began = time.monotonic()
            try:
                return request()
            except DecodeError:
                raise
            except (DiedError, wire.WireError) as e:
                died = e if isinstance(e, DiedError) else DiedError("crashed", f"the decoder answered nonsense: {e}")
            except BaseException:
                # whatever interrupted us, the child may be in the middle of an answer
                self.close()
                raise
            used = self._child is not None and (self._child.files > 1 or self._child.answers > 1)
            self.close()
            kills += died.by_kill
            crashes += died.kind == "crashed" and not died.by_kill
            error = DecodeError(died.kind, died.message, uri)
            self._waste.add(time.monotonic() - began, error)
            if died.by_kill and kills < KILLS:
                time.sleep(PAUSE_S * (kills - 1))
            elif died.kind == "timeout" or crashes >= CRASHES or died.by_kill or (died.kind == "memory" and not used):
                raise error from died

    def _probe(self, uri: str) -> VideoInfo:
        answer, _ = self._hand_over("probe", uri, {})
        info = wire.unpack_info(_checked(answer, uri))
        assert self._opened is not None
        size_bytes = self._opened.size_bytes
        if info.duration_s > longest_s(size_bytes):
            claimed, believed = info.duration_s / 3600, longest_s(size_bytes) / 3600
            message = (
                f"it claims to last {claimed:.4g} h; of {size_bytes:,} bytes no more than {believed:.3g} h are believed"
            )
            raise DecodeError("corrupt", message, uri)
        return info

    def _read(
        self, uri: str, requests: Sequence[Request], span: Span, size: FrameSize, wants: frozenset[str]
    ) -> Decoded:
        start_s, end_s = span
        self._past_end.check(uri, start_s)
        if self._reading != (uri, wants):
            # what is opened and not wanted would pile up
            asked = {"wants": {name: name in wants for name in ("frames", "audio")}}
            answer, _ = self._hand_over("open", uri, asked)
            self._reading, self._read_s = (uri, wants), 0.0
            self._refused = _refusal(answer, uri)
        if self._refused is not None:
            raise self._refused
        assert self._child is not None
        most = self.limits.answer_bytes
        entries, times = wire.pack_requests(requests)
        request = {"ask": "decode", "start_s": start_s, "end_s": end_s, "max_bytes": most, "requests": entries}
        skipped_s = start_s - self._read_s if start_s >= self._read_s else start_s
        limit_s = self.limits.for_clip(_longest_s(requests, start_s, end_s), size, skipped_s=skipped_s)
        answer, payload = self._child.ask(request, self._opened, limit_s=limit_s, payload=times, max_payload_bytes=most)
        if "failed" in answer:
            # the child has let go of the file
            self._let_go()
        decoded = wire.unpack_decoded(_checked(answer, uri), payload, requests, uri)
        self._read_s = end_s
        self._past_end.see(uri, start_s, decoded)
        return decoded

    def _image(self, uri: str, resize: Resize | None) -> RawFrames:
        wanted = FrameRequest(times_s=(0.0,), end_s=0.0, resize=resize)
        asked = {"resize": wire.pack_resize(resize)}
        answer, payload = self._hand_over("image", uri, asked, max_payload_bytes=self.limits.answer_bytes)
        found = wire.unpack_decoded(_checked(answer, uri), payload, [wanted], uri).samples[wanted]
        if not isinstance(found, RawFrames):
            raise wire.WireError("no frame and no error")
        return found

    def _hand_over(self, ask: str, uri: str, asked: Mapping[str, Any], *, max_payload_bytes: int = 0) -> wire.Message:
        self._let_go()
        if self._child is not None and self._child.is_spent():
            self._child.end()
            self._child = None
        child = self._started()
        self._opened = open_media(uri)
        request = {"ask": ask, "uri": uri, **asked}
        return child.ask_about(request, self._opened, limit_s=self.limits.probe_s, max_payload_bytes=max_payload_bytes)

    def _started(self) -> Child:
        self._child = self._child or Child(self.limits)
        return self._child

    def _let_go(self) -> None:
        if self._opened is not None:
            self._opened.close()
        self._opened = self._reading = self._refused = None


def frames_of(sandbox: Sandbox, uri: str, info: VideoInfo) -> Callable[[Sampling, float, float], Any]:
    """A function to the samples of spans of one video, None where there are none; it raises DecodeError."""

    def read(sampling: Sampling, start_s: float, end_s: float) -> Any:
        request = sampling.request(start_s, end_s)
        size = (info.height or 0, info.width or 0)
        answer = sandbox.read(uri, [request], start_s, end_s, size).samples[request]
        if isinstance(answer, DecodeError):
            raise answer
        return None if answer is None else sampling.collect(answer, start_s, end_s)

    return read


class _PastEnd:
    """Clips in a row behind a file's last packet: the next ones fare as they did, and are not tried."""

    def __init__(self) -> None:
        self._uri = ""
        self._seen = 0
        self._from_s = 0.0
        self._error: DecodeError | None = None

    def see(self, uri: str, start_s: float, decoded: Decoded) -> None:
        """Remember how a clip fared."""
        errors = [answer for answer in decoded.samples.values() if isinstance(answer, DecodeError)]
        is_past = bool(errors) and len(errors) == len(decoded.samples) and all(map(_is_past_end, errors))
        if uri != self._uri or not is_past or start_s < self._from_s:
            self._uri, self._seen, self._error = uri, 0, None
        if is_past:
            self._seen, self._from_s, self._error = self._seen + 1, start_s, errors[0]

    def check(self, uri: str, start_s: float) -> None:
        """Raise what the clips before it had, when there were enough."""
        if self._error is not None and uri == self._uri and self._seen >= PAST_END_CLIPS and start_s >= self._from_s:
            raise self._error


def _is_past_end(error: DecodeError) -> bool:
    return error.message.startswith("the file ends at")


class _Waste:
    """What the clips of one file have cost without result."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self._seconds = 0.0
        self._last: DecodeError | None = None

    def add(self, seconds: float, error: DecodeError) -> None:
        self._seconds += seconds
        self._last = error

    def check(self, most_s: float) -> None:
        """Raise what went wrong last, when the file has cost too much."""
        if self._last is not None and self._seconds > most_s:
            message = f"not tried after {self._seconds:.0f} s without result for other clips: {self._last.message}"
            raise DecodeError(self._last.kind, message, self.uri)


def _longest_s(requests: Sequence[Request], start_s: float, end_s: float) -> float:
    """Seconds of the longest span that is asked for: context is decoded too."""
    return max([end_s - start_s, *(stop_s - first_s for first_s, stop_s in (request.span for request in requests))])


def _checked(answer: dict[str, Any], uri: str) -> dict[str, Any]:
    """An answer that is no error. Raises DecodeError."""
    refused = _refusal(answer, uri)
    if refused is not None:
        raise refused
    return answer


def _refusal(answer: dict[str, Any], uri: str) -> DecodeError | None:
    if "failed" in answer:
        return DecodeError("crashed", f"the decoder failed on it: {wire.plain_text(answer['failed'])}", uri)
    if "error" in answer:
        return wire.unpack_error(answer["error"], uri)
    return None

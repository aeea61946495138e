"""Files as people have them: clocks that jump, gaps, tracks far apart, parameters that change. Made, with known truth.

Frame n carries its number; a tone says the second of its audio: 400 + 20 n Hz in second n.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
from av.stream import Disposition

from vidray.testing import numbered_frame

Floats = npt.NDArray[np.float64]
Signal = Callable[[Floats], Floats]  # (N,) seconds to (N,) or (C, N)


def ladder(times_s: Floats) -> Floats:
    """400 + 20 n Hz in second n, at a fifth of full scale."""
    return np.asarray(0.2 * np.sin(2 * np.pi * (400 + 20 * np.floor(times_s + 1e-9)) * times_s))


def tone(hertz: float) -> Signal:
    return lambda times_s: np.asarray(0.2 * np.sin(2 * np.pi * hertz * times_s))


def silence(times_s: Floats) -> Floats:
    return np.zeros_like(times_s)


@dataclass(frozen=True, kw_only=True)
class Track:
    """One track of audio: `signal` from `start_s` for `length_s` seconds."""

    signal: Signal = ladder
    start_s: float = 0.0
    length_s: float = 10.0
    codec: str = "aac"
    sample_rate: int = 48_000
    layout: str = "mono"
    language: str | None = None
    title: str | None = None
    disposition: Disposition | None = None


@dataclass(frozen=True, kw_only=True)
class Media:
    """What `write_media` writes: frames at these times, tracks, and in which order their packets lie."""

    times_s: Sequence[float] = ()
    codec: str = "libx264"
    pix_fmt: str = "yuv420p"
    b_frames: int = 2
    gop: int = 10
    tracks: Sequence[Track] = ()
    order: str = "interleaved"
    first_number: int = 0
    size: tuple[int, int] = (96, 160)
    options: dict[str, str] = field(default_factory=dict)


def every(seconds: float, start_s: float, end_s: float) -> list[float]:
    """Times from start to end, in steps."""
    return [round(start_s + n * seconds, 6) for n in range(round((end_s - start_s) / seconds))]


def write_media(path: Path, media: Media) -> Path:
    """Encode and mux; "frames first" and "audio first" put all packets of one kind before the other's."""
    delta = {} if media.order == "interleaved" else {"max_interleave_delta": "1"}
    with av.open(str(path), "w", options={**media.options, **delta}) as container:
        streams = [] if not media.times_s else [_frame_stream(container, media)]
        packets = [] if not media.times_s else _frame_packets(streams[0], media)
        for track in media.tracks:
            stream = _audio_stream(container, track)
            streams.append(stream)
            packets += _audio_packets(stream, track)
        container.start_encoding()
        for packet in sorted(packets, key=lambda p: _order(p, media.order)):
            container.mux_one(packet)
    return path


def _order(packet: Any, order: str) -> tuple[Any, ...]:
    at_s = float((packet.dts if packet.dts is not None else packet.pts) * packet.time_base)
    if order == "interleaved":
        return (at_s,)
    return ((packet.stream.type == "audio") == (order == "frames first"), at_s)


def _frame_stream(container: Any, media: Media) -> Any:
    stream = container.add_stream(media.codec, rate=10)
    stream.height, stream.width = media.size
    stream.pix_fmt, stream.gop_size, stream.max_b_frames = media.pix_fmt, media.gop, media.b_frames
    stream.codec_context.time_base = Fraction(1, 10)
    stream.codec_context.thread_count = 1
    return stream


def _frame_packets(stream: Any, media: Media) -> list[Any]:
    packets = []
    for n, at_s in enumerate(media.times_s):
        pixels = numbered_frame(n + media.first_number, *media.size)
        frame = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format=media.pix_fmt)
        frame.time_base, frame.pts = Fraction(1, 10), round(at_s * 10)
        packets += stream.encode(frame)
    return packets + stream.encode(None)


def _audio_stream(container: Any, track: Track) -> Any:
    stream = container.add_stream(track.codec, rate=track.sample_rate, layout=track.layout)
    if track.language is not None:
        stream.metadata["language"] = track.language
    if track.title is not None:
        stream.metadata["title"] = track.title
    if track.disposition is not None:
        stream.disposition = track.disposition
    return stream


def _audio_packets(stream: Any, track: Track) -> list[Any]:
    packets = []
    rate, step = track.sample_rate, 1024
    first = round(track.start_s * rate)
    for at in range(first, first + round(track.length_s * rate), step):
        times_s = np.arange(at, min(at + step, first + round(track.length_s * rate))) / rate
        values = np.atleast_2d(track.signal(times_s))
        channels = av.AudioLayout(track.layout).nb_channels
        values = values if len(values) == channels else np.repeat(values[:1], channels, axis=0)
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(values, np.float32), format="fltp", layout=track.layout)
        frame.sample_rate, frame.time_base, frame.pts = rate, Fraction(1, rate), at
        packets += stream.encode(frame)
    return packets + stream.encode(None)


def heard_hz(samples: npt.NDArray[np.float32], rate: int) -> float:
    """The loudest frequency, to a fraction of a hertz for a second of audio."""
    size = 8 * len(samples)
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples)), size))
    return float(np.argmax(spectrum)) * rate / size

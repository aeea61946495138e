"""Audio as Opus in an Ogg container, RFC 7845: for speech that vidray makes. No stranger's file comes here."""

from __future__ import annotations

import io
from collections.abc import Iterable
from typing import Any

import av
import numpy as np
import numpy.typing as npt

RATE = 24_000
"""Opus' super-wideband: speech has nothing above 12 kHz that anybody would miss."""
BITS_PER_S = 32_000
"""Mono speech is transparent at 24 to 32 kbit/s: https://wiki.xiph.org/Opus_Recommended_Settings."""
FRAME_SAMPLES = RATE // 50
"""20 ms, what Opus codes at once."""

Floats = npt.NDArray[np.float32]


def opus(samples: Iterable[Floats], sample_rate: int) -> bytes:
    """A file of Ogg Opus with mono audio; the same samples give the same bytes.

    It lasts as long as the samples do; less than a second becomes up to 7 ms longer, by silence at its end.

    Args:
        samples: float32 (N,) in [-1, 1], in pieces of any length, which are coded as they come; none give no bytes.
        sample_rate: Of the samples; another one than RATE is resampled.
    """
    held = io.BytesIO()
    # a muxer that is not bit-exact numbers its stream by chance
    with av.open(held, "w", format="ogg", options={"fflags": "+bitexact"}) as container:
        stream: Any = container.add_stream("libopus", rate=RATE, layout="mono", options={"application": "voip"})
        stream.bit_rate = BITS_PER_S
        resampler = av.AudioResampler(format="flt", layout="mono", rate=RATE, frame_size=FRAME_SAMPLES)
        for piece in samples:
            if not len(piece):
                continue
            plain = np.ascontiguousarray(piece, np.float32)[None]
            frame = av.AudioFrame.from_ndarray(plain, format="flt", layout="mono")
            frame.sample_rate = sample_rate
            for ready in resampler.resample(frame):
                container.mux(stream.encode(ready))
        for ready in resampler.resample(None):
            container.mux(stream.encode(ready))
        container.mux(stream.encode(None))
    return held.getvalue()

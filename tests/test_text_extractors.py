"""What is written in frames, what language a text is in, and what it means."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from vidray.extractors.text.embedding import TextEmbedding
from vidray.extractors.text.language import Language
from vidray.extractors.text.ocr import Line, Ocr, joined
from vidray.media import Clip, ClipInput, Frames


def frame(*lines: tuple[str, int], noise: int = 0) -> np.ndarray:
    """A frame of 640x360 with lines of text, each at its height."""
    image = Image.new("RGB", (640, 360), (40, 60, 90))
    for text, y in lines:
        ImageDraw.Draw(image).text((40, y), text, (250, 250, 250), ImageFont.load_default(34))
    if not noise:
        return np.asarray(image)
    shaken = np.asarray(image).astype(int) + np.random.default_rng(noise).integers(-12, 12, (360, 640, 3))
    return shaken.clip(0, 255).astype(np.uint8)


def clip(frames: list[np.ndarray], start_s: float = 10.0) -> ClipInput:
    value = Frames(times_s=start_s + np.arange(len(frames), dtype=float), frames=np.stack(frames))
    span = Clip(clip_id="c", video_id="v", uri="u", clip_index=1, start_s=start_s, end_s=start_s + len(frames) - 0.5)
    return ClipInput(clip=span, values={"frames": value})


@pytest.fixture(scope="module")
def read() -> Any:
    return Ocr().load("cpu")


def test_a_caption_that_stands_is_one_line_with_a_span(read: Any):
    shown = [frame(), *(frame(("Chapter 3", 40), noise=n) for n in (1, 2)), frame(("Chapter 3", 40), ("HARVEST", 280))]
    row = read([clip([*shown, shown[-1]])])
    (lines,) = row["lines"]
    assert [(line["text"], line["start_s"], line["end_s"]) for line in lines] == [
        ("Chapter 3", 11.0, 14.5),
        ("HARVEST", 13.0, 14.5),
    ]
    assert row["text"] == ["Chapter 3\nHARVEST"]
    assert abs(lines[0]["x0"] - 40 / 640) < 0.03
    assert abs(lines[1]["y0"] - 285 / 360) < 0.05
    assert all(line["score"] > 0.8 for line in lines)


def test_where_nothing_is_written_there_are_no_lines(read: Any):
    assert read([clip([frame(noise=5)])]) == {"text": [""], "lines": [[]]}


def line(text: str, start_s: float, x0: float = 0.1, score: float = 0.9) -> Line:
    return Line(start_s=start_s, end_s=start_s + 1, text=text, score=score, x0=x0, y0=0.1, x1=x0 + 0.3, y1=0.2)


def test_lines_are_joined_by_place_and_text_and_no_gap():
    frames = [
        [line("Gate opens at 9", 0.0, score=0.7)],
        [line("Gate 0pens at 9", 1.0, score=0.6), line("Gate opens at 9", 1.0, x0=0.6)],
        [],
        [line("Gate opens at 9", 3.0)],
    ]
    found = [(one.text, one.start_s, one.end_s) for one in joined(frames)]
    assert found == [("Gate opens at 9", 0.0, 2.0), ("Gate opens at 9", 1.0, 2.0), ("Gate opens at 9", 3.0, 4.0)]
    assert len(joined([[line("Monday", 0.0)], [line("Sunday 12", 1.0)]])) == 2


def texts(*values: str | None) -> list[ClipInput]:
    span = Clip(clip_id="c", video_id="v", uri="u", clip_index=0, start_s=0.0, end_s=1.0)
    return [ClipInput(clip=span, values={"text": {"text": value}}) for value in values]


def test_the_language_of_a_text_is_told():
    row = Language().load("cpu")(
        texts(
            "The harvest was late this year, and nobody minded.",
            "Die Ernte war dieses Jahr spät, und niemand störte sich daran.",
            "La récolte était en retard cette année.",
            "Урожай в этом году был поздним.",
            "3:15",
            None,
        )
    )
    assert row["language"] == ["en", "de", "fr", "ru", None, None]
    assert all(0.5 < score <= 1.0001 for score in row["language_score"][:4])


def test_like_meanings_are_near_and_no_text_has_none():
    row = TextEmbedding().load("cpu")(
        texts(
            "The farmers brought in the wheat.",
            "Crops were gathered from the fields.",
            "The engine needs oil.",
            "",
            None,
        )
    )
    one, two, three = (np.array(vector) for vector in row["embedding"][:3])
    assert one @ two > one @ three + 0.1
    assert row["embedding"][3:] == [None, None]

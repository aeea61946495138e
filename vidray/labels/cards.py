"""What a person reads of a trained head: a card in Markdown, and its confusions as a frame."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from vidray.labels.metrics import Estimate, Ints, Metrics

CELL_PIXELS = 44
FONT_PIXELS = 14
NAME_CHARACTERS = 24
MOST_NUMBERED = 60
BASELINE = "accuracy of a linear head on the texts' embeddings, in the same folds"

CARD = """\
# {name}

A {network} head over `features/{features}`, trained by vidray {vidray} on {created_at}.

## Data

{clips:,} labeled clips of {videos:,} videos, from `{labels}`; {without_features:,} more have no features and were left
out. Features: {extractor}, weights {weights}.

## How well it does

Predicted in {folds} folds, each by a head that saw no clip of these videos (seed {seed}). In brackets: 95% intervals,
from 1,000 draws of videos.

| | |
| --- | --- |
| accuracy | {accuracy} |
| macro F1 | {macro_f1} |
| share of the largest class | {largest} |
{baseline}
| class | clips | average precision |
| --- | --- | --- |
{rows}

![confusion matrix](confusion.png)

## How it was trained

On all of the clips, each class counting alike, with what the loss on a fifth of the videos chose: {setting}.
`predictions.csv` has each clip's fold and what was predicted for it.
"""


def figures(metrics: Metrics, classes: Sequence[str]) -> dict[str, Any]:
    """Metrics as plain values: each figure with the bounds of its 95% interval beside it."""
    found: dict[str, Any] = {}
    for name, estimate in (("accuracy", metrics.accuracy), ("macro_f1", metrics.macro_f1)):
        found |= {name: estimate.value, f"{name}_low": estimate.low, f"{name}_high": estimate.high}
    by_class = zip(classes, metrics.average_precision, strict=True)
    found["average_precision"] = {name: {"value": e.value, "low": e.low, "high": e.high} for name, e in by_class}
    found["confusion"] = metrics.confusion.tolist()
    return found


def card(config: Mapping[str, Any], metrics: Metrics, baseline: Metrics | None = None) -> str:
    """The card of a head, from what its configuration says, its metrics, and those of a plainer one."""
    classes, spec = config["classes"], config["spec"] or {}
    counts = metrics.confusion.sum(axis=1)
    values = {
        **config,
        "extractor": spec.get("extractor", "of unknown origin"),
        "weights": (spec.get("weights") or {}).get("sha256", "unknown"),
        "accuracy": _text(metrics.accuracy),
        "macro_f1": _text(metrics.macro_f1),
        "largest": f"{counts.max() / counts.sum():.3f}",
        "baseline": "" if baseline is None else f"| {BASELINE} | {_text(baseline.accuracy)} |\n",
        "setting": ", ".join(f"{name} {value:g}" for name, value in config["setting"].items()),
    }
    rows = [
        f"| {name.replace('|', '&#124;')} | {count:,} | {_text(estimate)} |"
        for name, count, estimate in zip(classes, counts, metrics.average_precision, strict=True)
    ]
    return CARD.format(**values, rows="\n".join(rows))


def _text(estimate: Estimate) -> str:
    return f"{estimate.value:.3f} ({estimate.low:.3f} to {estimate.high:.3f})"


def confusion_png(confusion: Ints, classes: Sequence[str]) -> bytes:
    """A frame of a confusion matrix (classes, classes): rows are the true classes, darker is a larger share."""
    from PIL import Image, ImageDraw, ImageFont

    font = ImageFont.load_default(FONT_PIXELS)
    names = [name if len(name) <= NAME_CHARACTERS else name[: NAME_CHARACTERS - 1] + "…" for name in classes]
    cell = CELL_PIXELS if len(names) <= MOST_NUMBERED else FONT_PIXELS + 2
    margin = int(max(font.getlength(name) for name in names)) + 3 * FONT_PIXELS
    side = margin + cell * len(names) + FONT_PIXELS
    image = Image.new("RGB", (side, side), "white")
    draw = ImageDraw.Draw(image)
    shares = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    for row, column in np.ndindex(confusion.shape):
        left, top = margin + column * cell, margin + row * cell
        share = float(shares[row, column])
        colour = tuple(round(255 + share * (full - 255)) for full in (8, 48, 107))
        draw.rectangle((left, top, left + cell - 1, top + cell - 1), fill=colour, outline=(220, 220, 220))
        if len(names) <= MOST_NUMBERED and confusion[row, column]:
            ink, place = "white" if share > 0.5 else "black", (left + cell / 2, top + cell / 2)
            draw.text(place, str(confusion[row, column]), fill=ink, font=font, anchor="mm")
    for number, name in enumerate(names):
        draw.text((margin - 6, margin + (number + 0.5) * cell), name, fill="black", font=font, anchor="rm")
    columns = Image.new("RGB", (side, margin), "white")
    upright = ImageDraw.Draw(columns)
    for number, name in enumerate(names):
        # written along the lower edge of what becomes the frame's top, when it is turned
        upright.text((6, (number + 0.5) * cell), name, fill="black", font=font, anchor="lm")
    turned = columns.rotate(90, expand=True).crop((0, side - margin, cell * len(names), side))
    image.paste(turned, (margin, 0))
    draw.text((6, margin - FONT_PIXELS), "true \\ predicted", fill="black", font=font, anchor="lm")
    written = io.BytesIO()
    image.save(written, "PNG")
    return written.getvalue()

"""What a person reads of a trained head: a card in Markdown, and its confusions as a drawing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np

from vidray.labels.metrics import Estimate, Ints, Metrics

CELL_PIXELS = 44
FONT_PIXELS = 14
NAME_CHARACTERS = 24
MOST_NUMBERED = 60
CHARACTER_PIXELS = 0.62 * FONT_PIXELS
"""The width of a character on average, as no font is at hand to be asked."""
LEAST_SEEN = 0.08

STYLE = f"""\
<style>
  text {{ font: {FONT_PIXELS - 1}px system-ui, sans-serif; dominant-baseline: central; }}
  .middle {{ text-anchor: middle; }} .end {{ text-anchor: end; }}
  .ink {{ fill: #16191d; }} .on {{ fill: #fff; }} .soft {{ fill: #5c6670; }}
  .none {{ fill: #eef1f3; }} .some {{ fill: #0f6f8f; }}
  @media (prefers-color-scheme: dark) {{
    .ink {{ fill: #e6eaed; }} .on {{ fill: #07171c; }} .soft {{ fill: #95a1ab; }}
    .none {{ fill: #1f252a; }} .some {{ fill: #58bdd8; }}
  }}
</style>"""
"""The colours of the page of a report."""
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

![confusion matrix](confusion.svg)

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


def confusion_svg(confusion: Ints, classes: Sequence[str]) -> bytes:
    """A drawing of a confusion matrix (classes, classes): rows are the true classes, fuller is a larger share.

    Dark or light as the page around it is, without scripts or fonts of its own.
    """
    names = [name if len(name) <= NAME_CHARACTERS else name[: NAME_CHARACTERS - 1] + "…" for name in classes]
    cell = CELL_PIXELS if len(names) <= MOST_NUMBERED else FONT_PIXELS + 2
    margin = round(max(map(len, names)) * CHARACTER_PIXELS) + 2 * FONT_PIXELS
    full = cell * len(names)
    drawn = [f'<rect class="none" x="{margin}" y="{margin}" width="{full}" height="{full}" rx="6"/>']
    shares = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    for row, column in np.argwhere(confusion).tolist():
        share, count = float(shares[row, column]), int(confusion[row, column])
        told = f"{classes[row]} taken for {classes[column]}: {count:,} ({share:.0%})"
        drawn += _cell(margin + column * cell, margin + row * cell, cell, share, told)
        if len(names) <= MOST_NUMBERED:
            place = f'x="{margin + (column + 0.5) * cell:g}" y="{margin + (row + 0.5) * cell:g}"'
            drawn.append(f'<text class="{"on" if share > 0.5 else "ink"} middle" {place}>{count}</text>')
    for number, name in enumerate(map(_xml, names)):
        at = margin + (number + 0.5) * cell
        drawn.append(f'<text class="ink end" x="{margin - 8}" y="{at:g}">{name}</text>')
        drawn.append(f'<text class="ink" transform="translate({at:g} {margin - 8}) rotate(-90)">{name}</text>')
    drawn.append(f'<text class="soft" x="4" y="{FONT_PIXELS}">true ↓ predicted →</text>')
    side = margin + full + FONT_PIXELS
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{side}" height="{side}" viewBox="0 0 {side} {side}">'
    return "\n".join([head, STYLE, *drawn, "</svg>\n"]).encode()


def _cell(left: int, top: int, side: int, share: float, told: str) -> list[str]:
    place = f'x="{left + 1}" y="{top + 1}" width="{side - 2}" height="{side - 2}" rx="3"'
    shown = f'opacity="{max(LEAST_SEEN, share):.2f}"'
    return [f'<rect class="some" {place} {shown}><title>{_xml(told)}</title></rect>']


def _xml(text: str) -> str:
    """A text as XML has it, which knows no control characters."""
    return escape("".join(one if one.isprintable() else "\ufffd" for one in text))

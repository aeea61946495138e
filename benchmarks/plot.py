"""Draws what end_to_end.py measured: processor seconds of each side for the same videos, as one SVG.

Usage: python benchmarks/plot.py RESULT.json ... -o docs/performance.svg      (RESULTs: what end_to_end.py prints)
"""

from __future__ import annotations

import argparse
import json
from html import escape
from pathlib import Path
from typing import Any

WIDTH, LABEL, ROW, BAR = 720, 250, 26, 16
COLOURS = {"vidray": "#2a6fbb", "own": "#9bbfe3"}
OTHER = "#b8b8b8"
NAMES = {
    "plain": "ceiling, plain float32",
    "own": "ceiling, vidray's own code",
    "loop": "one-process loop, float32",
    "ray-data": "plain Ray Data, float32",
    "daft": "Daft with UDFs, float32",
}


def bars(result: dict[str, Any]) -> list[tuple[str, str, float]]:
    """(side, label, processor seconds) of the videos by which both sizes of a run differ."""
    share = result["ratios"]["share"]
    found = []
    for side, label in {**NAMES, "vidray": f"vidray, {result['precision']}"}.items():
        if side in ("plain", "own") and side in result:
            cpu_s = (result[side]["decode_cpu_s"] + result[side]["network_cpu_s"]) * share
            found.append((side, label, cpu_s))
        elif side in result:
            found.append((side, label, result[side]["added_cpu_s"]))
    return sorted(found, key=lambda bar: bar[2])


def drawn(results: list[dict[str, Any]]) -> str:
    lines, y = [], 8
    for result in results:
        y += ROW
        title = f"{result['model']}: CPU-seconds, {result['videos']} videos"
        lines.append(f'<text x="8" y="{y}" font-weight="bold">{escape(title)}</text>')
        y += 10
        found = bars(result)
        most = max(cpu_s for _, _, cpu_s in found)
        for side, label, cpu_s in found:
            length = (WIDTH - LABEL - 70) * cpu_s / most
            lines += [
                f'<text x="{LABEL - 8}" y="{y + BAR - 3}" text-anchor="end">{escape(label)}</text>',
                f'<rect x="{LABEL}" y="{y}" width="{length:.1f}" height="{BAR}" fill="{COLOURS.get(side, OTHER)}"/>',
                f'<text x="{LABEL + length + 6:.1f}" y="{y + BAR - 3}">{cpu_s:.1f}</text>',
            ]
            y += ROW
    size = f'width="{WIDTH}" height="{y + 8}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="13">'
    return "\n".join([head, f'<rect {size} fill="white"/>', *lines, "</svg>", ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("results", nargs="+", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    options = parser.parse_args()
    results = [json.loads(path.read_text().splitlines()[-1]) for path in options.results]
    options.output.write_text(drawn(results))
    print(json.dumps({"output": str(options.output), "results": len(results)}))


if __name__ == "__main__":
    main()

"""Draws what end_to_end.py measured as one SVG: seconds of each side for the same videos, start-up in a lighter shade.

Usage: python benchmarks/plot.py RESULT.json ... -o docs/performance.svg      (RESULTs: what end_to_end.py prints)
"""

from __future__ import annotations

import argparse
import json
from html import escape
from pathlib import Path
from typing import Any

WIDTH, LABEL, ROW, BAR = 720, 250, 26, 16
COLOURS = {"vidray": "#2a6fbb", "own": "#9bbfe3", "shared": "#9bbfe3"}
OTHER = "#b8b8b8"
NAMES = {
    "plain": "ceiling, plain float32",
    "own": "ceiling, vidray's own code",
    "shared": "the same on all cores at once",
    "loop": "one-process loop, float32",
    "ray-data": "plain Ray Data, float32",
    "daft": "Daft with UDFs, float32",
}


def bars(result: dict[str, Any]) -> list[tuple[str, str, float, float]]:
    """(side, label, steady seconds, seconds with start-up), the shortest first; a ceiling has no start-up."""
    found = []
    for side, label in {**NAMES, "vidray": f"vidray, {result['precision']}"}.items():
        if side in result:
            steady_s = result[side].get("steady_s", result[side].get("ceiling_s"))
            found.append((side, label, steady_s, result[side]["wall_s"] if "steady_s" in result[side] else steady_s))
    return sorted(found, key=lambda bar: bar[3])


def drawn(results: list[dict[str, Any]]) -> str:
    lines, y = [], 8
    for result in results:
        y += ROW
        title = f"{result['model']}: seconds, {result['videos']} videos"
        lines.append(f'<text x="8" y="{y}" font-weight="bold">{escape(title)}</text>')
        y += 10
        found = bars(result)
        scale = (WIDTH - LABEL - 110) / max(whole_s for *_, whole_s in found)
        for side, label, steady_s, whole_s in found:
            fill = f'fill="{COLOURS.get(side, OTHER)}"'
            value = f"{steady_s:.0f}" if whole_s == steady_s else f"{steady_s:.0f}, {whole_s:.0f} in all"
            lines += [
                f'<text x="{LABEL - 8}" y="{y + BAR - 3}" text-anchor="end">{escape(label)}</text>',
                f'<rect x="{LABEL}" y="{y}" width="{whole_s * scale:.1f}" height="{BAR}" {fill} opacity="0.4"/>',
                f'<rect x="{LABEL}" y="{y}" width="{steady_s * scale:.1f}" height="{BAR}" {fill}/>',
                f'<text x="{LABEL + whole_s * scale + 6:.1f}" y="{y + BAR - 3}">{value}</text>',
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

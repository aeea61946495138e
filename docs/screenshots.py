"""Make the screenshots of docs/images/ from the demo's videos: needs the extra `demo`, and Debian's chromium.

python docs/screenshots.py
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

import vidray
from vidray.demo import demo_corpus

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

IMAGES = ROOT / "docs/images"
EXTRACTORS = ["efficientnet_lite0", "yamnet", "quality", "thumbnails"]
SETTLE = "new Promise((done) => setTimeout(done, 700))"
QUALITY = 70
OF_QUALITY = "group.querySelector('summary').textContent === 'quality'"


def main() -> None:
    from chromium import chromium

    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="vidray-") as folder:
        videos, store, report = (Path(folder) / name for name in ("videos", "store", "report"))
        # a place of their own, as the pages show where files are
        shutil.copytree(demo_corpus(), videos, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
        vidray.extract(videos, store, extractors=EXTRACTORS, planner=vidray.FixedStride(2.0))
        vidray.build_index(store, extractor="efficientnet_lite0")
        vidray.write_report(store, report)
        with chromium(Path(folder) / "profile") as page:
            page.window(1280, 760)
            page.prefer("light")
            page.open(f"file://{report}/index.html#/overview")
            page.run(SETTLE)
            page.screenshot(IMAGES / "overview.webp", kind="webp", quality=QUALITY)
            page.run("location.hash = '#/clips'")
            page.run(SETTLE)
            columns = page.run("vidray.manifest.columns.map((one) => one.name)")
            page.run(f"vidray.filters.set({columns.index('brightness')}, {{low: 0.4, high: 0.62}})")
            page.run(f"for (const group of document.querySelectorAll('#facets details')) group.open = {OF_QUALITY}")
            page.run(SETTLE)
            left, top, width, height = page.box(".clip:nth-child(2) .frame")
            page.mouse("mouseMoved", left + 0.6 * width, top + height / 2)
            page.run(SETTLE)
            page.screenshot(IMAGES / "clips.webp", kind="webp", quality=QUALITY)
            page.prefer("dark")
            page.run("location.hash = `#/clip/${vidray.clips.of(5).id}`")
            page.run(SETTLE)
            page.run("vidray.view.show(1)")
            page.run(SETTLE)
            page.screenshot(IMAGES / "clip.webp", kind="webp", quality=QUALITY)
    print(f"{sum(file.stat().st_size for file in IMAGES.iterdir()):,} bytes in {IMAGES}")


if __name__ == "__main__":
    main()

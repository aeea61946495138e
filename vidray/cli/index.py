"""`vidray index`: build the search index of a feature table, or bring it up to date."""

from __future__ import annotations

import argparse
from typing import Any

from vidray.cli.arguments import command, count, say, tell
from vidray.wording import counted

LEFT_OUT = {
    "null": "without an embedding, as of no frames or no sound",
    "zero": "of zeros alone",
    "not_finite": "with a value that is no number",
    "too_large": "with a value too large for 16 bits",
}
"""In words why a clip cannot be compared."""


def add(commands: Any) -> None:
    parser = command(commands, "index", run_index, "build the search index of a feature table, or bring it up to date")
    parser.add_argument("store", metavar="STORE")
    parser.add_argument("-x", "--extractor", required=True, metavar="NAME")
    parser.add_argument("--rebuild", action="store_true", help="build it anew, whatever is there")
    parser.add_argument(
        "--metric", choices=["cosine", "inner_product"], help="how clips are compared (as before; cosine at first)"
    )
    parser.add_argument(
        "--factory",
        metavar="TYPE",
        help="SQfp16, IVF<lists>,SQfp16 or IVF<lists>,RaBitQ (by default the number of clips decides)",
    )
    parser.add_argument("--workers", type=count, metavar="N", help="tasks of one thread at a time (all cores)")
    parser.add_argument("--ray-address", metavar="ADDR", help="a running Ray cluster (else RAY_ADDRESS, else local)")


def run_index(arguments: argparse.Namespace) -> int:
    from vidray.pipeline import build_index
    from vidray.retrieval.indexing import index_words

    words = index_words(arguments.store, arguments.extractor, rebuild=arguments.rebuild)
    if words is not None:
        info_of_words, is_new = words
        what = "segments of speech" if info_of_words.modality == "speech" else "lines on screen"
        tell(f"indexed the words of {info_of_words.rows:,} {what}" + ("" if is_new else ": nothing has changed"))
        if not info_of_words.has_meaning:
            say("by words alone: the extra text adds their meaning")
        return 0
    info = build_index(
        arguments.store,
        extractor=arguments.extractor,
        metric=arguments.metric,
        factory=arguments.factory,
        rebuild=arguments.rebuild,
        workers=arguments.workers,
        ray_address=arguments.ray_address,
        say=say,
    )
    changed = f"{info.added:,} added, {info.retired:,} retired" if info.added or info.retired else "nothing has changed"
    clips = f"{counted(info.rows, 'clip')} of {arguments.extractor}"
    tell(f"indexed {clips} ({info.factory}, {info.dim} dimensions): {changed}")
    recalls = [f"{one.recall_at_10:.3f}{_with_filter(one.kept)}" for one in info.measured]
    tell(f"recall at 10: {', '.join(recalls)}; a search looks into {info.nprobe:,} of {counted(info.nlist, 'list')}")
    if left_out := sum(info.left_out.values()):
        reasons = ", ".join(f"{rows:,} {LEFT_OUT[reason]}" for reason, rows in info.left_out.items() if rows)
        tell(f"left out {counted(left_out, 'clip')}: {reasons}")
    return 0


def _with_filter(kept: float) -> str:
    return "" if kept == 1 else f" of {kept:.0%}"

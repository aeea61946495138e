"""The command line: arguments, progress and results. Holds no logic of how anything is done."""

from __future__ import annotations

import argparse
import atexit
import contextlib
import dataclasses
import os
import sys
from collections.abc import Sequence
from typing import Any

from vidray.cli.arguments import add_json, command, count, positive, print_json, span
from vidray.cli.labels import add_label, add_training
from vidray.errors import UsageError, VidrayError

FAILURES_NAMED = 10
PIXELS_A_CPU_SECOND = 150e6
"""A rough speed of decoding H.264 on one core, for the estimate of `plan --dry-run`."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status: 0 done, 1 failed, 2 wrong usage."""
    arguments = build_parser().parse_args(argv)
    try:
        status: int = arguments.run(arguments)
        sys.stdout.flush()
        return status
    except KeyboardInterrupt:
        print("vidray: interrupted; what is done is kept, run the same command again to go on", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (VidrayError, OSError) as e:
        if arguments.debug:
            raise
        print(f"vidray: {' '.join(str(e).split())}", file=sys.stderr)
        return 2 if isinstance(e, UsageError) else 1


def run() -> None:
    """`main` as a process of its own, with its exit status.

    Leaves by `os._exit` once all exit functions are done: native libraries abort now and then as they are taken down,
    Ray's on a busy machine, and a run that is done must not end with SIGABRT.
    """
    status = 1

    def leave() -> None:
        with contextlib.suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)

    # the first to be registered is the last to be called
    atexit.register(leave)
    if sys.argv[1:2] in (["extract"], ["plan"]):
        # others may run extractors that are not vidray's in this process
        from vidray.arrow import without_pandas

        without_pandas()
    try:
        status = main()
    except SystemExit as e:
        status = e.code if isinstance(e.code, int) else 2
        raise


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="vidray", description="Videos to Parquet feature tables and a search index.")
    parser.add_argument("--version", action="version", version=f"%(prog)s {_version()}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    plan = command(commands, "plan", run_plan, "list and probe a corpus; cut it into clips")
    _add_corpus(plan)
    plan.add_argument("--dry-run", action="store_true", help="print what would be planned; write nothing")

    extract = command(
        commands, "extract", run_extract, "fill feature tables; run again to resume or to add an extractor"
    )
    _add_corpus(extract)
    extract.add_argument(
        "-x", "--extractor", action="append", required=True, metavar="NAME", help="see `vidray models`"
    )
    extract.add_argument("--fps", type=positive, default=2.0, help="frames a second for frame extractors (2)")
    extract.add_argument(
        "--keyframes", action="store_true", help="decode keyframes alone for them, at most --fps a second"
    )
    extract.add_argument("--precision", choices=["float32", "bfloat16"], default="float32", help="of the networks")
    extract.add_argument("--per-frame", action="store_true", help="keep each frame's embedding too")
    extract.add_argument("--min-score", type=float, metavar="S", help="what boxes must have more of (0.5; faces 0.9)")
    extract.add_argument("--masks", action="store_true", help="keep the masks of segmentation networks too")
    extract.add_argument("--retry-failed", action="store_true", help="do what failed in earlier runs again")
    extract.add_argument("--as", dest="table", metavar="NAME", help="the table's name, where not the extractor's")
    extract.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto", help="where the networks run")

    add_label(commands)
    add_training(commands)

    index = command(commands, "index", run_index, "build the search index of a feature table")
    index.add_argument("store", metavar="STORE")
    index.add_argument("-x", "--extractor", required=True, metavar="NAME")

    search = command(commands, "search", run_search, "find clips by an example, or by words")
    search.add_argument("store", metavar="STORE")
    query = search.add_mutually_exclusive_group(required=True)
    query.add_argument("--clip", metavar="ID", help="a clip of the store")
    query.add_argument("--video", metavar="FILE", help="any video")
    query.add_argument("--image", metavar="FILE", help="any frame")
    query.add_argument("--audio", metavar="FILE", help="any audio")
    query.add_argument("--text", help='words, such as "a dog"')
    search.add_argument("--at", type=span, metavar="START-END", help="seconds of --video")
    search.add_argument("-x", "--extractor", metavar="NAME", help="whose index, where there are several")
    search.add_argument("-k", type=count, default=10, help="how many hits (10)")
    search.add_argument("--where", metavar="EXPR", help='an SQL condition on the clips, such as "duration_s > 60"')
    add_json(search)

    verify = command(commands, "verify", run_verify, "account for every planned clip")
    verify.add_argument("store", metavar="STORE")
    add_json(verify)

    models = command(commands, "models", run_models, "list the extractors")
    add_json(models)

    demo = command(commands, "demo", run_demo, "extract, index and search real videos that come with packages")
    demo.add_argument("store", nargs="?", default="vidray-demo", metavar="STORE")
    return parser


def run_plan(arguments: argparse.Namespace) -> int:
    from vidray.pipeline import Progress, estimate, plan

    options: dict[str, Any] = {
        "planner": _planner(arguments),
        "limit": arguments.limit,
        "ray_address": arguments.ray_address,
        "progress": Progress(),
    }
    if arguments.dry_run and (arguments.refresh or arguments.prune):
        raise UsageError("--dry-run writes nothing: leave --refresh and --prune out")
    if not arguments.dry_run:
        plan(arguments.corpus, arguments.store, refresh=arguments.refresh, prune=arguments.prune, **options)
        _say_failures(arguments.store, ())
        if arguments.json:
            print_json({"store": arguments.store})
            return 0
        print(
            f"planned into {arguments.store}; fill it with: vidray extract {arguments.corpus} {arguments.store} -x NAME"
        )
        return 0
    found = estimate(arguments.corpus, **options)
    cpu_s = found.decode_pixels / PIXELS_A_CPU_SECOND
    if arguments.json:
        counts = {"videos": found.videos, "videos_failed": len(found.failures), "clips": found.clips}
        print_json({**counts, "video_s": found.video_s, "decode_cpu_s": cpu_s})
        return 0
    print(f"videos        {found.videos:,}")
    print(f"hours         {found.video_s / 3600:,.2f}")
    print(f"clips         {found.clips:,}")
    print(f"decode work   about {cpu_s / 3600:,.2f} CPU hours at most ({found.decode_pixels / 1e9:,.1f} gigapixels)")
    print(f"unreadable    {len(found.failures):,}")
    for uri, message in found.failures:
        print(f"  {uri}: {message}")
    return 0


def run_extract(arguments: argparse.Namespace) -> int:
    from vidray.extractors import resolve
    from vidray.pipeline import Progress, extract, name_tables

    names = ("fps", "keyframes", "precision", "per_frame", "min_score", "masks")
    options = {name: getattr(arguments, name) for name in names}
    extractors = [resolve(name, **options) for name in arguments.extractor]
    defaults = {"keyframes": False, "precision": "float32", "per_frame": False, "min_score": None, "masks": False}
    _say_unused(extractors, [name for name, default in defaults.items() if options[name] != default])
    if arguments.table is not None and len(extractors) > 1:
        raise UsageError("--as names one table: give one -x with it")
    tables = name_tables(extractors if arguments.table is None else {arguments.table: extractors[0]})
    summary = extract(
        arguments.corpus,
        arguments.store,
        extractors=tables,
        planner=_planner(arguments),
        limit=arguments.limit,
        retry_failed=arguments.retry_failed,
        refresh=arguments.refresh,
        prune=arguments.prune,
        device=arguments.device,
        ray_address=arguments.ray_address,
        progress=Progress(),
    )
    _say_failures(arguments.store, list(tables))
    _say_summary(summary, arguments.store)
    if arguments.json:
        print_json(dataclasses.asdict(summary))
    return 0


def run_index(arguments: argparse.Namespace) -> int:
    from vidray.retrieval.search import build_index

    info = build_index(arguments.store, extractor=arguments.extractor)
    print(f"indexed {info.rows:,} clips of {arguments.extractor} ({info.factory}, {info.dim} dimensions)")
    return 0


def run_search(arguments: argparse.Namespace) -> int:
    from vidray.retrieval.search import search

    result = search(
        arguments.store,
        clip=arguments.clip,
        video=arguments.video,
        at=arguments.at,
        image=arguments.image,
        audio=arguments.audio,
        text=arguments.text,
        extractor=arguments.extractor,
        k=arguments.k,
        where=arguments.where,
    )
    for note in result.notes:
        print(note, file=sys.stderr)
    if arguments.json:
        answer = dataclasses.asdict(result)
        del answer["notes"]
        print_json(answer)
        return 0
    for rank, hit in enumerate(result.hits, start=1):
        where = "" if hit.start_s is None else f"{hit.uri}  {hit.start_s:g}-{hit.end_s:g} s  "
        print(f"{rank:3d}  {hit.score:.4f}  {where}{hit.clip_id}")
    return 0


def run_verify(arguments: argparse.Namespace) -> int:
    from vidray.store.verification import verify

    found = verify(arguments.store)
    for note in found.notes:
        print(note, file=sys.stderr)
    counts = dataclasses.asdict(found)
    del counts["notes"]
    if arguments.json:
        print_json(counts)
    else:
        print("  ".join(f"{name} {value:,}" for name, value in counts.items()))
    return 0 if found.is_whole else 1


def run_models(arguments: argparse.Namespace) -> int:
    from vidray.extractors import catalog

    models = catalog()
    if arguments.json:
        print_json([dataclasses.asdict(model) for model in models])
        return 0
    for model in models:
        state = "" if model.available else "  (not available here)"
        if model.bfloat16_cosine is not None:
            state = f"  bfloat16: cosine >= {model.bfloat16_cosine:g} with float32{state}"
        dim = "-" if model.dim is None else model.dim
        print(f"{model.name:40} {model.kind:12} {dim:>5}  {model.weights}{state}")
    return 0


def run_demo(arguments: argparse.Namespace) -> int:
    from vidray.demo import demo

    demo(arguments.store)
    return 0


def _add_corpus(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("corpus", metavar="CORPUS", help="a file, folder, glob or manifest; a path or URL")
    parser.add_argument("store", metavar="STORE", help="a folder for the tables; a path or URL")
    parser.add_argument("--clip-length", type=float, default=10.0, metavar="S", help="seconds (10)")
    parser.add_argument("--shots", action="store_true", help="one clip a shot, of the clip length at most")
    parser.add_argument("--stride", type=float, metavar="S", help="seconds from clip to clip (the clip length)")
    parser.add_argument("--limit", type=count, metavar="N", help="only the first N videos of the listing")
    parser.add_argument("--refresh", action="store_true", help="look at every file again, take changed ones in anew")
    parser.add_argument("--prune", action="store_true", help="remove the rows of videos that the corpus no longer has")
    parser.add_argument("--ray-address", metavar="ADDR", help="a running Ray cluster (else RAY_ADDRESS, else local)")
    add_json(parser)


def _planner(arguments: argparse.Namespace) -> Any:
    from vidray.planning import FixedStride, Shots

    if arguments.shots:
        if arguments.stride is not None:
            raise UsageError("--stride is for clips of one length; --shots cuts where the video does")
        return Shots(arguments.clip_length)
    return FixedStride(arguments.clip_length, stride_s=arguments.stride)


def _say_summary(summary: Any, store: str) -> None:
    print(
        f"{summary.videos:,} videos ({summary.videos_failed:,} unreadable), {summary.clips:,} clips: "
        f"{summary.done:,} done, {summary.failed:,} failed, {summary.skipped:,} skipped as done before; "
        f"{summary.wall_s:.1f} s, {summary.x_realtime:.1f}x real time; tables in {store}",
        file=sys.stderr,
    )


def _say_unused(extractors: Sequence[Any], options: Sequence[str]) -> None:
    """Name the extractors that do not have an option that was asked for."""
    for option in options:
        without = [extractor.name for extractor in extractors if not hasattr(extractor, option)]
        if without:
            print(f"vidray: --{option.replace('_', '-')} changes nothing for {', '.join(without)}", file=sys.stderr)


def _say_failures(store: str, tables: Sequence[str]) -> None:
    """Name the first files and clips that have rows in `errors/`."""
    from vidray.pipeline import failures

    lines, count = failures(store, tables, most=FAILURES_NAMED)
    for line in lines:
        print(f"  cannot use {line}", file=sys.stderr)
    if count > len(lines):
        print(f"  and {count - len(lines):,} more, all in {store}/errors/", file=sys.stderr)


def _version() -> str:
    import vidray

    return str(vidray.__version__)

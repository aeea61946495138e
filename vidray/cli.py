"""The command line: arguments, progress and results. Holds no logic of how anything is done."""

from __future__ import annotations

import argparse
import atexit
import contextlib
import dataclasses
import json
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

from vidray.errors import UsageError, VidrayError

FAILURES_NAMED = 10
ZERO_SHOT_TOP = 10
"""Labels of a clip: every text has some score, so that all of them would be as many rows as texts times clips."""
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
    try:
        status = main()
    except SystemExit as e:
        status = e.code if isinstance(e.code, int) else 2
        raise


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="vidray", description="Videos to Parquet feature tables and a search index.")
    parser.add_argument("--version", action="version", version=f"%(prog)s {_version()}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    plan = _command(commands, "plan", run_plan, "list and probe a corpus; cut it into clips")
    _add_corpus(plan)
    plan.add_argument("--dry-run", action="store_true", help="print what would be planned; write nothing")

    extract = _command(
        commands, "extract", run_extract, "fill feature tables; run again to resume or to add an extractor"
    )
    _add_corpus(extract)
    extract.add_argument(
        "-x", "--extractor", action="append", required=True, metavar="NAME", help="see `vidray models`"
    )
    extract.add_argument("--fps", type=_positive, default=2.0, help="pictures a second for frame extractors (2)")
    extract.add_argument(
        "--keyframes", action="store_true", help="decode keyframes alone for them, at most --fps a second"
    )
    extract.add_argument("--precision", choices=["float32", "bfloat16"], default="float32", help="of the networks")
    extract.add_argument("--per-frame", action="store_true", help="keep each picture's embedding too")
    extract.add_argument("--min-score", type=float, metavar="S", help="what boxes must have more of (0.5; faces 0.9)")
    extract.add_argument("--masks", action="store_true", help="keep the masks of segmentation networks too")
    extract.add_argument("--retry-failed", action="store_true", help="do what failed in earlier runs again")
    extract.add_argument("--as", dest="table", metavar="NAME", help="the table's name, where not the extractor's")
    extract.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto", help="where the networks run")

    _add_label(commands)
    _add_training(commands)

    index = _command(commands, "index", run_index, "build the search index of a feature table")
    index.add_argument("store", metavar="STORE")
    index.add_argument("-x", "--extractor", required=True, metavar="NAME")

    search = _command(commands, "search", run_search, "find clips by an example, or by words")
    search.add_argument("store", metavar="STORE")
    query = search.add_mutually_exclusive_group(required=True)
    query.add_argument("--clip", metavar="ID", help="a clip of the store")
    query.add_argument("--video", metavar="FILE", help="any video")
    query.add_argument("--image", metavar="FILE", help="any picture")
    query.add_argument("--audio", metavar="FILE", help="any sound")
    query.add_argument("--text", help='words, such as "a dog"')
    search.add_argument("--at", type=_span, metavar="START-END", help="seconds of --video")
    search.add_argument("-x", "--extractor", metavar="NAME", help="whose index, where there are several")
    search.add_argument("-k", type=_count, default=10, help="how many hits (10)")
    search.add_argument("--where", metavar="EXPR", help='an SQL condition on the clips, such as "duration_s > 60"')
    _add_json(search)

    verify = _command(commands, "verify", run_verify, "account for every planned clip")
    verify.add_argument("store", metavar="STORE")
    _add_json(verify)

    models = _command(commands, "models", run_models, "list the extractors")
    _add_json(models)

    demo = _command(commands, "demo", run_demo, "extract, index and search real videos that come with packages")
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
            _print_json({"store": arguments.store})
            return 0
        print(
            f"planned into {arguments.store}; fill it with: vidray extract {arguments.corpus} {arguments.store} -x NAME"
        )
        return 0
    found = estimate(arguments.corpus, **options)
    cpu_s = found.decode_pixels / PIXELS_A_CPU_SECOND
    if arguments.json:
        counts = {"videos": found.videos, "videos_failed": len(found.failures), "clips": found.clips}
        _print_json({**counts, "video_s": found.video_s, "decode_cpu_s": cpu_s})
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
    _say_unused(extractors, [name for name in ("keyframes", "per_frame", "min_score", "masks") if options[name]])
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
        _print_json(dataclasses.asdict(summary))
    return 0


def run_label_classes(arguments: argparse.Namespace) -> int:
    from vidray.labeling import class_labeler

    return _label(arguments, class_labeler(arguments.store, extractor=arguments.extractor))


def run_label_zero_shot(arguments: argparse.Namespace) -> int:
    from vidray.labeling import read_prompts, zero_shot_labeler

    prompts = read_prompts(arguments.prompts_file) if arguments.prompts is None else arguments.prompts
    return _label(arguments, zero_shot_labeler(arguments.store, prompts, extractor=arguments.extractor))


def run_label_head(arguments: argparse.Namespace) -> int:
    from vidray.heads import open_head

    return _label(arguments, open_head(arguments.store, arguments.name), suggest=arguments.suggest)


def _label(arguments: argparse.Namespace, labeler: Any, *, suggest: int | None = None) -> int:
    from vidray.labeling import label

    options = {"name": arguments.name, "threshold": arguments.threshold, "top": arguments.top}
    summary = label(arguments.store, labeler, say=_say, **options)
    print(
        f"labeled {summary.labeled:,} of {summary.clips:,} clips from {summary.features} "
        f"({summary.human:,} by people, {summary.without_features:,} without features); "
        f"{summary.labels:,} labels in {arguments.store}/labels/{summary.name}",
        file=sys.stderr,
    )
    answer = dataclasses.asdict(summary)
    if suggest is not None:
        answer["suggestions"] = _suggest(arguments, labeler, suggest)
    if arguments.json:
        _print_json(answer)
    return 0


def _suggest(arguments: argparse.Namespace, labeler: Any, count: int) -> list[dict[str, Any]]:
    """Print the clips worth labeling next, but for --json, which has them in its object."""
    from vidray.heads import suggest

    found = suggest(arguments.store, labeler, count=count)
    if not arguments.json:
        for clip in found:
            print(f"{clip.clip_id}  {clip.uri}  {clip.start_s:g}-{clip.end_s:g} s  {clip.label} {clip.score:.2f}")
    return [dataclasses.asdict(clip) for clip in found]


def run_train(arguments: argparse.Namespace) -> int:
    from vidray.pipeline import train

    summary = train(
        arguments.store,
        arguments.labels,
        name=arguments.name,
        head=arguments.head,
        extractor=arguments.extractor,
        folds=arguments.folds,
        seed=arguments.seed,
        ray_address=arguments.ray_address,
        say=_say,
    )
    place = f"{arguments.store}/heads/{summary.name}"
    lost = f" ({summary.without_features:,} more have no features)" if summary.without_features else ""
    print(
        f"trained on {summary.clips:,} clips of {summary.videos:,} videos{lost}; card and confusions in {place}",
        file=sys.stderr,
    )
    if arguments.json:
        _print_json(dataclasses.asdict(summary))
        return 0
    for name, title in (("accuracy", "accuracy"), ("macro_f1", "macro F1")):
        value, low, high = (summary.metrics[f"{name}{bound}"] for bound in ("", "_low", "_high"))
        print(f"{title:10} {value:.3f}  ({low:.3f} to {high:.3f}, by {summary.folds} folds of videos)")
    return 0


def run_import(arguments: argparse.Namespace) -> int:
    from vidray.annotations import import_labels

    summary = import_labels(arguments.store, arguments.labels, name=arguments.name, say=_say)
    if arguments.json:
        _print_json(dataclasses.asdict(summary))
    else:
        print(f"{summary.labels:,} labels of {summary.clips:,} clips in {arguments.store}/labels/{summary.name}")
    return 0


def run_export(arguments: argparse.Namespace) -> int:
    from vidray.exports import export

    summary = export(arguments.store, arguments.table, arguments.output, to=arguments.to)
    if summary.left_out:
        print(f"left out, as CSV has no lists: {', '.join(summary.left_out)}", file=sys.stderr)
    if arguments.json:
        _print_json(dataclasses.asdict(summary))
    else:
        print(f"{summary.rows:,} {'rows' if arguments.to == 'csv' else 'annotations'} in {summary.path}")
    return 0


def run_index(arguments: argparse.Namespace) -> int:
    from vidray.retrieval import build_index

    info = build_index(arguments.store, extractor=arguments.extractor)
    print(f"indexed {info.rows:,} clips of {arguments.extractor} ({info.factory}, {info.dim} dimensions)")
    return 0


def run_search(arguments: argparse.Namespace) -> int:
    from vidray.retrieval import search

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
        _print_json(answer)
        return 0
    for rank, hit in enumerate(result.hits, start=1):
        where = "" if hit.start_s is None else f"{hit.uri}  {hit.start_s:g}-{hit.end_s:g} s  "
        print(f"{rank:3d}  {hit.score:.4f}  {where}{hit.clip_id}")
    return 0


def run_verify(arguments: argparse.Namespace) -> int:
    from vidray.verification import verify

    found = verify(arguments.store)
    for note in found.notes:
        print(note, file=sys.stderr)
    counts = dataclasses.asdict(found)
    del counts["notes"]
    if arguments.json:
        _print_json(counts)
    else:
        print("  ".join(f"{name} {value:,}" for name, value in counts.items()))
    return 0 if found.is_whole else 1


def run_models(arguments: argparse.Namespace) -> int:
    from vidray.extractors import catalog

    models = catalog()
    if arguments.json:
        _print_json([dataclasses.asdict(model) for model in models])
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


def _command(
    commands: Any, name: str, run: Callable[[argparse.Namespace], int], summary: str
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(name, help=summary, description=summary.capitalize() + ".")
    parser.set_defaults(run=run)
    parser.add_argument("--debug", action="store_true", help="show where an error comes from")
    return parser


def _add_corpus(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("corpus", metavar="CORPUS", help="a file, folder, glob or manifest; a path or URL")
    parser.add_argument("store", metavar="STORE", help="a folder for the tables; a path or URL")
    parser.add_argument("--clip-length", type=float, default=10.0, metavar="S", help="seconds (10)")
    parser.add_argument("--shots", action="store_true", help="one clip a shot, of the clip length at most")
    parser.add_argument("--stride", type=float, metavar="S", help="seconds from clip to clip (the clip length)")
    parser.add_argument("--limit", type=_count, metavar="N", help="only the first N videos of the listing")
    parser.add_argument("--refresh", action="store_true", help="look at every file again, take changed ones in anew")
    parser.add_argument("--prune", action="store_true", help="remove the rows of videos that the corpus no longer has")
    parser.add_argument("--ray-address", metavar="ADDR", help="a running Ray cluster (else RAY_ADDRESS, else local)")
    _add_json(parser)


def _add_label(commands: Any) -> None:
    label: argparse.ArgumentParser = commands.add_parser("label", help="label clips and videos from their features")
    label.add_argument("store", metavar="STORE")
    labelers = label.add_subparsers(metavar="LABELER", required=True)
    classes = _command(labelers, "classes", run_label_classes, "the classes that a network found")
    zero_shot = _command(labelers, "zero-shot", run_label_zero_shot, "labels in words of your own")
    prompts = zero_shot.add_mutually_exclusive_group(required=True)
    prompts.add_argument("--prompts", nargs="+", metavar="TEXT", help='the labels, such as "a dog" "traffic"')
    prompts.add_argument("--prompts-file", metavar="FILE", help="a text file of one label a line")
    for labeler in (classes, zero_shot):
        labeler.add_argument("-x", "--extractor", metavar="NAME", help="whose table, where there are several")
        labeler.add_argument("--name", help="of the labels (the labeler and its table)")
        _add_labels(labeler, top=ZERO_SHOT_TOP if labeler is zero_shot else None)
    head = _command(labelers, "head", run_label_head, "what a trained head says; see train")
    head.add_argument("--name", required=True, help="of the head, and of its labels")
    head.add_argument("--suggest", type=_count, metavar="N", help="print the N clips that are worth labeling next")
    _add_labels(head)


def _add_training(commands: Any) -> None:
    """Labels of people: to learn from them, to take them in, to give them out."""
    columns = "a CSV file: clip_id,label or uri,label or uri,start_s,end_s,label"
    train = _command(commands, "train", run_train, "train a head on labeled clips; label the others with it")
    train.add_argument("store", metavar="STORE")
    train.add_argument("labels", metavar="LABELS.csv", help=columns)
    train.add_argument("--head", choices=["linear", "gru"], required=True, help="on a clip as a whole, or in time")
    train.add_argument("--name", required=True, help="of the head")
    train.add_argument("-x", "--extractor", metavar="NAME", help="whose table, where there are several")
    train.add_argument("--folds", type=_count, default=5, metavar="N", help="of the cross-validation (5)")
    train.add_argument("--seed", type=int, default=0, metavar="N", help="of splits and training (0)")
    train.add_argument("--ray-address", metavar="ADDR", help="a running Ray cluster (else RAY_ADDRESS, else local)")
    _add_json(train)

    taken = _command(commands, "import", run_import, "take people's labels in; they stand above a model's")
    taken.add_argument("store", metavar="STORE")
    taken.add_argument("labels", metavar="LABELS.csv", help=columns)
    taken.add_argument("--name", required=True, help="of the labels")
    _add_json(taken)

    export = _command(commands, "export", run_export, "write a table as CSV, or boxes and masks as COCO")
    export.add_argument("store", metavar="STORE")
    export.add_argument("table", metavar="TABLE", help="such as labels/NAME, video_labels/NAME, features/NAME")
    export.add_argument("--to", choices=["csv", "coco"], required=True)
    export.add_argument("-o", "--output", metavar="PATH", required=True, help="a path or URL")
    _add_json(export)


def _add_labels(parser: argparse.ArgumentParser, *, top: int | None = None) -> None:
    """What all labelers take."""
    parser.add_argument("--threshold", type=float, metavar="SCORE", help="keep labels that score no less")
    best = f"keep the best N labels of a clip ({top or 'all'})"
    parser.add_argument("--top", type=_count, default=top, metavar="N", help=best)
    _add_json(parser)


def _add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="one JSON object as the last line of standard output")


def _planner(arguments: argparse.Namespace) -> Any:
    from vidray.planners import FixedStride, Shots

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


def _say(line: str) -> None:
    print(line, file=sys.stderr)


def _print_json(value: object) -> None:
    print(json.dumps(value))


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"must be > 0, got {text}")
    return value


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {text}")
    return value


def _span(text: str) -> tuple[float, float]:
    start, dash, end = text.partition("-")
    try:
        span = float(start), float(end)
    except ValueError:
        dash = ""
    if not dash or not 0 <= span[0] < span[1]:
        raise argparse.ArgumentTypeError(f"must be START-END in seconds, such as 12.5-20, got {text}")
    return span


def _version() -> str:
    import vidray

    return str(vidray.__version__)


if __name__ == "__main__":
    run()

"""The commands of labels: label, train, import and export."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from typing import Any

from vidray.cli.arguments import add_json, command, count, print_json, say

ZERO_SHOT_TOP = 10
"""Labels of a clip: every text has some score, so that all of them would be as many rows as texts times clips."""


def add_label(commands: Any) -> None:
    label: argparse.ArgumentParser = commands.add_parser("label", help="label clips and videos from their features")
    label.add_argument("store", metavar="STORE")
    labelers = label.add_subparsers(metavar="LABELER", required=True)
    classes = command(labelers, "classes", run_label_classes, "the classes that a network found")
    zero_shot = command(labelers, "zero-shot", run_label_zero_shot, "labels in words of your own")
    prompts = zero_shot.add_mutually_exclusive_group(required=True)
    prompts.add_argument("--prompts", nargs="+", metavar="TEXT", help='the labels, such as "a dog" "traffic"')
    prompts.add_argument("--prompts-file", metavar="FILE", help="a text file of one label a line")
    for labeler in (classes, zero_shot):
        labeler.add_argument("-x", "--extractor", metavar="NAME", help="whose table, where there are several")
        labeler.add_argument("--name", help="of the labels (the labeler and its table)")
        _add_labels(labeler, top=ZERO_SHOT_TOP if labeler is zero_shot else None)
    head = command(labelers, "head", run_label_head, "what a trained head says; see train")
    head.add_argument("--name", required=True, help="of the head, and of its labels")
    head.add_argument("--suggest", type=count, metavar="N", help="print the N clips that are worth labeling next")
    _add_labels(head)


def add_training(commands: Any) -> None:
    """Labels of people: to learn from them, to take them in, to give them out."""
    columns = "a CSV file: clip_id,label or uri,label or uri,start_s,end_s,label"
    train = command(commands, "train", run_train, "train a head on labeled clips; label the others with it")
    train.add_argument("store", metavar="STORE")
    train.add_argument("labels", metavar="LABELS.csv", help=columns)
    train.add_argument("--head", choices=["linear", "gru"], required=True, help="on a clip as a whole, or in time")
    train.add_argument("--name", required=True, help="of the head")
    train.add_argument("-x", "--extractor", metavar="NAME", help="whose table, where there are several")
    train.add_argument("--folds", type=count, default=5, metavar="N", help="of the cross-validation (5)")
    train.add_argument("--seed", type=int, default=0, metavar="N", help="of splits and training (0)")
    train.add_argument("--ray-address", metavar="ADDR", help="a running Ray cluster (else RAY_ADDRESS, else local)")
    add_json(train)

    taken = command(commands, "import", run_import, "take people's labels in; they stand above a model's")
    taken.add_argument("store", metavar="STORE")
    taken.add_argument("labels", metavar="LABELS.csv", help=columns)
    taken.add_argument("--name", required=True, help="of the labels")
    add_json(taken)

    export = command(commands, "export", run_export, "write a table as CSV, or boxes and masks as COCO")
    export.add_argument("store", metavar="STORE")
    export.add_argument("table", metavar="TABLE", help="such as labels/NAME, video_labels/NAME, features/NAME")
    export.add_argument("--to", choices=["csv", "coco"], required=True)
    export.add_argument("-o", "--output", metavar="PATH", required=True, help="a path or URL")
    add_json(export)


def _add_labels(parser: argparse.ArgumentParser, *, top: int | None = None) -> None:
    """What all labelers take."""
    parser.add_argument("--threshold", type=float, metavar="SCORE", help="keep labels that score no less")
    best = f"keep the best N labels of a clip ({top or 'all'})"
    parser.add_argument("--top", type=count, default=top, metavar="N", help=best)
    add_json(parser)


def run_label_classes(arguments: argparse.Namespace) -> int:
    from vidray.labels.labeling import class_labeler

    return _label(arguments, class_labeler(arguments.store, extractor=arguments.extractor))


def run_label_zero_shot(arguments: argparse.Namespace) -> int:
    from vidray.labels.labeling import read_prompts, zero_shot_labeler

    prompts = read_prompts(arguments.prompts_file) if arguments.prompts is None else arguments.prompts
    return _label(arguments, zero_shot_labeler(arguments.store, prompts, extractor=arguments.extractor))


def run_label_head(arguments: argparse.Namespace) -> int:
    from vidray.labels.heads import open_head

    return _label(arguments, open_head(arguments.store, arguments.name), suggest=arguments.suggest)


def _label(arguments: argparse.Namespace, labeler: Any, *, suggest: int | None = None) -> int:
    from vidray.labels.labeling import label

    options = {"name": arguments.name, "threshold": arguments.threshold, "top": arguments.top}
    summary = label(arguments.store, labeler, say=say, **options)
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
        print_json(answer)
    return 0


def _suggest(arguments: argparse.Namespace, labeler: Any, most: int) -> list[dict[str, Any]]:
    """Print the clips worth labeling next, but for --json, which has them in its object."""
    from vidray.labels.heads import suggest

    found = suggest(arguments.store, labeler, count=most)
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
        say=say,
    )
    place = f"{arguments.store}/heads/{summary.name}"
    lost = f" ({summary.without_features:,} more have no features)" if summary.without_features else ""
    print(
        f"trained on {summary.clips:,} clips of {summary.videos:,} videos{lost}; card and confusions in {place}",
        file=sys.stderr,
    )
    if arguments.json:
        print_json(dataclasses.asdict(summary))
        return 0
    for name, title in (("accuracy", "accuracy"), ("macro_f1", "macro F1")):
        value, low, high = (summary.metrics[f"{name}{bound}"] for bound in ("", "_low", "_high"))
        print(f"{title:10} {value:.3f}  ({low:.3f} to {high:.3f}, by {summary.folds} folds of videos)")
    return 0


def run_import(arguments: argparse.Namespace) -> int:
    from vidray.labels.annotations import import_labels

    summary = import_labels(arguments.store, arguments.labels, name=arguments.name, say=say)
    if arguments.json:
        print_json(dataclasses.asdict(summary))
    else:
        print(f"{summary.labels:,} labels of {summary.clips:,} clips in {arguments.store}/labels/{summary.name}")
    return 0


def run_export(arguments: argparse.Namespace) -> int:
    from vidray.exports.export import export

    summary = export(arguments.store, arguments.table, arguments.output, to=arguments.to)
    if summary.left_out:
        print(f"left out, as CSV has no lists: {', '.join(summary.left_out)}", file=sys.stderr)
    if arguments.json:
        print_json(dataclasses.asdict(summary))
    else:
        print(f"{summary.rows:,} {'rows' if arguments.to == 'csv' else 'annotations'} in {summary.path}")
    return 0

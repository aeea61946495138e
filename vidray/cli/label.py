"""`vidray label`: label clips and videos from their features."""

from __future__ import annotations

import argparse
import dataclasses
from typing import Any

from vidray.cli.arguments import add_json, command, count, print_json, say, tell
from vidray.wording import counted

ZERO_SHOT_TOP = 10
"""Labels of a clip: every text has some score, so that all of them would be as many rows as texts times clips."""


def add(commands: Any) -> None:
    label: argparse.ArgumentParser = commands.add_parser("label", help="label clips and videos from their features")
    label.add_argument("store", metavar="STORE")
    labelers = label.add_subparsers(metavar="LABELER", required=True)
    classes = command(labelers, "classes", run_label_classes, "the classes that a network found")
    events = command(labelers, "events", run_label_events, "what starts to happen: object_events, audio_events")
    zero_shot = command(labelers, "zero-shot", run_label_zero_shot, "labels in words of your own")
    prompts = zero_shot.add_mutually_exclusive_group(required=True)
    prompts.add_argument("--prompts", nargs="+", metavar="TEXT", help='the labels, such as "a dog" "traffic"')
    prompts.add_argument("--prompts-file", metavar="FILE", help="a text file of one label a line")
    topics = command(labelers, "topics", run_label_topics, "what the corpus is about, by its texts")
    topics.add_argument("--count", type=count, metavar="N", help="how many topics (as many as part best)")
    for labeler in (classes, events, zero_shot, topics):
        labeler.add_argument("-x", "--extractor", metavar="NAME", help="whose table, where there are several")
        labeler.add_argument("--name", help="of the labels (the labeler and its table)")
        _add_labels(labeler, top=ZERO_SHOT_TOP if labeler is zero_shot else None)
    head = command(labelers, "head", run_label_head, "what a trained head says; see train")
    head.add_argument("--name", required=True, help="of the head, and of its labels")
    head.add_argument("--suggest", type=count, metavar="N", help="only print the N clips that are worth labeling next")
    _add_labels(head)


def _add_labels(parser: argparse.ArgumentParser, *, top: int | None = None) -> None:
    """What all labelers take."""
    parser.add_argument("--threshold", type=float, metavar="SCORE", help="keep labels that score no less")
    best = f"keep the best N labels of a clip ({top or 'all'})"
    parser.add_argument("--top", type=count, default=top, metavar="N", help=best)
    add_json(parser)


def run_label_classes(arguments: argparse.Namespace) -> int:
    from vidray.labels.labeling import class_labeler

    return _label(arguments, class_labeler(arguments.store, extractor=arguments.extractor))


def run_label_events(arguments: argparse.Namespace) -> int:
    from vidray.labels.labeling import event_labeler

    return _label(arguments, event_labeler(arguments.store, extractor=arguments.extractor))


def run_label_zero_shot(arguments: argparse.Namespace) -> int:
    from vidray.labels.labeling import read_prompts, zero_shot_labeler

    prompts = read_prompts(arguments.prompts_file) if arguments.prompts is None else arguments.prompts
    return _label(arguments, zero_shot_labeler(arguments.store, prompts, extractor=arguments.extractor))


def run_label_topics(arguments: argparse.Namespace) -> int:
    from vidray.labels.topics import topic_labeler

    labeler = topic_labeler(arguments.store, extractor=arguments.extractor, count=arguments.count)
    say(f"{counted(len(labeler.names), 'topic')}: {'; '.join(labeler.names)}")
    return _label(arguments, labeler)


def run_label_head(arguments: argparse.Namespace) -> int:
    from vidray.labels.heads import open_head

    head = open_head(arguments.store, arguments.name)
    return _label(arguments, head) if arguments.suggest is None else _suggest(arguments, head)


def _label(arguments: argparse.Namespace, labeler: Any) -> int:
    from vidray.labels.labeling import label

    options = {"name": arguments.name, "threshold": arguments.threshold, "top": arguments.top}
    summary = label(arguments.store, labeler, say=say, **options)
    say(
        f"labeled {summary.labeled:,} of {counted(summary.clips, 'clip')} from {summary.features} "
        f"({summary.human:,} by people, {summary.without_features:,} without features); "
        f"{counted(summary.labels, 'label')} in {arguments.store}/labels/{summary.name}",
    )
    if arguments.json:
        print_json(dataclasses.asdict(summary))
    return 0


def _suggest(arguments: argparse.Namespace, head: Any) -> int:
    """Print the clips worth labeling next; the labels stay as they are."""
    from vidray.labels.heads import suggest

    found = suggest(arguments.store, head, count=arguments.suggest)
    if arguments.json:
        print_json({"name": arguments.name, "suggestions": [dataclasses.asdict(clip) for clip in found]})
        return 0
    for clip in found:
        tell(f"{clip.clip_id}  {clip.uri}  {clip.start_s:g}-{clip.end_s:g} s  {clip.label} {clip.score:.2f}")
    return 0

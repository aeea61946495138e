"""`vidray train`: learn a person's classes from labeled clips."""

from __future__ import annotations

import argparse
import dataclasses
from typing import Any

from vidray.cli.arguments import LABEL_COLUMNS, add_any_source, add_json, command, count, print_json, say, tell
from vidray.wording import counted


def add(commands: Any) -> None:
    parser = command(commands, "train", run_train, "train a head on labeled clips; label the others with it")
    parser.add_argument("store", metavar="STORE")
    parser.add_argument("labels", metavar="LABELS.csv", help=LABEL_COLUMNS)
    parser.add_argument(
        "--head",
        choices=["linear", "gru", "text", "text-lstm"],
        required=True,
        help="on a clip as a whole, in time, or on its words (a GRU, or an LSTM)",
    )
    parser.add_argument("--name", required=True, help="of the head")
    parser.add_argument("-x", "--extractor", metavar="NAME", help="whose table, where there are several")
    add_any_source(parser)
    parser.add_argument("--folds", type=count, default=5, metavar="N", help="of the cross-validation (5)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of splits and training (0)")
    parser.add_argument("--ray-address", metavar="ADDR", help="a running Ray cluster (else RAY_ADDRESS, else local)")
    add_json(parser)


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
        any_source=arguments.any_source,
        ray_address=arguments.ray_address,
        say=say,
    )
    place = f"{arguments.store}/heads/{summary.name}"
    lost = f" ({summary.without_features:,} more have no features)" if summary.without_features else ""
    clips = f"{counted(summary.clips, 'clip')} of {counted(summary.videos, 'video')}"
    say(f"trained on {clips}{lost}; card and confusions in {place}")
    if arguments.json:
        print_json(dataclasses.asdict(summary))
        return 0
    for name, title in (("accuracy", "accuracy"), ("macro_f1", "macro F1")):
        value, low, high = (summary.metrics[f"{name}{bound}"] for bound in ("", "_low", "_high"))
        tell(f"{title:10} {value:.3f}  ({low:.3f} to {high:.3f}, by {summary.folds} folds of videos)")
    return 0

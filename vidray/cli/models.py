"""`vidray models`: list the extractors."""

from __future__ import annotations

import argparse
import dataclasses
from typing import Any

from vidray.cli.arguments import add_json, command, print_json, say, tell


def add(commands: Any) -> None:
    parser = command(commands, "models", run_models, "list the extractors")
    parser.add_argument("words", nargs="*", metavar="WORD", help="only those with all of these in a line: audio")
    add_json(parser)


def run_models(arguments: argparse.Namespace) -> int:
    from vidray.extractors import catalog

    words = [word.lower() for word in arguments.words]
    models = [model for model in catalog() if all(word in _searched(model) for word in words)]
    if arguments.json:
        print_json([dataclasses.asdict(model) for model in models])
    if not models:
        asked = " and ".join(arguments.words)
        say(f"no extractor has {asked} in its name, kind, inputs or licence; vidray models lists all")
        return 1
    if arguments.json:
        return 0
    for model in models:
        state = "" if model.available else "  (not available here)"
        if (cost := model.bfloat16) is not None:
            state = (
                f"  bfloat16: cosine to float32 {cost.mean_cosine:.4f} in the mean, {cost.first_percentile:.4f} at the "
                f"first percentile, another first class for {cost.first_class_changed:.1%} of {cost.clips} clips{state}"
            )
        dim = "-" if model.dim is None else model.dim
        tell(f"{model.name:40} {model.kind:12} {dim:>5}  {model.weights}{state}")
    return 0


def _searched(model: Any) -> str:
    return f"{model.name} {model.kind} {model.inputs} {model.licence}".lower()

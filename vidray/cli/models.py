"""`vidray models`: list the extractors."""

from __future__ import annotations

import argparse
import dataclasses
from typing import Any

from vidray.cli.arguments import add_json, command, print_json, tell


def add(commands: Any) -> None:
    parser = command(commands, "models", run_models, "list the extractors")
    add_json(parser)


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
        tell(f"{model.name:40} {model.kind:12} {dim:>5}  {model.weights}{state}")
    return 0

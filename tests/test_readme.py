"""What the README has people type: vidray takes it, and what the README has them install is enough for it."""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path

import pytest

from vidray.cli import build_parser

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()
COMMANDS = [line.partition(" #")[0] for line in re.findall(r"^(vidray +\w+ +/.+|vidray models)$", README, re.MULTILINE)]
NEEDS = {
    "-x efficientnet_lite0": "efficientnet", "-x yamnet": "yamnet", "--text ": "text", "--prompts": "text",
    "--where": "where", "vidray train": "train", "vidray browse": "browse", "s3://": "s3",
}  # fmt: skip
"""The extra without which a command that has this does not do its work."""


def extras(named: str) -> set[str]:
    """Some extras and those that they bring."""
    optional = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    found: set[str] = set()
    open_ = [name.strip() for name in named.split(",")]
    while open_:
        name = open_.pop()
        found.add(name)
        for requirement in optional[name]:
            if inner := re.fullmatch(r"vidray\[(.+)\]", requirement):
                open_ += set(inner[1].split(",")) - found
    return found


def test_there_are_commands():
    assert len(COMMANDS) > 15


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_is_one_that_vidray_takes(command):
    arguments = build_parser().parse_args(shlex.split(command)[1:])
    assert callable(arguments.run)


def test_a_head_is_trained_on_a_table_that_is_named():
    """The README's own store has several tables of embeddings."""
    trained = [command for command in COMMANDS if command.startswith("vidray train")]
    assert trained
    assert all(" -x " in command for command in trained)


def test_what_is_installed_first_is_enough_for_the_commands():
    installed = [extras(named) for named in re.findall(r"install [^`\n]*'\.\[([^]]+)\]'", README)]
    assert len(installed) >= 2
    needed = {extra for sign, extra in NEEDS.items() if any(sign in command for command in COMMANDS)}
    for there in installed:
        assert needed - there == set()

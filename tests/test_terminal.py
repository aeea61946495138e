"""Nothing that a name holds reaches a terminal as anything but text in its own line."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

import vidray.cli
from vidray.cli.arguments import say, tell
from vidray.pipeline import Progress
from vidray.terminal import shown

NASTY = [
    *map(chr, (*range(32), *range(127, 160))),
    "\u2028",
    "\u2029",
    "\u202e",
    "\u200b",
    "\u2066",
    "\ufeff",
    "\ud800",
]


@pytest.mark.parametrize("character", NASTY, ids=ascii)
def test_what_is_not_printable_is_escaped(character):
    escaped = shown(f"a{character}b")
    assert character not in escaped
    assert escaped.isprintable()
    assert escaped.isascii()
    assert (escaped[:2], escaped[-1]) == ("a\\", "b")


@pytest.mark.parametrize(
    "name", ["/v/a b.mp4", "naïve.mp4", "映画.mp4", "🎬.mp4", "a\u00a0b", "C:\\x", "[bold]x[/]", ""]
)
def test_what_is_printable_stays(name):
    assert shown(name) == name


FORGED = "\x1b[2J\rdone\n0 failed\u202e.mp4"


def test_commands_and_progress_escape_what_they_print(capsys):
    say(f"cannot use {FORGED}")
    tell(FORGED)
    progress = io.StringIO()
    Progress(progress).say(f"[red]{FORGED}")
    out, err = capsys.readouterr()
    for written in (out, err, progress.getvalue()):
        assert written.count("\n") == 1
        assert written.endswith("\n")
        assert written[:-1].isprintable()
        assert r"\x1b[2J\rdone\n0 failed\u202e.mp4" in written


def test_no_command_prints_but_through_the_place_that_escapes():
    """What prints by itself prints names as they are."""
    folder = Path(vidray.cli.__file__).parent
    printing = {path.name for path in folder.glob("*.py") if " print(" in path.read_text()}
    assert printing == {"arguments.py"}

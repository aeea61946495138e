"""What is printed for a person: names come from strangers, and must not move the cursor, forge a line or turn text."""

from __future__ import annotations

import unicodedata

UNPRINTABLE = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Control characters, invisible ones that turn or join text, halves of characters, and what ends a line."""


def shown(text: str) -> str:
    r"""A text in one line of printable characters: all others are escaped as in Python, as in `\x1b[2J` and `\n`.

    A backslash stays as it is, so that what is shown is for reading; `--json` and tables have names as they are.
    """
    return text if text.isprintable() else "".join(_escaped(character) for character in text)


def _escaped(character: str) -> str:
    if unicodedata.category(character) in UNPRINTABLE:
        return character.encode("unicode_escape", "surrogatepass").decode()
    return character

"""What has begun and not ended: a retirement, a move into a part of its own, a move of files. The next run ends it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from vidray.errors import StoreError
from vidray.plugins import fits
from vidray.storage import Folder
from vidray.store.json_files import read_json, write_json
from vidray.store.layout import INTENT
from vidray.wording import typed


def _are_parts(value: Any) -> bool:
    return isinstance(value, dict) and all(fits(parts, list[int]) for parts in value.values())


def _is_move(value: Any) -> bool:
    return isinstance(value, dict) and fits(value.get("part"), int) and fits(value.get("videos"), list[str])


def _is_rename(value: Any) -> bool:
    return isinstance(value, dict) and fits(value.get("old"), str) and fits(value.get("new"), str)


SHAPES: Mapping[str, Callable[[Any], bool]] = {
    "retire": lambda value: fits(value, list[str]),
    "current": _are_parts,
    "move": _is_move,
    "rename": _is_rename,
}
"""What stands in the file, by its name."""


class Intents:
    """What a store is in the middle of; at most one thing at a time."""

    def __init__(self, folder: Folder) -> None:
        self.folder = folder

    def retiring(self) -> list[str]:
        """The videos whose retirement has begun and not ended."""
        return list(self._intent().get("retire", []))

    def current(self) -> dict[str, list[int]]:
        """The parts of derived tables that were made from what there was when the retirement began."""
        return dict(self._intent().get("current", {}))

    def _intent(self) -> dict[str, Any]:
        """What has begun and not ended; raises StoreError where that is not to be read."""
        if not self.folder.exists(INTENT):
            return {}
        remedy = f"remove it, and to look anew for what it was about run {typed('plan', 'CORPUS', self.folder.url)}"
        try:
            held = read_json(self.folder, INTENT)
        except StoreError as e:
            raise StoreError(f"{e}; {remedy}") from e
        wrong = [name for name, is_one in SHAPES.items() if name in held and not is_one(held[name])]
        if wrong:
            raise StoreError(f"{self.folder.url}/{INTENT}: its {wrong[0]} cannot be read; {remedy}")
        return held

    def write_retirement(self, video_ids: Sequence[str], current: Mapping[str, Sequence[int]] | None = None) -> None:
        write_json(self.folder, INTENT, {"retire": list(video_ids), "current": dict(current or {})})

    def moving(self) -> tuple[int, list[str]] | None:
        """The videos whose move into a part of their own has begun and not ended, and this part."""
        move = self._intent().get("move")
        return None if move is None else (int(move["part"]), list(move["videos"]))

    def write_move(self, part: int, video_ids: Sequence[str], current: Mapping[str, Sequence[int]]) -> None:
        move = {"part": part, "videos": list(video_ids)}
        write_json(self.folder, INTENT, {"retire": [], "current": dict(current), "move": move})

    def renaming(self) -> tuple[str, str] | None:
        """The old and the new prefix of a move of the videos' files that has begun and not ended."""
        rename = self._intent().get("rename")
        return None if rename is None else (str(rename["old"]), str(rename["new"]))

    def write_renaming(self, old: str, new: str, current: Mapping[str, Sequence[int]]) -> None:
        rename = {"old": old, "new": new}
        write_json(self.folder, INTENT, {"retire": [], "current": dict(current), "rename": rename})

    def clear(self) -> None:
        self.folder.remove(INTENT)

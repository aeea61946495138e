"""Loaded by every Python process of a chaos run: fault points around each operation that changes a store.

The folder that VIDRAY_CHAOS names is shared by all of them: a file `armed/<digest>` kills the first process that comes
to that point, `operations` (where it exists) is told of every operation, `fired` of every kill.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.abc
import importlib.machinery
import importlib.util
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

FOLDER = Path(os.environ.get("VIDRAY_CHAOS", os.devnull))
_NAMES_OF_ITS_OWN = re.compile(r"(?<=runs/).*|[0-9a-f]{32}")


def digest(operation: str, moment: str) -> str:
    """The file name under `armed/` of one point."""
    return hashlib.sha256(f"{operation} {moment}".encode()).hexdigest()


def operation(method: str, name: str) -> str:
    """What an operation is called, the same in every run."""
    return f"{method} {_NAMES_OF_ITS_OWN.sub('*', name)}"


def reach(what: str, moment: str) -> None:
    """A point: the process ends here, at once, if it is armed."""
    if moment == "before" and (FOLDER / "operations").exists():
        _tell("operations", f"{what}\n")
    if is_armed(what, moment):
        with contextlib.suppress(FileNotFoundError):
            (FOLDER / "armed" / digest(what, moment)).unlink()
            _tell("fired", f"{moment} {what}\n")
            os.kill(os.getpid(), signal.SIGKILL)


def is_armed(what: str, moment: str) -> bool:
    return (FOLDER / "armed" / digest(what, moment)).exists()


def _tell(name: str, line: str) -> None:
    with (FOLDER / name).open("a") as file:
        file.write(line)


def patch_folder(module: Any) -> None:
    """Put points around the methods of `vidray.storage.Folder` that change something."""
    folder = module.Folder
    writing, create, remove, remove_tree, link = (
        folder.writing, folder.create_bytes, folder.remove, folder.remove_tree, os.link,
    )  # fmt: skip

    @contextlib.contextmanager
    def writing_with_points(self: Any, name: str) -> Iterator[Any]:
        what = operation("write", name)
        reach(what, "before")
        with writing(self, name) as file:
            yield file
            file.flush()
            # the scratch file is there, its name is not
            reach(what, "inside")
        reach(what, "after")

    def create_with_points(self: Any, name: str, data: bytes) -> bool:
        what = operation("create", name)

        def link_with_point(*arguments: Any, **options: Any) -> None:
            reach(what, "inside")
            link(*arguments, **options)

        reach(what, "before")
        os.link = link_with_point
        created = create(self, name, data)
        os.link = link
        reach(what, "after")
        return bool(created)

    def remove_with_points(self: Any, name: str) -> None:
        what = operation("remove", name)
        reach(what, "before")
        remove(self, name)
        reach(what, "after")

    def remove_tree_with_points(self: Any, name: str) -> None:
        what = operation("remove_tree", name)
        reach(what, "before")
        held = list(self.sizes(name))
        if held and is_armed(what, "inside"):
            remove(self, held[0])
            reach(what, "inside")
        remove_tree(self, name)
        reach(what, "after")

    folder.writing, folder.create_bytes = writing_with_points, create_with_points
    folder.remove, folder.remove_tree = remove_with_points, remove_tree_with_points


def patch_units(module: Any) -> None:
    """Small units, so that few videos make several parts, blocks and slices."""
    module.PART_VIDEOS, module.BLOCK_CLIPS = map(int, os.environ["VIDRAY_CHAOS_UNITS"].split())


class _Patching(importlib.abc.MetaPathFinder):
    """Patches modules as they are imported."""

    def __init__(self, patches: dict[str, Callable[[Any], None]]) -> None:
        self._patches = patches

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        patch = self._patches.pop(name, None)
        if patch is None:
            return None
        spec = importlib.util.find_spec(name)
        if spec is None or spec.loader is None:
            return spec
        execute = spec.loader.exec_module

        def execute_and_patch(module: ModuleType) -> None:
            execute(module)
            patch(module)

        spec.loader.exec_module = execute_and_patch  # type: ignore[method-assign]
        return spec


def install(folder: Path) -> None:
    """Have the points of this process look into a folder."""
    global FOLDER
    FOLDER = folder
    sys.meta_path.insert(0, _Patching({"vidray.storage.folder": patch_folder, "vidray.planning.units": patch_units}))


if __name__ == "sitecustomize" and "VIDRAY_CHAOS" in os.environ:
    install(FOLDER)

"""Weights that a store names: it may be a stranger's, so nothing is fetched for it, and no device is read."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vidray.errors import UsageError, WeightsError
from vidray.extractors.inventory import find
from vidray.storage import is_local, local_path

WEIGHTS_BYTES_MAX = 64 << 30
"""No network that vidray runs has more; some files of the system claim to."""

SYSTEM_FOLDERS = ("/dev/", "/proc/", "/sys/")
"""What lies there is made up as it is read."""

FOLDER_OPTIONS = ("model", "size", "folder")
"""Options that name a model's folder, or a hub's model; a `size` without a slash is one of the few that are known,
unless there is such a folder."""

MOST_FILES = 1000
"""No folder of a model has more: a folder of anything else is not looked through file by file."""

STOOD_FOR = ("model", "bundle", "weights")
"""Fields that an extractor's name stands for: among a store's settings they would be a second name."""


def check_named_weights(origin: str, settings: Mapping[str, Any]) -> None:
    """Refuse weights that a store names and that are no regular file of this machine; reads none.

    Weights that come with a package, or are known to it by a name, are not named by a store at all.

    Raises:
        UsageError: They are at a URL, or are given in a way that vidray does not write.
        WeightsError: They are no regular file.
    """
    name, at, weights = origin.partition("@")
    if "?" in name:
        raise UsageError(f"{origin} has options in its name, as vidray never writes it down")
    found = find(name)
    stood_for = () if found is None else (*found[1], "weights")
    given = [field for field in STOOD_FOR if field in settings and field in stood_for]
    if given:
        raise UsageError(f"{origin} was set up with '{given[0]}' beside its name, as vidray never writes it down")
    for option in FOLDER_OPTIONS:
        model = settings.get(option)
        if found is None or option in stood_for or not isinstance(model, str):
            continue
        if option != "size" or "/" in model or os.path.exists(model):
            _check_folder(name, option, model)
    for place in (weights if at else None, settings.get("weights")):
        if isinstance(place, str):
            _check_place(name, place)
            beside = getattr(found[0], "beside", None) if found is not None else None
            if beside is not None:
                _check_place(name, beside(place))


def _check_place(name: str, weights: str) -> None:
    if is_local(weights) and "::" not in weights:
        _check_file(weights)
        return
    raise UsageError(
        f"the table was made by {name} with weights from {weights}, and nothing is fetched because a store says so: "
        f"name them yourself with -x '{name}@{weights}'"
    )


def _check_folder(name: str, option: str, model: str) -> None:
    if not os.path.isdir(model) or f"{os.path.realpath(model)}/".startswith(SYSTEM_FOLDERS):
        raise UsageError(
            f"the table was made by {name} with the model {model}, which is no folder of this machine, and nothing is "
            f"fetched because a store says so: name it yourself with -x '{name}?{option}={model}'"
        )
    files = _files(model)
    if len(files) > MOST_FILES:
        raise WeightsError(f"{model}, which the store names, has more than {MOST_FILES} files, as no model does")
    for file in files:
        _check_file(file)


def _files(model: str) -> list[str]:
    """The files of a folder and of the folders in it, which is as deep as models are read."""
    return [str(path) for pattern in ("*", "*/*") for path in sorted(Path(model).glob(pattern)) if not path.is_dir()]


def _check_file(weights: str) -> None:
    path = os.path.realpath(local_path(weights))
    try:
        found = Path(path).stat()
    except FileNotFoundError as e:
        raise WeightsError(f"weights {weights}: no such file") from e
    except (OSError, ValueError) as e:
        raise WeightsError(f"weights {weights} cannot be read: {e}") from e
    is_file = stat.S_ISREG(found.st_mode) and not path.startswith(SYSTEM_FOLDERS)
    if not is_file or found.st_size > WEIGHTS_BYTES_MAX:
        raise WeightsError(f"weights {weights}, which the store names, are no regular file of at most 64 GiB")

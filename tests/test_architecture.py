"""Imports go one way, each heavy library has one door, and importing vidray is quick."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "vidray"
FACADE = "vidray"

LAYERS: tuple[dict[str, set[str]], ...] = (
    {"errors": {"errors"}, "terminal": {"terminal"}},
    {
        "media": {"media"},
        "storage": {"storage"},
        "arrow": {"arrow"},
        "memory": {"memory"},
        "plugins": {"plugins"},
        "wording": {"wording"},
        "arguments": {"arguments"},
    },
    {"corpus": {"corpus", "manifest"}, "decode": {"decode"}, "encode": {"encode"}},
    {"sandbox": {"sandbox"}},
    {"models": {"models"}},
    {"steps": {"steps"}},
    {"planning": {"planning"}},
    {"extractors": {"extractors"}},
    {"store": {"store"}},
    {"index": {"index"}},
    {"labels": {"labels"}},
    {"retrieval": {"retrieval"}, "exports": {"exports"}},
    {"moving": {"moving"}, "duplicates": {"duplicates"}},
    {"pipeline": {"pipeline"}, "overview": {"overview"}, "report": {"report"}},
    {FACADE: {"__init__"}, "testing": {"testing"}},
    {"demo": {"demo", "demo_words"}, "browse": {"browse"}},
    {"cli": {"cli", "__main__"}},
    {"jobs": {"jobs"}},
)
"""Rooms by layer, lowest first, each with its modules. A room imports itself and the rooms of lower layers."""

MUST_NOT_KNOW = {
    "extractors": {"corpus", "decode", "sandbox", "store"},
    "labels": {"corpus", "decode", "sandbox"},
    "duplicates": {"corpus", "decode", "sandbox"},
    "index": {"corpus", "decode", "sandbox"},
    "store": {"decode", "sandbox"},
    "report": {"pipeline"},
}
"""What a room leaves alone although it lies lower."""

DOORS = {"av": {"decode", "encode", "testing"}, "faiss": {"index"}, "ray": {"pipeline"}}
"""Libraries that only these rooms import."""

HEAVY = {"av", "faiss", "pandas", "pyarrow", "ray", "torch"}
"""What neither `import vidray` nor the command line's own start may load."""

ROOM_OF = {module: room for layer in LAYERS for room, modules in layer.items() for module in modules}
HEIGHT = {room: height for height, layer in enumerate(LAYERS) for room in layer}


def sources() -> list[Path]:
    return sorted([*PACKAGE.rglob("*.py"), *(ROOT / "jobs").rglob("*.py")])


def module_of(path: Path) -> str:
    """The module, or package, directly below vidray that a file belongs to; `jobs` for a job."""
    parts = path.relative_to(ROOT).parts
    return "jobs" if parts[0] == "jobs" else parts[1].removesuffix(".py")


def imported(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and dotted name of all imports, those inside functions included; names taken from a module are appended."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: imports are absolute"
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def room_imported(name: str) -> str | None:
    """The room that a dotted name of vidray belongs to; None for what every room may know."""
    parts = name.split(".")
    if len(parts) == 1 or parts[1] == "__version__":
        return None if parts[1:] else FACADE
    is_module = (PACKAGE / parts[1]).is_dir() or (PACKAGE / f"{parts[1]}.py").is_file()
    return ROOM_OF[parts[1]] if is_module else FACADE


def violations(room: str, tree: ast.AST) -> list[str]:
    found = []
    for line, name in imported(tree):
        top = name.split(".")[0]
        if room not in DOORS.get(top, {room}):
            found.append(f"line {line}: only {sorted(DOORS[top])} may import {top}")
        target = room_imported(name) if top == "vidray" else None
        if target is None or target == room:
            continue
        if HEIGHT[target] >= HEIGHT[room]:
            found.append(f"line {line}: {room} may not import {target}, which lies as high or higher")
        elif target in MUST_NOT_KNOW.get(room, set()):
            found.append(f"line {line}: {room} must not know {target}")
    return found


def test_every_module_has_a_place() -> None:
    homeless = {module_of(path) for path in sources()} - ROOM_OF.keys()
    assert not homeless, f"give these a room in LAYERS: {sorted(homeless)}"


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_one_way(path: Path) -> None:
    assert violations(ROOM_OF[module_of(path)], ast.parse(path.read_text())) == []


@pytest.mark.parametrize(
    ("room", "source", "complaint"),
    [
        ("media", "def f():\n    import ray.data", "may import ray"),
        ("store", "from vidray import decode", "must not know decode"),
        ("errors", "import vidray.media", "may not import media"),
        ("errors", "from vidray import extract", "may not import vidray"),
        ("planning", "from vidray.index import Index", "may not import index"),
        ("extractors", "from vidray.decode import probe", "must not know decode"),
        ("retrieval", "if True:\n    from vidray.pipeline.plan import plan", "may not import pipeline"),
    ],
)
def test_a_wrong_import_is_seen(room: str, source: str, complaint: str) -> None:
    (found,) = violations(room, ast.parse(source))
    assert complaint in found


@pytest.mark.parametrize("source", ["from vidray import __version__", "from vidray.media import Clip", "import json"])
def test_a_right_import_is_not(source: str) -> None:
    assert violations("store", ast.parse(source)) == []


@pytest.mark.parametrize("start", ["import vidray", "import vidray.cli; vidray.cli.build_parser()"])
def test_importing_is_quick(start: str) -> None:
    code = f"import sys; {start}; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert HEAVY & set(run.stdout.split()) == set()


def test_a_worker_imports_what_it_works_with_alone() -> None:
    code = "import sys; import vidray.pipeline.pool, vidray.pipeline.worker; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert {"pandas", "faiss", "scipy", "torch", "vidray.index", "vidray.labels"} & set(run.stdout.split()) == set()


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def declared() -> list[Requirement]:
    """What pyproject.toml asks for: always, in an extra, and for development."""
    configuration = tomllib.loads((ROOT / "pyproject.toml").read_text())
    project = configuration["project"]
    lists = [project["dependencies"], *project["optional-dependencies"].values()]
    lists += configuration["dependency-groups"].values()
    requirements = [Requirement(line) for lines in lists for line in lines]
    return [requirement for requirement in requirements if requirement.name != "vidray"]


def locked() -> dict[str, str]:
    pins = re.findall(r"^([a-z0-9-]+)(?:\[[^]]*\])?==(\S+)", (ROOT / "requirements.lock").read_text(), re.MULTILINE)
    return dict(pins)


def test_what_the_package_imports_is_declared() -> None:
    names = {normal(requirement.name) for requirement in declared()}
    distributions = packages_distributions()
    undeclared = set()
    for path in PACKAGE.rglob("*.py"):
        for _, name in imported(ast.parse(path.read_text())):
            top = name.split(".")[0]
            if top == "vidray" or top in sys.stdlib_module_names:
                continue
            if not {normal(owner) for owner in distributions.get(top, [])} & names:
                undeclared.add(f"{path.relative_to(ROOT)}: {top}")
    assert not undeclared


def test_the_lock_satisfies_pyproject() -> None:
    pins = locked()
    for requirement in declared():
        assert requirement.specifier.contains(pins[normal(requirement.name)]), f"{requirement}: renew the lock"


def test_every_pin_of_the_lock_has_hashes() -> None:
    entries = re.split(r"^(?=\w)", (ROOT / "requirements.lock").read_text(), flags=re.MULTILINE)[1:]
    assert {entry.split("==")[0] for entry in entries} == locked().keys()
    assert [entry.split()[0] for entry in entries if not re.search(r"--hash=sha256:[0-9a-f]{64}", entry)] == []


def test_the_lock_names_packages_only() -> None:
    """No registry, no mirror, no path: the same lock serves wherever packages come from."""
    lock = (ROOT / "requirements.lock").read_text()
    assert re.findall(r"^.*(?:://|--index|--extra-index|--find-links|file:|\.\./| /).*$", lock, re.MULTILINE) == []

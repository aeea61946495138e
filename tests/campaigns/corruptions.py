"""Corruptions of a finished store: found, named, with a remedy that helps; no traceback, and nothing wrong is served.

    python -m tests.campaigns.corruptions [--seed 1] [--only TEXT] [--every N]

A store of real media with every kind of table and an index is corrupted in one way at a time. The laws: `verify` does
not find it whole, names what is wrong, and says what to do; `extract`, `plan`, `status`, `errors`, `export`, `search`
and `index` end with a line or do their work; a search gives the hits that it gave before, or none; what verify says to
do is done, by the words, and the store is whole again, with the same features to the byte.
The last line of standard output is one JSON object; the exit status is 1 if a law is broken.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import shlex
import shutil
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(REPOSITORY), str(REPOSITORY / "tests")]

from tests.campaigns import damaged_store
from tests.campaigns.damage import Corruption, corruptions
from tests.campaigns.damaged_store import COLOUR, MADE_BY, Made
from vidray.errors import VidrayError
from vidray.planning import units
from vidray.retrieval.verification import verify
from vidray.storage import Folder
from vidray.store import Store

UNSEALED = "without a seal: a change of bytes cannot be found there"
"""What is said of parts that count as whole."""

REPAIRS = 4
"""So often what verify says is done and looked at again: what one thing hid may show another."""


@dataclass
class Campaign:
    """What was made, what was seen, and which laws were broken.

    Attributes:
        hits: Of a search for every clip, before anything was wrong.
        expected: The bytes of the tables that runs make, by name.
    """

    made: Made
    hits: frozenset[tuple[object, ...]]
    expected: dict[str, bytes]
    counts: Counter[str] = field(default_factory=Counter)
    broken: list[str] = field(default_factory=list)

    def require(self, holds: bool, law: str) -> None:
        if not holds:
            self.broken.append(law)
            sys.stderr.write(f"BROKEN {law}\n")

    def try_out(self, corruption: Corruption, seed: int) -> None:
        store = damaged_store.copy(self.made, self.made.folder / "tried")
        corruption.act(_store(store), random.Random(f"{seed} {corruption.name}"))
        damaged = self.made.folder / "damaged"
        _copy(store, damaged)
        self.counts["corruptions"] += 1
        try:
            notes = said_of(store)
        except Exception:
            self.require(False, f"{corruption.name}: verify ends with {traceback.format_exc()[-600:]}")
            return
        self.counts["found"] += bool(notes)
        self.require(bool(notes), f"{corruption.name}: verify finds nothing")
        self.require(
            any(corruption.says in note for note in notes), f"{corruption.name}: {corruption.says} is not in {notes}"
        )
        unhelpful = [note for note in notes if "; " not in note]
        self.require(not unhelpful, f"{corruption.name}: no remedy in {unhelpful}")
        self._check_commands(corruption, store, damaged)
        _copy(damaged, store)
        self._repair(corruption, store)

    def _check_commands(self, corruption: Corruption, store: Path, damaged: Path) -> None:
        """All commands end in their own way, and what is found is what was found before."""
        run = self.made.run
        search = search_of(self.made, store)
        self._served(corruption, "search", *run(*search))
        out = str(self.made.folder / "out.csv")
        ends: dict[str, Callable[[], tuple[int, str]]] = {
            "status": lambda: run("status", str(store)),
            "errors": lambda: run("errors", str(store)),
            "export": lambda: run("export", str(store), f"features/{COLOUR}", "--to", "csv", "-o", out),
            "import": lambda: run("import", str(store), str(self.made.labels), "--name", "others"),
            "index": lambda: run("index", str(store), "-x", COLOUR, "--workers", "1"),
            "plan": lambda: run("plan", str(self.made.corpus), str(store), "--clip-length", damaged_store.CLIP_S),
            "extract": lambda: self.made.extract(store),
            "retry": lambda: self.made.extract(store, options=("--retry-failed",)),
        }
        for name, act in ends.items():
            _copy(damaged, store)
            status, said = act()
            fine = "Traceback" not in said and status in (0, 1, 2) and len(said.splitlines()) <= 40
            self.require(fine, f"{corruption.name}: {name} ends with {status}: {said[-700:]}")
            self.counts[f"{name}_refused"] += status != 0
            if name == "index" and status == 0:
                self._served(corruption, "search after index", *run(*search))

    def _served(self, corruption: Corruption, what: str, status: int, said: str) -> None:
        self.require("Traceback" not in said, f"{corruption.name}: {what} ends with {said[-700:]}")
        self.counts[f"{what} refused"] += status != 0
        if status == 0:
            wrong = sorted(_hits(said) - self.hits)
            self.require(not wrong, f"{corruption.name}: {what} gives what was not there: {wrong[:3]}")

    def _repair(self, corruption: Corruption, store: Path) -> None:
        """Do what verify says until the store is whole: by its words alone."""
        done: list[str] = []
        for _ in range(REPAIRS):
            notes = said_of(store)
            if not notes:
                break
            for remedy in dict.fromkeys(note.partition("; ")[2] for note in notes):
                done += [remedy, *self._follow(remedy, notes, store)]
        notes = said_of(store)
        self.require(not notes, f"{corruption.name}: what helps does not: {notes}; done: {done}")
        is_comparable = corruption.is_undone and not notes
        unlike = sorted(n for n, data in self.expected.items() if is_comparable and _bytes(store / n) != data)
        self.require(not unlike, f"{corruption.name}: repaired, it differs in {unlike[:5]}; done: {done}")
        self.counts["repaired"] += not notes and not unlike

    def _follow(self, remedy: str, notes: Sequence[str], store: Path) -> list[str]:
        """Do what a remedy says; returns what went wrong."""
        failed = []
        for pattern, act in REMEDIES.items():
            match = re.search(pattern, remedy)
            if match:
                status, said = act(self.made, store, match, [n for n in notes if n.partition("; ")[2] == remedy])
                failed += [f"status {status}: {said[-300:]}"] if status else []
                return failed
        return ["nobody knows how"]


def said_of(store: Path) -> list[str]:
    """What is wrong with a store, a line each; nothing of one that is whole."""
    try:
        found = verify(str(store), full=True)
    except (VidrayError, OSError) as e:
        return [str(e)]
    return [] if found.is_whole else [note for note in found.notes if not note.endswith(UNSEALED)]


Follow = Callable[[Made, Path, "re.Match[str]", Sequence[str]], tuple[int, str]]


def _typed(made: Made, store: Path, match: re.Match[str], notes: Sequence[str]) -> tuple[int, str]:
    """Run the command that a remedy ends with, as it stands there."""
    _, *words = shlex.split(match["command"] or "vidray import")
    # a table whose description is gone is known by its name alone
    words = [MADE_BY.get(word, word) for word in words]
    return made.import_labels(store) if words[0] == "import" else made.run(*words)


def _make_part_anew(made: Made, store: Path, match: re.Match[str], notes: Sequence[str]) -> tuple[int, str]:
    for place in (match["first"], match["second"]):
        _remove(store / place / match["name"])
    return _typed(made, store, match, notes)


def _plan_anew(made: Made, store: Path, match: re.Match[str], notes: Sequence[str]) -> tuple[int, str]:
    for table in ("videos", "clips", "errors/_probe"):
        _remove(store / table / match["name"])
    ended = _typed(made, store, match, notes)
    return ended if ended[0] else made.extract(store)


def _from_a_copy(made: Made, store: Path, match: re.Match[str], notes: Sequence[str]) -> tuple[int, str]:
    shutil.copyfile(made.store / "vidray.json", _remove(store / "vidray.json"))
    return 0, ""


def _remove_named(made: Made, store: Path, match: re.Match[str], notes: Sequence[str]) -> tuple[int, str]:
    for note in notes:
        _remove(store / note.removeprefix(f"{store}/").partition(": ")[0].partition(" ")[0])
    return 0, ""


def _remove_then(then: Follow) -> Follow:
    def act(made: Made, store: Path, match: re.Match[str], notes: Sequence[str]) -> tuple[int, str]:
        _remove_named(made, store, match, notes)
        return then(made, store, match, notes)

    return act


COMMAND = r"(?:run (?P<command>vidray .+)$|label or import labels/)"
PART = r"(?P<name>part-\d+\.parquet)"
REMEDIES: dict[str, Follow] = {
    rf"remove {PART} of (?P<first>\S+) and (?P<second>[^ ,]+),? .*{COMMAND}": _make_part_anew,
    rf"put {PART} back from a copy, or remove it from videos, clips and errors/_probe, .*{COMMAND}": _plan_anew,
    r"put it back from a copy|upgrade vidray": _from_a_copy,
    rf"remove it, .*{COMMAND}": _remove_then(_typed),
    r"move it out of the store|remove it: |remove it if no run": _remove_named,
    COMMAND: _typed,
}
"""What is done for what verify says, the first that fits."""


def _remove(place: Path) -> Path:
    if place.is_dir() and not place.is_symlink():
        shutil.rmtree(place)
    else:
        place.unlink(missing_ok=True)
    return place


def _copy(one: Path, other: Path) -> None:
    if other.exists():
        shutil.rmtree(other)
    shutil.copytree(one, other, symlinks=True)


def _bytes(place: Path) -> bytes | None:
    return place.read_bytes() if place.is_file() else None


def _store(place: Path) -> Store:
    return Store(str(place))


def search_of(made: Made, store: Path) -> list[str]:
    """A search for all that is like one clip, of which the store knows."""
    clips = Store(str(made.store)).read("clips", 1, ["clip_id"])["clip_id"]
    return ["search", str(store), "--clip", str(clips[2].as_py()), "-x", COLOUR, "-k", "100", "--json"]


def _hits(said: str) -> frozenset[tuple[object, ...]]:
    """Which clips were found, where, and how alike."""
    hits, _ = json.JSONDecoder().raw_decode(said[said.index("[") :])
    return frozenset(
        (*(hit[name] for name in ("clip_id", "uri", "start_s", "end_s")), round(hit["score"], 3)) for hit in hits
    )


def expected_of(store: Path) -> Iterator[tuple[str, bytes]]:
    """What runs make, and make again: tables and what describes them; labels are people's."""
    folder = Folder(str(store))
    for kind in ("videos", "clips", "features", "errors", "video_features"):
        yield from ((name, folder.read_bytes(name)) for name in folder.sizes(kind))


def _import_once() -> None:
    """What commands use, so that their forks need not import it again."""
    import torch  # noqa: F401

    import vidray.exports.export
    import vidray.index.build
    import vidray.labels.imports
    import vidray.pipeline.index
    import vidray.retrieval.search
    import vidray.store.accounts  # noqa: F401


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", action="append", metavar="TEXT", help="those with this in their name; again, or this")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="each Nth of them")
    options = parser.parse_args()
    _import_once()
    units.PART_VIDEOS, units.BLOCK_CLIPS = damaged_store.PART_VIDEOS, damaged_store.BLOCK_CLIPS
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="vidray-corruptions-") as folder:
        made = damaged_store.make(Path(folder))
        assert said_of(made.store) == []
        _, said = made.run(*search_of(made, made.store))
        campaign = Campaign(made, _hits(said), dict(expected_of(made.store)))
        wanted = options.only or [""]
        chosen = [corruption for corruption in corruptions() if any(text in corruption.name for text in wanted)]
        for corruption in chosen[:: options.every]:
            sys.stderr.write(f"{corruption.name}\n")
            campaign.try_out(corruption, options.seed)
    result = {"seed": options.seed, **campaign.counts, "laws_broken": len(campaign.broken)}
    result |= {"broken": campaign.broken[:20], "wall_s": round(time.monotonic() - began)}
    sys.stdout.write(json.dumps(result) + "\n")
    return 1 if campaign.broken else 0


if __name__ == "__main__":
    sys.exit(main())

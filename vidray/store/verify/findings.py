"""What a check of a store found wrong: where, what, how much of which count, and what to do about it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from vidray.store.remedies import duplicates_command, extract_command, label_command, plan_command
from vidray.store.store import Store

WRONG = ("missing", "duplicated", "orphaned", "damaged", "stale")
"""What makes a store less than whole."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that a person should know.

    Attributes:
        where: The table and its part, or the file, relative to the store.
        what: What is wrong there; by default what is counted.
        remedy: What to do.
        counts: How much it adds to each count of a `Verification`; nothing for what is only said.
    """

    where: str
    what: str = ""
    remedy: str = ""
    counts: Mapping[str, int] = field(default_factory=dict)

    @property
    def line(self) -> str:
        """All of it for a person."""
        said = self.what or ", ".join(f"{self.counts[name]:,} {name}" for name in WRONG if self.counts.get(name))
        return f"{self.where}: {said}" + (f"; {self.remedy}" if self.remedy else "")


Check = Callable[[Store, bool], Iterator[Finding]]
"""What is found in a store by a check beside the tables' own; the second argument is whether all bytes are read."""


def counted(where: str, found: Mapping[str, int], remedy: str) -> Iterator[Finding]:
    """A finding where something is wrong in these counts."""
    wrong = {name: found[name] for name in WRONG if found.get(name)}
    if wrong:
        yield Finding(where=where, remedy=remedy, counts=wrong)


def damaged(where: str, what: str, remedy: str, count: int = 1) -> Finding:
    """A finding of something that is not as it was published."""
    return Finding(where=where, what=what, remedy=remedy, counts=Counter(damaged=count))


def extract_again(store: Store, table: str, *options: str) -> str:
    """How rows of features come back that are not there."""
    return f"run {extract_command(store, [table], *options)}"


def make_anew(store: Store, table: str, part: int) -> str:
    """How a part of features or errors that cannot be trusted is made anew."""
    name = f"part-{part:05d}.parquet"
    return f"remove {name} of features/{table} and errors/{table}, and to make it anew {extract_again(store, table)}"


def plan_anew(store: Store, part: int) -> str:
    """How a part of the plan that cannot be trusted is made anew."""
    return (
        f"put part-{part:05d}.parquet back from a copy, or remove it from videos, clips and errors/_probe, and to plan "
        f"its videos anew run {plan_command(store)}"
    )


def label_again(store: Store, name: str) -> str:
    """How labels come back that are not there."""
    command = label_command(store, name)
    return f"run {command}" if command else f"label or import labels/{name} again"


def label_anew(store: Store, name: str, part: int) -> str:
    """How a part of labels that cannot be read is made anew: labels that are kept are read before."""
    there = f"part-{part:05d}.parquet of labels/{name} and video_labels/{name}"
    return f"remove {there}, then {label_again(store, name)}"


def find_again(store: Store, name: str) -> str:
    """How duplicates are found anew."""
    return f"run {duplicates_command(store, name)}"

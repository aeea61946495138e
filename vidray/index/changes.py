"""What an index has to learn: how its table differs from what it was built from."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from vidray.errors import IndexFileError
from vidray.index import ann
from vidray.index.ann import Layout
from vidray.index.embeddings import Metric, Seen, row_counts
from vidray.index.files import current, read_manifest, sha256_of
from vidray.index.manifest import SEGMENTS, Manifest, Part, Segment
from vidray.storage import Folder

OUTGROWN = 2.0
"""Where the table has grown so many times since the centroids were trained, or shrunk, they are trained again."""

SEEN_FILE = "seen.json"
"""The fingerprints of the parts, so that what was not written since is not read again."""


@dataclass(frozen=True)
class Known:
    """The index that is there, with the fingerprints that its parts had."""

    version: str
    manifest: Manifest
    fingerprints: Mapping[str, str]


@dataclass(frozen=True)
class Plan:
    """What is to be done.

    Attributes:
        kept: Segments that go on, with the runs that do.
        parts: Of the kept runs, and parts of which nothing could be compared.
        fresh: What is to be encoded, with the number of rows of each.
        base: The row at which new segments begin.
        known: The index that they go on from; None where all is made anew.
    """

    kept: list[Segment]
    parts: list[Part]
    fresh: list[tuple[Seen, int]]
    base: int
    known: Manifest | None

    @property
    def rows(self) -> int:
        return sum(segment.clips for segment in self.kept) + sum(rows for _, rows in self.fresh)


def plan_build(
    source: Folder, seen: Sequence[Seen], known: Known | None, *, spec_sha256: str | None, metric: Metric,
    factory: str | None,
) -> Plan:  # fmt: skip
    """What is to be done for an index of these parts: what changed since the known one, or all, anew."""
    if known is not None and _goes_on(known.manifest, spec_sha256, metric, factory):
        plan = _changes(source, seen, known)
        if not _is_outgrown(plan, known.manifest, factory):
            return plan
    counts = row_counts(source, [part.name for part in seen])
    return Plan([], [], list(zip(seen, counts, strict=True)), 0, None)


def _goes_on(known: Manifest, spec_sha256: str | None, metric: Metric, factory: str | None) -> bool:
    """Whether an index is one that changes can be added to."""
    if (known.spec_sha256, known.metric) != (spec_sha256, metric):
        return False
    return factory is None or _is_named(factory, known.layout)


def _changes(source: Folder, seen: Sequence[Seen], known: Known) -> Plan:
    manifest = known.manifest
    before = {part.name: part for part in manifest.parts}
    same = {part.name for part in seen if _is_same(source, part, before.get(part.name), known)}
    kept = []
    for segment in manifest.segments:
        runs = tuple(run for run in segment.runs if run.part in same)
        if runs:
            kept.append(replace(segment, runs=runs))
    changed = [part for part in seen if part.name not in same]
    counts = row_counts(source, [part.name for part in changed])
    last = manifest.segments[-1]
    fresh = list(zip(changed, counts, strict=True))
    return Plan(kept, [before[name] for name in sorted(same)], fresh, last.base + last.rows, manifest)


def _is_same(source: Folder, seen: Seen, part: Part | None, known: Known) -> bool:
    """Whether a part is what it was: written then and not since, or else of the same content."""
    if part is None or part.size_bytes != seen.size_bytes:
        return False
    if known.fingerprints.get(seen.name) == seen.fingerprint:
        return True
    with source.open(seen.name) as file:
        return sha256_of(file) == part.sha256


def _is_outgrown(plan: Plan, known: Manifest, factory: str | None) -> bool:
    """Whether the index would be another one if it were built now, or its centroids are of another table."""
    if not plan.rows:
        return True
    if not known.layout.exact and not 1 / OUTGROWN <= plan.rows / max(1, known.trained_on) <= OUTGROWN:
        return True
    wanted = ann.layout_for(plan.rows, known.dim)
    return factory is None and (wanted.codec, wanted.exact) != (known.codec, known.layout.exact)


def _is_named(factory: str, layout: Layout) -> bool:
    lists, _, code = factory.rpartition(",")
    code = "SQfp16" if code == "Flat" else code
    kind = layout.factory.rpartition(",")
    return code == kind[2] and (lists == kind[0] or (lists == "IVF" and not layout.exact))


def known_index(target: Folder) -> Known | None:
    """The index that is there; None where there is none that this vidray can go on from."""
    try:
        version, sha256 = current(target)
        manifest = read_manifest(target, version, sha256)
        for segment in manifest.segments:
            sizes = target.sizes(f"{SEGMENTS}/{segment.name}")
            if any(sizes.get(f"{SEGMENTS}/{segment.name}/{n}") != f.size_bytes for n, f in segment.files.items()):
                return None
    except (IndexFileError, FileNotFoundError):
        return None
    try:
        fingerprints = json.loads(target.read_bytes(f"{version}/{SEEN_FILE}"))
    except (FileNotFoundError, ValueError):
        fingerprints = {}
    return Known(version, manifest, fingerprints if isinstance(fingerprints, dict) else {})

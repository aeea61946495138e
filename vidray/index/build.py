"""From a table of embeddings to an index: any folder of Parquet parts with `clip_id` and `embedding`.

Centroids are trained once on a sample, every run of parts becomes a segment, and the manifest that lists them is
committed last. When the table has changed, segments are added for its new and changed parts, and what went is no longer
listed. Whoever builds gives the work of the segments to a runner; the bytes do not depend on it.
"""

from __future__ import annotations

import hashlib
import json
import posixpath
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, get_args

import numpy as np
import numpy.typing as npt

from vidray.errors import IndexFileError, UsageError
from vidray.index import ann
from vidray.index.ann import Layout
from vidray.index.changes import SEEN_FILE, Plan, known_index, plan_build
from vidray.index.embeddings import Metric, Seen, first_dim, parts_of
from vidray.index.encode import (
    EncodeJob,
    MergeJob,
    SampleJob,
    centroids_of,
    encode,
    merge_segments,
    open_segment,
    sample,
)
from vidray.index.files import describe, publish, workspace
from vidray.index.manifest import CENTROIDS, File, Manifest, Measured, Part, Segment
from vidray.index.recall import FEWER_QUERIES, QUERIES, measure
from vidray.index.vectors import Vectors
from vidray.storage import Folder
from vidray.store import spec_sha256
from vidray.store.lease import Lease

SEED = 0
SEGMENT_BYTES = 256 << 20
"""Of fp16 vectors in one segment, as it is first written; a part that has more is one by itself."""

MOST_SEGMENTS = 8
"""More are merged: a list in many pieces is slower to search, and pieces of an eighth cost little."""

MOST_DEAD = 0.25
"""A segment of which a larger share is dead is written anew."""

BUILDING_FILE = "_building.json"

Runner = Callable[[Callable[[Any], Any], Sequence[Any]], Iterable[Any]]
"""Does a list of jobs by one function, and gives back their results in the order of the jobs."""


@dataclass(frozen=True, kw_only=True)
class IndexInfo:
    """What was built.

    Attributes:
        version: `v0001` and on.
        rows: Clips that are in it.
        added: Of these, by this build.
        retired: Clips that were in it before and no longer are.
        left_out: Rows without a vector to compare, by reason: `null`, `zero`, `not_finite`, `too_large`.
        nlist: Inverted lists, 1 where the index is exact.
        measured: The recall against exact search without a filter, and with filters that keep 10 and 1% of the clips.
        size_bytes: Of the index's files.
    """

    version: str
    rows: int
    added: int
    retired: int
    left_out: dict[str, int]
    dim: int
    metric: str
    factory: str
    nlist: int
    nprobe: int
    segments: int
    measured: tuple[Measured, ...]
    size_bytes: int

    @property
    def recall_at_10(self) -> float:
        """Without a filter."""
        return self.measured[0].recall_at_10


def one_by_one(work: Callable[[Any], Any], jobs: Sequence[Any]) -> Iterable[Any]:
    """The runner of this process: one job after the other."""
    return map(work, jobs)


def build_index(
    features: str,
    index_dir: str,
    *,
    metric: Metric | None = None,
    factory: str | None = None,
    rebuild: bool = False,
    seed: int = SEED,
    run: Runner = one_by_one,
    say: Callable[[str], None] = lambda line: None,
) -> IndexInfo:
    """Build the index of a table of embeddings, or bring the one that is there up to date.

    Rows whose embedding is null, zero, not finite or too large for fp16 are left out and counted. Readers see the old
    index until the new one is complete. A build that was killed is taken up where it was.

    Args:
        features: fsspec URL of a folder of Parquet parts with `clip_id` and `embedding` (a list of floats, all of one
            length); `video_id`, `uri`, `start_s` and `end_s` are kept where it has them. Names that begin with `_` or
            `.` are passed over.
        index_dir: fsspec URL of the index's own folder.
        metric: How clips are compared: by cosine, or by inner product; None for as before, cosine at first.
        factory: `SQfp16` (exact), `IVF<lists>,SQfp16` or `IVF<lists>,RaBitQ`; the number of lists may be left out. By
            default as was asked for before; where nothing was, or with `rebuild`, the number of clips decides.
        rebuild: Build anew, whatever is there.
        seed: Of the samples that centroids are trained on and recall is measured by.
        run: Who does the work of the segments.
        say: Told what is being done.

    Raises:
        UsageError: There is nothing to index, a column is missing, or no such factory.
        StoreError: A part cannot be read, embeddings have different lengths, or another build is at work here.
    """
    if metric is not None and metric not in get_args(Metric):
        raise UsageError(f"metric is {' or '.join(get_args(Metric))}, got {metric!r}")
    source, target = Folder(features), Folder(index_dir)
    if not parts_of(source):
        raise UsageError(f"{source.url}: no Parquet parts here; run vidray extract first")
    with Lease(target, say=say) as lease:
        # looked at while nobody else builds: what is there may be of one that has just ended
        return _Build(source, target, metric, factory, rebuild, seed, run, say).run_all(lease)


class _Build:
    """One build, step by step."""

    def __init__(
        self, source: Folder, target: Folder, metric: Metric | None, factory: str | None, rebuild: bool, seed: int,
        run: Runner, say: Callable[[str], None],
    ) -> None:  # fmt: skip
        self.source, self.target, self.factory, self.rebuild = source, target, factory, rebuild
        self.seed, self.run, self.say = seed, run, say
        self.seen = parts_of(source)
        self.spec_sha256 = spec_sha256(source)
        self.known = known_index(target)
        self.metric: Metric = metric or (self.known.manifest.metric if self.known else "cosine")
        if factory is None and self.known is not None and not rebuild:
            self.factory = self.known.manifest.asked

    def run_all(self, lease: Lease) -> IndexInfo:
        plan = plan_build(
            self.source, self.seen, None if self.rebuild else self.known,
            spec_sha256=self.spec_sha256, metric=self.metric, factory=self.factory,
        )  # fmt: skip
        before = 0 if self.known is None else self.known.manifest.clips
        if self.known is not None and self._is_up_to_date(plan):
            return _info(self.known.version, self.known.manifest, 0, 0)
        layout, centroids = self._trained(plan)
        segments, parts = self._encoded(plan, layout, centroids)
        added = sum(part.clips for part in parts)
        if not segments:
            rows = sum(part.rows for part in parts)
            raise UsageError(f"{self.source.url}: none of its {rows} rows has an embedding, there is nothing to index")
        segments = self._compacted(segments, layout)
        clips = sum(segment.clips for segment in segments)
        grown = plan.known is not None and plan.known.layout == layout
        trained_on = plan.known.trained_on if plan.known and grown else clips
        measured = self._measured(segments, layout, centroids, few=grown)
        manifest = Manifest(
            features=_seen_from(self.target.url, self.source.url),
            spec_sha256=self.spec_sha256,
            parts=tuple(sorted([*plan.parts, *parts], key=lambda part: part.name)),
            clips=clips,
            trained_on=trained_on,
            metric=self.metric,
            dim=layout.dim,
            nlist=layout.nlist,
            codec=layout.codec,
            asked=self.factory,
            measured=measured,
            centroids=centroids,
            segments=tuple(segments),
        )
        lease.check()
        fingerprints = {part.name: part.fingerprint for part in self.seen}
        version = publish(self.target, manifest, {SEEN_FILE: json.dumps(fingerprints).encode()})
        self.target.remove(BUILDING_FILE)
        return _info(version, manifest, added, before - (clips - added))

    def _is_up_to_date(self, plan: Plan) -> bool:
        if plan.known is None or plan.fresh:
            return False
        return tuple(plan.kept) == plan.known.segments and len(plan.parts) == len(plan.known.parts)

    def _trained(self, plan: Plan) -> tuple[Layout, dict[str, File]]:
        """How vectors are kept, and the centroids' file; trained unless an earlier build has done so."""
        if plan.known is not None:
            return plan.known.layout, dict(plan.known.centroids)
        dim = first_dim(self.source, [part.name for part, _ in plan.fresh])
        if dim is None:
            raise UsageError(
                f"{self.source.url}: none of its {plan.rows} rows has an embedding, there is nothing to index"
            )
        layout = ann.layout_for(plan.rows, dim, self.factory)
        if layout.nlist == 1:
            return layout, {}
        made_of = [[asdict(part) for part, _ in plan.fresh], asdict(layout), self.metric, self.seed, self.factory]
        key = hashlib.sha256(json.dumps(made_of).encode()).hexdigest()
        return self._trained_before(key) or self._train(key, plan, layout)

    def _trained_before(self, key: str) -> tuple[Layout, dict[str, File]] | None:
        try:
            left = json.loads(self.target.read_bytes(BUILDING_FILE))
            if left["key"] != key:
                return None
            files = {name: File(**file) for name, file in left["centroids"].items()}
            layout = Layout(**left["layout"])
            with workspace(self.target) as work:
                centroids_of(self.target, files, layout, work)
        except (FileNotFoundError, IndexFileError, ValueError, TypeError, KeyError):
            return None
        return layout, files

    def _train(self, key: str, plan: Plan, layout: Layout) -> tuple[Layout, dict[str, File]]:
        self.say(f"training {layout.nlist:,} centroids")
        sampled = self._sample(plan, layout)
        wanted = min(ann.train_rows(layout), plan.rows)
        if self.factory is None or self.factory.startswith("IVF,"):
            # rows without an embedding count for nothing
            clips = max(1, round(plan.rows * len(sampled) / wanted))
            layout = replace(layout, nlist=min(layout.nlist, ann.list_count(clips, layout.dim)))
        if len(sampled) < layout.nlist:
            raise UsageError(
                f"{self.source.url}: {len(sampled):,} clips have an embedding, too few for {layout.nlist:,} lists"
            )
        files: dict[str, File] = {}
        if layout.nlist > 1:
            with workspace(self.target) as work:
                path = work / "centroids.f32"
                ann.train(sampled.astype(np.float32), layout.nlist, seed=self.seed).astype("<f4").tofile(path)
                file = describe(path)
                name = CENTROIDS.format(sha256=file.sha256[:16])
                with self.target.writing(name) as out:
                    out.write(path.read_bytes())
                files = {name: file}
        left = {"key": key, "layout": asdict(layout), "centroids": {name: asdict(file) for name, file in files.items()}}
        self.target.write_bytes(BUILDING_FILE, json.dumps(left).encode())
        return layout, files

    def _sample(self, plan: Plan, layout: Layout) -> ann.F16:
        """Vectors of rows that are drawn from all parts alike, in the order of the rows."""
        total = plan.rows
        count = min(ann.train_rows(layout), total)
        drawn = np.sort(np.random.default_rng(self.seed).choice(total, count, replace=False))
        jobs, first = [], 0
        for group in self._groups(plan, layout.dim):
            parts: list[tuple[str, npt.NDArray[np.int64]]] = []
            for seen, rows in group:
                within = drawn[np.searchsorted(drawn, first) : np.searchsorted(drawn, first + rows)] - first
                first += rows
                if len(within):
                    parts.append((seen.name, within))
            jobs.append(
                SampleJob(features=self.source.url, index=self.target.url, parts=tuple(parts), metric=self.metric,
                          dim=layout.dim)
            )  # fmt: skip
        return np.concatenate(list(self.run(sample, jobs)))

    def _groups(self, plan: Plan, dim: int) -> list[list[tuple[Seen, int]]]:
        """Neighbouring parts that make a segment."""
        most = max(1, SEGMENT_BYTES // (2 * dim))
        groups: list[list[tuple[Seen, int]]] = []
        count = 0
        for part, rows in plan.fresh:
            if not groups or count + rows > most:
                groups.append([])
                count = 0
            groups[-1].append((part, rows))
            count += rows
        return groups

    def _encoded(self, plan: Plan, layout: Layout, centroids: Mapping[str, File]) -> tuple[list[Segment], list[Part]]:
        """All segments, the kept ones first, and the parts of the new ones."""
        jobs, base = [], plan.base
        for group in self._groups(plan, layout.dim):
            jobs.append(
                EncodeJob(
                    features=self.source.url, index=self.target.url, parts=tuple(part for part, _ in group), base=base,
                    metric=self.metric, layout=layout, centroids=dict(centroids),
                )
            )  # fmt: skip
            base += sum(rows for _, rows in group)
        segments, parts = list(plan.kept), []
        for number, done in enumerate(self.run(encode, jobs), start=1):
            parts += done.parts
            if done.segment is not None:
                segments.append(done.segment)
            self.say(f"segment {number} of {len(jobs)}")
        return segments, parts

    def _compacted(self, segments: list[Segment], layout: Layout) -> list[Segment]:
        """The segments with those merged that are too many, and written anew of which too much is dead."""
        groups = compaction(segments)
        merging = [group for group in groups if len(group) > 1 or _is_mostly_dead(group[0])]
        jobs = [MergeJob(index=self.target.url, segments=tuple(group), layout=layout) for group in merging]
        merged = iter(list(self.run(merge_segments, jobs)))
        return [next(merged) if group in merging else group[0] for group in groups]

    def _measured(
        self, segments: Sequence[Segment], layout: Layout, centroids: Mapping[str, File], *, few: bool
    ) -> tuple[Measured, ...]:
        with workspace(self.target) as work:
            opened = [open_segment(self.target, segment, layout, work, every=False) for segment in segments]
            vectors = Vectors(layout, centroids_of(self.target, centroids, layout, work), opened)
            return measure(vectors, queries=FEWER_QUERIES if few else QUERIES, seed=self.seed)


def compaction(segments: Sequence[Segment]) -> list[list[Segment]]:
    """Neighbouring segments that are to be one: none as long as there are few, else up to a quarter of all clips."""
    if len(segments) <= MOST_SEGMENTS:
        return [[segment] for segment in segments]
    most = 2 * sum(segment.clips for segment in segments) / MOST_SEGMENTS
    groups: list[list[Segment]] = []
    count = 0.0
    for segment in segments:
        if not groups or count + segment.clips > most:
            groups.append([])
            count = 0.0
        groups[-1].append(segment)
        count += segment.clips
    return groups


def _is_mostly_dead(segment: Segment) -> bool:
    return segment.clips < (1 - MOST_DEAD) * segment.rows


def _seen_from(index_url: str, features_url: str) -> str:
    """The table's place relative to the index where they stand in one store, so that a store can be moved."""
    store = re.sub(r"/index/[^/]+$", "", index_url)
    if store != index_url and features_url.startswith(store + "/"):
        return posixpath.relpath(features_url[len(store) :], index_url[len(store) :])
    return features_url


def _info(version: str, manifest: Manifest, added: int, retired: int) -> IndexInfo:
    return IndexInfo(
        version=version,
        rows=manifest.clips,
        added=added,
        retired=retired,
        left_out=manifest.left_out,
        dim=manifest.dim,
        metric=manifest.metric,
        factory=manifest.factory,
        nlist=manifest.nlist,
        nprobe=manifest.nprobe,
        segments=len(manifest.segments),
        measured=manifest.measured,
        size_bytes=sum(file.size_bytes for file in manifest.files.values()),
    )

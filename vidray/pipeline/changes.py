"""What changed since videos were planned: retire videos with all their rows, and take failed slices back to staging.

Both survive being killed: a retirement leaves its intent, which the next run finishes; a part that is taken back is
marked when all is staged, counts as missing from then on, and is published again. Knows no Ray.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from vidray.corpus import Listing
from vidray.extractors.protocol import Extractor
from vidray.pipeline.tasks import plan_blocks, slice_keys
from vidray.store import HUMAN, PROBE, SliceKey, Store, staged_schema

TABLES = ("video_labels", "labels", "errors", "features")
"""Kinds of tables with rows of videos, in the order in which these are removed."""


@dataclass(frozen=True, kw_only=True)
class Changes:
    """The videos of one corpus in the store that a new listing shows otherwise, as their ids.

    Attributes:
        changed: Listed with another fingerprint.
        deleted: No longer listed.
        failed: Listed, and could not be read when they were planned.
    """

    changed: frozenset[str]
    deleted: frozenset[str]
    failed: frozenset[str]


def find_changes(store: Store, listing: Listing) -> Changes:
    """Compare the store's videos with a listing of their corpus."""
    listed = {video.uri: video for video in listing.videos}
    changed, deleted, failed = set(), set(), set()
    columns = ["video_id", "uri", "fingerprint", "status", "corpus"]
    for part in store.parts("clips"):
        for row in store.read("videos", part, columns).to_pylist():
            video = listed.get(row["uri"])
            if video is None:
                if row["corpus"] == listing.corpus and listing.is_whole:
                    deleted.add(row["video_id"])
                continue
            if video.is_seen and video.fingerprint != row["fingerprint"]:
                changed.add(row["video_id"])
            if row["status"] == "failed":
                failed.add(row["video_id"])
    return Changes(changed=frozenset(changed), deleted=frozenset(deleted), failed=frozenset(failed))


def human_labels_of(store: Store, video_ids: Collection[str]) -> int:
    """How many labels people gave to clips of videos."""
    if not video_ids:
        return 0
    videos, count = pa.array(list(video_ids), pa.string()), 0
    for table in (f"labels/{name}" for name in store.tables("labels")):
        for part in store.parts(table):
            rows = store.read(table, part, ["video_id", "source"])
            is_theirs = pc.and_(pc.equal(rows["source"], HUMAN), pc.is_in(rows["video_id"], value_set=videos))
            count += is_theirs.to_pylist().count(True)
    return count


def retire(store: Store, video_ids: Collection[str]) -> None:
    """Remove videos and every row of theirs, in the order labels, errors, features, clips, videos."""
    if video_ids:
        store.write_intent(sorted(video_ids))
        finish_retirement(store)


def finish_retirement(store: Store) -> None:
    """Go on with a retirement that was interrupted, if there is one."""
    retired = store.intent()
    if not retired:
        return
    gone = pa.array(retired, pa.string())
    tables = [f"{kind}/{name}" for kind in TABLES for name in store.tables(kind)]
    for part in store.parts("videos"):
        if not _holds(store.read("videos", part, ["video_id"]), gone):
            continue
        if part in store.parts("clips") and _holds(store.read("clips", part, ["video_id"]), gone):
            for table in store.tables("_staging"):
                store.clear_staged(part, table)
        is_emptied = not len(_without(store.read("videos", part, ["video_id"]), gone))
        for table in (*tables, "clips", f"errors/{PROBE}", "videos"):
            if is_emptied:
                # its number is free again: a run that is interrupted here and repeated must not take another one
                store.remove(table, part)
            elif part in store.parts(table):
                rows = store.read(table, part)
                if _holds(rows, gone):
                    store.write(table, part, _without(rows, gone), rows.schema)
    store.clear_intent()


def take_back_failed(store: Store, extractors: Mapping[str, Extractor]) -> None:
    """Stage the published slices of all parts with failures again, but for the slices that have failures.

    Parts that an interrupted run has taken back are left to go on from where it was.
    """
    for table, extractor in extractors.items():
        again = store.again(table)
        for part in store.parts(f"features/{table}"):
            if part not in again and store.rows(f"errors/{table}", part):
                _take_back(store, table, part, extractor)


def _take_back(store: Store, table: str, part: int, extractor: Extractor) -> None:
    schema = staged_schema(extractor.schema)
    done, failed = store.read(f"features/{table}", part), store.read(f"errors/{table}", part)
    rows = pa.concat_tables([done, failed], promote_options="default").select(schema.names).cast(schema)
    places = {clip_id: index for index, clip_id in enumerate(rows["clip_id"].to_pylist())}
    failed_ids = set(failed["clip_id"].to_pylist())
    kept: dict[SliceKey, list[int]] = {}
    for block in plan_blocks(store, part):
        for key, cut in slice_keys(part, block, extractor.sampling):
            ids = [clip.clip_id for clip in block.clips[cut.first : cut.stop]]
            if not failed_ids.intersection(ids):
                kept[key] = [places[clip_id] for clip_id in ids]
    store.clear_staged(part, table)
    for key, indices in kept.items():
        store.stage(table, key, rows.take(indices))
    store.mark_again(table, part)


def _without(rows: pa.Table, video_ids: pa.Array) -> pa.Table:
    return rows.filter(pc.invert(pc.is_in(rows["video_id"], value_set=video_ids)))


def _holds(rows: pa.Table, video_ids: pa.Array) -> bool:
    return bool(pc.any(pc.is_in(rows["video_id"], value_set=video_ids)).as_py())

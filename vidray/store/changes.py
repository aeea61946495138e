"""What changed since videos were planned: retire videos with all their rows, take failed slices back to staging.

Both survive being killed: a retirement leaves its intent, which the next run finishes; a part that is taken back is
marked when all is staged, counts as missing from then on, and is published again. Knows no Ray.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from vidray.corpus import Listing
from vidray.errors import StoreError, one_line
from vidray.extractors.inputs import columns_of, has_context, levels, samplings_of, video_schema_of
from vidray.extractors.protocol import Extractor
from vidray.extractors.spec import bound_in, current
from vidray.storage import STAGING
from vidray.store.layout import (
    ERRORS,
    HUMAN,
    KINDS,
    PROBE_TABLE,
    VIDEO_ROW,
    SliceKey,
    errors_of,
    features_of,
    features_schema,
    labels_of,
    staged_schema,
    video_features_of,
)
from vidray.store.plan import extractor_blocks, extractor_slices
from vidray.store.store import Store
from vidray.wording import see_verify


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
    for row in store.listed.rows().to_pylist():
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
    for table in (labels_of(name) for name in store.tables("labels")):
        for part in store.parts(table):
            rows = store.read(table, part, ["video_id", "source"])
            is_theirs = pc.and_(pc.equal(rows["source"], HUMAN), pc.is_in(rows["video_id"], value_set=videos))
            count += is_theirs.to_pylist().count(True)
    return count


def retire(store: Store, video_ids: Collection[str]) -> None:
    """Remove videos and every row of theirs, in the order labels, derived tables, errors, features, clips, videos."""
    if video_ids:
        store.intents.write_retirement(sorted(video_ids), {table: list(parts) for table, parts in current_parts(store)})
        finish_retirement(store)


def move(store: Store, video_ids: Sequence[str], part: int) -> None:
    """Say that videos move into a part of their own, from which on `vidray.pipeline.growth` ends or undoes it."""
    store.intents.write_move(part, video_ids, {table: list(parts) for table, parts in current_parts(store)})


def finish_retirement(store: Store) -> None:
    """Go on with a retirement that was interrupted, if there is one."""
    retired = store.intents.retiring()
    if not retired:
        return
    remove_rows(store, pa.array(retired, pa.string()))
    store.intents.clear()


def remove_rows(store: Store, gone: pa.Array, *, but: int | None = None) -> None:
    """Remove every row of videos from every part but one, in the order of `retire`; done twice, it does the same."""
    tables = [*_named_tables(store), "clips", PROBE_TABLE, "videos"]
    # listed once: a store has as many parts as it has thousands of videos
    held = {table: set(store.parts(table)) for table in tables}
    staged = store.tables(STAGING)
    for part in sorted(held["videos"] - {but}):
        rows = store.read("videos", part, ["video_id"])
        if not _holds(rows, gone):
            continue
        is_emptied = not len(_without(rows, gone))
        if part in held["clips"] and _holds(store.read("clips", part, ["video_id"]), gone):
            for table in staged:
                if is_emptied:
                    store.staging.clear(part, table)
                else:
                    store.staging.forget_slices(part, table)
        for table in tables:
            if is_emptied:
                # its number is free again: a run that is interrupted here and repeated must not take another one
                store.remove(table, part)
            elif part in held[table]:
                rows = store.read(table, part)
                if _holds(rows, gone):
                    store.write(table, part, _without(rows, gone), rows.schema)
    if but is None:
        _remove_references(store, gone)
    keep_current(store)


def _remove_references(store: Store, gone: pa.Array) -> None:
    """Remove the rows of other videos that name one that is gone."""
    for kind in KINDS:
        for table in (f"{kind.name}/{name}" for name in store.tables(kind.name) if kind.refers_by is not None):
            for part in store.parts(table):
                rows = store.read(table, part)
                if _holds(rows, gone, str(kind.refers_by)):
                    store.write(table, part, _without(rows, gone, str(kind.refers_by)), rows.schema)


def derived_tables(store: Store) -> dict[str, dict[str, str]]:
    """The tables that are made from others, with these by the names of the inputs."""
    specs = {table: current(store.spec(table) or {}) for table in store.tables("features")}
    return {table: bound for table, spec in specs.items() if (bound := bound_in(spec))}


def made_from_now(store: Store, bound: Collection[str], part: int) -> dict[str, str]:
    """The content hash of a part of each of some tables, as it is now."""
    return {table: store.content_hash(table, part) for table in sorted(set(bound))}


def outdated(store: Store, table: str, bound: Collection[str]) -> list[int]:
    """The published parts of a derived table that were made from other rows than its inputs have now."""
    there = set(store.parts(features_of(table)))
    whole = there.intersection(*(store.parts(features_of(name)) for name in bound))
    return sorted(
        part for part in there if part not in whole or store.made_from(table, part) != made_from_now(store, bound, part)
    )


def begin_outdated(store: Store, table: str, bound: Mapping[str, str]) -> None:
    """Say of what each part of a derived table is made that is missing; have those that are outdated made again whole.

    What is staged of other rows than the inputs have now is removed.
    """
    old = set(outdated(store, table, bound.values()))
    settled = set(store.parts(features_of(table))) - old - store.staging.again(table)
    for part in store.parts("clips"):
        if part in settled:
            continue
        store.staging.begin_derived(table, part, made_from_now(store, bound.values(), part))
        if part in old:
            store.staging.mark_again(table, part)


def _named_tables(store: Store) -> Iterator[str]:
    """All tables with rows of videos, in the order in which these are removed: what is derived before its inputs."""
    derived = derived_tables(store)
    order = {table: place for place, level in enumerate(levels(_all_bound(store, derived))) for table in level}
    features = ("errors", "video_features", "features")
    for kind in KINDS:
        if kind.name not in features:
            yield from (f"{kind.name}/{name}" for name in store.tables(kind.name))
    names = sorted({name for kind in features for name in store.tables(kind)}, key=lambda name: -order.get(name, 0))
    for name in names:
        yield from (f"{kind}/{name}" for kind in features)


def _all_bound(store: Store, derived: Mapping[str, Mapping[str, str]]) -> dict[str, Mapping[str, str]]:
    return {table: derived.get(table, {}) for table in store.tables("features")}


def current_parts(store: Store) -> Iterator[tuple[str, list[int]]]:
    """Of each derived table the parts that were made from what there is: they will be so without some videos, too."""
    for table, bound in derived_tables(store).items():
        old = outdated(store, table, bound.values())
        yield table, [part for part in store.parts(features_of(table)) if part not in old]


def keep_current(store: Store) -> None:
    """Say of the derived parts that were made from what there was that they are of what there is."""
    derived = derived_tables(store)
    for table, parts in store.intents.current().items():
        there = set(store.parts(features_of(table)))
        for part in parts:
            if table in derived and part in there:
                store.write_made_from(table, part, made_from_now(store, derived[table].values(), part))


def take_back(store: Store, extractors: Mapping[str, Extractor], *, retry_failed: bool) -> None:
    """Stage the slices that parts which are not whole have again, so that the rest is done by this run.

    Parts that lack new clips keep all rows that they have, but where a row depends on the video's other clips: these
    are made again whole. With `retry_failed`, slices with failures of any part are not staged; a part that an
    interrupted run has taken back is left to go on from where it was, and so are parts that were never published, but
    for what is staged of them with failures.
    """
    for table, extractor in extractors.items():
        grown, again = store.staging.grown(table), store.staging.again(table)
        if retry_failed:
            _unstage_failed(store, table, set(store.parts(features_of(table))) - again)
        for part in store.parts(features_of(table)):
            is_retried = retry_failed and store.rows(errors_of(table), part) > 0
            if part in grown or (is_retried and part not in again):
                kept: dict[SliceKey, pa.Table] = {}
                if part not in grown or is_each_for_itself(extractor):
                    kept = dict(_published_slices(store, table, part, extractor, failed_too=not is_retried))
                _stage_again(store, table, part, kept)


def _unstage_failed(store: Store, table: str, settled: set[int]) -> None:
    for key in store.staging.slices(table):
        if key.part not in settled and store.staging.has_failed(table, key):
            store.staging.remove(table, key)


def is_each_for_itself(extractor: Extractor) -> bool:
    """Whether a clip's row is the same whatever other clips its video has."""
    return not columns_of(extractor) and not any(map(has_context, samplings_of(extractor).values()))


def _published_slices(
    store: Store, table: str, part: int, extractor: Extractor, *, failed_too: bool
) -> Iterator[tuple[SliceKey, pa.Table]]:
    """The slices of which a published part has all rows, as they are staged."""
    schema = staged_schema(extractor.schema, video_schema_of(extractor))
    failed = store.read(errors_of(table), part, ERRORS.names)
    done = store.read(features_of(table), part, features_schema(extractor.schema).names)
    try:
        rows = pa.concat_tables([done, failed if failed_too else failed.slice(0, 0)], promote_options="default")
        if VIDEO_ROW in schema.names:
            rows = _with_videos(store, table, part, rows, schema.field(VIDEO_ROW).type)
        rows = rows.select(schema.names).cast(schema)
    except pa.ArrowException as e:
        reason = one_line(e)[:200]
        raise StoreError(
            f"{store.url}: part {part} of {table} has other columns than it should: {reason}; {see_verify(store.url)}"
        ) from e
    places = {clip_id: index for index, clip_id in enumerate(rows["clip_id"].to_pylist())}
    for block in extractor_blocks(store, part, extractor):
        for key, cut in extractor_slices(part, block, extractor):
            ids = [clip.clip_id for clip in block.clips[cut.first : cut.stop]]
            if all(clip_id in places for clip_id in ids):
                yield key, rows.take([places[clip_id] for clip_id in ids])


def _stage_again(store: Store, table: str, part: int, slices: Mapping[SliceKey, pa.Table]) -> None:
    # the mark of what it lacks goes last: a run that is killed here begins anew
    is_grown = part in store.staging.grown(table)
    (store.staging.forget_slices if is_grown else store.staging.clear)(part, table)
    made_from = store.made_from(table, part)
    if made_from is not None:
        store.staging.begin_derived(table, part, made_from)
    for key, rows in slices.items():
        store.staging.write(table, key, rows)
    store.staging.mark_again(table, part)
    store.staging.unmark_grown(table, part)


def _with_videos(store: Store, table: str, part: int, rows: pa.Table, kind: pa.DataType) -> pa.Table:
    """The rows of videos beside the first clip of each, as they are staged."""
    videos = store.read(video_features_of(table), part, ["video_id", *(field.name for field in kind)])
    clips = store.read("clips", part, ["clip_id", "video_id"]).to_pylist()
    first = {row["video_id"]: row["clip_id"] for row in reversed(clips)}
    by_clip = {first.get(row["video_id"]): {name: row[name] for name in kind.names} for row in videos.to_pylist()}
    values = [by_clip.get(clip_id) for clip_id in rows["clip_id"].to_pylist()]
    return rows.append_column(VIDEO_ROW, pa.array(values, kind))


def _without(rows: pa.Table, video_ids: pa.Array, column: str = "video_id") -> pa.Table:
    return rows.filter(pc.invert(pc.is_in(rows[column], value_set=video_ids)))


def _holds(rows: pa.Table, video_ids: pa.Array, column: str = "video_id") -> bool:
    return bool(pc.any(pc.is_in(rows[column], value_set=video_ids)).as_py())

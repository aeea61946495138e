"""A manifest that grew: new spans of planned videos become clips, changed metadata is written down. Knows no Ray.

Parts hold whole videos, so a video with new spans moves whole into a new part, with the rows that it has in every
table. It is killed anywhere without a loss: until the new part's `clips` are written the next run undoes the move, from
then on it ends it. Tables that lack the new clips are marked, which counts as missing there; they are read as they are.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from vidray.corpus import Listing
from vidray.media import Clip, Video
from vidray.planning import Part, blocks_of, clips_of, parts_of, with_spans_cut
from vidray.storage import STAGING
from vidray.store import CLIPS, HUMAN, LABELS, PROBE_ERRORS, VIDEOS, Store, metadata
from vidray.store.changes import move, remove_rows
from vidray.store.label_rows import write_labels
from vidray.store.layout import PROBE_TABLE, errors_of, features_of, labels_of, video_features_of
from vidray.store.lease import OF_LABELS, Lease
from vidray.wording import counted

TAKEN = (*VIDEOS.names, *(name for name in CLIPS.names if name not in VIDEOS.names))
"""Names that a manifest's columns cannot have in tables."""
Notes = Mapping[str, object]


@dataclass(frozen=True, kw_only=True)
class Growth:
    """What a manifest said of planned videos that was new.

    Attributes:
        videos: Planned ones that got new clips by new spans.
        clips: These clips.
        cut: Of these, how many end with their video, before what the manifest says.
        rows: Of planned videos and clips, whose metadata is the manifest's now.
    """

    videos: int = 0
    clips: int = 0
    cut: int = 0
    rows: int = 0

    def lines(self) -> Iterator[str]:
        """It in words; nothing where nothing was new."""
        if self.rows:
            yield f"metadata of {counted(self.rows, 'row')} of planned videos and clips is the manifest's now"
        if self.clips:
            got = f"got {counted(self.clips, 'new clip')} by new spans of the manifest"
            yield f"{counted(self.videos, 'planned video')} {got}"


def told_of_cut(spans: int) -> str:
    """That spans end with their video, in words."""
    end = "ends" if spans == 1 else "end"
    return f"{counted(spans, 'span')} of the manifest went past the end of the video, and {end} there"


@dataclass(frozen=True)
class _Grown:
    """A planned video with spans that it was not planned with; both without those that it has.

    `cut` is how many of these went past its end.
    """

    part: int
    video: Video
    clips: tuple[Clip, ...]
    cut: int


def take_in_growth(store: Store, listing: Listing, columns: pa.Schema, say: Callable[[str], None]) -> Growth:
    """Give the store what a manifest says of videos that are planned already.

    Args:
        store: With the lease held by the caller, and no move or retirement unfinished.
        listing: Of the manifest. Videos that it shows as changed are left as they are.
        columns: The metadata of the store, with that of the manifest.
        say: Called with a line where another run holds the labels.
    """
    listed = {video.uri: video for video in listing.videos if video.spans or video.metadata}
    if not listed:
        return Growth()
    grown: list[_Grown] = []
    changed = 0
    for part in store.parts("clips"):
        rows = store.read("videos", part)
        here = {row["video_id"]: listed[row["uri"]] for row in rows.to_pylist() if _is_meant(row, listed)}
        if not here:
            continue
        clips = store.read("clips", part)
        changed += _update(store, part, rows, clips, here, columns, listing.metadata)
        grown += _grown(part, rows, clips, here)
    if grown:
        with Lease(store.folder, say=say, of=OF_LABELS):
            _move_all(store, grown, columns)
    clips, cut = (sum(counts) for counts in ([len(one.clips) for one in grown], [one.cut for one in grown]))
    return Growth(videos=len(grown), clips=clips, cut=cut, rows=changed)


def finish_move(store: Store) -> None:
    """End a move that was interrupted, or undo it."""
    moving = store.intents.moving()
    if moving is None:
        return
    part, video_ids = moving
    if part not in store.parts("clips"):
        for table in (*_tables(store, "features", "video_features", "errors"), PROBE_TABLE, "videos"):
            store.remove(table, part)
        for table in store.tables(STAGING):
            store.staging.clear(part, table)
        store.intents.clear()
        return
    gone = pa.array(video_ids, pa.string())
    for name in store.tables("labels"):
        if part not in store.parts(labels_of(name)):
            _move_labels(store, name, part, gone)
    remove_rows(store, gone, but=part)
    store.intents.clear()


def _is_meant(row: Mapping[str, Any], listed: Mapping[str, Video]) -> bool:
    video = listed.get(row["uri"])
    is_same = video is not None and (not video.is_seen or video.fingerprint == row["fingerprint"])
    return is_same and row["status"] == "ok"


def _notes_of(video: Video, row: Mapping[str, Any]) -> Notes | None:
    """What a manifest says of a clip of the store, None where it says nothing of this span."""
    if not video.spans:
        return video.metadata[0] if video.metadata else None
    for (start_s, end_s), note in zip(video.spans, video.metadata, strict=True):
        # a span may have been cut at the end of the video
        if start_s == row["start_s"] and end_s >= row["end_s"]:
            return note
    return None


def _update(
    store: Store, part: int, videos: pa.Table, clips: pa.Table, here: Mapping[str, Video], columns: pa.Schema,
    found: pa.Schema,
) -> int:  # fmt: skip
    """Write the metadata of one part's planned videos and clips where the manifest says otherwise; how many rows."""
    if not len(found):
        return 0
    changed = 0
    for table, rows in (("videos", videos), ("clips", clips)):
        plain = rows.select(
            [name for name in ("video_id", "start_s", "end_s") if name in rows.column_names]
        ).to_pylist()
        notes = [_note(here.get(row["video_id"]), row, is_clip=table == "clips") for row in plain]
        new = _with_metadata(rows, notes, columns, found)
        differing = _differing(new, rows)
        if differing:
            changed += differing
            store.write(table, part, new, new.schema)
    return changed


def _note(video: Video | None, row: Mapping[str, Any], *, is_clip: bool) -> Notes | None:
    if video is None or (video.spans and not is_clip):
        return None
    return _notes_of(video, row)


def _with_metadata(rows: pa.Table, notes: Sequence[Notes | None], columns: pa.Schema, found: pa.Schema) -> pa.Table:
    """The rows with what the notes say, in columns of the store; without a note they keep what they have."""
    is_noted = pa.array([note is not None for note in notes], pa.bool_())
    for field in columns:
        if field.name.removesuffix("_json") not in found.names and field.name not in found.names:
            continue
        name = metadata.shown(field.name, TAKEN)
        values = metadata.column(field, [note or {} for note in notes])
        if name not in rows.column_names:
            rows = rows.append_column(name, values)
            continue
        held = rows[name].combine_chunks()
        order = pc.if_else(is_noted, pa.array(range(len(rows))), pa.array(range(len(rows), 2 * len(rows))))
        kept = pa.chunked_array([values, held.cast(field.type)]).combine_chunks().take(order)
        rows = rows.set_column(rows.column_names.index(name), name, kept)
    return rows


def _differing(new: pa.Table, rows: pa.Table) -> int:
    """How many rows have other values; as text, by which one that is not a number equals itself."""
    places: set[int] = set()
    for name in new.column_names:
        values = new[name].to_pylist()
        held = rows[name].to_pylist() if name in rows.column_names else [None] * len(values)
        places.update(i for i, (a, b) in enumerate(zip(values, held, strict=True)) if a != b and repr(a) != repr(b))
    return len(places)


def _grown(part: int, videos: pa.Table, clips: pa.Table, here: Mapping[str, Video]) -> Iterator[_Grown]:
    known = set(clips["clip_id"].to_pylist())
    for row in videos.select(["video_id", "duration_s"]).to_pylist():
        video = here.get(row["video_id"])
        if video is None or not video.spans:
            continue
        meant = with_spans_cut(replace(video, video_id=row["video_id"]), row["duration_s"])
        new = [clip for clip in clips_of(meant, ()) if clip.clip_id not in known]
        if new:
            spans = {(clip.start_s, clip.end_s) for clip in new}
            end_s = row["duration_s"]
            cut = {start_s for start_s, said_s in video.spans if said_s > end_s and (start_s, end_s) in spans}
            yield _Grown(part, meant, tuple(new), len(cut))


def _move_all(store: Store, grown: Sequence[_Grown], columns: pa.Schema) -> None:
    taken = set(store.parts("clips"))
    by_id = {one.video.video_id: one for one in grown}
    free = (number for number in itertools.count() if number not in taken)
    for part in parts_of([one.video for one in grown], free):
        _move(store, part, [by_id[video.video_id] for video in part.videos], columns)


def _move(store: Store, part: Part, grown: Sequence[_Grown], columns: pa.Schema) -> None:
    """Move the videos of one new part: their rows first, then its `clips`, which is the commit, then out of the old."""
    ids = pa.array([one.video.video_id for one in grown], pa.string())
    olds = sorted({one.part for one in grown})
    move(store, ids.to_pylist(), part.number)
    videos = _rows_of(store, "videos", olds, ids)
    videos = videos.take(pc.index_in(ids, value_set=videos["video_id"].combine_chunks()))
    known = _rows_of(store, "clips", olds, ids)
    clips = _planned(part.number, known, grown, columns)
    for name in store.tables("features"):
        _copy(store, name, part.number, olds, ids, clips["clip_id"].combine_chunks())
    store.write(PROBE_TABLE, part.number, PROBE_ERRORS.empty_table(), PROBE_ERRORS)
    store.write("videos", part.number, videos, videos.schema)
    store.write("clips", part.number, clips, clips.schema)
    finish_move(store)


def _planned(part: int, known: pa.Table, grown: Sequence[_Grown], columns: pa.Schema) -> pa.Table:
    """The clips of a new part: those that there are and the new ones, by video and time.

    No block holds both, so that the slices of what there is are whole.
    """
    new = [clip for one in grown for clip in one.clips]
    notes = [
        _notes_of(one.video, {"start_s": clip.start_s, "end_s": clip.end_s}) for one in grown for clip in one.clips
    ]
    names = ("clip_id", "video_id", "uri", "start_s", "end_s")
    added = pa.Table.from_pylist([{name: getattr(clip, name) for name in names} for clip in new], CLIPS)
    added = _with_metadata(added, notes, columns, columns)
    rows = pa.concat_tables([known, added], promote_options="default")
    places = {one.video.video_id: place for place, one in enumerate(grown)}
    plain = rows.select(names).to_pylist()
    order = sorted(
        range(len(plain)), key=lambda i: (places[plain[i]["video_id"]], plain[i]["start_s"], plain[i]["end_s"])
    )
    rows, plain = rows.take(pa.array(order)), [plain[i] for i in order]
    index = itertools.chain.from_iterable(range(sum(1 for _ in run)) for _, run in itertools.groupby(plain, _video))
    clips = [Clip(clip_index=place, **row) for place, row in zip(index, plain, strict=True)]
    fresh = {clip.clip_id for clip in new}
    blocks: list[int] = []
    for _, run in itertools.groupby(clips, lambda clip: clip.clip_id in fresh):
        for block in blocks_of(part, list(run)):
            blocks += [blocks[-1] + 1 if blocks else 0] * len(block.clips)
    for name, values in (
        ("clip_index", [clip.clip_index for clip in clips]), ("part", [part] * len(clips)), ("block", blocks)
    ):  # fmt: skip
        rows = rows.set_column(rows.column_names.index(name), name, pa.array(values, pa.int32()))
    return rows


def _video(row: Mapping[str, Any]) -> Any:
    return row["video_id"]


def _copy(store: Store, name: str, part: int, olds: Sequence[int], ids: pa.Array, planned: pa.Array) -> None:
    """Copy what one extractor's tables have of the videos, and mark that they lack the rest."""
    there = [old for old in olds if old in store.parts(features_of(name))]
    if not there:
        return
    store.staging.mark_grown(name, part)
    for table in (errors_of(name), video_features_of(name), features_of(name)):
        rows = _rows_of(store, table, [old for old in there if old in store.parts(table)], ids)
        if rows is not None and "clip_id" in rows.column_names:
            rows = rows.take(pc.index_in(planned, value_set=rows["clip_id"].combine_chunks()).drop_null())
        if rows is not None:
            store.write(table, part, rows, rows.schema)


def _move_labels(store: Store, name: str, part: int, ids: pa.Array) -> None:
    olds = [old for old in store.parts(labels_of(name)) if old != part]
    rows = _rows_of(store, labels_of(name), olds, ids)
    if rows is not None:
        rows = rows.select(LABELS.names).cast(LABELS)
        human, model = (rows.filter(says(rows["source"], HUMAN)) for says in (pc.equal, pc.not_equal))
        write_labels(store, name, part, model=model, human=human)


def _rows_of(store: Store, table: str, parts: Sequence[int], ids: pa.Array) -> Any:
    """The rows of videos in some parts, None without parts."""
    found = []
    for part in parts:
        rows = store.read(table, part)
        found.append(rows.filter(pc.is_in(rows["video_id"], value_set=ids)))
    return pa.concat_tables(found, promote_options="default").combine_chunks() if found else None


def _tables(store: Store, *kinds: str) -> list[str]:
    return [f"{kind}/{name}" for kind in kinds for name in store.tables(kind)]

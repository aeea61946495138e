"""The rows of labels: of clips, and of videos from them."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from vidray.store.layout import HUMAN, IDENTITY, LABELS, VIDEO_LABELS, labels_of, video_labels_of
from vidray.store.store import Store


def write_labels(store: Store, name: str, part: int, *, model: pa.Table, human: pa.Table) -> pa.Table:
    """Publish one part of `labels/<name>`, and of `video_labels/<name>` from it. Returns the rows of the former.

    Both are tables of `LABELS`. A clip with human rows keeps these alone. Rows of clips that are not in the plan's part
    are left out. The lease is the caller's to hold.
    """
    clips = store.read("clips", part, IDENTITY.names)
    model = model.filter(pc.invert(pc.is_in(model["clip_id"], value_set=human["clip_id"].combine_chunks())))
    rows = pa.concat_tables([human.select(LABELS.names).cast(LABELS), model.select(LABELS.names).cast(LABELS)])
    places = _places(rows["clip_id"], clips["clip_id"])
    rows = rows.append_column("place", places).filter(places.is_valid())
    rows = rows.sort_by([("place", "ascending"), ("score", "descending")])
    videos = _of_videos(clips, rows)
    store.write(video_labels_of(name), part, videos, VIDEO_LABELS)
    rows = rows.drop_columns("place")
    store.write(labels_of(name), part, rows, LABELS)
    return rows


def _of_videos(clips: pa.Table, rows: pa.Table) -> pa.Table:
    """The labels of the videos: a label's score is its mean over all of the video's seconds.

    Each clip counts by its length, and with 0 where it does not have the label. A label has the source `human` where
    people gave it to every clip that has it.
    """
    seconds = pc.subtract(clips["end_s"], clips["start_s"])
    videos = clips.append_column("seconds", seconds).group_by("video_id", use_threads=False)
    videos = videos.aggregate([("seconds", "sum")])
    share = pc.divide(seconds, videos["seconds_sum"].take(_places(clips["video_id"], videos["video_id"])))
    columns = {
        "video": _places(rows["video_id"], videos["video_id"]),
        "weighted": pc.multiply(rows["score"].cast(pa.float64()), share.take(rows["place"])),
        "model": pc.if_else(pc.equal(rows["source"], HUMAN), pa.scalar(None, pa.string()), rows["source"]),
    }
    for field, values in columns.items():
        rows = rows.append_column(field, values)
    grouped = rows.group_by(["video_id", "uri", "label"], use_threads=False)
    found = grouped.aggregate([("weighted", "sum"), ("video", "min"), ("model", "max")])
    found = found.sort_by([("video_min", "ascending"), ("weighted_sum", "descending"), ("label", "ascending")])
    source = pc.fill_null(found["model_max"], HUMAN)
    return pa.table(
        [found["video_id"], found["uri"], found["label"], found["weighted_sum"].cast(pa.float32()), source],
        schema=VIDEO_LABELS,
    )


def _places(values: pa.ChunkedArray, among: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.index_in(values, value_set=among.combine_chunks())

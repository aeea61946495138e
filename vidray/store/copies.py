"""Which videos of a store share copies, by its duplicates tables: what is learned from one is known of the others."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from vidray.store.layout import duplicates_of
from vidray.store.store import Store


def families(store: Store, clips: pa.Table) -> pa.Array:
    """The family of each clip's video: a video's own id, or that of the first of the videos that share copies.

    Videos are of one family where a group of any `duplicates/<name>` has clips of both among these.

    Args:
        store: With or without duplicates.
        clips: `clip_id` and `video_id`.

    Returns:
        string (N,), in the order of the clips.
    """
    first = {video: video for video in clips["video_id"].to_pylist()}

    def root(video: str) -> str:
        while first[video] != video:
            video = first[video]
        return video

    ids = clips["clip_id"].combine_chunks()
    for name in store.tables("duplicates"):
        met: dict[str, str] = {}
        for part in store.parts(duplicates_of(name)):
            rows = store.read(duplicates_of(name), part, ["group_id", "clip_id", "video_id"])
            for row in rows.filter(pc.is_in(rows["clip_id"], value_set=ids)).to_pylist():
                one, other = sorted((root(row["video_id"]), root(met.setdefault(row["group_id"], row["video_id"]))))
                first[other] = one
    return pa.array([root(video) for video in clips["video_id"].to_pylist()], pa.string())

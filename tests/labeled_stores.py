"""Stores of made-up features, for the tests of what is learned from them; no media anywhere."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from vidray.store import CLIPS, IDENTITY, VIDEOS, Store, features_schema

CLIP_S = 10.0
TABLE = "net"


def write_store(
    folder: Path, vectors: npt.NDArray[np.float32], *, clips_a_video: int = 1, parts: int = 1, frames: int = 0
) -> Store:
    """A store with one feature table, `net`: a clip a vector (N, D); with `frames`, as many equal ones a clip.

    Clip 7 is `clip00007`, in `/media/3.mp4` where there are two clips a video. NaN in a vector makes a null.
    """
    store = Store(str(folder))
    store.write_config({"clip_length_s": CLIP_S})
    dim = vectors.shape[1]
    columns = pa.schema([("embedding", pa.list_(pa.float32(), dim))])
    if frames:
        columns = columns.append(pa.field("frame_embeddings", pa.list_(pa.list_(pa.float16(), dim))))
    store.write_spec(TABLE, {"name": TABLE, "columns": [[field.name, str(field.type)] for field in columns]})
    videos = np.arange(len(vectors)) // clips_a_video
    for part, chosen in enumerate(np.array_split(np.unique(videos), parts)):
        rows = np.flatnonzero(np.isin(videos, chosen))
        clips = [clip_row(row, clips_a_video, part) for row in rows]
        store.write("clips", part, pa.Table.from_pylist(clips, CLIPS), CLIPS)
        listed = [{"video_id": f"v{v}", "uri": f"/media/{v}.mp4", "width": 200, "height": 100} for v in chosen]
        store.write("videos", part, pa.Table.from_pylist(listed, VIDEOS), VIDEOS)
        values = [None if np.isnan(vector).any() else vector.tolist() for vector in vectors[rows]]
        table = pa.Table.from_pylist(clips).select(IDENTITY.names)
        table = table.append_column("embedding", pa.array(values, columns.field("embedding").type))
        if frames:
            repeated = [None if value is None else [value] * frames for value in values]
            table = table.append_column("frame_embeddings", pa.array(repeated, columns.field("frame_embeddings").type))
        table = table.append_column("decode_warning", pa.nulls(len(rows), pa.string()))
        store.write(f"features/{TABLE}", part, table, features_schema(columns))
    return store


def clip_row(row: int, clips_a_video: int, part: int) -> dict[str, object]:
    video, index = divmod(int(row), clips_a_video)
    return {
        "clip_id": f"clip{row:05d}",
        "video_id": f"v{video}",
        "uri": f"/media/{video}.mp4",
        "clip_index": index,
        "start_s": index * CLIP_S,
        "end_s": (index + 1) * CLIP_S,
        "part": part,
        "block": 0,
    }


def write_csv(path: Path, header: str, rows: Sequence[str]) -> str:
    path.write_text("\n".join([header, *rows, ""]))
    return str(path)


def rows_of(store: Store, table: str, *names: str) -> list[tuple[object, ...]]:
    """The rows of a table's parts, in order, as tuples of these columns."""
    found = pa.concat_tables([store.read(table, part, names) for part in store.parts(table)]).to_pylist()
    return [tuple(row[name] for name in names) for row in found]

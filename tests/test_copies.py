"""Videos that share copies are one family, and a family is held out as one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
from labeled_stores import clip_row, write_store

from vidray.pipeline.train import _check_labels, _gather, _with_families
from vidray.store import DUPLICATES, Store
from vidray.store.copies import families


def store_with(folder: Path, groups: list[list[int]]) -> tuple[Store, pa.Table]:
    """Eight videos of two clips, and groups of some clips that are copies of the first; the clips of all."""
    vectors = np.random.default_rng(0).standard_normal((16, 4)).astype(np.float32)
    store = write_store(folder, vectors, clips_a_video=2)
    rows = []
    for number, clips in enumerate(groups):
        kept = clip_row(clips[0], 2, 0)
        for clip in clips:
            own = {name: clip_row(clip, 2, 0)[name] for name in ("clip_id", "video_id", "uri", "start_s", "end_s")}
            rows.append({"group_id": str(number), **own, "of_video_id": kept["video_id"], "keep": clip == clips[0]})
    store.write("duplicates/copies", 0, pa.Table.from_pylist(rows, DUPLICATES), DUPLICATES)
    return store, store.read("clips", 0, ["clip_id", "video_id"])


def test_groups_that_meet_in_a_video_make_one_family(tmp_path: Path) -> None:
    store, clips = store_with(tmp_path, [[0, 2], [3, 15], [8, 10]])
    expected = {"v0": "v0", "v1": "v0", "v7": "v0", "v4": "v4", "v5": "v4", "v2": "v2", "v3": "v3", "v6": "v6"}
    found = families(store, clips).to_pylist()
    assert found == [expected[video] for video in clips["video_id"].to_pylist()]


def test_only_the_clips_that_count_join_videos(tmp_path: Path) -> None:
    store, clips = store_with(tmp_path, [[0, 2], [3, 15]])
    # clip 3, by which the groups meet, is not among them
    some = clips.take([0, 2, 15])
    assert families(store, some).to_pylist() == ["v0", "v0", "v7"]
    assert families(Store(f"{tmp_path}/none"), some).to_pylist() == ["v0", "v1", "v7"]


def test_a_kept_clip_without_a_label_still_joins_its_copies(tmp_path: Path) -> None:
    store, clips = store_with(tmp_path, [[0, 2, 4]])
    assert families(store, clips.take([2, 4])).to_pylist() == ["v1", "v1"]


def test_folds_hold_copies_out_together_and_it_is_said(tmp_path: Path) -> None:
    store, clips = store_with(tmp_path, [[0, 2], [12, 14]])
    rows = store.read("clips", 0, ["clip_id", "video_id", "uri", "start_s", "end_s"])
    labeled = rows.append_column("label", pa.array([f"{row // 2 % 2}" for row in range(16)]))
    said: list[str] = []
    labeled = _with_families(store, labeled, said.append)
    assert said == ["2 labeled videos share copies with others, by duplicates/copies: they are held out together"]
    _check_labels(labeled, "labels.csv", 3)
    (_, _, videos, _), examples = _gather(store.url, "net", "embedding", labeled, 2)
    by_video = dict(zip(clips["video_id"].to_pylist(), videos.tolist(), strict=True))
    assert by_video["v0"] == by_video["v1"] != by_video["v6"] == by_video["v7"]
    assert len(set(videos.tolist())) == 6
    assert examples.videos.tolist() == videos.tolist()

"""Detection, tracks, frames made better and thumbnails read a file's bytes once and decode each frame once."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import filling
import pytest
from fault_proxy import Faults, faulty_server, relay
from s3fs import S3FileSystem
from test_one_pass import CountingSandbox

from tests.campaigns.chaos_inline import _Sandbox
from vidray.decode.frames import FrameTrack
from vidray.extractors import resolve, slug
from vidray.planning import FixedStride
from vidray.storage.remote import BLOCK_BYTES, KEPT_BLOCKS
from vidray.store import Store
from vidray.testing import SyntheticVideo, write_video

NAMES = ("ssd?fps=5", "faces?frames=denoise,light", "thumbnails", "tracks?of=ssd", "object_events")
EXTRACTORS = {slug(extractor.name): extractor for extractor in map(resolve, NAMES)}
FRAMES, FPS, CLIPS = 80, 40, 2
PLANNER = FixedStride(FRAMES / FPS / CLIPS)


def filled(store: Store) -> None:
    """Fill all levels, and see that every clip has its row in every table."""
    filling.fill(store, EXTRACTORS)
    rows = {table: store.read(f"features/{table}", 0).num_rows for table in EXTRACTORS}
    assert rows == dict.fromkeys(EXTRACTORS, CLIPS)


@pytest.mark.slow
def test_the_bytes_of_a_file_are_read_once(
    s3: Any, s3_bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    media = tmp_path / "walk.mkv"
    write_video(media, SyntheticVideo(frames=FRAMES, fps=FPS, width=736, height=416, codec="rawvideo"))
    size_bytes = media.stat().st_size
    assert size_bytes > KEPT_BLOCKS * BLOCK_BYTES  # what is read again is asked for again
    faults = Faults()
    with faulty_server(relay(s3.endpoint_url), faults) as url:
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        S3FileSystem.clear_instance_cache()
        S3FileSystem().put(str(media), f"{s3_bucket}/walk.mkv")
        store = filling.filled(tmp_path / "store", s3_bucket, {}, PLANNER)
        used: list[CountingSandbox] = []
        monkeypatch.setattr(filling, "Sandbox", lambda: used.append(CountingSandbox()) or used[-1])
        before = faults.sent_bytes
        filled(store)
        sent_bytes = faults.sent_bytes - before
    opened, reads = (sum((getattr(one, name) for one in used), Counter()) for name in ("opened", "read_clips"))
    assert list(opened.values()) == [1]
    assert list(reads.values()) == [1] * CLIPS
    assert size_bytes <= sent_bytes <= 1.01 * size_bytes


@pytest.mark.slow
def test_each_frame_is_decoded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    media = tmp_path / "corpus" / "walk.mp4"
    media.parent.mkdir()
    write_video(media, SyntheticVideo(frames=FRAMES, fps=FPS))
    store = filling.filled(tmp_path / "store", media.parent, {}, PLANNER)
    given: Counter[int] = Counter()
    accept = FrameTrack._accept

    def counting(self: FrameTrack, raw: Any) -> None:
        given[raw.pts] += 1
        accept(self, raw)

    monkeypatch.setattr(FrameTrack, "_accept", counting)
    monkeypatch.setattr(filling, "Sandbox", _Sandbox)  # decodes in this process
    filled(store)
    assert set(given.values()) == {1}
    assert len(given) <= FRAMES

"""`verify --media`: what done clips' files hold is what decoding them gives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from field_media import Media, Track, every, silence, write_media

from vidray.media import FrameRequest
from vidray.planning import clip_id
from vidray.retrieval.media_check import media_check
from vidray.sandbox import Sandbox
from vidray.store import Store
from vidray.store.layout import CLIPS


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Two files of two clips each: interleaved, and with its audio far behind its frames."""
    tracks, quiet = [Track(length_s=20)], [Track(signal=silence, length_s=20)]
    paths = [
        write_media(tmp_path / "plain.mp4", Media(times_s=every(0.1, 0, 20), tracks=tracks)),
        write_media(tmp_path / "apart.mkv", Media(times_s=every(0.1, 0, 20), tracks=tracks, order="frames first")),
        write_media(tmp_path / "quiet.mkv", Media(times_s=every(0.1, 0, 20), tracks=quiet)),
    ]
    rows = [
        {
            "clip_id": clip_id(path.name, start_s, start_s + 10), "video_id": path.name, "uri": str(path),
            "clip_index": number, "start_s": start_s, "end_s": start_s + 10, "part": 0, "block": 0,
        }
        for path in paths
        for number, start_s in enumerate((0.0, 10.0))
    ]  # fmt: skip
    made = Store(str(tmp_path / "store"))
    made.write("clips", 0, pa.Table.from_pylist(rows, CLIPS), CLIPS)
    return made


def test_what_is_seen_and_heard_is_what_the_file_holds(store: Store) -> None:
    (said,) = media_check(100)(store, False)
    assert said.line == "media: 6 of 6 clips are seen and heard whole"
    assert not said.counts


def test_frames_or_audio_that_decoding_loses_are_said(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    read = Sandbox.read

    def lossy(self: Sandbox, uri: str, requests: Any, *arguments: Any) -> Any:
        decoded = read(self, uri, requests, *arguments)
        lost = FrameRequest if uri.endswith("mp4") else type(requests[1])
        for request in requests:
            if isinstance(request, lost):
                decoded.samples[request] = None
        return decoded

    monkeypatch.setattr(Sandbox, "read", lossy)
    found = list(media_check(100)(store, False))
    assert found[-1].what == "0 of 6 clips are seen and heard whole"
    assert sum(finding.counts.get("damaged", 0) for finding in found) == 6
    assert sum("100 frames of it are not seen" in finding.what for finding in found) == 2
    assert sum("of its audio are not heard" in finding.what for finding in found) == 4

"""Frames, audio, quality and boxes come from one pass over a video, in bounded memory."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from fault_proxy import Faults, faulty_server, relay
from media_files import packaged
from s3fs import S3FileSystem
from torchvision import models

from vidray.corpus import list_corpus
from vidray.errors import MediaError
from vidray.extractors import resolve, slug
from vidray.extractors.inputs import audio_context_s, samplings_of
from vidray.media import Decoded, Request, Video
from vidray.pipeline.plan_parts import Target, plan_part
from vidray.pipeline.tasks import part_work, tasks_of
from vidray.pipeline.worker import SliceExtractor, decode_task, samplings
from vidray.planning import FixedStride, Part
from vidray.planning.units import SLICE_BYTES
from vidray.sandbox import Sandbox
from vidray.storage import remote
from vidray.store import Store
from vidray.store.verification import verify
from vidray.testing import Sweep, SyntheticVideo, write_video

NAMES = ("bigbuckbunny.mp4", "carphone_pristine.mp4")


class CountingSandbox(Sandbox):
    """Counts what is opened and what is read."""

    def __init__(self) -> None:
        super().__init__()
        self.opened: Counter[str] = Counter()
        self.read_clips: Counter[tuple[str, float]] = Counter()

    def read(self, uri: str, requests: Sequence[Request], start_s: float, *arguments: Any, **options: Any) -> Decoded:
        self.read_clips[uri, start_s] += 1
        return super().read(uri, requests, start_s, *arguments, **options)

    def _hand_over(self, ask: str, uri: str, *arguments: Any, **options: Any) -> Any:
        self.opened[uri] += 1
        return super()._hand_over(ask, uri, *arguments, **options)


def detector_weights(folder: Path) -> str:
    torch.manual_seed(0)
    model = models.get_model("fasterrcnn_mobilenet_v3_large_fpn", weights=None, weights_backbone=None)
    torch.save(model.state_dict(), folder / "weights.pt")
    return str(folder / "weights.pt")


@pytest.mark.slow
def test_all_kinds_of_extractors_share_one_pass(tmp_path):
    detector = f"torchvision/fasterrcnn_mobilenet_v3_large_fpn@{detector_weights(tmp_path)}"
    extractors = {
        slug(extractor.name): extractor
        for extractor in (
            resolve(name, fps=0.5) for name in ("efficientnet_lite0", "yamnet", "quality", "faces", detector)
        )
    }
    videos = tuple(
        Video(video_id=name, uri=str(packaged(name)), size_bytes=None, fingerprint="f") for name in sorted(NAMES)
    )
    store = Store(str(tmp_path / "store"))
    planner = FixedStride(2.0)
    store.write_config(planner.config)
    plan_part(Part(0, videos), planner, Target(store.url, "corpus", {}))
    work = part_work(store, 0, extractors, {table: set() for table in extractors})
    stager = SliceExtractor(store.url, extractors, "cpu")
    sandbox = CountingSandbox()
    try:
        for decoded in decode_task(work.blocks, samplings(extractors), sandbox):
            stager.stage(decoded)
    finally:
        sandbox.close()
    assert sandbox.opened == Counter({video.uri: 1 for video in videos})
    assert set(sandbox.read_clips.values()) == {1}
    for table, keys in work.expected.items():
        store.write_spec(table, {"name": table})
        done, failed = store.publish(table, 0, keys, extractors[table].schema)
        assert (done, failed) == (len(sandbox.read_clips), 0)
    assert verify(store.url).is_whole
    quality = store.read("features/quality", 0).to_pylist()
    assert {Path(row["uri"]).name for row in quality if row["loudness_lufs"] is not None} == {NAMES[0]}
    assert all(row["brightness"] > 0 for row in quality)
    faces = {Path(row["uri"]).name for row in store.read("features/faces", 0).to_pylist() if row["detections"]}
    assert faces == {NAMES[1]}


WITHOUT_SPEECH = ("efficientnet_lite0", "yamnet", "ocr")


def read_bytes(folder: Path, corpus: str, names: Sequence[str], faults: Faults, workers: int) -> int:
    """How many bytes the S3 server sends for what some extractors are given of all clips of 10 s, in a run's tasks."""
    extractors = {slug(name): resolve(name) for name in names}
    store, planner = Store(str(folder)), FixedStride(10.0)
    store.write_config(planner.config)
    plan_part(Part(0, tuple(list_corpus(corpus).videos)), planner, Target(store.url, corpus, {}))
    work = part_work(store, 0, extractors, {table: set() for table in extractors})
    before = faults.sent_bytes
    for task in tasks_of(work.blocks, workers, audio_context_s(extractors.values())):
        with contextlib.closing(Sandbox()) as sandbox:
            for decoded in decode_task(task, samplings(extractors), sandbox):
                assert not [
                    one for of_clip in decoded.samples for one in of_clip.values() if isinstance(one, MediaError)
                ]
    return faults.sent_bytes - before


# 20 s are one block, and one task whoever is there; of 70 s two workers have half each, and hear most of the other's
@pytest.mark.slow
@pytest.mark.parametrize(("fps", "most"), [(7, {8: 1.02}), (2, {1: 1.02, 2: 2.1})])
def test_speech_to_text_reads_the_blocks_of_a_task_once(
    s3: Any, s3_bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fps: int, most: dict[int, float]
) -> None:
    media = tmp_path / "spoken.mkv"
    audio = Sweep(codec="pcm_s16le")
    write_video(media, SyntheticVideo(frames=140, fps=fps, width=320, height=240, codec="rawvideo", audio=audio))
    monkeypatch.setattr(remote, "KEPT_BLOCKS", 32)  # what is read again is asked for again
    faults = Faults()
    with faulty_server(relay(s3.endpoint_url), faults) as url:
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        S3FileSystem.clear_instance_cache()
        S3FileSystem().put(str(media), f"{s3_bucket}/spoken.mkv")
        without = read_bytes(tmp_path / "without", s3_bucket, WITHOUT_SPEECH, faults, 1)
        spoken = {
            workers: read_bytes(tmp_path / f"with{workers}", s3_bucket, (*WITHOUT_SPEECH, "moonshine"), faults, workers)
            for workers in most
        }
    assert without >= media.stat().st_size
    assert all(spoken[workers] <= most[workers] * without for workers in most), (spoken, without)


@pytest.mark.parametrize("name", ["fasterrcnn_resnet50_fpn", "deeplabv3_resnet50", "ssd300_vgg16"])
@pytest.mark.parametrize("size", [(1080, 1920), (2160, 3840), (7680, 4320)])
def test_ten_seconds_of_any_size_fit_into_a_slice(name, size):
    for extractor in (resolve(f"torchvision/{name}"), resolve("faces"), resolve("quality")):
        assert sum(s.nbytes(0.0, 10.0, size) for s in samplings_of(extractor).values()) <= SLICE_BYTES

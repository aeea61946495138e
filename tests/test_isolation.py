"""A clip that is extracted alone has the bytes that it would have had among its neighbours."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass

import numpy as np
import pytest
from extractors_for_tests import MeanColour

from vidray.pipeline import extract
from vidray.planning import FixedStride
from vidray.store import Store
from vidray.testing import SyntheticVideo, write_video


@dataclass(frozen=True, kw_only=True)
class Sized(MeanColour):
    """Answers how many clips, and of which shapes, it was called with: as last bits do, but plainly."""

    name: str = "sized"

    def load(self, device):
        def extract(items):
            frames = [item["frames"].frames for item in items]
            size = [float(len(items)), float(sum(some.size for some in frames)), 0.0]
            return {"embedding": np.array([size] * len(items), np.float32), "frames": [len(some) for some in frames]}

        return extract


@dataclass(frozen=True, kw_only=True)
class SizedAndDeadly(Sized):
    """Takes its process along on the first clip of a video."""

    def load(self, device):
        extract = super().load(device)

        def deadly(items):
            if any(item["frames"].times_s[0] == 0.0 and item["frames"].frames.any() for item in items):
                os.kill(os.getpid(), signal.SIGKILL)
            return extract(items)

        return deadly


@pytest.mark.slow
def test_neighbours_of_a_clip_that_kills_its_worker_have_the_bytes_of_a_whole_slice(tmp_path):
    import ray

    corpus = tmp_path / "corpus"
    corpus.mkdir()
    write_video(corpus / "a.mp4", SyntheticVideo(frames=40))
    ray.init(address="local", num_cpus=4, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    try:
        for name, extractor in (("whole", Sized()), ("parted", SizedAndDeadly())):
            extract(str(corpus), str(tmp_path / name), extractors=[extractor], planner=FixedStride(0.5))
    finally:
        ray.shutdown()
    whole, parted = (Store(str(tmp_path / name)).read("features/sized", 0) for name in ("whole", "parted"))
    assert Store(str(tmp_path / "parted")).read("errors/sized", 0)["kind"].to_pylist() == ["crashed"]
    assert parted.equals(whole.slice(1))

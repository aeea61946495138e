"""A short fuzz campaign: a hundred mutated files through `extract`, by a seed."""

from __future__ import annotations

import random
import time

import pytest
import ray

from tests.campaigns import fuzz

pytestmark = pytest.mark.slow


def test_a_hundred_mutated_files_are_accounted_for(tmp_path):
    ray.init(address="local", num_cpus=8, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    try:
        found = fuzz.run(tmp_path, files=100, seed=3, batch=100)
    finally:
        ray.shutdown()
    assert found["broken_laws"] == []
    assert (found["files"], found["missing"], found["duplicated"], found["orphaned"]) == (103, 0, 0, 0)
    assert found["done"] > found["failed"] > 0
    assert found["probe_errors"] > 0
    until = time.monotonic() + 30
    while left := fuzz.left_behind():
        assert time.monotonic() < until, left
        time.sleep(0.1)


def test_a_seed_gives_the_same_files():
    files = {"a.mp4": bytes(range(256)) * 40, "b.mkv": b"moov" * 999}
    made = [[fuzz.mutate(random.Random(seed), files) for seed in range(50)] for _ in range(2)]
    assert made[0] == made[1]
    assert sum(files[name] != data for name, data in made[0]) > 40

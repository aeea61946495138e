"""Nodes that vanish, and nodes that join, in a cluster of processes; and the short form of the campaign of hosts."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray
from extractors_for_tests import Unhurried

from tests.campaigns import chaos_runs, hosts, namespaces
from vidray.pipeline import extract
from vidray.planning import FixedStride
from vidray.store.verification import verify
from vidray.testing import SyntheticVideo, write_video

QUICK_TO_NOTICE = {
    "health_check_initial_delay_ms": 1000,
    "health_check_period_ms": 1000,
    "health_check_timeout_ms": 1000,
    "health_check_failure_threshold": 5,
}
NODE = {"num_cpus": 1, "memory": 2_500_000_000, "object_store_memory": 100 << 20}


@pytest.fixture
def cluster(monkeypatch) -> Iterator:
    """A head without CPUs, and two nodes with room for one worker each."""
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("RAY_raylet_start_wait_time_s", "300")
    head = {**NODE, "num_cpus": 0, "include_dashboard": False, "_system_config": QUICK_TO_NOTICE}
    made = Cluster(initialize_head=True, head_node_args=head)
    try:
        made.add_node(**NODE)
        made.add_node(**NODE)
        yield made
    finally:
        ray.shutdown()
        made.shutdown()


@pytest.fixture
def corpus(tmp_path) -> Path:
    folder = tmp_path / "corpus"
    folder.mkdir()
    for number in range(12):
        write_video(folder / f"{number:02d}.mp4", SyntheticVideo(frames=40, fps=2, width=96, height=64))
    return folder


def tables(store: Path) -> dict[str, bytes]:
    return {str(path.relative_to(store)): path.read_bytes() for path in store.glob("features/*/part-*.parquet")}


@pytest.mark.slow
def test_a_node_that_freezes_is_done_without_and_one_that_joins_is_used(cluster, corpus, tmp_path):
    expected, store, log = tmp_path / "expected", tmp_path / "store", tmp_path / "log"
    unhurried = {"unhurried": Unhurried(clip_s=0.0)}
    extract(str(corpus), str(expected), extractors=unhurried, planner=FixedStride(5.0), ray_address=cluster.address)
    command = [sys.executable, "-m", "vidray.cli", "extract", str(corpus), str(store), "--clip-length", "5"]
    command += ["-x", "extractors_for_tests:Unhurried", "--ray-address", cluster.address, "--json"]
    raylet = next(iter(cluster.worker_nodes)).all_processes["raylet"][0].process.pid
    frozen: list[int] = []
    with log.open("wb") as out, subprocess.Popen(command, stdout=out, stderr=out, cwd=Path(__file__).parent) as run:
        try:
            while len(list(store.glob("_staging/*/part-*/*.parquet"))) < 2 and run.poll() is None:
                time.sleep(0.2)
            frozen += [raylet, *chaos_runs.below([raylet], chaos_runs.processes())]
            for pid in frozen:
                os.kill(pid, signal.SIGSTOP)
            cluster.add_node(**NODE)
            assert run.wait(300) == 0, log.read_text()
        finally:
            run.kill()
            for pid in frozen:
                chaos_runs.kill(pid)
    told = log.read_text()
    assert told.count("was lost, with 1 worker") == 1
    assert told.count("joined: room for 1 more worker") == 1
    summary = json.loads(told.splitlines()[-1])
    assert (summary["done"], summary["failed"]) == (48, 0)
    assert verify(str(store)).is_whole
    assert tables(store) == tables(expected)
    (record,) = (store / "runs").iterdir()
    assert json.loads(record.read_text())["attempts"]["nodes_lost"] == 1


@pytest.mark.slow
@pytest.mark.skipif(namespaces.why_not() is not None, reason=str(namespaces.why_not()))
def test_a_host_that_is_powered_off_costs_its_share(repository):
    command = [sys.executable, "-m", "tests.campaigns.hosts", "--only", "power-off", "--short"]
    done = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["broken"] == []
    assert found["power-off"]["longer_s"] <= hosts.LONGER_S

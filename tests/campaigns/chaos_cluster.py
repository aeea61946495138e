"""A Ray cluster of two nodes on this machine, in a process group of its own, for campaigns that kill nodes.

`python -m tests.campaigns.chaos_cluster` prints one JSON line with its address and its raylets' process ids, head
first; another one for each line that it reads, after replacing a second node that is dead. It ends with its input.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

NODE = {"num_cpus": 2, "memory": 2_500_000_000, "object_store_memory": 100 << 20}
"""Memory for one worker a node."""
STARTS = 5
"""On a machine that has too much to do, Ray's own time limits end a node as it starts."""


@dataclass
class TwoNodes:
    """The campaign's side: the cluster's process, and what it said last."""

    process: subprocess.Popen[str]
    address: str = ""
    raylets: tuple[int, ...] = ()

    @classmethod
    def start(cls, environ: Mapping[str, str]) -> TwoNodes:
        for _ in range(STARTS - 1):
            cluster = cls(_process(environ))
            with contextlib.suppress(RuntimeError):
                cluster._listen()
                return cluster
        cluster = cls(_process(environ))
        cluster._listen()
        return cluster

    def replace_node(self) -> None:
        """Have the second node replaced, whose raylet is dead."""
        assert self.process.stdin is not None
        self.process.stdin.write("replace\n")
        self.process.stdin.flush()
        self._listen()

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"the Ray cluster ended with status {self.process.wait()}")
        said = json.loads(line)
        self.address, self.raylets = said["address"], tuple(said["raylets"])


def _process(environ: Mapping[str, str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.campaigns.chaos_cluster"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=dict(environ),
        text=True,
        start_new_session=True,
    )


def main() -> None:
    """Be the cluster's process."""
    from ray.cluster_utils import Cluster

    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    cluster = Cluster(initialize_head=True, head_node_args={**NODE, "include_dashboard": False})
    cluster.add_node(**NODE)
    _tell(cluster, answers)
    for _ in sys.stdin:
        (dead,) = cluster.worker_nodes
        cluster.remove_node(dead, allow_graceful=False)
        cluster.add_node(**NODE)
        _tell(cluster, answers)
    cluster.shutdown()


def _tell(cluster: Any, answers: Any) -> None:
    nodes = [cluster.head_node, *cluster.worker_nodes]
    raylets = [node.all_processes["raylet"][0].process.pid for node in nodes]
    answers.write(json.dumps({"address": cluster.address, "raylets": raylets}) + "\n")
    answers.flush()


if __name__ == "__main__":
    main()

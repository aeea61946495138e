"""Who works on which node: workers are hired node by node, as many as fit, on nodes that join too, and counted off with
nodes that are lost."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from vidray.errors import ClusterError, MissingExtraError, VidrayError
from vidray.pipeline.cluster import SPARE_CPUS, Cluster
from vidray.pipeline.nodes import Node, answer_of, ask, living
from vidray.wording import counted

COUNT_EVERY_S = 5.0
MOST_WORKERS = 1024
"""Of one run. Its driver hears of every slice; so many stage some hundred a second."""
MOST_SCOUTS = 32
"""How many workers more than fit are asked for at once, for an autoscaler to see; it doubles a cluster at most."""


@dataclass(frozen=True, eq=False)
class Hired:
    """A worker: its actor, and the node on which it has to be."""

    actor: Any
    node: Node


@dataclass
class _Post:
    """A node in use."""

    node: Node
    room: int
    workers: list[Hired] = field(default_factory=list)


class _Scout:
    """Asks for what a worker needs, and does nothing: it starts where there is room after all."""

    def stands(self) -> None:
        """Answers once it has started."""


class Staff:
    """The workers of one run, and the nodes that they may be on.

    Nodes that are there at the start have been checked by `Cluster.check_nodes`; one that joins is asked the same
    question, and is left out, with a line, where it complains. A lost one is a line too. On one machine that this run
    has to itself, nothing changes.
    """

    def __init__(self, cluster: Cluster, memory_bytes: int, *, say: Callable[[str], None]) -> None:
        self._cluster = cluster
        self._memory_bytes = memory_bytes
        self._say = say
        self._posts = {node.node_id: self._post(node) for node in living()}
        self._first = frozenset(self._posts)
        self._asked: dict[Any, Node] = {}
        self._left_out: set[str] = set()
        self._scouts: dict[Any, Any] = {}
        self._counted_at = time.monotonic()
        self.nodes_lost = 0

    def reserve(self, memory_bytes: int) -> None:
        """Have workers that are hired from now on reserve so much; there must be none."""
        self._memory_bytes = memory_bytes
        self._posts = {node_id: self._post(post.node) for node_id, post in self._posts.items()}

    def room(self) -> int:
        """How many workers fit on the nodes in use; one where none seems to, as another job may end."""
        return max(1, min(MOST_WORKERS, sum(post.room for post in self._posts.values())))

    def hire(self, worker: type, *arguments: Any) -> Hired | None:
        """Start a worker on the node with the largest share of its room left; None where all is taken."""
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        posts = [post for post in self._posts.values() if len(post.workers) < post.room]
        if not posts or sum(len(post.workers) for post in self._posts.values()) >= MOST_WORKERS:
            return None
        post = min(posts, key=lambda post: len(post.workers) / post.room)
        job: Any = ray.remote(num_cpus=1, memory=self._memory_bytes, max_restarts=0, max_task_retries=0)(worker)
        there = NodeAffinitySchedulingStrategy(post.node.node_id, soft=False)
        post.workers.append(Hired(job.options(scheduling_strategy=there).remote(*arguments), post.node))
        return post.workers[-1]

    def end(self, worker: Hired) -> None:
        """Have a worker's CPU back; one that is dead already keeps it for as long as anything refers to it."""
        import ray

        ray.kill(worker.actor)
        post = self._posts.get(worker.node.node_id)
        if post is not None and worker in post.workers:
            post.workers.remove(worker)

    def end_all(self) -> None:
        """End every worker."""
        self.scout(0)
        for post in self._posts.values():
            for worker in tuple(post.workers):
                self.end(worker)

    def scout(self, unserved: int) -> None:
        """Show an autoscaler that there is work for so many workers more."""
        import ray

        wanted = 0 if self._cluster.local or self._left_out else max(0, min(unserved, MOST_SCOUTS, self.room()))
        landed = ray.wait(list(self._scouts), num_returns=len(self._scouts), timeout=0)[0] if self._scouts else []
        while len(self._scouts) > wanted or landed:
            answer = landed.pop() if landed else next(iter(self._scouts))
            ray.kill(self._scouts.pop(answer))
        while len(self._scouts) < wanted:
            job: Any = ray.remote(num_cpus=1, memory=self._memory_bytes, max_restarts=0)(_Scout)
            scout = job.remote()
            self._scouts[scout.stands.remote()] = scout

    def look(self) -> None:
        """Count the nodes, from time to time."""
        if not self._cluster.local and time.monotonic() - self._counted_at > COUNT_EVERY_S:
            self._count()

    def is_on_lost_node(self, worker: Hired) -> bool:
        """Whether a worker that was lost was lost with its node."""
        if not self._cluster.local:
            self._count()
        return worker.node.node_id not in self._posts

    def blame(self, worker: Hired, error: VidrayError) -> None:
        """A worker says that it cannot work at all: leave its node out, where it joined; else raise, with its node
        where it is that node's fault."""
        if self._cluster.local:
            raise error
        is_of_node = isinstance(error, MissingExtraError)
        if is_of_node and worker.node.node_id not in self._first:
            self._leave_out(worker.node, f"cannot do the work: {error}")
            return
        raise ClusterError(f"node {worker.node.address} cannot do the work: {error}") if is_of_node else error

    def state(self) -> str:
        """What there is, for a person."""
        nodes = len(self._posts)
        taken = sum(len(post.workers) for post in self._posts.values())
        room = sum(post.room for post in self._posts.values())
        return f"{nodes} {'node has' if nodes == 1 else 'nodes have'} room for {room} in all, {taken} were asked for"

    def _post(self, node: Node) -> _Post:
        return _Post(node, max(0, node.room(self._memory_bytes, spare_cpus=SPARE_CPUS if self._cluster.local else 0)))

    def _count(self) -> None:
        self._counted_at = time.monotonic()
        alive = {node.node_id: node for node in living()}
        for node_id in self._posts.keys() - alive.keys():
            post = self._posts.pop(node_id)
            self.nodes_lost += 1
            self._say(
                f"node {post.node.address} was lost, with {counted(len(post.workers), 'worker')}; others do their clips"
            )
        checking = {node.node_id for node in self._asked.values()}
        for node_id in alive.keys() - self._posts.keys() - checking - self._left_out:
            self._meet(alive[node_id])
        self._hear_new()

    def _meet(self, node: Node) -> None:
        if self._cluster.question is None:
            self._use(node)
        else:
            self._asked[ask(node, self._cluster.question)] = node

    def _hear_new(self) -> None:
        import ray

        if not self._asked:
            return
        for answer in ray.wait(list(self._asked), num_returns=len(self._asked), timeout=0)[0]:
            node = self._asked.pop(answer)
            if complaint := answer_of(answer):
                self._leave_out(node, complaint)
            else:
                self._use(node)

    def _use(self, node: Node) -> None:
        post = self._posts[node.node_id] = self._post(node)
        if post.room:
            self._say(f"node {node.address} joined: room for {counted(post.room, 'more worker')}")

    def _leave_out(self, node: Node, complaint: str) -> None:
        self._left_out.add(node.node_id)
        self._say(f"node {node.address} joined and is left out: it {complaint}")
        post = self._posts.pop(node.node_id, None)
        for worker in tuple(post.workers) if post else ():
            self.end(worker)

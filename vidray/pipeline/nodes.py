"""The nodes of a Ray cluster: which live, how many workers fit on each, whether each sees what this process sees."""

from __future__ import annotations

import importlib.metadata
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from vidray.pipeline.trouble import reason_of
from vidray.storage import Folder, filesystem
from vidray.store.layout import staged_of


@dataclass(frozen=True)
class Node:
    """A living node, with what Ray may give away on it.

    Attributes:
        node_id: By which Ray knows it.
        address: By which people know it.
        memory_bytes: Infinite where Ray does not count it.
    """

    node_id: str
    address: str
    cpus: float
    gpus: float = 0.0
    memory_bytes: float = float("inf")

    def room(self, memory_bytes: int, *, spare_cpus: int = 0) -> int:
        """How many workers of one CPU and so much memory each it has room for."""
        return int(min(self.cpus - spare_cpus, self.memory_bytes // max(1, memory_bytes)))


def living() -> list[Node]:
    """The nodes that Ray believes to be alive: of one that vanishes it learns after about a minute."""
    import ray

    return [
        Node(
            node["NodeID"],
            node["NodeManagerAddress"],
            node["Resources"].get("CPU", 0.0),
            node["Resources"].get("GPU", 0.0),
            node["Resources"].get("memory", float("inf")),
        )
        for node in ray.nodes()
        if node["Alive"]
    ]


def room_of(nodes: Iterable[Node], memory_bytes: int) -> int:
    """How many workers fit on all of them: memory of one node is of no use to a CPU of another."""
    return sum(node.room(memory_bytes) for node in nodes)


@dataclass(frozen=True)
class Question:
    """What each node is asked before it gets work.

    Attributes:
        token: A file that this process wrote to the store, with its own name in it.
        media_uri: A file of the corpus that this process sees; None where there is none.
        version: Of vidray here.
    """

    store_url: str
    token: str
    media_uri: str | None
    version: str

    @classmethod
    def about(cls, store: Folder, media_uri: str | None) -> Question:
        """Write the token, and leave the corpus out where this process does not see it either."""
        token = staged_of(f"token-{uuid.uuid4().hex}")
        store.write_bytes(token, token.encode())
        version = importlib.metadata.version("vidray")
        question = cls(store.url, token, media_uri, version)
        return question if media_uri is None or complaint(question) is None else cls(store.url, token, None, version)


def complaint(question: Question) -> str | None:
    """What is wrong with the node on which this runs; None where it sees all."""
    if (version := importlib.metadata.version("vidray")) != question.version:
        return f"has vidray {version}, not {question.version}; every node needs the same"
    every = "every node must reach STORE and CORPUS under the same path"
    try:
        if Folder(question.store_url).read_bytes(question.token) != question.token.encode():
            return f"sees another store at {question.store_url}; {every}"
    except OSError as e:
        return f"does not see the store {question.store_url}: {e}; {every}"
    if question.media_uri is not None:
        fs, path = filesystem(question.media_uri)
        if not fs.exists(path):
            return f"does not see {question.media_uri}; {every}"
    return None


def ask(node: Node, question: Question) -> Any:
    """A reference to the node's complaint; it takes no CPU."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    there = NodeAffinitySchedulingStrategy(node.node_id, soft=False)
    return ray.remote(num_cpus=0, max_retries=2)(complaint).options(scheduling_strategy=there).remote(question)


def answer_of(reference: Any) -> str | None:
    """The complaint that a node answered with, or why it cannot even answer."""
    import ray

    try:
        said: str | None = ray.get(reference)
    except ray.exceptions.RayError as e:
        return f"cannot run vidray: {reason_of(e)}"
    return said

"""Workers are hired node by node; nodes that are lost, join, or cannot do the work are a line each."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from vidray.errors import ClusterError, MissingExtraError, WeightsError
from vidray.pipeline import staff
from vidray.pipeline.nodes import Node, Question, complaint, room_of
from vidray.pipeline.staff import Hired, Staff
from vidray.storage import Folder

GIB = 1 << 30


def node(number: int, cpus: float = 2, gib: float = 8) -> Node:
    return Node(f"id{number}", f"10.0.0.{number}", cpus, 0.0, gib * GIB)


class Nodes:
    """The nodes of a cluster, as Ray would know them, and what was said of them."""

    def __init__(self, *nodes: Node) -> None:
        self.alive = list(nodes)
        self.said: list[str] = []
        self.complaints: dict[str, str | None] = {}

    def staff(self, *, local: bool = False, asks: bool = True) -> Staff:
        cluster = SimpleNamespace(local=local, question="question" if asks else None)
        return Staff(cluster, 2 * GIB, say=self.said.append)  # type: ignore[arg-type]


@pytest.fixture
def nodes(monkeypatch) -> Nodes:
    import ray

    found = Nodes(node(0, cpus=0), node(1), node(2, gib=3))
    monkeypatch.setattr(staff, "living", lambda: list(found.alive))
    monkeypatch.setattr(staff, "ask", lambda node, question: node.node_id)
    monkeypatch.setattr(staff, "answer_of", lambda node_id: found.complaints.get(node_id))
    monkeypatch.setattr(ray, "wait", lambda answers, num_returns, timeout: (answers, []))
    monkeypatch.setattr(ray, "kill", lambda actor: None)
    return found


def test_room_is_counted_node_by_node(nodes):
    assert nodes.staff().room() == 3
    assert room_of([node(1, cpus=8, gib=3), node(2, cpus=8, gib=3)], 2 * GIB) == 2


def test_a_lost_node_is_one_line_and_none_of_its_workers_is_to_blame(nodes):
    held = nodes.staff()
    there, elsewhere = Hired("actor", nodes.alive[1]), Hired("actor", nodes.alive[2])
    nodes.alive.pop(1)
    assert held.is_on_lost_node(there)
    assert not held.is_on_lost_node(elsewhere)
    assert nodes.said == ["node 10.0.0.1 was lost, with 0 workers; others do their clips"]
    assert (held.room(), held.nodes_lost) == (1, 1)


def test_a_node_that_joins_is_asked_and_then_used(nodes):
    held = nodes.staff()
    nodes.alive.append(node(3))
    held._count()
    assert nodes.said == ["node 10.0.0.3 joined: room for 2 more workers"]
    assert held.room() == 5


def test_a_node_that_complains_is_left_out_with_one_line(nodes):
    held = nodes.staff()
    nodes.complaints["id3"] = "has vidray 0.0.1, not 0.1.0; every node needs the same"
    nodes.alive.append(node(3))
    for _ in range(2):
        held._count()
    assert nodes.said == [f"node 10.0.0.3 joined and is left out: it {nodes.complaints['id3']}"]
    assert held.room() == 3


def test_an_extra_that_a_node_lacks_ends_the_run_with_its_name_or_leaves_it_out_where_it_joined(nodes):
    held = nodes.staff()
    lacking = MissingExtraError("yamnet", "yamnet")
    with pytest.raises(ClusterError, match=r"node 10\.0\.0\.1 cannot do the work: yamnet needs the optional extra"):
        held.blame(Hired("actor", nodes.alive[1]), lacking)
    with pytest.raises(WeightsError):
        held.blame(Hired("actor", nodes.alive[1]), WeightsError("no weights"))
    nodes.alive.append(node(3))
    held._count()
    held.blame(Hired("actor", nodes.alive[3]), lacking)
    assert nodes.said[-1].startswith("node 10.0.0.3 joined and is left out: it cannot do the work: yamnet")
    with pytest.raises(MissingExtraError):
        nodes.staff(local=True).blame(Hired("actor", nodes.alive[1]), lacking)


def test_a_node_says_what_it_lacks(tmp_path):
    store = Folder(str(tmp_path / "store"))
    media = tmp_path / "a.mp4"
    media.write_bytes(b"media")
    question = Question.about(store, str(media))
    assert complaint(question) is None
    media.unlink()
    assert complaint(question) == f"does not see {media}; every node must reach STORE and CORPUS under the same path"
    assert Question.about(store, str(media)).media_uri is None
    store.remove(question.token)
    assert "does not see the store" in str(complaint(question))
    older = Question(question.store_url, question.token, None, "0.0.1")
    assert "every node needs the same" in str(complaint(older))


def test_a_node_that_is_lost_before_it_answers_is_not_asked_for_anything(nodes, tmp_path, monkeypatch):
    from vidray.pipeline import cluster

    def ask(node, question):
        if node.node_id == "id2":
            nodes.alive.remove(node)
        return node.node_id

    monkeypatch.setattr(cluster, "living", lambda: list(nodes.alive))
    monkeypatch.setattr(cluster, "ask", ask)
    monkeypatch.setattr(cluster, "answer_of", lambda node_id: nodes.complaints.get(node_id))
    nodes.complaints = {"id2": "cannot run vidray: it does not exist any more"}
    cluster.Cluster("10.0.0.0:6379").check_nodes(Folder(str(tmp_path)), None)
    nodes.complaints = {"id1": "has vidray 0.0, not 0.1"}
    with pytest.raises(ClusterError, match=r"node 10\.0\.0\.1 has vidray 0\.0, not 0\.1"):
        cluster.Cluster("10.0.0.0:6379").check_nodes(Folder(str(tmp_path)), None)

"""One writer: a living holder is refused, a dead one is taken over, and a lost lease ends the run."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from vidray.errors import StoreError
from vidray.storage import Folder
from vidray.store import lease as leases
from vidray.store.lease import FILE, Lease


@pytest.fixture(params=["local", "memory"])
def folder(request, tmp_path) -> Folder:
    return Folder(str(tmp_path / "store") if request.param == "local" else f"memory://{tmp_path.name}/store")


@pytest.fixture(autouse=True)
def _fast(monkeypatch):
    monkeypatch.setattr(leases, "RENEW_EVERY_S", 0.02)
    monkeypatch.setattr(leases, "LOOK_EVERY_S", 0.05)
    monkeypatch.setattr(leases, "EXPIRES_AFTER_S", 0.4)


def hold(folder: Folder, **changes: object) -> dict:
    """Leave the lease of a holder that does not renew it."""
    held = {**json.loads(Lease(folder, say=print)._content()), "token": "theirs", **changes}
    folder.write_bytes(FILE, json.dumps(held).encode())
    return held


def test_a_living_holder_is_refused_with_who_and_since_when(folder):
    said: list[str] = []
    with Lease(folder, say=said.append) as first:
        with pytest.raises(StoreError, match=r"is being written by process \d+ on .* since 20"):
            Lease(folder, say=said.append).__enter__()
        first.check()
    assert folder.sizes() == {}
    with Lease(folder, say=said.append):
        pass
    assert said == []


def test_a_dead_holder_on_this_host_is_taken_over_at_once(folder):
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    hold(folder, pid=child.pid, process_started="1")
    said: list[str] = []
    with Lease(folder, say=said.append) as lease:
        lease.check()
    assert len(said) == 1
    assert "which is dead" in said[0]


def test_a_lease_that_an_ended_run_of_this_process_left_behind_is_taken_over_at_once(folder, monkeypatch):
    def refuse(*arguments: object) -> None:
        raise OSError("read-only")

    said: list[str] = []
    lease = Lease(folder, say=said.append).__enter__()
    with monkeypatch.context() as broken:
        broken.setattr(Folder, "remove", refuse)
        lease.__exit__(None, None, None)
    assert set(folder.sizes()) == {FILE}
    with Lease(folder, say=said.append) as another:
        another.check()
    assert len(said) == 1


def test_a_silent_holder_elsewhere_is_taken_over_after_a_while(folder):
    hold(folder, machine="another", host="far")
    said: list[str] = []
    with Lease(folder, say=said.append):
        pass
    assert "waiting up to" in said[0]
    assert "on far since" in said[0]


def test_a_living_holder_elsewhere_is_refused(folder, monkeypatch):
    held = hold(folder, machine="another", host="far")
    lease = Lease(folder, say=lambda line: folder.write_bytes(FILE, json.dumps({**held, "renewals": 9}).encode()))
    with pytest.raises(StoreError, match="on far since"):
        lease.__enter__()


def test_a_holder_elsewhere_that_ends_while_it_is_waited_for_leaves_the_store(folder):
    hold(folder, machine="another", host="far")
    said: list[str] = []

    def end(line: str) -> None:
        said.append(line)
        folder.remove(FILE)

    with Lease(folder, say=end) as lease:
        lease.check()
    assert len(said) == 1


def test_a_run_that_lost_its_lease_stops(folder):
    with Lease(folder, say=print) as lease:
        hold(folder, machine="another")
        lease._thread.join(timeout=10)
        with pytest.raises(StoreError, match="another run has taken the store over"):
            lease.check()
    assert json.loads(folder.read_bytes(FILE))["token"] == "theirs"

"""The jobs as users submit them: `ray job submit` to a real head, and the scripts by themselves."""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from corpora import MIXED, write_mixed_corpus
from media_files import packaged

from vidray.store import Store

pytestmark = pytest.mark.slow

START_S = 180.0
TOKEN = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def mixed(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("jobs") / "corpus"
    write_mixed_corpus(folder)
    return folder


@pytest.fixture(scope="module")
def head(tmp_path_factory) -> Iterator[str]:
    """The dashboard address of a Ray head that belongs to these tests, ended by its process group."""
    dashboard = free_port()
    ports = {
        "port": free_port(),
        "dashboard-port": dashboard,
        "dashboard-agent-listen-port": free_port(),
        "ray-client-server-port": free_port(),
    }
    # paths of Ray's sockets must be short
    folder = Path(f"/tmp/vidray-ray-{os.getpid()}")
    log = tmp_path_factory.mktemp("head") / "log"
    command = ["ray", "start", "--head", "--block", "--num-cpus=8", f"--temp-dir={folder}", "--disable-usage-stats"]
    options = [f"--{name}={port}" for name, port in ports.items()]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")} | TOKEN
    with log.open("wb") as output:
        process = subprocess.Popen(
            [str(Path(sys.executable).parent / command[0]), *command[1:], *options],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=environment,
        )
        address = f"http://127.0.0.1:{dashboard}"
        try:
            deadline = time.monotonic() + START_S
            while not answers(address):
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.5)
            yield address
        finally:
            # the head's own processes are those of its session
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(timeout=60)


def answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"{address}/api/version", timeout=5) as reply:
            return bool(reply.status)
    except urllib.error.HTTPError:
        # it asks for the token that Ray's own clients send
        return True
    except OSError:
        return False


def run(*command: object, **options: object) -> str:
    result = subprocess.run([sys.executable, *map(str, command)], capture_output=True, text=True, **options)
    assert result.returncode == 0, result.stderr + result.stdout
    return result.stdout


def test_a_submitted_job_writes_the_same_tables_as_a_local_run(mixed, tmp_path, head, repository):
    here, there = tmp_path / "here", tmp_path / "there"
    arguments = ["-x", "extractors_for_tests:MeanColour", "-x", "extractors_for_tests:Loudness", "--clip-length", "2"]
    tests = {**os.environ, "PYTHONPATH": str(repository / "tests")}
    local = json.loads(
        run(repository / "jobs" / "extract.py", mixed, here, *arguments, env=tests, cwd=tmp_path).splitlines()[-1]
    )
    submit = ["-m", "ray.scripts.scripts", "job", "submit", "--address", head, "--"]
    job = [sys.executable, str(repository / "jobs" / "extract.py"), str(mixed), str(there), *arguments]
    environment = {**tests, **TOKEN, "RAY_ADDRESS": head}
    output = run(*submit, "env", f"PYTHONPATH={repository / 'tests'}", *job, env=environment, cwd=tmp_path)
    assert "succeeded" in output
    assert local["done"] == local["planned"] == 4 * len(MIXED)
    for table in ("videos", "clips", "features/mean_colour", "features/loudness", "errors/_probe"):
        assert Store(str(there)).read(table, 0).equals(Store(str(here)).read(table, 0))


def test_what_goes_wrong_in_a_script_is_one_line(tmp_path, repository):
    command = [sys.executable, repository / "jobs" / "index.py", tmp_path / "store", "-x", "efficientnet_lite0"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
    assert done.stderr.startswith("index: ")


def test_index_and_search_scripts(tmp_path, repository):
    videos = packaged("bikes.mp4").parent
    run(repository / "jobs" / "extract.py", videos, tmp_path / "store", "-x", "efficientnet_lite0", cwd=tmp_path)
    output = run(repository / "jobs" / "index.py", tmp_path / "store", "-x", "efficientnet_lite0", cwd=tmp_path)
    assert output == "indexed 4 clips\n"
    query = videos / "carphone_distorted.mp4"
    hits = run(repository / "jobs" / "search.py", tmp_path / "store", query, "-k", "2", cwd=tmp_path).splitlines()
    assert [Path(line.split()[1]).name for line in hits] == ["carphone_distorted.mp4", "carphone_pristine.mp4"]

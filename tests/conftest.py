"""What tests of several modules share: the order of the tests, and object storage that speaks S3."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

# The server ends itself with its standard input, so that a killed test run leaves no server behind.
S3_SERVER = """
import sys
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
print("%s:%d" % server.get_host_and_port(), flush=True)
sys.stdin.read()
"""
S3_CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
    # A developer's own profile has no say in tests.
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
}

LONGEST = ("hosts", "pipeline", "benchmarks", "storage", "jobs", "steps", "cli", "speech", "chaos", "text_heads")
"""Modules of a minute and more, as `test_hosts`; where one began last, it would run alone at the end."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Slow tests come last: what is quick to fail fails first. Several processes begin with the slow modules."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is not None)
    if "PYTEST_XDIST_WORKER" in os.environ:
        slow = sorted({item.path.stem for item in items if item.get_closest_marker("slow") is not None})
        order = [*(f"test_{name}" for name in LONGEST), *slow]
        items.sort(key=lambda item: [*order, item.path.stem].index(item.path.stem))


@pytest.fixture(autouse=True, scope="session")
def one_thread_each() -> None:
    """Of several processes each computes by one thread: threads that wait for each other crawl on busy cores."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        import torch

        torch.set_num_threads(1)


@dataclass(frozen=True, kw_only=True)
class S3Server:
    """A server on a loopback port; `env` is all that a client in another process needs to reach it."""

    endpoint_url: str
    env: dict[str, str]


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """An S3 server in a process of its own, for all tests of the session."""
    log = tmp_path_factory.mktemp("s3") / "server.log"
    environ = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    with (
        log.open("wb") as stderr,
        subprocess.Popen(
            [sys.executable, "-c", S3_SERVER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            env=environ | S3_CREDENTIALS,
        ) as server,
    ):
        assert server.stdout is not None
        address = server.stdout.readline().decode().strip()
        if not address:
            server.wait()
            pytest.fail(f"the S3 server did not start:\n{log.read_text()}")
        endpoint_url = f"http://{address}"
        try:
            yield S3Server(endpoint_url=endpoint_url, env=S3_CREDENTIALS | {"AWS_ENDPOINT_URL": endpoint_url})
        finally:
            server.kill()


_bucket_numbers = itertools.count()


@pytest.fixture
def s3_bucket(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The URL of a new, empty bucket; this process, and those it starts, reach it by the environment alone."""
    import boto3
    from s3fs import S3FileSystem

    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in s3.env.items():
        monkeypatch.setenv(name, value)
    bucket = f"bucket-{next(_bucket_numbers)}"
    boto3.client("s3").create_bucket(Bucket=bucket)
    S3FileSystem.clear_instance_cache()
    yield f"s3://{bucket}"
    S3FileSystem.clear_instance_cache()


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the repository."""
    return Path(__file__).resolve().parent.parent

"""A Ray cluster of network namespaces, with S3 on their bridge, and the command that campaigns run on it."""

from __future__ import annotations

import json
import os
import random
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import PIPE
from typing import Any

from tests.campaigns.namespaces import SWITCH_ADDRESS, Host

REPOSITORY = Path(__file__).resolve().parents[2]
CLIP_S = 5
HEAD = 10
HOSTS = 3
MEMORY = 2_500_000_000
"""For one worker a host."""
LONGEST_S = 420.0
SERVER = f"""
import sys
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer(ip_address="{SWITCH_ADDRESS}", port=0, verbose=False)
server.start()
print("%s:%d" % server.get_host_and_port(), flush=True)
sys.stdin.read()
"""


@dataclass(frozen=True)
class Form:
    """How much there is to do, a second a clip.

    Attributes:
        environ: Settings of Ray.
    """

    videos: int
    video_s: int
    environ: dict[str, str] = field(default_factory=dict)

    @property
    def clips(self) -> int:
        return self.videos * self.video_s // CLIP_S

    @property
    def share_s(self) -> float:
        """What the others do of the work of a host that is lost at once."""
        return self.clips / (HOSTS - 1) - self.clips / HOSTS


FULL = Form(8, 60)
SHORT = Form(
    6,
    30,
    {
        "RAY_health_check_initial_delay_ms": "2000",
        "RAY_health_check_period_ms": "2000",
        "RAY_health_check_timeout_ms": "4000",
        "RAY_health_check_failure_threshold": "4",
    },
)
"""A loss is noticed within half a minute rather than a whole one: what comes then is the same."""


@dataclass
class Outcome:
    """How one command ended.

    Attributes:
        wall_s: From the first clip on, where it ended well.
    """

    status: int
    wall_s: float
    said: str


@dataclass
class Campaign:
    """The cluster, and what was found."""

    folder: Path
    environ: dict[str, str]
    random: random.Random
    form: Form
    takes_jobs: bool = False
    hosts: list[Host] = field(default_factory=list)
    number: int = HEAD
    stores: int = 0
    expected: dict[str, bytes] = field(default_factory=dict)
    usual_s: float = 0.0
    broken: list[str] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)

    @property
    def head(self) -> Host:
        return self.hosts[0]

    def add_host(self, **options: Any) -> Host:
        """Start a host, and Ray on it; the first is the head."""
        host = Host(self.number, self.folder / f"host{self.number}.log", **options)
        self.number += 1
        self.hosts.append(host)
        self._start_ray(host)
        return host

    def _start_ray(self, host: Host) -> None:
        dashboard = f"--include-dashboard={str(self.takes_jobs).lower()}"
        head = ["--head", "--port=6379", "--num-cpus=0", dashboard]
        role = head if host is self.head else [f"--address={self.address}", "--num-cpus=1"]
        ray = [sys.executable, "-m", "ray.scripts.scripts", "start", *role, f"--node-ip-address={host.address}"]
        ray += [f"--memory={MEMORY}", "--object-store-memory=80000000", "--block"]
        with host.log.open("ab") as out:
            host.start([*ray, "--disable-usage-stats"], self.environ, out)

    @property
    def address(self) -> str:
        return f"{self.head.address}:6379"

    def wait_for_nodes(self, count: int, within_s: float = 300.0) -> None:
        """Until so many nodes are alive, the head among them."""
        code = (
            f"import ray\nray.init('{self.address}', log_to_driver=False, logging_level='ERROR')\n"
            "print(sum(node['Alive'] for node in ray.nodes()))"
        )
        deadline = time.monotonic() + within_s
        while time.monotonic() < deadline:
            log = self.folder / "nodes.log"
            with log.open("wb") as out:
                self.head.start([sys.executable, "-c", code], self.environ, out).wait()
            if log.read_text().strip().endswith(str(count)):
                return
            # on a machine that has too much to do, Ray's own time limits end a node as it starts
            for host in self.hosts[1:]:
                if host.running[-1].poll() is not None:
                    self._start_ray(host)
            time.sleep(2.0)
        raise RuntimeError(f"no {count} nodes within {within_s:.0f} s: {log.read_text()[-300:]}")

    def full_strength(self) -> None:
        """As many hosts as at the start, all in order."""
        if not self.hosts:
            self.add_host()
            self.wait_for_nodes(1)
        while len(self.hosts) < HOSTS + 1:
            self.add_host()
        self.wait_for_nodes(len(self.hosts))

    def drop(self, host: Host) -> None:
        """End a host, and wait until the others know."""
        host.end()
        self.hosts.remove(host)
        self.wait_for_nodes(len(self.hosts))

    def extract(self, store: str, *options: str, meanwhile: Callable[[Running], None] = lambda run: None) -> Outcome:
        """Run the command on the head; `meanwhile` does something to the hosts."""
        log = self.folder / f"{Path(store).name}-{time.monotonic():.0f}.log"
        began = time.monotonic()
        with log.open("wb") as out:
            process = self.head.start(self.command(store, *options), self.environ, out)
            run = Running(process, store, log)
            meanwhile(run)
            try:
                status = process.wait(LONGEST_S)
            except subprocess.TimeoutExpired:
                process.kill()
                status = process.wait()
                self.broken.append(f"{store}: no end after {LONGEST_S:.0f} s")
        said = log.read_text(errors="replace")
        summary = json.loads(said.splitlines()[-1]) if status == 0 else {}
        # how long Ray takes to start workers has nothing to do with what happens in the middle
        wall_s = summary["wall_s"] - summary["startup_s"] if summary else time.monotonic() - began
        return Outcome(status, wall_s, said)

    def command(self, store: str, *options: str) -> list[str]:
        """What extracts the corpus on the cluster."""
        command = [sys.executable, "-m", "vidray.cli", "extract", "s3://hosts/corpus", store, *options]
        return [*command, "--clip-length", str(CLIP_S), "--ray-address", self.address, "--json"]

    def job(self, verb: str, *arguments: str) -> subprocess.Popen[bytes]:
        """Start a `ray job` command on the head; what it says is in `jobs.log`."""
        ray = [sys.executable, "-m", "ray.scripts.scripts", "job", verb, "--address", "http://127.0.0.1:8265"]
        with (self.folder / "jobs.log").open("ab") as out:
            return self.head.start([*ray, *arguments], self.environ, out)

    def jobs_said(self) -> str:
        return (self.folder / "jobs.log").read_text(errors="replace")[-600:]

    def new_store(self) -> str:
        self.stores += 1
        return f"s3://hosts/store-{self.stores}"

    def require(self, holds: bool, law: str) -> None:
        if not holds:
            self.broken.append(law)
            sys.stderr.write(f"BROKEN {law}\n")

    def compare(self, name: str, store: str, outcome: Outcome, *, but: str = "") -> None:
        """All rows, done, and the bytes of an undisturbed run, of one file perhaps not."""
        self.require(outcome.status == 0, f"{name}: status {outcome.status}: {outcome.said[-400:]}")
        found = contents(store)
        unlike = sorted(n for n in {*found, *self.expected} if n != but and found.get(n) != self.expected.get(n))
        self.require(not unlike, f"{name}: differs in {unlike[:5]}")
        lines = [line for line in outcome.said.splitlines() if line.startswith("node ")]
        self.figures[name] = {"wall_s": round(outcome.wall_s), "lines": lines}
        sys.stderr.write(f"{name}: {outcome.wall_s:.0f} s, {lines}\n")


@dataclass
class Running:
    """A command that is at work."""

    process: subprocess.Popen[bytes]
    store: str
    log: Path

    def wait_for_clips(self, slices: int) -> None:
        """Until so many slices are staged, or the command has ended."""
        deadline = time.monotonic() + LONGEST_S
        while self.process.poll() is None and time.monotonic() < deadline and len(staged(self.store)) < slices:
            time.sleep(0.5)

    def wait_for_line(self, line: str) -> None:
        """Until the command has said so, or has ended."""
        deadline = time.monotonic() + LONGEST_S
        while self.process.poll() is None and time.monotonic() < deadline:
            if line in self.log.read_text(errors="replace"):
                return
            time.sleep(0.5)


def staged(store: str) -> set[str]:
    """The slices that are staged."""
    from vidray.storage import Folder

    return {name for name in Folder(store).sizes("_staging") if name.endswith(".parquet")}


def contents(store: str) -> dict[str, bytes]:
    """Every file of a store but the records of runs."""
    from vidray.storage import Folder

    folder = Folder(store)
    return {name: folder.read_bytes(name) for name in folder.sizes() if not name.startswith("runs/")}


@contextmanager
def storage() -> Iterator[str]:
    """An S3 server on the bridge; yields its URL."""
    command = [sys.executable, "-c", SERVER]
    server = subprocess.Popen(command, stdin=PIPE, stdout=PIPE, stderr=subprocess.DEVNULL)
    assert server.stdout is not None
    try:
        yield f"http://{server.stdout.readline().decode().strip()}"
    finally:
        server.kill()
        server.wait()


@contextmanager
def campaign_of(seed: int, form: Form, *, takes_jobs: bool = False) -> Iterator[Campaign]:
    from tests.conftest import S3_CREDENTIALS

    with ExitStack() as stack:
        # hosts have a /tmp of their own
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="vidray-hosts-", dir="/var/tmp")))
        shared = {
            **S3_CREDENTIALS,
            "AWS_ENDPOINT_URL": stack.enter_context(storage()),
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": secrets.token_hex(16),
            "PYTHONPATH": os.pathsep.join([str(REPOSITORY), str(REPOSITORY / "tests")]),
            "RAY_raylet_start_wait_time_s": "40",
            "RAY_agent_register_timeout_ms": "300000",
            **form.environ,
        }
        os.environ.update(shared)
        write_corpus(folder, form)
        campaign = Campaign(folder, dict(os.environ), random.Random(seed), form, takes_jobs)
        try:
            campaign.full_strength()
            yield campaign
        finally:
            for host in reversed(campaign.hosts):
                host.end()


def write_corpus(folder: Path, form: Form) -> None:
    import boto3

    from vidray.storage import Folder
    from vidray.testing import SyntheticVideo, write_video

    boto3.client("s3").create_bucket(Bucket="hosts")
    video = folder / "video.mp4"
    write_video(video, SyntheticVideo(frames=form.video_s * 5, fps=5, width=96, height=64))
    for number in range(form.videos):
        # each a file of its own
        Folder("s3://hosts/corpus").write_bytes(f"{number}.mp4", video.read_bytes() + bytes(8 * number))

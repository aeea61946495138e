"""Chaos: kill -9 of drivers, workers, sandboxes and nodes, and at each point between two operations on the store.

    python -m tests.campaigns.chaos [--kills 50] [--points 100] [--seed 1] [--only random|points|writers]

Each run is `vidray extract` on small videos. After its kills the same command is run again until it ends with 0. The
laws: all tables are byte for byte those of an undisturbed run, `verify` finds them whole, what was published or staged
is not done again, no process is left behind, nothing hangs. `--points` bounds how many of the fault points are tried;
0 for all of them. The last line of standard output is one JSON object; the exit status is 1 if a law is broken.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from tests.campaigns import chaos_runs as runs
from tests.campaigns import chaos_scenarios as scenarios
from tests.campaigns.chaos_cluster import TwoNodes
from tests.campaigns.chaos_hook import sitecustomize as hook
from tests.campaigns.chaos_runs import Run, Seen
from tests.campaigns.chaos_scenarios import Scenario

REPOSITORY = Path(__file__).resolve().parents[2]
RERUNS = 8
PART_VIDEOS = 3
BLOCK_CLIPS = 8
MOMENTS = {"write": ("before", "inside", "after"), "create": ("before", "inside", "after"),
           "remove": ("before", "after"), "remove_tree": ("before", "inside", "after")}  # fmt: skip


@dataclass
class Campaign:
    """One campaign: where it works, what it has seen, and which laws were broken."""

    folder: Path
    environ: dict[str, str]
    random: random.Random
    cluster: TwoNodes | None = None
    counts: Counter[str] = field(default_factory=Counter)
    broken: list[str] = field(default_factory=list)
    operations: list[str] = field(default_factory=list)

    def start(self, scenario: Scenario, store: Path, *, is_inline: bool = False) -> Run:
        """Start the scenario's command, on the campaign's cluster if there is one."""
        arguments = scenario.arguments(store)
        roots: tuple[int, ...] = ()
        if self.cluster is not None:
            arguments += ["--ray-address", self.cluster.address]
            roots = self.cluster.raylets
        self.counts["runs"] += 1
        log = self.folder / "logs" / f"{self.counts['runs']:04d}.log"
        return Run(arguments, self.environ, log, roots, is_inline)

    def store(self, scenario: Scenario) -> Path:
        """A fresh store as the scenario finds it."""
        self.counts["stores"] += 1
        store = self.folder / "stores" / f"{self.counts['stores']:04d}"
        shutil.copytree(scenario.initial, store)
        return store

    def finish(self, scenario: Scenario, store: Path, what: str, *, is_inline: bool = False) -> None:
        """Run the command until it ends with 0, and compare."""
        for _ in range(RERUNS):
            finished, parts = runs.finished_pairs(store), runs.published(store)
            run = self.start(scenario, store, is_inline=is_inline)
            status = run.wait()
            self.counts["reruns"] += 1
            if status == 0:
                self.compare(scenario, store, what)
                if not scenario.changes_what_is_done:
                    self.check_nothing_again(run, store, finished, parts, what)
                return
            self.note(f"{what}: status {status}: {run.said().strip()[-300:]}", "reruns_failed")
        self.break_law(f"{what}: no end with 0 after {RERUNS} runs", "hangs")

    def compare(self, scenario: Scenario, store: Path, what: str) -> None:
        from vidray.store.verification import verify

        found = runs.contents(store)
        unlike = [name for name in sorted({*found, *scenario.expected})
                  if found.get(name) != scenario.expected.get(name)]  # fmt: skip
        if unlike:
            self.break_law(f"{what}: {store} differs in {unlike[:6]}", "stores_unlike")
        counted = verify(str(store))
        self.counts["rows_lost"] += counted.missing
        self.counts["rows_doubled"] += counted.duplicated + counted.orphaned
        if not counted.is_whole:
            self.break_law(f"{what}: {store} is not whole: {counted}", "stores_unwhole")
        if not unlike and counted.is_whole:
            shutil.rmtree(store)

    def check_nothing_again(
        self, run: Run, store: Path, finished: int, parts: dict[str, tuple[int, int]], what: str
    ) -> None:
        skipped = int(run.summary()["skipped"])
        if skipped < finished:
            self.break_law(f"{what}: {finished} pairs were finished, {skipped} skipped", "work_done_again")
        now = runs.published(store) if store.exists() else {}
        again = [name for name, file in parts.items() if name in now and now[name] != file]
        if again:
            self.break_law(f"{what}: {again} were published and written again", "work_done_again")

    def check_gone(self, run: Run, what: str) -> None:
        left = runs.wait_until_gone(run.remembered)
        if left:
            titles = [seen.title[:80] for pid, seen in runs.processes().items() if pid in {p for p, _ in left}]
            self.break_law(f"{what}: left behind {titles}", "processes_left")

    def arm(self, what: str, moment: str) -> None:
        (self.folder / "hook" / "armed" / hook.digest(what, moment)).touch()

    def disarm(self) -> None:
        for point in (self.folder / "hook" / "armed").iterdir():
            point.unlink()

    def fired(self) -> int:
        told = self.folder / "hook" / "fired"
        return len(told.read_text().splitlines()) if told.exists() else 0

    def break_law(self, what: str, count: str) -> None:
        self.broken.append(what)
        self.note(f"BROKEN {what}", count)

    def note(self, what: str, count: str) -> None:
        self.counts[count] += 1
        sys.stderr.write(f"{what}\n")


def kill_drivers(campaign: Campaign, scenario: Scenario, most: int) -> int:
    """Kill the command a few times in a row, then let it finish. Returns how many were killed, as all of these do."""
    store = campaign.store(scenario)
    kills = 0
    for _ in range(most):
        parts = runs.published(store)
        run = campaign.start(scenario, store)
        dies_at = time.monotonic() + campaign.random.uniform(0.2, 1.0) * scenario.usual_s
        if run.wait(lambda found, dies_at=dies_at: time.monotonic() > dies_at) is not None:
            break
        run.kill()
        kills += 1
        if campaign.random.random() < 0.5:
            campaign.check_gone(run, "driver killed")
        now = runs.published(store)
        again = [name for name, file in parts.items() if now.get(name) != file]
        if again:
            campaign.break_law(f"driver killed: {again} were published and written again", "work_done_again")
    campaign.finish(scenario, store, f"{kills} drivers killed")
    campaign.check_gone(run, "driver killed")
    campaign.counts["drivers_killed"] += kills
    return kills


def kill_workers(campaign: Campaign, scenario: Scenario, most: int) -> int:
    kills = _kill_some(campaign, scenario, most, runs.is_busy_worker)
    campaign.counts["workers_killed"] += kills
    return kills


def kill_sandboxes(campaign: Campaign, scenario: Scenario, most: int) -> int:
    kills = _kill_some(campaign, scenario, most, runs.is_sandbox)
    campaign.counts["sandboxes_killed"] += kills
    return kills


def _kill_some(campaign: Campaign, scenario: Scenario, most: int, is_victim: object) -> int:
    store = campaign.store(scenario)
    run = campaign.start(scenario, store)
    kills = 0
    for _ in range(most):
        ready_at = time.monotonic() + campaign.random.expovariate(1 / 1.0)
        victims: list[int] = []

        def are_there(found: dict[int, Seen], ready_at: float = ready_at, victims: list[int] = victims) -> bool:
            victims[:] = [pid for pid, seen in found.items() if is_victim(seen)]  # type: ignore[operator]
            return bool(victims) and time.monotonic() > ready_at

        if run.wait(are_there) is not None:
            break
        kills += runs.kill(campaign.random.choice(victims))
    end_well(campaign, scenario, store, run, f"{kills} processes killed")
    return kills


def end_well(campaign: Campaign, scenario: Scenario, store: Path, run: Run, what: str) -> None:
    """Wait for a run that may survive its kills; run the command again if it does not."""
    status = run.wait()
    if status == 0:
        campaign.counts["runs_that_survived"] += 1
        campaign.compare(scenario, store, what)
    else:
        campaign.note(f"{what}: status {status}: {run.said().strip()[-300:]}", "runs_failed")
        campaign.finish(scenario, store, what)
    campaign.check_gone(run, what)


def kill_node(campaign: Campaign, scenario: Scenario, most: int) -> int:
    """Kill the raylet of the second node and all that is below it."""
    assert campaign.cluster is not None
    store = campaign.store(scenario)
    run = campaign.start(scenario, store)
    raylet = campaign.cluster.raylets[1]
    slices = campaign.random.randrange(1, 8)
    status = run.wait(lambda found: len(list(store.glob("_staging/*/part-*/*.parquet"))) >= slices)
    for pid in [raylet, *runs.below([raylet], runs.processes())]:
        runs.kill(pid)
    campaign.counts["nodes_killed"] += status is None
    end_well(campaign, scenario, store, run, "a node killed")
    campaign.cluster.replace_node()
    return 1


def kill_at_random(campaign: Campaign, scenario: Scenario, kills: int, names: list[str]) -> None:
    kinds = [KINDS[name] for name in names]
    each = max(1, min(3, kills // len(kinds)))
    while kills > 0:
        for kind in kinds:
            if kills > 0:
                kills -= _unhung(campaign, kind, scenario, each)


def _unhung(campaign: Campaign, kind: object, scenario: Scenario, most: int) -> int:
    try:
        return max(1, kind(campaign, scenario, most))  # type: ignore[operator]
    except TimeoutError as e:
        campaign.break_law(f"{kind.__name__}: {e}", "hangs")  # type: ignore[attr-defined]
        return 1


def kill_at_points(campaign: Campaign, scenario: Scenario, most: int) -> None:
    """Kill the command before, in and after its operations on the store, one point a store."""
    operations = undisturbed(campaign, scenario, is_inline=True)
    points = [(what, moment) for what in operations for moment in MOMENTS[what.split()[0]]]
    if most < len(points):
        points = campaign.random.sample(points, most)
    for number, (what, moment) in enumerate(points, start=1):
        store = campaign.store(scenario)
        place = f"{scenario.name}, killed {moment} {what}"
        campaign.arm(what, moment)
        try:
            run = campaign.start(scenario, store, is_inline=True)
            status = run.wait()
            if status == -signal.SIGKILL:
                campaign.counts["points_killed"] += 1
            else:
                campaign.note(f"{place}: not reached, status {status}: {run.said()[-200:]}", "points_not_reached")
            campaign.disarm()
            campaign.finish(scenario, store, place, is_inline=True)
        except TimeoutError as e:
            campaign.break_law(f"{place}: {e}", "hangs")
        if number % 20 == 0:
            campaign.note(f"{scenario.name}: {number} of {len(points)} points", "told")


def kill_at_worker_points(campaign: Campaign, scenario: Scenario, most: int) -> int:
    """Kill workers on Ray while they stage or publish."""
    store = campaign.store(scenario)
    for what in campaign.random.sample([what for what in campaign.operations if _is_of_workers(what)], most):
        campaign.arm(what, campaign.random.choice(MOMENTS[what.split()[0]]))
    before = campaign.fired()
    run = campaign.start(scenario, store)
    end_well(campaign, scenario, store, run, "workers killed at points")
    campaign.disarm()
    kills = campaign.fired() - before
    campaign.counts["workers_killed"] += kills
    return kills


KINDS = {
    "driver": kill_drivers,
    "worker": kill_workers,
    "sandbox": kill_sandboxes,
    "worker-at-point": kill_at_worker_points,
    "node": kill_node,
}


def _is_of_workers(what: str) -> bool:
    return "/part-" in what


def two_writers(campaign: Campaign, scenario: Scenario) -> None:
    """One run works, another is refused; when the first is killed, the next takes over."""
    store = campaign.store(scenario)
    first = campaign.start(scenario, store)
    first.wait(lambda found: (store / "_lease.json").exists())
    second = campaign.start(scenario, store)
    if second.wait() != 1 or f"being written by process {first.process.pid} on" not in second.said():
        campaign.break_law(f"a second writer was not refused: {second.said()[-300:]}", "writers")
    if first.wait(lambda found: True) is None:
        first.kill()
        campaign.counts["drivers_killed"] += 1
    third = campaign.start(scenario, store)
    third.wait()
    if "taking over the store" not in third.said():
        campaign.break_law(f"a dead writer was not taken over: {third.said()[-300:]}", "writers")
    campaign.finish(scenario, store, "two writers")
    campaign.check_gone(first, "two writers")
    campaign.counts["writers_refused"] += 1


def undisturbed(campaign: Campaign, scenario: Scenario, *, is_inline: bool = False) -> list[str]:
    """Learn what the command writes and how long it takes; returns its operations on the store."""
    told = campaign.folder / "hook" / "operations"
    told.touch()
    store = campaign.store(scenario)
    run = campaign.start(scenario, store, is_inline=is_inline)
    status = run.wait()
    if status != 0:
        raise RuntimeError(f"{scenario.name} fails undisturbed with status {status}: {run.said()}")
    scenario.usual_s = time.monotonic() - run.began
    scenario.expected = runs.contents(store)
    operations = list(dict.fromkeys(told.read_text().splitlines()))
    told.unlink()
    return operations


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50, help="at random moments (50)")
    parser.add_argument("--points", type=int, default=100, help="fault points to try, 0 for all (100)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", choices=["random", "points", "writers"], action="append")
    parser.add_argument("--kind", choices=list(KINDS), action="append", help="of the kills at random moments")
    parser.add_argument("--scenario", choices=list(scenarios.ALL), action="append", help="of the points")
    parser.add_argument("--keep", metavar="FOLDER", help="work there, and leave what is found")
    options = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(options.keep or stack.enter_context(tempfile.TemporaryDirectory(prefix="chaos")))
        campaign = prepare(folder, options.seed)
        began = time.monotonic()
        conduct(campaign, options.only or ["random", "points", "writers"], options.kills, options.points,
                options.scenario or list(scenarios.MAKE), options.kind or list(KINDS))  # fmt: skip
        wall_s = time.monotonic() - began
    sys.stdout.write(json.dumps(report(campaign, options.seed, wall_s)) + "\n")
    return 1 if campaign.broken else 0


def prepare(folder: Path, seed: int) -> Campaign:
    """Make the folders, and the environment that the command, its workers and this process share."""
    for name in ("logs", "stores", "hook/armed"):
        (folder / name).mkdir(parents=True)
    path = [str(Path(hook.__file__).parent), str(REPOSITORY), str(REPOSITORY / "tests")]
    shared = {
        "PYTHONPATH": os.pathsep.join(path),
        "VIDRAY_CHAOS": str(folder / "hook"),
        "PYTHONFAULTHANDLER": "1",
        # on a machine with other work a node takes its time to start
        "RAY_raylet_start_wait_time_s": "300",
        "RAY_agent_register_timeout_ms": "300000",
        "VIDRAY_CHAOS_UNITS": f"{PART_VIDEOS} {BLOCK_CLIPS}",
    }
    os.environ.update(shared)
    sys.path[:0] = path
    hook.install(folder / "hook")
    import torch  # noqa: F401  forks need not import it again

    import vidray.decode
    import vidray.pipeline
    import vidray.store.verification  # noqa: F401

    return Campaign(folder, dict(os.environ), random.Random(seed))


def conduct(campaign: Campaign, parts: list[str], kills: int, points: int, names: list[str], kinds: list[str]) -> None:
    if "points" in parts:
        each = -(-points // len(names)) if points else sys.maxsize
        for name in names:
            kill_at_points(campaign, scenarios.ALL[name](campaign.folder / name, campaign.environ), each)
    if "writers" in parts or "random" in parts:
        campaign.cluster = TwoNodes.start(campaign.environ)
        with contextlib.closing(campaign.cluster):
            first = scenarios.long_first_run(campaign.folder / "first")
            campaign.operations = undisturbed(campaign, first)
            if "writers" in parts:
                two_writers(campaign, first)
            if "random" in parts:
                kill_at_random(campaign, first, kills, kinds)


def report(campaign: Campaign, seed: int, wall_s: float) -> dict[str, object]:
    counts = campaign.counts
    killed = ("drivers_killed", "workers_killed", "sandboxes_killed", "nodes_killed", "points_killed")
    laws = ("rows_lost", "rows_doubled", "hangs", "work_done_again", "processes_left", "stores_unlike")
    return {
        "seed": seed,
        "kills": sum(counts[name] for name in killed),
        **{name: counts[name] for name in killed},
        **{name: counts[name] for name in ("runs", "reruns", "reruns_failed", "writers_refused")},
        **{name: counts[name] for name in laws},
        "broken": campaign.broken[:20],
        "wall_s": round(wall_s),
    }


if __name__ == "__main__":
    sys.exit(main())

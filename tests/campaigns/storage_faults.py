"""Real extract jobs on storage that misbehaves: object storage and web servers with faults, full and read-only disks.

    python tests/campaigns/storage_faults.py [--rounds 12] [--seed 0] [--only s3|http|outage|flicker|vanish|...]

Each round is one `vidray.extract` with faults, and, where it failed or left files unread, one more without. The laws:
every run ends; it ends well, or with one clear line; then the tables are byte for byte those of an undisturbed run into
a local store, and `verify` finds all of it. Disks are small tmpfs mounts, so `disk` and `read-only` need root.
The last line of standard output is one JSON object; the exit status is 1 if a law is broken.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

TESTS = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(TESTS.parent), str(TESTS)]

from conftest import S3_CREDENTIALS, S3_SERVER
from corpora import write_mixed_corpus
from extractors_for_tests import Loudness, MeanColour
from fault_proxy import FAULTS, Faults, faulty_server, relay, serve_files

from vidray.errors import VidrayError
from vidray.pipeline import extract
from vidray.planning import FixedStride
from vidray.storage import Folder
from vidray.store.verification import verify
from vidray.testing import Sweep, SyntheticVideo, write_video

HANG_S = 420.0
TABLES = {"colour": MeanColour(), "loudness": Loudness()}
PLANNER = FixedStride(1.0)
BUCKET = "campaign"


class HungError(Exception):
    """A run took longer than any limit allows."""


@dataclass
class Score:
    """What the campaign has seen."""

    counts: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    longest_s: float = 0.0
    messages: Counter[str] = field(default_factory=Counter)

    @property
    def is_clean(self) -> bool:
        laws = ("rows_lost", "rows_doubled", "rows_that_blame_the_storage", "hangs", "different", "unclear")
        return not any(self.counts[name] for name in laws)


@contextmanager
def alarm(seconds: float) -> Iterator[None]:
    def hung(number: int, frame: object) -> None:
        raise HungError(f"not done after {seconds:.0f} s")

    signal.signal(signal.SIGALRM, hung)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def run(score: Score, corpus: str, store: str, **options: Any) -> bool:
    """One run; whether it ended well."""
    score.counts["runs"] += 1
    began = time.monotonic()
    try:
        with alarm(HANG_S):
            summary = extract(corpus, store, extractors=TABLES, planner=PLANNER, **options)
    except (VidrayError, OSError) as e:
        line = str(e)
        score.counts["clear_failures"] += 1
        score.counts["unclear"] += "\n" in line or "Traceback" in line or len(line) > 600
        score.messages[line] += 1
        print(f"    ended after {time.monotonic() - began:.0f} s: {line}", flush=True)
        return False
    except HungError:
        score.counts["hangs"] += 1
        raise
    finally:
        score.longest_s = max(score.longest_s, time.monotonic() - began)
    print(f"    done in {time.monotonic() - began:.0f} s: {summary.done} done, {summary.failed} failed", flush=True)
    return True


def unread(store: str) -> int:
    """How many files or clips have a row that blames the storage."""
    from vidray.store import Store

    source = Store(store)
    tables = [f"errors/{name}" for name in ("_probe", *TABLES)]
    kinds = [
        kind
        for table in tables
        for part in source.parts(table)
        for kind in source.read(table, part)["kind"].to_pylist()
    ]
    return sum(kind in ("unreadable", "not_found") for kind in kinds)


def content(store: str) -> dict[str, bytes]:
    """Every file of a store but the records of runs."""
    folder = Folder(store)
    return {name: folder.read_bytes(name) for name in folder.sizes() if not name.startswith("runs/")}


def judge(score: Score, store: str, expected: dict[str, bytes]) -> None:
    found = verify(store)
    score.counts["pairs"] += found.planned
    score.counts["rows_lost"] += found.missing
    score.counts["rows_doubled"] += found.duplicated + found.orphaned
    held = content(store)
    wrong = sorted(name for name in held.keys() | expected.keys() if held.get(name) != expected.get(name))
    score.counts["different"] += bool(wrong)
    score.counts["identical"] += not wrong
    if wrong:
        print(f"    DIFFERENT from an undisturbed run: {', '.join(wrong)}", flush=True)


def with_faults(score: Score, corpus: str, store: str, faults: Faults, expected: dict[str, bytes]) -> None:
    """One run with faults, and what it takes without them until all is done."""
    is_done = run(score, corpus, store)
    score.counts["requests"] += faults.requests
    score.faults += faults.injected
    faults.rates, faults.outage_at = {}, None
    if not is_done:
        is_done = run(score, corpus, store)
    left = unread(store)
    score.counts["rows_that_blame_the_storage"] += left
    if left:
        is_done = run(score, corpus, store, retry_failed=True)
    score.counts["unclear"] += not is_done
    judge(score, store, expected)
    faults.reset_counts()


@dataclass
class Field:
    """Where the campaign takes place.

    Attributes:
        media: A local folder with the corpus.
    """

    media: Path
    scratch: Path
    s3: Faults
    s3_corpus: str
    http: Faults
    http_corpus: str
    dice: random.Random
    rounds: int

    def mix(self) -> dict[str, float]:
        """Faults of all kinds, in all from 5 to 40 % of the requests."""
        weights = {kind: self.dice.random() * (0.3 if kind == "stall" else 1.0) for kind in FAULTS}
        share = self.dice.uniform(0.05, 0.4) / sum(weights.values())
        return {kind: weight * share for kind, weight in weights.items()}


def baseline(field: Field, corpus: str) -> dict[str, bytes]:
    store = tempfile.mkdtemp(dir=field.scratch)
    extract(corpus, store, extractors=TABLES, planner=PLANNER)
    return content(store)


def s3_rounds(field: Field, score: Score) -> None:
    expected = baseline(field, field.s3_corpus)
    for number in range(field.rounds):
        field.s3.rates = field.mix()
        print(f"s3 {number}: {sum(field.s3.rates.values()):.0%} of the requests", flush=True)
        with_faults(score, field.s3_corpus, f"s3://{BUCKET}/store-{number}", field.s3, expected)


def http_rounds(field: Field, score: Score) -> None:
    expected = baseline(field, field.http_corpus)
    for number in range(field.rounds):
        field.http.rates = field.mix()
        print(f"http {number}: {sum(field.http.rates.values()):.0%} of the requests", flush=True)
        with_faults(score, field.http_corpus, tempfile.mkdtemp(dir=field.scratch), field.http, expected)


def outage_rounds(field: Field, score: Score) -> None:
    """The object storage answers no request from some moment on."""
    expected = baseline(field, field.s3_corpus)
    for number in range(max(1, field.rounds // 4)):
        field.s3.outage_at = field.dice.randrange(1, 250)
        print(f"outage {number}: from request {field.s3.outage_at} on", flush=True)
        with_faults(score, field.s3_corpus, f"s3://{BUCKET}/outage-{number}", field.s3, expected)


def flicker_rounds(field: Field, score: Score) -> None:
    """The object storage, with corpus and store, is gone at some moment, and back some seconds later."""
    expected = baseline(field, field.s3_corpus)
    for number in range(field.rounds):
        gone_s, back_s = field.dice.uniform(0.5, 12.0), field.dice.uniform(0.5, 30.0)
        print(f"flicker {number}: gone after {gone_s:.1f} s, back {back_s:.1f} s later", flush=True)
        with a_while(
            gone_s, back_s, lambda: vars(field.s3).update(outage_at=0), lambda: vars(field.s3).update(outage_at=None)
        ):
            is_done = run(score, field.s3_corpus, f"s3://{BUCKET}/flicker-{number}")
        score.faults["storage gone and back"] += 1
        unblamed(score, field.s3_corpus, f"s3://{BUCKET}/flicker-{number}", is_done, expected)


def vanish_rounds(field: Field, score: Score) -> None:
    """The folder of the corpus is gone at some moment, as an unmounted disk, and back some seconds later."""
    expected = baseline(field, str(field.media))
    away = field.media.with_name("away")
    for number in range(field.rounds):
        gone_s, back_s = field.dice.uniform(0.5, 8.0), field.dice.uniform(0.2, 10.0)
        print(f"vanish {number}: gone after {gone_s:.1f} s, back {back_s:.1f} s later", flush=True)
        store = tempfile.mkdtemp(dir=field.scratch)
        with a_while(gone_s, back_s, lambda: field.media.rename(away), lambda: away.rename(field.media)):
            is_done = run(score, str(field.media), store)
        score.faults["corpus gone and back"] += 1
        unblamed(score, str(field.media), store, is_done, expected)


@contextmanager
def a_while(after_s: float, lasting_s: float, begin: Callable[[], Any], end: Callable[[], Any]) -> Iterator[None]:
    """Something begins after some time and ends later; it has ended once the block has."""
    is_left = threading.Event()

    def pass_by() -> None:
        if not is_left.wait(after_s):
            begin()
            is_left.wait(lasting_s)
            end()

    thread = threading.Thread(target=pass_by)
    thread.start()
    try:
        yield
    finally:
        is_left.set()
        thread.join()


def unblamed(score: Score, corpus: str, store: str, is_done: bool, expected: dict[str, bytes]) -> None:
    """The same command again, if it failed; no row may blame the storage, without any retry of failures."""
    score.counts["rows_that_blame_the_storage"] += unread(store)
    is_done = is_done or run(score, corpus, store)
    score.counts["unclear"] += not is_done
    judge(score, store, expected)


def blocked_rounds(field: Field, score: Score) -> None:
    """One file of the store cannot be written, as a folder is in its place: at each step of a run in turn."""
    expected = baseline(field, str(field.media))
    steps = ("features/colour", "clips", "_staging/colour/part-00000/block-0000.s00of01.parquet", "errors/colour")
    for number in range(field.rounds):
        store = Path(tempfile.mkdtemp(dir=field.scratch))
        step = steps[number % len(steps)]
        print(f"blocked {number}: {step}", flush=True)
        place = store / (step if step.endswith(".parquet") else f"{step}/part-00000.parquet")
        place.mkdir(parents=True)
        score.faults["blocked file"] += 1
        if run(score, str(field.media), str(store)):
            score.counts["unclear"] += 1
        place.rmdir()
        run(score, str(field.media), str(store))
        judge(score, str(store), expected)


def disk_rounds(field: Field, score: Score) -> None:
    """A disk too small for the store, and then a larger one."""
    expected = baseline(field, str(field.media))
    needed_kib = sum(len(data) for data in expected.values()) >> 10
    for number in range(field.rounds):
        size_kib = field.dice.randrange(8, max(16, 2 * needed_kib))
        print(f"disk {number}: {size_kib} KiB", flush=True)
        with small_disk(field, size_kib) as (disk, remount):
            if not run(score, str(field.media), f"{disk}/store"):
                score.faults["full disk"] += 1
                remount("size=256m")
                run(score, str(field.media), f"{disk}/store")
            judge(score, f"{disk}/store", expected)


def read_only_rounds(field: Field, score: Score) -> None:
    """A disk that turns read-only at some moment of the run."""
    expected = baseline(field, str(field.media))
    for number in range(field.rounds):
        after_s = field.dice.uniform(0.0, 6.0)
        print(f"read-only {number}: after {after_s:.1f} s", flush=True)
        with small_disk(field, 256 << 10) as (disk, remount):
            turned = threading.Timer(after_s, until_possible, [lambda: remount("ro")])
            turned.start()
            is_done = run(score, str(field.media), f"{disk}/store")
            turned.cancel()
            turned.join()
            score.faults["read-only disk"] += not is_done
            remount("rw")
            if not is_done:
                run(score, str(field.media), f"{disk}/store")
            judge(score, f"{disk}/store", expected)


@contextmanager
def small_disk(field: Field, size_kib: int) -> Iterator[tuple[Path, Callable[[str], bool]]]:
    disk = Path(tempfile.mkdtemp(dir=field.scratch))

    def mount(*arguments: str) -> bool:
        return subprocess.run(["mount", *arguments], capture_output=True).returncode == 0

    if not mount("-t", "tmpfs", "-o", f"size={size_kib}k", "vidray-campaign", str(disk)):
        sys.exit("mounting a tmpfs needs root: leave out disk and read-only")
    try:
        yield disk, lambda option: mount("-o", f"remount,{option}", str(disk))
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def until_possible(act: Callable[[], bool]) -> None:
    """A disk with files that are being written does not turn read-only."""
    for _ in range(2000):
        if act():
            return
        time.sleep(0.002)


@contextmanager
def s3_server(log: Path) -> Iterator[str]:
    with (
        log.open("wb") as stderr,
        subprocess.Popen(
            [sys.executable, "-c", S3_SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr
        ) as server,
    ):
        assert server.stdout is not None
        try:
            yield f"http://{server.stdout.readline().decode().strip()}"
        finally:
            server.kill()


def write_corpus(folder: Path, *, longer: int) -> None:
    """Ten short videos, two broken files, and some videos of eight seconds."""
    write_mixed_corpus(folder)
    for number in range(longer):
        audio = Sweep() if number % 2 else None
        write_video(folder / f"long-{number}.mp4", SyntheticVideo(frames=200, width=320, height=192, audio=audio))


@contextmanager
def field_of(seed: int, rounds: int, longer: int) -> Iterator[Field]:
    import boto3
    import ray

    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="vidray-campaign-")))
        media = scratch / "media"
        write_corpus(media, longer=longer)
        os.environ.update(S3_CREDENTIALS)
        # a silence is given up after two seconds rather than twenty
        os.environ["FSSPEC_S3"] = json.dumps({"config_kwargs": {"read_timeout": 2}})
        import fsspec.config

        fsspec.config.set_conf_env(fsspec.config.conf)
        s3 = Faults(seed=seed, stall_s=4.0)
        endpoint = stack.enter_context(s3_server(scratch / "moto.log"))
        os.environ["AWS_ENDPOINT_URL"] = stack.enter_context(faulty_server(relay(endpoint), s3))
        boto3.client("s3").create_bucket(Bucket=BUCKET)
        http = Faults(seed=seed, stall_s=4.0)
        url = stack.enter_context(faulty_server(serve_files(media), http))
        names = sorted(
            str(path.relative_to(media)) for path in media.rglob("*") if path.suffix != ".txt" and path.is_file()
        )
        for name in names:
            Folder(f"s3://{BUCKET}/corpus").write_bytes(name, (media / name).read_bytes())
        (scratch / "urls.txt").write_text("".join(f"{url}/{name}\n" for name in names))
        s3.reset_counts()
        ray.init(address="local", num_cpus=4, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
        stack.callback(ray.shutdown)
        yield Field(
            media=media,
            scratch=scratch,
            s3=s3,
            s3_corpus=f"s3://{BUCKET}/corpus",
            http=http,
            http_corpus=str(scratch / "urls.txt"),
            dice=random.Random(seed),
            rounds=rounds,
        )


CAMPAIGNS = {
    "s3": s3_rounds,
    "http": http_rounds,
    "outage": outage_rounds,
    "flicker": flicker_rounds,
    "vanish": vanish_rounds,
    "blocked": blocked_rounds,
    "disk": disk_rounds,
    "read-only": read_only_rounds,
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=12, help="of each kind (12)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--longer", type=int, default=8, help="videos of eight seconds besides the mixed ones (8)")
    parser.add_argument("--only", action="append", choices=list(CAMPAIGNS), help="one kind; may be given again")
    arguments = parser.parse_args()
    score = Score()
    began = time.monotonic()
    with field_of(arguments.seed, arguments.rounds, arguments.longer) as field:
        for name in arguments.only or CAMPAIGNS:
            CAMPAIGNS[name](field, score)
    names = ("runs", "clear_failures", "requests", "rows_that_blame_the_storage", "pairs", "identical", "different")
    result = {
        "seed": arguments.seed,
        **{name: score.counts[name] for name in (*names, "rows_lost", "rows_doubled", "hangs", "unclear")},
        "faults": dict(sorted(score.faults.items())),
        "faults_injected": score.faults.total(),
        "longest_run_s": round(score.longest_s, 1),
        "wall_s": round(time.monotonic() - began, 1),
    }
    print(json.dumps(result))
    return 0 if score.is_clean else 1


if __name__ == "__main__":
    sys.exit(main())

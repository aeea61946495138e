"""Builders of one index at once, and searches while they build, on a local disk and on S3.

    python -m tests.campaigns.index_races [--rounds 20] [--only local|s3] [--seed 1]

In each round the table changes, and two processes build its index at nearly the same moment, while a third opens it and
searches. The laws: a builder builds, finds nothing to do, or is refused, by a line that says by whom; one of two
builds; each search gives hits; then the index holds every row of the table, and one more build finds nothing to do.
The last line of standard output is one JSON object; the exit status is 1 if a law is broken.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(REPOSITORY), str(REPOSITORY / "tests")]

import numpy as np
from conftest import S3_CREDENTIALS
from embedding_tables import clustered, write_table

from tests.campaigns.storage_faults import s3_server
from vidray.errors import StoreError, VidrayError
from vidray.index import build_index, open_index
from vidray.storage import Folder

ROWS, DIM, PARTS = 4000, 16, 4
FACTORIES = ("SQfp16", "IVF,SQfp16", "IVF,RaBitQ")
BUILT, IDLE, REFUSED = "built", "nothing to do", "refused"


def build(table: str, place: str, after_s: float, factory: str, rebuild: bool) -> str:
    """What became of one build; what it says where it is neither."""
    time.sleep(after_s)
    try:
        info = build_index(table, place, factory=factory, rebuild=rebuild)
    except StoreError as e:
        return REFUSED if "is being written by process" in str(e) else f"StoreError: {e}"
    except (VidrayError, OSError) as e:
        return f"{type(e).__name__}: {e}"
    return BUILT if info.added or info.retired or rebuild else IDLE


def search_until(place: str, is_over: threading.Event, counts: Counter[str], broken: list[str]) -> None:
    while not is_over.is_set():
        try:
            found = open_index(place, verify=True).search(np.ones(DIM))
            counts["searches"] += 1
            if found.ids.shape != (1, 10):
                broken.append(f"{place}: a search gave {found.ids.shape}")
        except Exception as e:
            broken.append(f"{place}: a search: {type(e).__name__}: {e}")


def race(table: str, place: str, dice: random.Random, pool: ProcessPoolExecutor, counts: Counter[str]) -> list[str]:
    """One round, and which laws it broke."""
    broken: list[str] = []
    is_over = threading.Event()
    searching = threading.Thread(target=search_until, args=(place, is_over, counts, broken))
    searching.start()
    try:
        # the second begins at any moment of the first, and as it ends
        waits_s = (0.0, dice.choice([0.0, dice.uniform(0.0, 0.3), dice.uniform(0.0, 3.0)]))
        builds: list[Future[str]] = [
            pool.submit(build, table, place, after_s, dice.choice(FACTORIES), dice.random() < 0.3)
            for after_s in waits_s
        ]
        ended = [one.result() for one in builds]
    finally:
        is_over.set()
        searching.join()
    counts.update(ended)
    broken += [f"{place}: a build: {one}" for one in ended if one not in (BUILT, IDLE, REFUSED)]
    if BUILT not in ended:
        broken.append(f"{place}: nobody built: {ended}")
    index = open_index(place, verify=True)
    if index.manifest.clips != ROWS or index.stale:
        broken.append(f"{place}: {index.manifest.clips} of {ROWS} clips, stale: {index.stale}")
    again = build_index(table, place)
    if again.added or again.retired:
        broken.append(f"{place}: one more build added {again.added} and retired {again.retired}")
    return broken


def change(table: Folder, scratch: Path, seed: int) -> None:
    """Other vectors in one part."""
    local = scratch / "rows"
    write_table(local, clustered(ROWS, DIM, seed=seed), parts=PARTS)
    names = [f"part-{number:05d}.parquet" for number in range(PARTS)]
    for name in names if not table.sizes() else [names[seed % PARTS]]:
        table.write_bytes(name, (local / name).read_bytes())


@contextmanager
def places(kind: str, scratch: Path) -> Iterator[str]:
    """Where tables and indexes of a kind of storage lie."""
    if kind == "local":
        yield str(scratch / "local")
        return
    import boto3

    os.environ.update(S3_CREDENTIALS)
    with s3_server(scratch / "moto.log") as url:
        os.environ["AWS_ENDPOINT_URL"] = url
        boto3.client("s3").create_bucket(Bucket="races")
        yield "s3://races"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20, help="of each kind (20)")
    parser.add_argument("--only", choices=["local", "s3"])
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    dice, broken, found = random.Random(options.seed), list[str](), dict[str, Counter[str]]()
    began = time.monotonic()
    for kind in [options.only] if options.only else ["local", "s3"]:
        counts = found[kind] = Counter()
        with tempfile.TemporaryDirectory(prefix="vidray-races-") as folder, places(kind, Path(folder)) as top:
            table, place = Folder(f"{top}/features/net"), f"{top}/index/net"
            change(table, Path(folder), 0)
            build_index(table.url, place)
            with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
                for number in range(1, options.rounds + 1):
                    change(table, Path(folder), number)
                    broken += race(table.url, place, dice, pool, counts)
    result = {"seed": options.seed, "rounds": options.rounds, **found, "broken": broken[:20]}
    sys.stdout.write(json.dumps(result | {"wall_s": round(time.monotonic() - began)}) + "\n")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())

"""What bfloat16 changes in a network's answers: on videos of one's own, by clip.

Extracts a folder of videos twice, in float32 and in bfloat16, and compares each clip's embedding and first class. Only
networks with real weights tell anything; the packaged ones are `efficientnet_lite0` and `yamnet`. Last line: one JSON
object with, for each network, the mean cosine, its first percentile, the worst, the share of first classes that are
other, and that share among clips whose first class leads the second by a tenth or more.

Usage: python benchmarks/precision.py FOLDER STORE [--networks efficientnet_lite0,yamnet] [--clip-length 2]
"""

from __future__ import annotations

import argparse
import json
from typing import Any

import numpy as np
import numpy.typing as npt

from vidray.extractors import resolve
from vidray.pipeline import extract
from vidray.planning import FixedStride
from vidray.store import Store

CLEAR_LEAD = 0.1


def compared(store: Store, exact: str, short: str) -> dict[str, Any]:
    """Two tables of the same clips, one of each precision."""
    one, other = answers(store, exact), answers(store, short)
    both = sorted(one.keys() & other.keys())
    if not both:
        raise SystemExit(f"{store.url}: no clip is in both {exact} and {short}")
    cosines = np.array([cosine(one[clip][0], other[clip][0]) for clip in both])
    changed = np.array([one[clip][1][0]["label"] != other[clip][1][0]["label"] for clip in both])
    leads = np.array([one[clip][1][0]["score"] - one[clip][1][1]["score"] for clip in both])
    clear = leads >= CLEAR_LEAD
    return {
        "clips": len(both),
        "mean": round(float(cosines.mean()), 5),
        "first_percentile": round(float(np.percentile(cosines, 1)), 5),
        "worst": round(float(cosines.min()), 5),
        "first_class_changed": round(float(changed.mean()), 4),
        "first_class_changed_where_clear": round(float(changed[clear].mean()), 4) if clear.any() else None,
    }


def answers(store: Store, table: str) -> dict[str, tuple[npt.NDArray[np.float64], list[dict[str, Any]]]]:
    """Embedding and classes by clip."""
    found = {}
    for part in store.parts(f"features/{table}"):
        for row in store.read(f"features/{table}", part).to_pylist():
            found[row["clip_id"]] = np.array(row["embedding"], dtype=np.float64), row["labels"]
    return found


def cosine(a: npt.NDArray[np.float64], b: npt.NDArray[np.float64]) -> float:
    return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("store")
    parser.add_argument("--networks", default="efficientnet_lite0,yamnet")
    parser.add_argument("--clip-length", type=float, default=2.0)
    arguments = parser.parse_args()
    names = arguments.networks.split(",")
    both: dict[str, Any] = {name: name for name in names}
    both |= {f"{name}-bfloat16": resolve(name, precision="bfloat16") for name in names}
    extract(arguments.folder, arguments.store, extractors=both, planner=FixedStride(arguments.clip_length))
    store = Store(arguments.store)
    found = {name: compared(store, name.replace("/", "-"), f"{name}-bfloat16".replace("/", "-")) for name in names}
    print(json.dumps({"clip_length_s": arguments.clip_length, "networks": found}))


if __name__ == "__main__":
    main()

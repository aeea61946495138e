"""What bfloat16 changes in a network's answers: on videos of one's own, by clip.

Computes each clip of a folder of videos in float32 and in bfloat16, in this process, and compares embeddings and first
classes. Only networks with real weights tell anything; the packaged one that runs in bfloat16 is `efficientnet_lite0`.
The folder should be varied: photographs, drawings, dark, still and fast ones. Last line: one JSON object with, for each
network, the clips, the mean cosine, its first percentile, the worst, the share of first classes that are other, and
that share among clips whose first class leads the second by a tenth or more.

Usage: python benchmarks/precision.py FOLDER [--networks efficientnet_lite0] [--clip-length 2]
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from items import item_of

from vidray.decode import VideoReader, probe
from vidray.errors import MediaError
from vidray.extractors import resolve
from vidray.extractors.inputs import samplings_of
from vidray.planning import FixedStride

CLEAR_LEAD = 0.1
Floats = npt.NDArray[np.float64]


def clips_of(folder: Path, sampling: Any, length_s: float) -> Iterator[Any]:
    """The samples of all clips of all videos of a folder that can be read."""
    for path in sorted(folder.iterdir()):
        try:
            with path.open("rb") as file:
                duration_s = probe(file, path.name).duration_s
                file.seek(0)
                with VideoReader(file, path.name, audio=False) as reader:
                    for span in FixedStride(length_s).spans(duration_s):
                        raw: Any = reader.read([request := sampling.request(*span)], *span).samples[request]
                        yield sampling.collect(raw, *span)
        except MediaError as e:
            print(f"{path.name}: left out: {e}")


def answers(name: str, precision: Any, clips: list[Any]) -> tuple[Floats, list[list[dict[str, Any]]]]:
    """Embeddings (N, dim) and classes of all clips."""
    extract = resolve(name, precision=precision).load("cpu")
    found = [extract([item_of(frames=clip)]) for clip in clips]
    return np.concatenate([np.asarray(one["embedding"], np.float64) for one in found]), [
        labels for one in found for labels in one["labels"].to_pylist()
    ]


def compared(name: str, folder: Path, length_s: float) -> dict[str, Any]:
    """What bfloat16 changes in one network's answers."""
    (sampling,) = samplings_of(resolve(name)).values()
    clips = list(clips_of(folder, sampling, length_s))
    (wide, exact), (short, other) = (answers(name, precision, clips) for precision in ("float32", "bfloat16"))
    cosines = (wide * short).sum(axis=1) / np.linalg.norm(wide, axis=1) / np.linalg.norm(short, axis=1)
    changed = np.array([one[0]["label"] != two[0]["label"] for one, two in zip(exact, other, strict=True)])
    clear = np.array([one[0]["score"] - one[1]["score"] >= CLEAR_LEAD for one in exact])
    return {
        "clips": len(clips),
        "mean": round(float(cosines.mean()), 5),
        "first_percentile": round(float(np.percentile(cosines, 1)), 5),
        "worst": round(float(cosines.min()), 5),
        "first_class_changed": round(float(changed.mean()), 4),
        "first_class_changed_where_clear": round(float(changed[clear].mean()), 4) if clear.any() else None,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--networks", default="efficientnet_lite0")
    parser.add_argument("--clip-length", type=float, default=2.0)
    arguments = parser.parse_args()
    names = arguments.networks.split(",")
    found = {name: compared(name, arguments.folder, arguments.clip_length) for name in names}
    print(json.dumps({"clip_length_s": arguments.clip_length, "networks": found}))


if __name__ == "__main__":
    main()

"""What the tracks of a long video cost: CPU-seconds, and the most memory.

    python benchmarks/objects.py [SECONDS]

What limits `tracks` is how many boxes there are, which are all of a video's at once: here those of the scenes of
`tracking.py`, 2 to 20 things that come and go, one scene behind the other in a video of an hour, at 5 frames a second,
a fifth dropped and the rest jittered. The last line is one JSON object: `cpu_s`, `peak_mb`, the most that the process
held, and `before_mb`, what of it was there before the work, with all imports and the boxes.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from typing import Any

import torch
import tracking

from vidray.extractors import resolve
from vidray.media import ClipInput

HOUR_S = 3600.0
CLIP_S = 10.0


def scenes(seconds: float) -> list[ClipInput]:
    """The boxes of scenes that follow each other in one video, clip by clip."""
    seen: list[dict[str, Any]] = []
    for number in range(round(seconds / tracking.SCENE_S)):
        found = tracking.detected(tracking.scene(number), tracking.times_of(5.0), dropped=0.2, jitter=0.05, seed=number)
        seen += [one | {"time_s": one["time_s"] + number * tracking.SCENE_S} for one in found]
    return tracking.clips_of(seen, length_s=CLIP_S, seconds=seconds)


def peak_mb() -> int:
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def main() -> None:
    torch.set_num_threads(1)
    items = scenes(float(sys.argv[1]) if len(sys.argv) > 1 else HOUR_S)
    extract = resolve("tracks").load("cpu")
    before_mb, began = peak_mb(), time.process_time()
    extract(items)
    print(json.dumps({"cpu_s": round(time.process_time() - began, 1), "peak_mb": peak_mb(), "before_mb": before_mb}))


if __name__ == "__main__":
    main()

"""What thumbnails cost beside a frame and an audio network, in CPU-seconds, and how many bytes an hour they are.

One thread decodes made videos of 480 and 720 lines once for all extractors, as a worker does, and runs them: with
`thumbnails` and without, in turns, clip by clip. The frames that the networks see are decoded anyway: what is added is
scaling about one frame a second to 480 pixels, shrinking it and encoding it as WebP. The videos have no audio, so that
`yamnet` costs nothing and the share is larger than with it. Ends with one JSON object.

    python benchmarks/thumbnails.py [ROUNDS]
"""

from __future__ import annotations

import json
import platform
import statistics
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from corpus import main as make_corpus

from vidray.decode import VideoReader, probe
from vidray.errors import MediaError
from vidray.extractors import resolve
from vidray.media import Clip, ClipInput

CLIP_S = 10.0
NETWORKS = ("efficientnet_lite0", "yamnet")
ADDED = "thumbnails"
VIDEOS = ("--videos", "2", "--shortest", "10", "--longest", "10", "--heights", "480,720", "--codecs", "h264")


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    torch.set_num_threads(1)
    extractors = {name: resolve(name) for name in (*NETWORKS, ADDED)}
    loaded = {name: extractor.load("cpu") for name, extractor in extractors.items()}
    spent: dict[bool, float] = {True: 0.0, False: 0.0}
    ratios: list[float] = []
    image_bytes, video_s = 0, 0.0
    with tempfile.TemporaryDirectory() as folder:
        sys.argv = ["corpus.py", folder, *VIDEOS]
        make_corpus()
        clips = [(path, start) for path in sorted(Path(folder).rglob("*.mp4")) for start in (0.0,)]
        for turn in range(rounds + 1):
            for number, (path, start_s) in enumerate(clips):
                took = {}
                for is_with in (True, False) if (turn + number) % 2 else (False, True):
                    names = [*NETWORKS, ADDED] if is_with else [*NETWORKS]
                    began = time.process_time()
                    columns = run(path, start_s, {name: (extractors[name], loaded[name]) for name in names})
                    took[is_with] = time.process_time() - began
                    if is_with and turn:
                        image_bytes += sum(len(columns[ADDED][kind][0] or b"") for kind in ("poster", "storyboard"))
                        video_s += CLIP_S
                if turn:
                    # the first turn warms up
                    ratios.append(took[True] / took[False])
                    spent = {key: spent[key] + took[key] for key in took}
    found = {
        "with_over_without": round(spent[True] / spent[False], 4),
        "median_of_pairs": round(statistics.median(ratios), 4),
        "pairs": len(ratios),
        "megabytes_an_hour": round(image_bytes / video_s * 3600 / 1e6, 1),
        "cpu_s_an_hour_added": round((spent[True] - spent[False]) / video_s * 3600, 1),
    }
    print(f"python {platform.python_version()}, pillow {version('pillow')}, torch {version('torch')}")
    print(json.dumps(found))


def run(path: Path, start_s: float, extractors: dict[str, Any]) -> dict[str, Any]:
    """One clip through one decode pass and all extractors."""
    span = start_s, start_s + CLIP_S
    requests = {
        name: {key: sampling.request(*span) for key, sampling in extractor.inputs.items()}
        for name, (extractor, _) in extractors.items()
    }
    with path.open("rb") as file:
        probe(file, str(path))
        file.seek(0)
        with VideoReader(file, str(path)) as reader:
            wanted = list(dict.fromkeys(request for some in requests.values() for request in some.values()))
            samples = reader.read(wanted, *span).samples
    clip = Clip(clip_id="c", video_id="v", uri=str(path), clip_index=0, start_s=span[0], end_s=span[1])
    found = {}
    for name, (extractor, extract) in extractors.items():
        values = {}
        for key, sampling in extractor.inputs.items():
            answer = samples[requests[name][key]]
            assert not isinstance(answer, MediaError)
            values[key] = None if answer is None else sampling.collect(answer, *span)
        if any(value is not None for value in values.values()):
            found[name] = extract([ClipInput(clip=clip, values=values)])
    return found


if __name__ == "__main__":
    main()

"""What a long recording takes: memory and processor seconds of `vidray extract` on ten hours of sound against one.

    benchmarks/recording.py RECORDING.wav ... [--hours 1,10] [-x voice_activity]

The recordings, and ten seconds in which nobody speaks, are encoded once as AAC, and their packets repeated up to each
length in an .m4a. The corpus is that one file. A process's memory is its largest resident size, of the largest process
of the run, a worker or a sandbox, and of the driver. Recordings are mono WAV at 16 kHz. The last line is one JSON
object.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

import av
import numpy as np
from corpus import splice
from costs import RATE, read
from processes import run

PAUSE_S = 10.0


def encode(samples: np.ndarray, target: Path) -> None:
    """Write mono samples as AAC."""
    with av.open(str(target), "w") as container:
        stream = container.add_stream("aac", rate=RATE, layout="mono")
        frame = av.AudioFrame.from_ndarray(samples[None], format="fltp", layout="mono")
        frame.sample_rate = RATE
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recordings", nargs="+", metavar="RECORDING.wav")
    parser.add_argument("--hours", default="1,10")
    parser.add_argument("-x", "--extractor", action="append", metavar="NAME", help="voice_activity, if none is named")
    arguments = parser.parse_args()
    samples = np.concatenate([*map(read, arguments.recordings), np.zeros(round(PAUSE_S * RATE), np.float32)])
    named = [f"-x={name}" for name in arguments.extractor or ["voice_activity"]]
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        once = Path(folder, "once.m4a")
        encode(samples, once)
        for hours in map(float, arguments.hours.split(",")):
            corpus = Path(folder, f"{hours:g}")
            corpus.mkdir()
            splice(once, corpus / "recording.m4a", 3600 * hours)
            command = [sys.executable, "-m", "vidray.cli", "extract", str(corpus), str(corpus / "store"), *named]
            cost = run([*command, "--json"])
            found[f"{hours:g} h"] = {
                "largest_mb": cost.largest_bytes >> 20,
                "driver_mb": cost.peak_bytes >> 20,
                "cpu_s": round(cost.cpu_s, 1),
                "wall_s": round(cost.wall_s, 1),
                **{name: cost.answer[name] for name in ("done", "failed")},
            }
            print(f"{hours:g} h: {found[f'{hours:g} h']}", flush=True)
    print(json.dumps(found))


if __name__ == "__main__":
    main()

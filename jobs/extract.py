"""Extract features on a Ray cluster: ray job submit --working-dir . -- python jobs/extract.py CORPUS STORE -x NAME."""

import argparse
import dataclasses
import json
import sys

import vidray
from vidray.pipeline import Progress

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("corpus", help="a file, folder, glob or manifest that every node can reach")
parser.add_argument("store", help="a folder that every node can reach")
parser.add_argument("-x", "--extractor", action="append", required=True)
parser.add_argument("--clip-length", type=float, default=10.0, help="seconds")
parser.add_argument("--fps", type=float, default=2.0)
parser.add_argument("--precision", choices=["float32", "bfloat16"], default="float32")
arguments = parser.parse_args()

options = {"fps": arguments.fps, "precision": arguments.precision}
try:
    summary = vidray.extract(
        arguments.corpus,
        arguments.store,
        extractors=[vidray.resolve(name, **options) for name in arguments.extractor],
        planner=vidray.FixedStride(arguments.clip_length),
        progress=Progress(),
    )
except vidray.VidrayError as e:
    sys.exit(f"extract: {e}")
print(json.dumps(dataclasses.asdict(summary)))

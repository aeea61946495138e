"""Find clips like those of a video: python jobs/search.py STORE VIDEO."""

import argparse
import sys

import vidray

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("store")
parser.add_argument("video", help="need not be in the corpus")
parser.add_argument("-x", "--extractor", help="whose index, where there are several")
parser.add_argument("-k", type=int, default=10)
arguments = parser.parse_args()

try:
    result = vidray.search(arguments.store, video=arguments.video, extractor=arguments.extractor, k=arguments.k)
except vidray.VidrayError as e:
    sys.exit(f"search: {e}")
for hit in result.hits:
    where = "" if hit.start_s is None else f"{hit.uri}  {hit.start_s:g}-{hit.end_s:g} s"
    print(f"{hit.score:.4f}  {where or hit.clip_id}")

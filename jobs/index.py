"""Build the search index of a feature table: python jobs/index.py STORE -x NAME."""

import argparse
import sys

import vidray

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("store")
parser.add_argument("-x", "--extractor", required=True)
arguments = parser.parse_args()

try:
    info = vidray.build_index(arguments.store, extractor=arguments.extractor)
except vidray.VidrayError as e:
    sys.exit(f"index: {e}")
print(f"indexed {info.rows:,} clips")

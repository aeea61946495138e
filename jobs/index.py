"""Build the search index of a feature table: python jobs/index.py STORE -x NAME."""

import argparse

import vidray

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("store")
parser.add_argument("-x", "--extractor", required=True)
arguments = parser.parse_args()

info = vidray.build_index(arguments.store, extractor=arguments.extractor)
print(f"indexed {info.rows:,} clips")

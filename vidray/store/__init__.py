"""The store: the only owner of the layout and the schemas on disk. Plain Parquet on any fsspec URL.

Law, per extractor: rows(features) + rows(errors) == rows(clips). A part's features file is written last and never
changes: it is the commit. What is staged is a checkpoint that no reader looks at.
"""

from vidray.store.layout import (
    CLIPS,
    DUPLICATES,
    ERRORS,
    FAILURE,
    FORMAT,
    HUMAN,
    IDENTITY,
    KINDS,
    LABELS,
    PROBE,
    PROBE_ERRORS,
    RESERVED,
    VIDEO_LABELS,
    VIDEOS,
    SliceKey,
    TableKind,
    check_columns,
    features_schema,
    part_file,
    spec_sha256,
    staged_schema,
    staging_of,
)
from vidray.store.store import Store

__all__ = [
    "CLIPS",
    "DUPLICATES",
    "ERRORS",
    "FAILURE",
    "FORMAT",
    "HUMAN",
    "IDENTITY",
    "KINDS",
    "LABELS",
    "PROBE",
    "PROBE_ERRORS",
    "RESERVED",
    "VIDEOS",
    "VIDEO_LABELS",
    "SliceKey",
    "Store",
    "TableKind",
    "check_columns",
    "features_schema",
    "part_file",
    "spec_sha256",
    "staged_schema",
    "staging_of",
]

"""The store: the only owner of the layout and the schemas on disk. Plain Parquet on any fsspec URL."""

from vidray.store.store import *  # noqa: F403
